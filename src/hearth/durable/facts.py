"""What has happened in an execution? Facts, in their order: all that is ever stored of it.

An execution is the sum of its facts (`execution.py`). What was decided is a fact, with its times;
nothing is decided again when an execution is read. Most facts are the events of its history; the
others (`INTERNAL`) are only for us.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hearth.model.durable import DurableConfig


class Kind(StrEnum):
    """Named as the events of GetDurableExecutionHistory, where there is one."""

    EXECUTION_STARTED = "ExecutionStarted"
    EXECUTION_SUCCEEDED = "ExecutionSucceeded"
    EXECUTION_FAILED = "ExecutionFailed"
    EXECUTION_TIMED_OUT = "ExecutionTimedOut"
    EXECUTION_STOPPED = "ExecutionStopped"
    EXECUTION_PAUSED = "ExecutionPaused"
    EXECUTION_RESUMED = "ExecutionResumed"
    CONTEXT_STARTED = "ContextStarted"
    CONTEXT_SUCCEEDED = "ContextSucceeded"
    CONTEXT_FAILED = "ContextFailed"
    STEP_STARTED = "StepStarted"
    STEP_SUCCEEDED = "StepSucceeded"
    STEP_FAILED = "StepFailed"
    WAIT_STARTED = "WaitStarted"
    WAIT_SUCCEEDED = "WaitSucceeded"
    WAIT_CANCELLED = "WaitCancelled"
    CALLBACK_STARTED = "CallbackStarted"
    CALLBACK_SUCCEEDED = "CallbackSucceeded"
    CALLBACK_FAILED = "CallbackFailed"
    CALLBACK_TIMED_OUT = "CallbackTimedOut"
    CHAIN_STARTED = "ChainedInvokeStarted"
    CHAIN_SUCCEEDED = "ChainedInvokeSucceeded"
    CHAIN_FAILED = "ChainedInvokeFailed"
    CHAIN_TIMED_OUT = "ChainedInvokeTimedOut"
    CHAIN_STOPPED = "ChainedInvokeStopped"
    INVOCATION_COMPLETED = "InvocationCompleted"
    # Not events:
    INVOCATION_STARTED = "InvocationStarted"
    CHECKPOINTED = "Checkpointed"
    STEP_READY = "StepReady"
    CALLBACK_HEARTBEAT = "CallbackHeartbeat"
    PAUSE_REQUESTED = "PauseRequested"
    PAUSE_CANCELLED = "PauseCancelled"


INTERNAL: Final = frozenset(
    {
        Kind.INVOCATION_STARTED,
        Kind.CHECKPOINTED,
        Kind.STEP_READY,
        Kind.CALLBACK_HEARTBEAT,
        Kind.PAUSE_REQUESTED,
        Kind.PAUSE_CANCELLED,
    }
)
WAKING: Final = frozenset(
    {
        Kind.WAIT_SUCCEEDED,
        Kind.STEP_READY,
        Kind.CALLBACK_SUCCEEDED,
        Kind.CALLBACK_FAILED,
        Kind.CALLBACK_TIMED_OUT,
        Kind.CHAIN_SUCCEEDED,
        Kind.CHAIN_FAILED,
        Kind.CHAIN_TIMED_OUT,
        Kind.CHAIN_STOPPED,
    }
)
"""What the function did not do itself, and waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """AWS's ErrorObject."""

    message: str | None = None
    type: str | None = None
    data: str | None = None
    trace: tuple[str, ...] | None = None

    @property
    def size_bytes(self) -> int:
        parts = (self.message, self.type, self.data, *(self.trace or ()))
        return sum(size_of(part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an execution begins with."""

    id: str
    arn: str
    config: DurableConfig
    is_async: bool
    secret: str
    """What its tokens are made with."""
    trace_id: str | None = None
    tenant: str | None = None
    request: str = ""
    """Of the invoke that began it; its first invocation has that id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that happened. Which members it has depends on its kind."""

    kind: Kind
    at_ms: int
    operation: str | None = None
    parent: str | None = None
    name: str | None = None
    sub_type: str | None = None
    payload: str | None = None
    """What went in, or came out."""
    error: Error | None = None
    seconds: int | None = None
    """How long a wait, a callback or the next attempt of a step takes at most, or exactly."""
    heartbeat_s: int | None = None
    due_ms: int | None = None
    """When time does the next thing to it."""
    attempt: int = 0
    """How many attempts of a step are over."""
    callback: str | None = None
    replay_children: bool = False
    function: str | None = None
    tenant: str | None = None
    trace_id: str | None = None
    request: str | None = None
    began_ms: int | None = None
    client_token: str | None = None
    digest: str | None = None
    since: int = 0
    """Of a checkpoint: the number of facts that the function had been told before it."""
    reason: str | None = None
    stops_time: bool = False
    """Of a pause: whether the execution's timeout stands still."""
    origin: Origin | None = None


def size_of(text: str | None) -> int:
    """As UTF-8."""
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
