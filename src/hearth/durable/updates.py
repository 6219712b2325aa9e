"""Which facts do a checkpoint's updates come to, or what is wrong with them?

    CONTEXT         START, SUCCEED, FAIL
    STEP            START, SUCCEED, FAIL, RETRY
    WAIT            START, CANCEL
    CALLBACK        START                    the rest comes from outside
    CHAINED_INVOKE  START                    the rest is ours
    EXECUTION       SUCCEED, FAIL            the last thing that an execution says

Updates are taken one after the other, each on top of those before it, and all of them or none.
A START of what has begun changes nothing: a replay may not know how far an earlier invocation got.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_CheckpointDurableExecution.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hearth.durable.execution import Execution, Operation, Status, Type, after
from hearth.durable.facts import Error, Fact, Kind, size_of
from hearth.durable.tokens import callback_id
from hearth.model.durable import OPERATION_PAYLOAD_BYTES_MAX, SYNC_PAYLOAD_BYTES_MAX
from hearth.model.errors import InvalidParameterValue

WAIT_S_DEFAULT: Final = 1
RETRY_S_DEFAULT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """AWS's OperationUpdate."""

    id: str
    type: Type
    action: str
    parent: str | None = None
    name: str | None = None
    sub_type: str | None = None
    payload: str | None = None
    error: Error | None = None
    replay_children: bool = False
    retry_s: int | None = None
    wait_s: int | None = None
    timeout_s: int | None = None
    heartbeat_s: int | None = None
    function: str | None = None
    tenant: str | None = None
    trace_id: str | None = None


_ACTIONS: Final = {
    Type.CONTEXT: {"START", "SUCCEED", "FAIL"},
    Type.STEP: {"START", "SUCCEED", "FAIL", "RETRY"},
    Type.WAIT: {"START", "CANCEL"},
    Type.CALLBACK: {"START"},
    Type.CHAINED_INVOKE: {"START"},
    Type.EXECUTION: {"SUCCEED", "FAIL"},
}
_STARTS: Final = {
    Type.CONTEXT: Kind.CONTEXT_STARTED,
    Type.STEP: Kind.STEP_STARTED,
    Type.WAIT: Kind.WAIT_STARTED,
    Type.CALLBACK: Kind.CALLBACK_STARTED,
    Type.CHAINED_INVOKE: Kind.CHAIN_STARTED,
}
_CLOSES: Final = {
    (Type.CONTEXT, "SUCCEED"): Kind.CONTEXT_SUCCEEDED,
    (Type.CONTEXT, "FAIL"): Kind.CONTEXT_FAILED,
    (Type.STEP, "SUCCEED"): Kind.STEP_SUCCEEDED,
    (Type.STEP, "FAIL"): Kind.STEP_FAILED,
    (Type.STEP, "RETRY"): Kind.STEP_FAILED,
    (Type.WAIT, "CANCEL"): Kind.WAIT_CANCELLED,
    (Type.EXECUTION, "SUCCEED"): Kind.EXECUTION_SUCCEEDED,
    (Type.EXECUTION, "FAIL"): Kind.EXECUTION_FAILED,
}


def facts_of(execution: Execution, updates: Sequence[Update], now_ms: int) -> list[Fact]:
    """Raises InvalidParameterValue."""
    draft = _Draft(execution, now_ms)
    for update in updates:
        draft.take(update)
    return draft.facts


