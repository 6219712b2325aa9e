"""What does the Lambda Runtime API answer to the runtime in one sandbox?

    STARTED --next--> READY --(event)--> RUNNING --response|error--> RESPONDED --next--> READY
    RUNNING --response, streaming--> STREAMING --its end--> RESPONDED
    RUNNING --response/next|error/next--> RESPONDED, READY       (both in one request: our clients)
    STARTED --init/error--> INIT_FAILED
    STARTED --restore/next--> RESTORE_READY --(restore)--> RESTORING --next--> READY
    RESTORE_READY --(let_fork)--> RESTORE_READY, until it asks again or for ever
    RESTORING --restore/error--> RESTORE_FAILED                        (SnapStart only)

One object per running program; it speaks HTTP through `base.http1` on the socket that listens
inside the sandbox, and tells the environment what happened through `RuntimeEvents`, synchronously.
The function is the client and is not trusted: any order, any body, any number of connections.
Calls are matched by request id, never by connection: AWS's Node client uses five.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and the error codes of
AWS's published runtime interface emulator.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Protocol

from hearth.base.http1 import HttpRequest, Responder
from hearth.model import limits
from hearth.model.ids import RequestId
from hearth.model.invocations import ResponseSource
from hearth.model.values import value
from hearth.worker.inside_errors import ACCEPTED, JSON, refuse, refuse_path

ROOT: Final = "/2018-06-01/runtime/"
_INVOCATION: Final = ROOT + "invocation/"
_NEXT: Final = _INVOCATION + "next"
_INIT_ERROR: Final = ROOT + "init/error"
_THEN_NEXT: Final = "/next"
_RESTORE_NEXT: Final = ROOT + "restore/next"
_RESTORE_ERROR: Final = ROOT + "restore/error"
_ERROR_TYPE_HEADER: Final = "lambda-runtime-function-error-type"
_ERROR_BODY_TRAILER: Final = "lambda-runtime-function-error-body"
_MODE_HEADER: Final = "lambda-runtime-function-response-mode"
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_BREAKS = re.compile(r"[\r\n\0]+")
_ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")


class RuntimeState(StrEnum):
    """Named as AWS's answers name them."""

    STARTED = "Started"
    READY = "Ready"
    RUNNING = "Running"
    STREAMING = "StreamingInvocationResponse"
    RESPONDED = "InvocationResponse"
    INIT_FAILED = "InitError"
    RESTORE_READY = "RestoreReady"
    RESTORING = "Restoring"
    RESTORE_FAILED = "RestoreError"


@value(frozen=True, slots=True)
class Event:
    """What `next` answers."""

    request: RequestId
    payload: bytes
    headers: Sequence[tuple[str, str]]


class RuntimeEvents(Protocol):
    """What an environment is told. All calls are synchronous and must not raise."""

    def runtime_ready(self) -> None:
        """The runtime asked for its next event: init is over, or the last invoke is."""
        ...

    def runtime_responded(self, payload: bytes) -> None: ...

    def runtime_failed(self, payload: bytes, error_type: str) -> None:
        """The function raised; the runtime goes on."""
        ...

    def runtime_response_too_large(self) -> None: ...

    def runtime_streams(self, source: ResponseSource, content_type: str | None) -> None:
        """The runtime begins to answer bit by bit. It ends by responding or failing (the payload
        is empty, or what went wrong) or by breaking off."""
        ...

    def runtime_streamed(self, data: bytes) -> None: ...

    def runtime_stream_broken(self) -> None: ...

    def runtime_init_failed(self, payload: bytes, error_type: str) -> None: ...

    def runtime_may_wait(self) -> bool:
        """Whether this is an environment of SnapStart: others have no `restore`."""
        ...

    def runtime_waits(self) -> None:
        """The init is over, and the runtime waits to be restored."""
        ...

    def runtime_restore_failed(self, payload: bytes, error_type: str) -> None: ...


Others = Callable[[HttpRequest, Responder], None]


def _nobody(request: HttpRequest, responder: Responder) -> None:  # noqa: ARG001
    refuse_path(responder)


