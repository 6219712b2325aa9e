"""How do callers see an execution? As the members of AWS's model. Pure.

Timestamps are aware datetimes in answers, and milliseconds in what a function is invoked with.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from hearth.durable.execution import Execution, Operation, Status, Type, operations_of
from hearth.durable.facts import Error, Fact, Kind, size_of
from hearth.durable.tokens import marker

Members = dict[str, Any]
Stamp = Callable[[int], Any]

PAGE_ITEMS_DEFAULT: Final = 100
PAGE_ITEMS_MAX: Final = 1_000
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the operations of one page, beyond the first one."""


def moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def error_members(error: Error) -> Members:
    return _given(
        ErrorMessage=error.message,
        ErrorType=error.type,
        ErrorData=error.data,
        StackTrace=None if error.trace is None else list(error.trace),
    )


def error_of(members: Mapping[str, Any] | None) -> Error | None:
    if members is None:
        return None
    trace = members.get("StackTrace")
    return Error(
        message=members.get("ErrorMessage"),
        type=members.get("ErrorType"),
        data=members.get("ErrorData"),
        trace=None if trace is None else tuple(trace),
    )


# --- operations


class Page(NamedTuple):
    operations: list[Members]
    next_marker: str | None


def state_page(
    execution: Execution,
    *,
    since: int = 0,
    after: int = 0,
    items_max: int = PAGE_ITEMS_MAX,
    stamp: Stamp = moment,
) -> Page:
    """What has changed after `since` facts, or all that a replay must know; the operations whose
    number is at least `after`. The execution itself is number 0 of all."""
    operations = operations_of(execution) if since == 0 else _changed(execution, since)
    shown: list[Members] = []
    size_bytes = 0
    if since == 0 and after == 0:
        shown.append(execution_operation(execution, stamp))
        size_bytes += size_of(execution.input)
    for operation in operations:
        if operation.number < after:
            continue
        size_bytes += size_of(operation.result) + (
            operation.error.size_bytes if operation.error else 0
        )
        if shown and (len(shown) >= items_max or size_bytes > PAGE_BYTES_MAX):
            return Page(shown, marker(since, operation.number))
        shown.append(operation_members(operation, stamp))
    return Page(shown, None)


def _changed(execution: Execution, since: int) -> list[Operation]:
    return [o for o in execution.operations.values() if o.changed > since]


def changed_ids(execution: Execution, since: int) -> list[str]:
    return [operation.id for operation in _changed(execution, since)]


def execution_operation(execution: Execution, stamp: Stamp) -> Members:
    return {
        "Id": execution.origin.id,
        "Type": "EXECUTION",
        "Status": str(Status.STARTED),
        "StartTimestamp": stamp(execution.started_ms),
        "ExecutionDetails": {"InputPayload": execution.input},
    }


def operation_members(operation: Operation, stamp: Stamp = moment) -> Members:
    members = _given(
        Id=operation.id,
        ParentId=operation.parent,
        Name=operation.name,
        Type=str(operation.type),
        SubType=operation.sub_type,
        Status=str(operation.status),
        StartTimestamp=stamp(operation.started_ms),
        EndTimestamp=None if operation.ended_ms is None else stamp(operation.ended_ms),
    )
    error = None if operation.error is None else error_members(operation.error)
    outcome = _given(Result=operation.result, Error=error)
    due = None if operation.due_ms is None else stamp(operation.due_ms)
    match operation.type:
        case Type.STEP:
            waits = operation.status is Status.PENDING
            next_ = {"NextAttemptTimestamp": due} if waits else {}
            members["StepDetails"] = {"Attempt": operation.attempt, **next_, **outcome}
        case Type.WAIT:
            members["WaitDetails"] = _given(ScheduledEndTimestamp=due)
        case Type.CONTEXT:
            replayed = {"ReplayChildren": True} if operation.replay_children else {}
            members["ContextDetails"] = {**replayed, **outcome}
        case Type.CALLBACK:
            members["CallbackDetails"] = {"CallbackId": operation.callback, **outcome}
        case Type.CHAINED_INVOKE:
            members["ChainedInvokeDetails"] = outcome
    return members


# --- history


def event_members(number: int, fact: Fact, execution: Execution, *, with_data: bool) -> Members:
    """One event; `number` counts from 1 in the order in which they happened."""
    event = _given(
        EventType=str(fact.kind),
        SubType=fact.sub_type,
        EventId=number,
        Id=fact.operation or execution.origin.id,
        Name=fact.name,
        EventTimestamp=moment(fact.at_ms),
        ParentId=fact.parent,
    )
    event[f"{fact.kind}Details"] = _details(fact, execution, with_data=with_data)
    return event


