"""What came of one batch? A call of the mapping's function, as pollers see it.

A batch is a synchronous invoke of the function's owner: it counts against concurrency, and shows in
metrics and logs like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from hearth.base.log import Log
from hearth.model.errors import ServiceError
from hearth.model.ids import Caller, FunctionReference, RequestId
from hearth.model.invocations import InvokeCall, InvokeResult
from hearth.model.mappings import EventSourceMapping
from hearth.sources.contract import Invoker

PAYLOAD_BYTES_MAX: Final = 6_291_456

log = Log("sources")


class Outcome(Enum):
    DONE = "done"
    """The function answered."""
    FAILED = "failed"
    """It ran, and failed; or this batch can never be given to it."""
    REFUSED = "refused"
    """It was not run: no concurrency, or it or the platform is not there at present."""


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: Outcome
    request: RequestId
    result: InvokeResult | None = None
    """None if it was not run."""
    reason: str = ""
    """Why not, or which error."""


class Function:
    """Of one mapping."""

    def __init__(
        self, mapping: EventSourceMapping, invoker: Invoker, new_id: Callable[[], str]
    ) -> None:
        self._invoker = invoker
        self._new_id = new_id
        owner = f"arn:aws:iam::{mapping.account}:root"
        self._caller = Caller(mapping.account, mapping.region, "", owner)
        self._reference = FunctionReference(mapping.function, mapping.account, mapping.region)
        self._qualifier = mapping.qualifier

    def why_not(self) -> str | None:
        """Why it cannot be called now, if so: then nothing should be taken out of its source."""
        try:
            self._invoker.dry_run(self._call(b"{}"))
        except ServiceError as error:
            return f"{error.code}: {error.message}"
        return None

    async def call(self, payload: bytes) -> Answer:
        call = self._call(payload)
        if len(payload) > PAYLOAD_BYTES_MAX:
            reason = f"{len(payload)} bytes are more than one invoke may have"
            return Answer(Outcome.FAILED, call.request, reason=reason)
        try:
            result = await self._invoker.invoke(call)
        except ServiceError as error:
            return Answer(Outcome.REFUSED, call.request, reason=f"{error.code}: {error.message}")
        except Exception as error:  # noqa: BLE001 -- a defect of ours must not lose the batch
            log.error("batch could not be run", request=call.request, error=error)
            return Answer(Outcome.REFUSED, call.request, reason="An error occurred in Lambda.")
        if result.function_error is not None:
            return Answer(Outcome.FAILED, call.request, result, result.function_error)
        return Answer(Outcome.DONE, call.request, result)

    def _call(self, payload: bytes) -> InvokeCall:
        return InvokeCall(
            caller=self._caller,
            reference=self._reference,
            qualifier=self._qualifier,
            payload=payload,
            request=RequestId(self._new_id()),
        )