class RuntimeApi:
    """The handler of one program's Runtime API, and its state."""

    __slots__ = (
        "_event",
        "_events",
        "_is_restore_told",
        "_others",
        "_waiting",
        "asks_next",
        "state",
    )

    def __init__(self, events: RuntimeEvents, others: Others = _nobody) -> None:
        """`others` answers what is none of the Runtime API's."""
        self.state = RuntimeState.STARTED
        self.asks_next = False
        """Whether the answer that is being told of asks for the next event, too."""
        self._others = others
        self._events = events
        self._waiting: Responder | None = None
        self._event: Event | None = None
        self._is_restore_told = False

    def deliver(self, event: Event) -> None:
        """Hand the event to the runtime, which is READY: it waits in `next`."""
        assert self.state is RuntimeState.READY, self.state
        self.state = RuntimeState.RUNNING
        self._event = event
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.send(200, event.headers, event.payload)

    def handle(self, request: HttpRequest, responder: Responder) -> None:
        """Answer one HTTP request: the handler of base.http1.HttpServer."""
        target = request.target
        if target == _NEXT and request.method == "GET":
            self._next(responder)
        elif target.startswith(_INVOCATION) and request.method == "POST":
            self._invocation(target, request, responder)
        elif target == _INIT_ERROR and request.method == "POST":
            self._init_error(request, responder)
        elif target in {"/2018-06-01/ping", "/ping"} and request.method == "GET":
            responder.send(200, (("Content-Type", "text/plain"),), b"pong")
        elif target == _RESTORE_NEXT and request.method == "GET":
            self._restore_next(request, responder)
        elif target == _RESTORE_ERROR and request.method == "POST":
            self._restore_error(request, responder)
        else:
            self._others(request, responder)

    def refuse_oversize(self) -> None:
        """The HTTP server refused a body that was larger than it takes at all."""
        if self.state is RuntimeState.RUNNING:
            self.state = RuntimeState.RESPONDED
            self._events.runtime_response_too_large()

    # -- next --------------------------------------------------------------------------------

    def _next(self, responder: Responder) -> None:
        match self.state:
            case RuntimeState.STARTED | RuntimeState.RESPONDED | RuntimeState.RESTORING:
                self.state = RuntimeState.READY
                self._waiting = responder
                self._events.runtime_ready()
            case RuntimeState.READY:
                # A client that lost its connection asks again; the newest one gets the event.
                self._waiting = responder
            case _:
                self._refuse_transition(responder, "Ready")

    # -- response and error ------------------------------------------------------------------

    def _invocation(self, target: str, request: HttpRequest, responder: Responder) -> None:
        request_id, _, verb = target[len(_INVOCATION) :].partition("/")
        asks_next = verb.endswith(_THEN_NEXT) and request.stream is None
        if asks_next:
            verb = verb[: -len(_THEN_NEXT)]
        if verb not in {"response", "error"}:
            refuse_path(responder)
            return
        if self._event is None or request_id != self._event.request:
            refuse(responder, 400, "InvalidRequestID", "Invalid request ID")
            return
        if self.state is not RuntimeState.RUNNING:
            after = "InvocationResponse" if verb == "response" else "InvocationErrorResponse"
            self._refuse_transition(responder, after)
            return
        if request.stream is not None:
            self._begin_stream(verb, request, responder)
            return
        if len(request.body) > limits.PAYLOAD_BYTES_MAX:
            message = f"Exceeded maximum allowed payload size ({limits.PAYLOAD_BYTES_MAX} bytes)."
            refuse(responder, 413, "RequestEntityTooLarge", message)
            self.refuse_oversize()
            return
        mode = request.headers.get(_MODE_HEADER)
        if verb == "response" and mode is not None and mode != "streaming":
            refuse(responder, 400, "InvalidFunctionResponseMode", "Invalid function response mode")
            return
        self._ended(verb, request, responder, asks_next=asks_next)

    def _ended(
        self, verb: str, request: HttpRequest, responder: Responder, *, asks_next: bool
    ) -> None:
        """The runtime has the function's answer, or its error. If it asks for the next event at
        once, that is the answer to both."""
        self.state = RuntimeState.RESPONDED
        self.asks_next = asks_next
        if not asks_next:
            responder.send(202, JSON, ACCEPTED)
        if verb == "response":
            self._responded(request.body, request.trailers)
        else:
            error_type = error_type_of(request.headers.get(_ERROR_TYPE_HEADER, ""))
            self._events.runtime_failed(request.body, error_type)
        if asks_next:
            self._next(responder)

    def _responded(self, body: bytes, trailers: dict[str, str]) -> None:
        if _ERROR_TYPE_HEADER in trailers:
            error_type = error_type_of(trailers[_ERROR_TYPE_HEADER])
            error_body = _unbase64(trailers.get(_ERROR_BODY_TRAILER, ""))
            self._events.runtime_failed(error_body, error_type)
        else:
            self._events.runtime_responded(body)

    # -- a response that is streamed ---------------------------------------------------------

    def _begin_stream(self, verb: str, request: HttpRequest, responder: Responder) -> None:
        if verb == "error" or request.headers.get(_MODE_HEADER, "streaming") != "streaming":
            refuse(responder, 400, "InvalidFunctionResponseMode", "Invalid function response mode")
            return
        assert request.stream is not None
        self.state = RuntimeState.STREAMING
        self.asks_next = False
        request.stream.receive(_StreamedResponse(self, responder))
        self._events.runtime_streams(request.stream, request.headers.get("content-type"))

    def stream_data(self, data: bytes) -> None:
        self._events.runtime_streamed(data)

    def stream_end(self, responder: Responder, trailers: dict[str, str]) -> None:
        self.state = RuntimeState.RESPONDED
        responder.send(202, JSON, ACCEPTED)
        self._responded(b"", trailers)

    def stream_broken(self) -> None:
        self.state = RuntimeState.RESPONDED
        self._events.runtime_stream_broken()

    # -- init/error --------------------------------------------------------------------------

    def _init_error(self, request: HttpRequest, responder: Responder) -> None:
        if self.state is not RuntimeState.STARTED:
            self._refuse_transition(responder, "InitError")
            return
        self.state = RuntimeState.INIT_FAILED
        responder.send(202, JSON, ACCEPTED)
        error_type = error_type_of(request.headers.get(_ERROR_TYPE_HEADER, ""), "Runtime.Unknown")
        self._events.runtime_init_failed(request.body, error_type)

    # -- restore -----------------------------------------------------------------------------

    def restore(self) -> None:
        """Let the runtime go on, which is RESTORE_READY: it waits in `restore/next`."""
        assert self.state is RuntimeState.RESTORE_READY, self.state
        self.state = RuntimeState.RESTORING
        waiting, self._waiting = self._waiting, None
        self._is_restore_told = waiting is not None
        if waiting is not None:
            waiting.send(200, JSON, b"")

    def let_fork(self) -> None:
        """The same, but it shall become a template. One that cannot asks for `restore/next` again,
        and is RESTORE_READY all the time. Only our own clients know this answer."""
        assert self.state is RuntimeState.RESTORE_READY, self.state
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.send(202, JSON, b"")

    def _restore_next(self, request: HttpRequest, responder: Responder) -> None:
        if not self._events.runtime_may_wait():
            self._others(request, responder)
            return
        if self.state is RuntimeState.RESTORING and not self._is_restore_told:
            self._is_restore_told = True
            responder.send(200, JSON, b"")
            return
        if self.state not in {RuntimeState.STARTED, RuntimeState.RESTORE_READY}:
            self._refuse_transition(responder, "RestoreReady")
            return
        was, self.state = self.state, RuntimeState.RESTORE_READY
        self._waiting = responder
        if was is RuntimeState.STARTED:
            self._events.runtime_waits()

    def _restore_error(self, request: HttpRequest, responder: Responder) -> None:
        if self.state is not RuntimeState.RESTORING:
            self._refuse_transition(responder, "RestoreError")
            return
        self.state = RuntimeState.RESTORE_FAILED
        responder.send(202, JSON, ACCEPTED)
        error_type = error_type_of(request.headers.get(_ERROR_TYPE_HEADER, ""), "Runtime.Unknown")
        self._events.runtime_restore_failed(request.body, error_type)

    def _refuse_transition(self, responder: Responder, after: str) -> None:
        message = (
            f"State transition from {self.state} to {after} failed for runtime. "
            "Error: State transition is not allowed"
        )
        refuse(responder, 403, "InvalidStateTransition", message)