class _Draft:
    """The execution as it would be."""

    def __init__(self, execution: Execution, now_ms: int) -> None:
        self._execution = execution
        self._now_ms = now_ms
        self._operations: dict[str, Operation] = {}
        self.facts: list[Fact] = []

    def take(self, update: Update) -> None:
        if update.action not in _ACTIONS[update.type]:
            raise InvalidParameterValue(
                f"Invalid action {update.action} for an operation of type {update.type}."
            )
        if self.facts and self.facts[-1].operation is None:
            raise InvalidParameterValue("No update may follow the one that ends the execution.")
        _check_sizes(update, self._execution.origin.is_async)
        if update.type is Type.EXECUTION:
            self._end(update)
            return
        before = self._find(update.id)
        if before is not None and before.type is not update.type:
            raise InvalidParameterValue(
                f"Operation {update.id} is of type {before.type}, not {update.type}."
            )
        self._check_parent(update)
        if update.action == "START":
            self._start(update, before)
        else:
            self._close(update, before)

    def _find(self, id_: str) -> Operation | None:
        return self._operations.get(id_) or self._execution.operations.get(id_)

    def _check_parent(self, update: Update) -> None:
        parent = None if update.parent is None else self._find(update.parent)
        if update.parent == update.id or (parent and parent.type is not Type.CONTEXT):
            raise InvalidParameterValue(f"Invalid parent operation id: {update.parent}.")

    def _start(self, update: Update, before: Operation | None) -> None:
        if before is not None and before.status is Status.STARTED:
            return
        if before is not None and before.status is not Status.READY:
            raise _wrong_status(update, before)
        attempt = 0 if before is None else before.attempt
        seconds = due_ms = callback = None
        if update.type is Type.WAIT:
            seconds = update.wait_s or WAIT_S_DEFAULT
            due_ms = self._now_ms + seconds * 1000
        elif update.type is Type.CALLBACK:
            seconds = update.timeout_s or None
            due_ms = _earliest(self._now_ms, seconds, update.heartbeat_s)
            origin = self._execution.origin
            callback = callback_id(origin.secret, origin.id, update.id)
        elif update.type is Type.CHAINED_INVOKE and not update.function:
            raise InvalidParameterValue("ChainedInvokeOptions must name a function.")
        is_chain = update.type is Type.CHAINED_INVOKE
        self._add(
            Fact(
                kind=_STARTS[update.type],
                at_ms=self._now_ms,
                operation=update.id,
                parent=update.parent,
                name=update.name,
                sub_type=update.sub_type,
                payload=update.payload if is_chain else None,
                seconds=seconds,
                heartbeat_s=(update.heartbeat_s or None) if callback is not None else None,
                due_ms=due_ms,
                attempt=attempt,
                callback=callback,
                function=update.function if is_chain else None,
                tenant=update.tenant if is_chain else None,
                trace_id=update.trace_id if is_chain else None,
            )
        )

    def _close(self, update: Update, before: Operation | None) -> None:
        if before is None:
            raise InvalidParameterValue(f"Operation {update.id} has not been started.")
        may_close = {Status.STARTED, Status.READY} if update.type is Type.STEP else {Status.STARTED}
        if before.status not in may_close:
            raise _wrong_status(update, before)
        is_retry = update.action == "RETRY"
        seconds = (update.retry_s or RETRY_S_DEFAULT) if is_retry else before.seconds
        self._add(
            Fact(
                kind=_CLOSES[update.type, update.action],
                at_ms=self._now_ms,
                operation=update.id,
                parent=before.parent,
                name=before.name,
                sub_type=before.sub_type,
                payload=update.payload,
                error=update.error,
                seconds=seconds,
                due_ms=self._now_ms + (seconds or 0) * 1000 if is_retry else None,
                attempt=before.attempt + (1 if update.type is Type.STEP else 0),
                replay_children=update.replay_children,
            )
        )

    def _add(self, fact: Fact) -> None:
        assert fact.operation is not None
        self.facts.append(fact)
        before = self._find(fact.operation)
        self._operations[fact.operation] = after(before, fact, 0, 0)

    def _end(self, update: Update) -> None:
        self.facts.append(
            Fact(
                kind=_CLOSES[update.type, update.action],
                at_ms=self._now_ms,
                payload=update.payload if update.action == "SUCCEED" else None,
                error=(update.error or Error()) if update.action == "FAIL" else None,
            )
        )


def _earliest(now_ms: int, timeout_s: int | None, heartbeat_s: int | None) -> int | None:
    seconds = [s for s in (timeout_s, heartbeat_s) if s]
    return now_ms + min(seconds) * 1000 if seconds else None


def _wrong_status(update: Update, before: Operation) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"Operation {update.id} is {before.status}: it cannot take the action {update.action}."
    )


def _check_sizes(update: Update, is_async: bool) -> None:
    is_whole = update.type is Type.EXECUTION and not is_async
    allowed = SYNC_PAYLOAD_BYTES_MAX if is_whole else OPERATION_PAYLOAD_BYTES_MAX
    direction = "input" if update.type is Type.CHAINED_INVOKE else "output"
    if size_of(update.payload) > allowed:
        raise InvalidParameterValue(
            f"{update.type} {direction} payload size must be less than or equal to {allowed} bytes."
        )
    if update.error is not None and update.error.size_bytes > OPERATION_PAYLOAD_BYTES_MAX:
        raise InvalidParameterValue(
            f"{update.type} error payload size must be less than or equal to "
            f"{OPERATION_PAYLOAD_BYTES_MAX} bytes."
        )
