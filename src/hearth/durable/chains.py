"""How is a function invoked for an execution that waits for it (CHAINED_INVOKE)?

A durable function gets an execution whose name follows from the operation, so that an interrupted
chain finds it again. Another function is invoked again: at least once, as its results tell.
Throttles and failures of ours are tried again for as long as the execution waits.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from hearth.durable import rules
from hearth.durable.case import Case
from hearth.durable.contract import Invoker
from hearth.durable.execution import Execution, Operation
from hearth.durable.facts import Error, Fact, Kind
from hearth.durable.invocations import function_failure, is_throttle
from hearth.durable.rules import Ended
from hearth.model.durable import ExecutionArn, ExecutionStatus
from hearth.model.errors import EngineUnwell, ResourceNotFound, ServiceError
from hearth.model.ids import Caller, FunctionReference, RequestId
from hearth.model.invocations import InvokeCall, InvokeResult

RETRY_S_MAX: Final = 60.0
T = TypeVar("T")
Outcome = tuple[Kind, Ended]


class Executions(Protocol):
    async def change(
        self,
        case: Case,
        decide: Callable[[Execution], Sequence[Fact]],
        show: Callable[[Execution], T],
    ) -> T: ...

    async def status_of(self, arn: ExecutionArn) -> ExecutionStatus | None: ...


class Chains:
    def __init__(
        self,
        invoker: Invoker,
        executions: Executions,
        new_id: Callable[[], str],
        now_ms: Callable[[], int],
    ) -> None:
        self._invoker = invoker
        self._executions = executions
        self._new_id = new_id
        self._now_ms = now_ms

    async def run(self, case: Case, operation: Operation, trace_id: str | None) -> None:
        """Until its outcome is stored, or nobody waits for it any more."""
        kind, ended = await self._outcome(case, operation, trace_id)
        while True:
            try:
                await self._executions.change(
                    case,
                    lambda execution: rules.chain_ended(
                        execution, operation.id, kind, ended, self._now_ms()
                    ),
                    lambda _execution: None,
                )
            except EngineUnwell:
                await asyncio.sleep(1.0)
            except ResourceNotFound:
                return
            else:
                return

    async def _outcome(self, case: Case, operation: Operation, trace_id: str | None) -> Outcome:
        pause_s = 1.0
        while not case.ended.is_set():
            try:
                result = await self._invoker.invoke(self._call(case, operation, trace_id))
            except ServiceError as error:
                if not is_throttle(error):
                    return _refused(error.code, error.message)
            except ValueError as error:
                return _refused("InvalidParameterValueException", str(error))
            else:
                return await self._read(result)
            await _until(case.ended, pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)
        return _refused("Execution.Ended", "The execution is over.")

    def _call(self, case: Case, operation: Operation, trace_id: str | None) -> InvokeCall:
        """Raises ValueError if it names no function."""
        key = case.record.key
        reference = FunctionReference.parse(operation.function or "")
        digest = hashlib.sha256(f"{case.id}/{operation.id}".encode()).hexdigest()
        return InvokeCall(
            caller=Caller(key.account, key.region, "", f"arn:aws:iam::{key.account}:root"),
            reference=reference,
            payload=(operation.payload or "{}").encode(),
            request=RequestId(self._new_id()),
            trace_id=operation.trace_id or trace_id,
            tenant=operation.tenant,
            execution_name=f"chained-{digest[:40]}",
            is_chained=True,
        )

    async def _read(self, result: InvokeResult) -> Outcome:
        if result.function_error is None:
            text = result.payload.decode(errors="replace")
            return Kind.CHAIN_SUCCEEDED, Ended("SUCCEEDED", result=text)
        error = function_failure(result.payload)
        kind = Kind.CHAIN_TIMED_OUT if error.type == "Sandbox.Timedout" else Kind.CHAIN_FAILED
        if result.execution_arn is not None:
            arn = ExecutionArn.parse(result.execution_arn)
            assert arn is not None
            kind = _KINDS.get(await self._executions.status_of(arn), Kind.CHAIN_FAILED)
        return kind, Ended("FAILED", error=error)


_KINDS: Final[dict[ExecutionStatus | None, Kind]] = {
    ExecutionStatus.TIMED_OUT: Kind.CHAIN_TIMED_OUT,
    ExecutionStatus.STOPPED: Kind.CHAIN_STOPPED,
}


def _refused(type_: str, message: str) -> Outcome:
    return Kind.CHAIN_FAILED, Ended("FAILED", error=Error(type=type_, message=message))


async def _until(event: asyncio.Event, pause_s: float) -> None:
    try:
        async with asyncio.timeout(pause_s):
            await event.wait()
    except TimeoutError:
        return
