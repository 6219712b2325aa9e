"""What does an invoke of a durable function come to? It starts an execution, or joins one.

    synchronous   waits until the execution is over, and answers with what it came to
    Event         is answered as soon as the execution is on disk

Source: https://docs.aws.amazon.com/lambda/latest/dg/durable-invoking.html
"""

from typing import Final

from hearth.durable.executions import Executions
from hearth.durable.invocations import failure_payload
from hearth.model.durable import SYNC_TIMEOUT_S_MAX, ExecutionStatus
from hearth.model.errors import InvalidParameterValue
from hearth.model.functions import FunctionVersion
from hearth.model.invocations import InvokeCall, InvokeResult

UNQUALIFIED: Final = "You cannot invoke a durable function using an unqualified ARN."
TOO_LONG: Final = (
    "You cannot synchronously invoke a durable function with an executionTimeout greater than "
    "15 minutes."
)
NOT_DURABLE: Final = "DurableExecutionName is only for functions that have a DurableConfig."


class Starter:
    def __init__(self, executions: Executions) -> None:
        self._executions = executions

    async def invoke(self, call: InvokeCall, function: FunctionVersion) -> InvokeResult:
        """Raises ServiceError when no execution was started."""
        if call.is_event:
            arn = await self.accept(call, function)
            return InvokeResult(payload=b"", executed_version=function.version, execution_arn=arn)
        check(call, function)
        case = await self._executions.attach(call, function, is_async=False)
        execution = await self._executions.end_of(case)
        has_failed = execution.status is not ExecutionStatus.SUCCEEDED
        return InvokeResult(
            payload=failure_payload(execution.error)
            if has_failed
            else (execution.result or "null").encode(),
            executed_version=case.record.version,
            function_error="Unhandled" if has_failed else None,
            execution_arn=execution.origin.arn,
        )

    async def accept(self, call: InvokeCall, function: FunctionVersion) -> str:
        """The execution's ARN: it is on disk. Raises ServiceError."""
        check(call, function, is_async=True)
        case = await self._executions.attach(call, function, is_async=True)
        return str(case.record.arn)


def check(call: InvokeCall, function: FunctionVersion, *, is_async: bool = False) -> None:
    """Raises InvalidParameterValue."""
    config = function.durable
    if config is None:
        raise InvalidParameterValue(NOT_DURABLE)
    if call.qualifier is None and call.reference.qualifier is None:
        raise InvalidParameterValue(UNQUALIFIED)
    if not (is_async or call.is_chained) and config.timeout_s > SYNC_TIMEOUT_S_MAX:
        raise InvalidParameterValue(TOO_LONG)