def _details(fact: Fact, execution: Execution, *, with_data: bool) -> Members:
    kind, name = fact.kind, str(fact.kind)
    payload = _data(fact.payload, with_data=with_data)
    if kind is Kind.EXECUTION_STARTED:
        return {"Input": payload, "ExecutionTimeout": execution.origin.config.timeout_s}
    if kind in _OWN_DETAILS:
        return _OWN_DETAILS[kind](fact, with_data)
    details: Members = {}
    if name.endswith("Succeeded"):
        details["Result"] = payload
    elif not name.endswith("Started"):
        details["Error"] = _error(fact.error, with_data=with_data)
    if name.startswith("Step") and kind is not Kind.STEP_STARTED:
        details["RetryDetails"] = _retry(fact)
    return details


def _wait_started(fact: Fact, _with_data: bool) -> Members:
    assert fact.due_ms is not None
    return {"Duration": fact.seconds, "ScheduledEndTimestamp": moment(fact.due_ms)}


def _wait_succeeded(fact: Fact, _with_data: bool) -> Members:
    return _given(Duration=fact.seconds)


def _wait_cancelled(fact: Fact, with_data: bool) -> Members:
    return {} if fact.error is None else {"Error": _error(fact.error, with_data=with_data)}


def _callback_started(fact: Fact, _with_data: bool) -> Members:
    return _given(CallbackId=fact.callback, HeartbeatTimeout=fact.heartbeat_s, Timeout=fact.seconds)


def _chain_started(fact: Fact, with_data: bool) -> Members:
    return _given(
        FunctionName=fact.function,
        TenantId=fact.tenant,
        Input=_data(fact.payload, with_data=with_data),
    )


def _invocation_completed(fact: Fact, with_data: bool) -> Members:
    return _given(
        StartTimestamp=moment(fact.began_ms if fact.began_ms is not None else fact.at_ms),
        EndTimestamp=moment(fact.at_ms),
        RequestId=fact.request,
        Error=None if fact.error is None else _error(fact.error, with_data=with_data),
    )


def _paused(fact: Fact, with_data: bool) -> Members:
    return _given(
        PauseRequestTimestamp=moment(fact.began_ms if fact.began_ms is not None else fact.at_ms),
        Reason=None if fact.reason is None else _data(fact.reason, with_data=with_data),
        ExecutionTimeoutPaused=fact.stops_time,
    )


def _resumed(fact: Fact, with_data: bool) -> Members:
    return _given(
        ResumeRequestTimestamp=moment(fact.at_ms),
        Reason=None if fact.reason is None else _data(fact.reason, with_data=with_data),
    )


_OWN_DETAILS: Final[Mapping[Kind, Callable[[Fact, bool], Members]]] = {
    Kind.WAIT_STARTED: _wait_started,
    Kind.WAIT_SUCCEEDED: _wait_succeeded,
    Kind.WAIT_CANCELLED: _wait_cancelled,
    Kind.CALLBACK_STARTED: _callback_started,
    Kind.CHAIN_STARTED: _chain_started,
    Kind.INVOCATION_COMPLETED: _invocation_completed,
    Kind.EXECUTION_PAUSED: _paused,
    Kind.EXECUTION_RESUMED: _resumed,
}


def _retry(fact: Fact) -> Members:
    """Of the attempt that is over."""
    if fact.due_ms is None:
        return {"CurrentAttempt": fact.attempt}
    return {"CurrentAttempt": fact.attempt, "NextAttemptDelaySeconds": fact.seconds}


def _data(payload: str | None, *, with_data: bool) -> Members:
    if not with_data:
        return {"Truncated": True}
    return _given(Payload=payload, Truncated=False)


def _error(error: Error | None, *, with_data: bool) -> Members:
    if not with_data:
        return {"Truncated": True}
    return {"Payload": error_members(error or Error()), "Truncated": False}


def events_page(
    execution: Execution, *, after: int, items_max: int, newest_first: bool, with_data: bool
) -> tuple[list[Members], int | None]:
    """Events from the one after number `after` on (newest first: before it; 0 is the first), and
    the number to go on after."""
    numbered = list(enumerate(execution.history(), 1))
    if newest_first:
        numbered = [pair for pair in reversed(numbered) if not after or pair[0] < after]
    else:
        numbered = numbered[after:]
    page = numbered[:items_max]
    shown = [event_members(n, fact, execution, with_data=with_data) for n, fact in page]
    return shown, page[-1][0] if len(numbered) > len(page) else None


def _given(**members: Any) -> Members:
    return {name: value for name, value in members.items() if value is not None}


Operations = Sequence[Members]
