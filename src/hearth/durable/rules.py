"""What is to happen to an execution, when something asks for it or time does? Pure.

Each answers the facts that it comes to, none if nothing happens, or raises the ServiceError that
its caller sees. Facts are on disk before anybody acts on them or is answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from hearth.durable.execution import CLIENT_TOKEN_MS, ENDS, Execution, Operation, Status, Type
from hearth.durable.facts import Error, Fact, Kind, size_of
from hearth.durable.updates import Update, facts_of
from hearth.model.durable import (
    OPERATION_PAYLOAD_BYTES_MAX,
    OPERATIONS_MAX,
    STORED_BYTES_MAX,
    SYNC_PAYLOAD_BYTES_MAX,
    ExecutionStatus,
)
from hearth.model.errors import (
    CallbackTimeout,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
)

NOT_ITS_TURN: Final = "Invalid checkpoint token"
"""SDKs look for these words: the invocation is over then, and not the execution."""
RETRY_S_MAX: Final = 60
RESTARTED: Final = Error(
    type="Runtime.Interrupted", message="The invocation was interrupted, and is repeated."
)


# --- invocations


def begin(execution: Execution, request: str, now_ms: int) -> list[Fact]:
    """No facts: it is not to be invoked now."""
    if not execution.wants_invocation(now_ms):
        return []
    return [Fact(kind=Kind.INVOCATION_STARTED, at_ms=now_ms, request=request)]


class Ended(NamedTuple):
    """What came of one invocation."""

    status: str
    """SUCCEEDED, FAILED, PENDING; BROKEN: it is to be repeated."""
    result: str | None = None
    error: Error | None = None
    at_once: bool = False
    """Repeat it without a pause: it was not its fault."""


def complete(
    execution: Execution, request: str, ended: Ended, began_ms: int, now_ms: int
) -> list[Fact]:
    if execution.invoking != request:
        return []
    is_broken = ended.status == "BROKEN"
    done = Fact(
        kind=Kind.INVOCATION_COMPLETED,
        at_ms=now_ms,
        request=request,
        began_ms=began_ms,
        error=(ended.error or Error()) if is_broken else None,
        due_ms=now_ms + _backoff_ms(execution.failures)
        if is_broken and not ended.at_once
        else None,
    )
    pausing = [_paused(execution, now_ms)] if execution.status is ExecutionStatus.PAUSING else []
    if not execution.is_open or execution.is_interrupted:
        return [done, *pausing]
    match ended.status:
        case "SUCCEEDED":
            return [done, _success(execution, ended.result, now_ms)]
        case "FAILED":
            return [done, _failure(ended.error or Error(), now_ms)]
        case "PENDING" if not (execution.waits or execution.was_woken):
            why = "Cannot return PENDING status with no pending operations."
            return [done, _failure(Error(type="Runtime.InvalidOutput", message=why), now_ms)]
    return [done, *pausing]


def _success(execution: Execution, result: str | None, now_ms: int) -> Fact:
    is_async = execution.origin.is_async
    allowed = OPERATION_PAYLOAD_BYTES_MAX if is_async else SYNC_PAYLOAD_BYTES_MAX
    if size_of(result) > allowed:
        why = f"Execution result size must be less than or equal to {allowed} bytes."
        return _failure(Error(type="Function.ResponseSizeTooLarge", message=why), now_ms)
    return Fact(kind=Kind.EXECUTION_SUCCEEDED, at_ms=now_ms, payload=result)


def _failure(error: Error, now_ms: int) -> Fact:
    return Fact(kind=Kind.EXECUTION_FAILED, at_ms=now_ms, error=error)


def _backoff_ms(failures: int) -> int:
    return min(1 << min(failures, 10), RETRY_S_MAX) * 1000


# --- checkpoints


@dataclass(frozen=True, slots=True)
class Checkpointed:
    facts: list[Fact]
    turn: int
    """Whose token comes next."""
    since: int
    """What has changed after so many facts is told."""
    is_last: bool = False
    """This invocation gets no further token."""


def checkpoint(
    execution: Execution,
    token: str,
    updates: Sequence[Update],
    client_token: str | None,
    digest: str,
    now_ms: int,
) -> Checkpointed:
    """Raises InvalidParameterValue. `digest` is that of the whole request."""
    answer = None if client_token is None else execution.answered.get(client_token)
    if answer is not None and answer.at_ms > now_ms - CLIENT_TOKEN_MS:
        if answer.digest != digest:
            raise InvalidParameterValue(
                "The client token was used for a different checkpoint request."
            )
        is_last = answer.turn != execution.turn or execution.invoking is None
        return Checkpointed([], answer.turn, answer.since, is_last or not execution.is_open)
    check_token(execution, token)
    facts = facts_of(execution, updates, now_ms)
    told = execution.told
    done = Fact(
        kind=Kind.CHECKPOINTED,
        at_ms=now_ms,
        client_token=client_token,
        digest=digest if client_token is not None else None,
        since=told,
    )
    if (over := _over_quota(execution, facts, now_ms)) is not None:
        return Checkpointed([done, over], execution.turn + 1, told, is_last=True)
    last: list[Fact] = []
    if facts and facts[-1].kind in ENDS:
        last = [facts.pop()]
    elif execution.status is ExecutionStatus.PAUSING:
        last = [_paused(execution, now_ms)]
    return Checkpointed([*facts, done, *last], execution.turn + 1, told, is_last=bool(last))


def check_token(execution: Execution, token: str) -> None:
    """Raises InvalidParameterValue unless it is that of the invocation that runs, and its last."""
    is_valid = execution.invoking is not None and token == execution.token
    if not (is_valid and execution.is_open and not execution.is_interrupted):
        raise InvalidParameterValue(NOT_ITS_TURN)


def _over_quota(execution: Execution, facts: Sequence[Fact], now_ms: int) -> Fact | None:
    new = {f.operation for f in facts if f.operation} - execution.operations.keys()
    if len(execution.operations) + len(new) > OPERATIONS_MAX:
        why = f"The execution has more than {OPERATIONS_MAX} operations."
        return _failure(Error(type="Execution.OperationLimitExceeded", message=why), now_ms)
    added = sum(size_of(f.payload) + (f.error.size_bytes if f.error else 0) for f in facts)
    if execution.size_bytes + added > STORED_BYTES_MAX:
        why = f"The execution has stored more than {STORED_BYTES_MAX} bytes."
        return _failure(Error(type="Execution.DataLimitExceeded", message=why), now_ms)
    return None


# --- time


def tick(execution: Execution, now_ms: int) -> list[Fact]:
    """What time has done by now."""
    if not execution.is_open:
        return []
    if execution.ends_ms <= now_ms:
        error = Error(type="Execution.Timeout", message="The execution timed out.")
        return [Fact(kind=Kind.EXECUTION_TIMED_OUT, at_ms=now_ms, error=error)]
    due = [(due_ms, id_) for id_, due_ms in execution.dues.items() if due_ms <= now_ms]
    return [_timed(execution.operations[id_], now_ms) for _, id_ in sorted(due)]


def _timed(operation: Operation, now_ms: int) -> Fact:
    if operation.type is Type.WAIT:
        return _own(operation, Kind.WAIT_SUCCEEDED, now_ms, seconds=operation.seconds)
    if operation.type is Type.STEP:
        return _own(operation, Kind.STEP_READY, now_ms, attempt=operation.attempt)
    is_whole = operation.timeout_due_ms is not None and operation.timeout_due_ms <= now_ms
    type_ = "Callback.Timeout" if is_whole else "Callback.Heartbeat"
    why = "Callback timed out" if is_whole else "Callback timed out on heartbeat"
    error = Error(type=type_, message=why)
    return _own(operation, Kind.CALLBACK_TIMED_OUT, now_ms, error=error)


def _own(
    operation: Operation,
    kind: Kind,
    now_ms: int,
    *,
    payload: str | None = None,
    error: Error | None = None,
    seconds: int | None = None,
    attempt: int = 0,
    due_ms: int | None = None,
) -> Fact:
    return Fact(
        kind=kind,
        at_ms=now_ms,
        operation=operation.id,
        parent=operation.parent,
        name=operation.name,
        sub_type=operation.sub_type,
        payload=payload,
        error=error,
        seconds=seconds,
        attempt=attempt,
        due_ms=due_ms,
    )


# --- callbacks and chained invokes


def callback_success(
    execution: Execution, operation: str, callback: str, result: str, now_ms: int
) -> list[Fact]:
    open_ = _open_callback(execution, operation, callback)
    return [_own(open_, Kind.CALLBACK_SUCCEEDED, now_ms, payload=result)]


def callback_failure(
    execution: Execution, operation: str, callback: str, error: Error, now_ms: int
) -> list[Fact]:
    open_ = _open_callback(execution, operation, callback)
    return [_own(open_, Kind.CALLBACK_FAILED, now_ms, error=error)]


def callback_heartbeat(
    execution: Execution, operation: str, callback: str, now_ms: int
) -> list[Fact]:
    """Without a heartbeat timeout it only says that the callback is still waited for."""
    open_ = _open_callback(execution, operation, callback)
    if not open_.heartbeat_s:
        return []
    due_ms = now_ms + open_.heartbeat_s * 1000
    if open_.timeout_due_ms is not None:
        due_ms = min(due_ms, open_.timeout_due_ms)
    return [_own(open_, Kind.CALLBACK_HEARTBEAT, now_ms, due_ms=due_ms)]


def _open_callback(execution: Execution, operation: str, callback: str) -> Operation:
    found = execution.operations.get(operation)
    if found is None or found.callback != callback:
        raise ResourceNotFound("The callback does not exist.")
    if not found.status.is_open or not execution.is_open:
        raise CallbackTimeout(
            "The callback ID token has either expired or the callback associated with the token "
            "has already been closed."
        )
    return found


def chain_ended(
    execution: Execution, operation: str, kind: Kind, result: Ended, now_ms: int
) -> list[Fact]:
    found = execution.operations[operation]
    if found.status is not Status.STARTED or not execution.is_open:
        return []
    return [_own(found, kind, now_ms, payload=result.result, error=result.error)]


# --- from outside


def stop(execution: Execution, error: Error | None, now_ms: int) -> list[Fact]:
    if not execution.is_open:
        return []
    error = error or Error(type="Execution.Stopped", message="The execution was stopped.")
    return [Fact(kind=Kind.EXECUTION_STOPPED, at_ms=now_ms, error=error)]


def pause(
    execution: Execution,
    reason: str | None,
    stops_time: bool,
    client_token: str | None,
    now_ms: int,
) -> list[Fact]:
    """Raises ResourceConflict."""
    if _is_repeated(execution, client_token, now_ms):
        return []
    if execution.status is not ExecutionStatus.RUNNING:
        raise ResourceConflict(f"The execution cannot be paused: it is {execution.status}.")
    asked = Fact(
        kind=Kind.PAUSE_REQUESTED,
        at_ms=now_ms,
        reason=reason,
        stops_time=stops_time,
        client_token=client_token,
    )
    if execution.invoking is not None:
        return [asked]
    return [asked, _pause_of(asked, now_ms)]


def resume(
    execution: Execution, reason: str | None, client_token: str | None, now_ms: int
) -> list[Fact]:
    """Raises ResourceConflict."""
    if _is_repeated(execution, client_token, now_ms):
        return []
    if execution.status not in {ExecutionStatus.PAUSED, ExecutionStatus.PAUSING}:
        raise ResourceConflict(f"The execution cannot be resumed: it is {execution.status}.")
    is_paused = execution.status is ExecutionStatus.PAUSED
    kind = Kind.EXECUTION_RESUMED if is_paused else Kind.PAUSE_CANCELLED
    return [Fact(kind=kind, at_ms=now_ms, reason=reason, client_token=client_token)]


def _paused(execution: Execution, now_ms: int) -> Fact:
    assert execution.pause is not None
    return _pause_of(execution.pause, now_ms)


def _pause_of(asked: Fact, now_ms: int) -> Fact:
    return Fact(
        kind=Kind.EXECUTION_PAUSED,
        at_ms=now_ms,
        began_ms=asked.at_ms,
        reason=asked.reason,
        stops_time=asked.stops_time,
    )


def _is_repeated(execution: Execution, client_token: str | None, now_ms: int) -> bool:
    if client_token is None:
        return False
    at_ms = execution.pause_tokens.get(client_token)
    return at_ms is not None and at_ms > now_ms - CLIENT_TOKEN_MS
