"""What is one invoke? The request as the rooms pass it on, and what comes back."""

from dataclasses import dataclass, field
from typing import Protocol

from hearth.model.functions import FunctionVersion
from hearth.model.ids import Caller, FunctionReference, RequestId
from hearth.model.values import value


class ResponseSource(Protocol):
    """Where a streamed response comes from: the function, which waits while it is paused."""

    def pause(self) -> None:
        """What is on its way still comes. Safe to call twice."""
        ...

    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StreamStart:
    """What is known of a streamed response before its first byte."""

    content_type: str | None
    """What its runtime says that it is."""
    executed_version: str


class ResponseSink(Protocol):
    """Takes a response while the function makes it. Called synchronously; must not raise.

    How it ends is in the InvokeResult. A function that does not stream calls none of these.
    """

    def begin(self, source: ResponseSource, start: StreamStart) -> None:
        """The function begins to answer."""
        ...

    def write(self, data: bytes) -> None: ...


@value(frozen=True, slots=True, kw_only=True)
class InvokeCall:
    """One synchronous invoke as its caller asked for it: decoded, but not yet resolved."""

    caller: Caller
    reference: FunctionReference
    qualifier: str | None = None
    """The `Qualifier` parameter; the reference may carry one of its own."""
    payload: bytes
    client_context: str | None = None
    """JSON text, already out of its base64."""
    log_tail: bool = False
    is_event: bool = False
    """Asynchronous: no limit of requests a second holds for it."""
    request: RequestId
    trace_id: str | None = None
    """The caller's X-Amzn-Trace-Id, if it sent one."""
    sink: ResponseSink | None = None
    """Where a function that streams writes to; None collects its response into the result."""
    tenant: str | None = None
    """For whom it is, if the caller said so."""
    execution_name: str | None = None
    """Of the durable execution that this is to start, or to join."""
    is_chained: bool = False
    """A durable execution waits for it."""
    is_replay: bool = False
    """One invocation of a durable execution, which is there already."""


@value(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One invoke of one function version. The payload is forwarded as it came, unparsed."""

    request: RequestId
    function: FunctionVersion
    invoked_arn: str
    """As the caller addressed it: with the qualifier if one was given."""
    payload: bytes
    client_context: str | None = None
    """JSON text, already out of its base64."""
    trace_id: str
    """`Root=1-…;Parent=…;Sampled=0`"""
    span: str | None = None
    """The id of its span in that trace, if it is sampled here; then it is the Parent."""
    log_tail: bool = False
    sink: ResponseSink | None = None
    """See InvokeCall."""


@dataclass(slots=True)
class StartMarks:
    """Monotonic seconds at which each step of the start of a sandbox was over; None: not yet."""

    began_s: float
    prepared_s: float | None = None
    """Code, layers and runtime are on this machine."""
    created_s: float | None = None
    """The sandbox has its limits, and is empty."""
    launched_s: float | None = None
    """Its program runs: forked, bound or executed."""
    initialised_s: float | None = None


@dataclass(slots=True)
class Phases:
    """Seconds that each phase of one invoke took; None where it did not happen."""

    resolve_s: float | None = None
    lease_s: float | None = None
    wait_s: float | None = None
    start_s: float | None = None
    run_s: float | None = None
    reply_s: float | None = None
    invocation: Invocation | None = None
    """What was run."""
    start: StartMarks | None = None
    """When its sandbox came to be, if it was the first to use it."""


@value(frozen=True, slots=True, kw_only=True)
class InvokeResult:
    """What a caller of Invoke gets; `function_error` is None or `Unhandled`."""

    payload: bytes
    """The whole response, or what went wrong; empty if all went to a sink, and well."""
    executed_version: str
    function_error: str | None = None
    log_tail: bytes | None = None
    """The last 4 KB of this invoke's log, if asked for; not yet in base64."""
    content_type: str | None = None
    """Of a response that was streamed, if the runtime said so."""
    phases: Phases = field(default_factory=Phases)
    execution_arn: str | None = None
    """Of the durable execution that it started or joined."""
