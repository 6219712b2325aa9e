"""What is an execution now? The sum of its facts. Pure: no clock, no I/O, nothing is decided here.

operation:  STARTED --> SUCCEEDED | FAILED | CANCELLED | TIMED_OUT | STOPPED
            STARTED --retry--> PENDING --time--> READY --start--> STARTED      (steps)
execution:  RUNNING --> SUCCEEDED | FAILED | TIMED_OUT | STOPPED
            RUNNING --> PAUSING --checkpoint--> PAUSED --> RUNNING
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from hearth.durable.facts import INTERNAL, WAKING, Error, Fact, Kind, Origin, size_of
from hearth.durable.tokens import checkpoint_token
from hearth.model.durable import EXECUTION_AGE_S_MAX, ExecutionStatus

CLIENT_TOKEN_MS: Final = 15 * 60 * 1000


class Type(StrEnum):
    EXECUTION = "EXECUTION"
    CONTEXT = "CONTEXT"
    STEP = "STEP"
    WAIT = "WAIT"
    CALLBACK = "CALLBACK"
    CHAINED_INVOKE = "CHAINED_INVOKE"


class Status(StrEnum):
    STARTED = "STARTED"
    PENDING = "PENDING"
    READY = "READY"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    STOPPED = "STOPPED"

    @property
    def is_open(self) -> bool:
        return self in _OPEN


_OPEN: Final = frozenset({Status.STARTED, Status.PENDING, Status.READY})

_MEANING: Final = {
    Kind.CONTEXT_STARTED: (Type.CONTEXT, Status.STARTED),
    Kind.CONTEXT_SUCCEEDED: (Type.CONTEXT, Status.SUCCEEDED),
    Kind.CONTEXT_FAILED: (Type.CONTEXT, Status.FAILED),
    Kind.STEP_STARTED: (Type.STEP, Status.STARTED),
    Kind.STEP_SUCCEEDED: (Type.STEP, Status.SUCCEEDED),
    Kind.STEP_FAILED: (Type.STEP, Status.FAILED),
    Kind.STEP_READY: (Type.STEP, Status.READY),
    Kind.WAIT_STARTED: (Type.WAIT, Status.STARTED),
    Kind.WAIT_SUCCEEDED: (Type.WAIT, Status.SUCCEEDED),
    Kind.WAIT_CANCELLED: (Type.WAIT, Status.CANCELLED),
    Kind.CALLBACK_STARTED: (Type.CALLBACK, Status.STARTED),
    Kind.CALLBACK_SUCCEEDED: (Type.CALLBACK, Status.SUCCEEDED),
    Kind.CALLBACK_FAILED: (Type.CALLBACK, Status.FAILED),
    Kind.CALLBACK_TIMED_OUT: (Type.CALLBACK, Status.TIMED_OUT),
    Kind.CALLBACK_HEARTBEAT: (Type.CALLBACK, Status.STARTED),
    Kind.CHAIN_STARTED: (Type.CHAINED_INVOKE, Status.STARTED),
    Kind.CHAIN_SUCCEEDED: (Type.CHAINED_INVOKE, Status.SUCCEEDED),
    Kind.CHAIN_FAILED: (Type.CHAINED_INVOKE, Status.FAILED),
    Kind.CHAIN_TIMED_OUT: (Type.CHAINED_INVOKE, Status.TIMED_OUT),
    Kind.CHAIN_STOPPED: (Type.CHAINED_INVOKE, Status.STOPPED),
}
ENDS: Final = {
    Kind.EXECUTION_SUCCEEDED: ExecutionStatus.SUCCEEDED,
    Kind.EXECUTION_FAILED: ExecutionStatus.FAILED,
    Kind.EXECUTION_TIMED_OUT: ExecutionStatus.TIMED_OUT,
    Kind.EXECUTION_STOPPED: ExecutionStatus.STOPPED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    id: str
    type: Type
    status: Status
    number: int
    """In the order in which they were started."""
    changed: int
    """The number of the fact that last changed it."""
    started_ms: int
    ended_ms: int | None = None
    parent: str | None = None
    name: str | None = None
    sub_type: str | None = None
    result: str | None = None
    error: Error | None = None
    attempt: int = 0
    due_ms: int | None = None
    """Of a wait its end, of a step its next attempt, of a callback the earlier of its ends."""
    seconds: int | None = None
    timeout_due_ms: int | None = None
    heartbeat_s: int | None = None
    callback: str | None = None
    replay_children: bool = False
    function: str | None = None
    payload: str | None = None
    tenant: str | None = None
    trace_id: str | None = None


def after(operation: Operation | None, fact: Fact, number: int, changed: int) -> Operation:
    """The operation after a fact of its own; a new one has `number`."""
    type_, status = _MEANING[fact.kind]
    assert fact.operation is not None
    if operation is None:
        operation = Operation(
            id=fact.operation,
            type=type_,
            status=status,
            number=number,
            changed=changed,
            started_ms=fact.at_ms,
            parent=fact.parent,
            name=fact.name,
            sub_type=fact.sub_type,
        )
    if fact.kind is Kind.CALLBACK_HEARTBEAT:  # nothing that the function sees
        return replace(operation, due_ms=fact.due_ms)
    if type_ is Type.STEP:
        return _step_after(operation, fact, status, changed)
    if status is Status.STARTED:
        return _started(operation, fact, changed)
    return replace(
        operation,
        status=status,
        changed=changed,
        ended_ms=fact.at_ms,
        result=fact.payload,
        error=fact.error,
        due_ms=operation.due_ms if type_ is Type.WAIT else None,
        replay_children=fact.replay_children,
    )


def _started(operation: Operation, fact: Fact, changed: int) -> Operation:
    timeout_due_ms = None
    if operation.type is Type.CALLBACK and fact.seconds:
        timeout_due_ms = fact.at_ms + fact.seconds * 1000
    return replace(
        operation,
        changed=changed,
        due_ms=fact.due_ms,
        seconds=fact.seconds,
        timeout_due_ms=timeout_due_ms,
        heartbeat_s=fact.heartbeat_s,
        callback=fact.callback,
        function=fact.function,
        payload=fact.payload,
        tenant=fact.tenant,
        trace_id=fact.trace_id,
    )


def _step_after(operation: Operation, fact: Fact, status: Status, changed: int) -> Operation:
    is_retry = fact.kind is Kind.STEP_FAILED and fact.due_ms is not None
    if is_retry or fact.kind in {Kind.STEP_READY, Kind.STEP_STARTED}:
        kept_error = operation.error if fact.kind is not Kind.STEP_FAILED else fact.error
        return replace(
            operation,
            status=Status.PENDING if is_retry else status,
            changed=changed,
            attempt=fact.attempt,
            due_ms=fact.due_ms,
            result=fact.payload if is_retry else operation.result,
            error=kept_error,
        )
    return replace(
        operation,
        status=status,
        changed=changed,
        ended_ms=fact.at_ms,
        attempt=fact.attempt,
        due_ms=None,
        result=fact.payload,
        error=fact.error,
    )


class Answered(NamedTuple):
    """A checkpoint that was answered: a repetition of it gets the same answer."""

    at_ms: int
    digest: str
    turn: int
    since: int


class Execution:
    """Made of its first fact on; `apply` adds one."""

    def __init__(self, first: Fact) -> None:
        assert first.origin is not None
        self.origin: Origin = first.origin
        self.status = ExecutionStatus.RUNNING
        self.started_ms = first.at_ms
        self.ended_ms: int | None = None
        self.input = first.payload or ""
        self.result: str | None = None
        self.error: Error | None = None
        self.operations: dict[str, Operation] = {}
        self.dues: dict[str, int] = {}
        """Of open operations to which time does something."""
        self.chains: dict[str, Operation] = {}
        """Chained invokes that are under way."""
        self.facts: list[Fact] = [first]
        self.turn = 0
        self.told = 0
        """How many facts the invocation that runs knows the operations after."""
        self.invoking: str | None = None
        """The request id of the invocation that runs."""
        self.invocations = 0
        self.failures = 0
        """Invocations that failed, one after the other."""
        self.retry_due_ms: int | None = None
        self.must_retry = False
        self.is_interrupted = False
        """A pause has taken the running invocation's token away."""
        self.pause: Fact | None = None
        """What asked for the pause that it is in."""
        self.paused_ms: int | None = None
        self.pause_tokens: dict[str, int] = {}
        self.answered: dict[str, Answered] = {}
        """By client token, the oldest first."""
        self.timeout_due_ms = first.at_ms + self.origin.config.timeout_s * 1000
        self.size_bytes = size_of(first.payload)
        self._began = 0
        self._woken = 0

    # --- what follows from it

    @property
    def is_open(self) -> bool:
        return self.status.is_open

    @property
    def token(self) -> str:
        return checkpoint_token(self.origin.secret, self.origin.id, self.turn)

    @property
    def ends_ms(self) -> int:
        """When it times out."""
        last = self.started_ms + EXECUTION_AGE_S_MAX * 1000
        if self.paused_ms is not None and self.pause is not None and self.pause.stops_time:
            return last
        return min(self.timeout_due_ms, last)

    @property
    def next_due_ms(self) -> int | None:
        """When time does the next thing to it; None once it is over."""
        if not self.is_open:
            return None
        dues = [self.ends_ms, *self.dues.values()]
        if self.retry_due_ms is not None and self.status is ExecutionStatus.RUNNING:
            dues.append(self.retry_due_ms)
        return min(dues)

    def wants_invocation(self, now_ms: int) -> bool:
        """Whether the function is to be invoked now."""
        if self.status is not ExecutionStatus.RUNNING or self.invoking is not None:
            return False
        if self.retry_due_ms is not None and now_ms < self.retry_due_ms:
            return False
        return self.invocations == 0 or self.must_retry or self.was_woken

    @property
    def was_woken(self) -> bool:
        """Something that a function may wait for has happened since its last invocation began."""
        return self._woken > self._began

    @property
    def waits(self) -> bool:
        """Whether there is anything left that will wake it."""
        return any(
            operation.status.is_open
            and (operation.type in _WAITED_FOR or operation.status is not Status.STARTED)
            for operation in self.operations.values()
            if operation.type is not Type.CONTEXT
        )

    def history(self) -> list[Fact]:
        return [fact for fact in self.facts if fact.kind not in INTERNAL]

    # --- facts

    def apply(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            self.facts.append(fact)
            if fact.kind in WAKING:
                self._woken = len(self.facts)
            if fact.operation is not None:
                self._apply_to_operation(fact)
            else:
                self._apply_to_all(fact)

    def _apply_to_operation(self, fact: Fact) -> None:
        assert fact.operation is not None
        before = self.operations.get(fact.operation)
        number = len(self.operations) + 1 if before is None else before.number
        now = self.operations[fact.operation] = after(before, fact, number, len(self.facts))
        self.size_bytes += size_of(fact.payload) + (fact.error.size_bytes if fact.error else 0)
        if now.status.is_open and now.due_ms is not None:
            self.dues[now.id] = now.due_ms
        else:
            self.dues.pop(now.id, None)
        if now.type is Type.CHAINED_INVOKE:
            if now.status.is_open:
                self.chains[now.id] = now
            else:
                self.chains.pop(now.id, None)

    def _apply_to_all(self, fact: Fact) -> None:
        kind = fact.kind
        if kind in ENDS:
            self.status = ENDS[kind]
            self.ended_ms, self.result, self.error = fact.at_ms, fact.payload, fact.error
            self.dues.clear()
        elif kind is Kind.INVOCATION_STARTED:
            self._invocation_started(fact)
        elif kind is Kind.INVOCATION_COMPLETED:
            self._invocation_completed(fact)
        elif kind is Kind.CHECKPOINTED:
            self._checkpointed(fact)
        else:
            self._paused_or_resumed(fact)

    def _invocation_started(self, fact: Fact) -> None:
        self.turn += 1
        self.invoking = fact.request
        self.invocations += 1
        self.must_retry = self.is_interrupted = False
        self.retry_due_ms = None
        self._began = self.told = len(self.facts)

    def _invocation_completed(self, fact: Fact) -> None:
        self.invoking = None
        self.must_retry = fact.error is not None or self.is_interrupted
        self.is_interrupted = False
        self.failures = self.failures + 1 if fact.error is not None else 0
        self.retry_due_ms = fact.due_ms

    def _checkpointed(self, fact: Fact) -> None:
        self.turn += 1
        self.told = len(self.facts)
        if fact.client_token is not None:
            answer = Answered(fact.at_ms, fact.digest or "", self.turn, fact.since)
            self.answered[fact.client_token] = answer
            self._forget_answers(fact.at_ms - CLIENT_TOKEN_MS)

    def _forget_answers(self, until_ms: int) -> None:
        while self.answered:
            oldest = next(iter(self.answered))
            if self.answered[oldest].at_ms > until_ms:
                return
            del self.answered[oldest]

    def _paused_or_resumed(self, fact: Fact) -> None:
        match fact.kind:
            case Kind.PAUSE_REQUESTED:
                self.pause = fact
                self.status = ExecutionStatus.PAUSING
            case Kind.EXECUTION_PAUSED:
                self.status = ExecutionStatus.PAUSED
                self.paused_ms = fact.at_ms
                if self.invoking is not None:
                    self.is_interrupted = True
                    self.turn += 1  # nobody has that token
            case Kind.EXECUTION_RESUMED | Kind.PAUSE_CANCELLED:
                if self.paused_ms is not None and self.pause is not None and self.pause.stops_time:
                    self.timeout_due_ms += fact.at_ms - self.paused_ms
                self.status = ExecutionStatus.RUNNING
                self.pause = self.paused_ms = None
            case _:
                raise AssertionError(fact.kind)
        if fact.client_token is not None:
            self.pause_tokens[fact.client_token] = fact.at_ms


_WAITED_FOR: Final = frozenset({Type.WAIT, Type.CALLBACK, Type.CHAINED_INVOKE})


def operations_of(execution: Execution) -> list[Operation]:
    """What a replay needs to know, in order: not what is below a context that is over, unless
    the context asked for that."""
    return [o for o in execution.operations.values() if not _is_covered(execution, o)]


def _is_covered(execution: Execution, operation: Operation) -> bool:
    seen = {operation.id}
    parent = operation.parent
    while parent is not None and parent not in seen:
        seen.add(parent)
        above = execution.operations.get(parent)
        if above is None:
            return False
        if not above.status.is_open and not above.replay_children:
            return True
        parent = above.parent
    return False