class _StreamedResponse:
    """The body of one response in the making."""

    __slots__ = ("_api", "_responder")

    def __init__(self, api: RuntimeApi, responder: Responder) -> None:
        self._api = api
        self._responder = responder

    def body_data(self, data: bytes) -> None:
        self._api.stream_data(data)

    def body_end(self, trailers: dict[str, str]) -> None:
        self._api.stream_end(self._responder, trailers)

    def body_broken(self) -> None:
        self._api.stream_broken()


def is_streamed(target: str, headers: dict[str, str]) -> bool:
    """Is this a response that is not waited for until it is whole?

    It says so, or it comes in chunks: AWS's client for Go streams without a word, and who invoked
    decides what is made of it.
    """
    if _MODE_HEADER in headers:
        return True
    return "transfer-encoding" in headers and target.endswith("/response")


def error_type_of(header: str, otherwise: str = "Function.Unknown") -> str:
    """The error type as the platform repeats it: only Runtime.X and Function.X pass."""
    return header if _ERROR_TYPE.fullmatch(header) else otherwise


def event_headers(
    request: RequestId,
    deadline_ms: int,
    invoked_arn: str,
    trace_id: str,
    client_context: str | None,
    tenant: str | None = None,
) -> list[tuple[str, str]]:
    """The headers of `next`, for one invoke."""
    headers = [
        ("Content-Type", "application/json"),
        ("Lambda-Runtime-Aws-Request-Id", request),
        ("Lambda-Runtime-Deadline-Ms", str(deadline_ms)),
        ("Lambda-Runtime-Invoked-Function-Arn", invoked_arn),
        ("Lambda-Runtime-Trace-Id", trace_id),
    ]
    if tenant is not None:
        headers.append(("Lambda-Runtime-Aws-Tenant-Id", tenant))
    if client_context is not None:
        headers.append(("Lambda-Runtime-Client-Context", _one_line(client_context)))
    return headers


def _one_line(json_text: str) -> str:
    """JSON text that fits a header: ASCII, and no line breaks (they could forge headers). What is
    not ASCII is inside of strings, what breaks lines is not."""
    plain = _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], json_text)
    return _BREAKS.sub(" ", plain)


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode("latin-1")
