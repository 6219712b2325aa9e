"""What does InvokeWithResponseStream do? The same as Invoke, but its answer leaves bit by bit.

    HTTP 200 | PayloadChunk, PayloadChunk, ... | InvokeComplete

The 200 goes out when the function begins to answer, or when it has answered as a whole: its errors
are in InvokeComplete. What stops an invoke before that is answered as Invoke answers it.
A client that leaves does not stop the function; one that reads slowly holds it back.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html
"""

import base64
from dataclasses import replace
from typing import Final

import msgspec

from hearth.api.invoke import DRY_RUN, InvokeArguments, InvokeHandler
from hearth.api.protocols.contract import REQUEST_ID_HEADER, Answer, Headers
from hearth.api.protocols.event_stream import BINARY, CONTENT_TYPE, JSON, message
from hearth.base.clock import Clock
from hearth.base.flow import Flow, Rate
from hearth.base.http1 import HttpRequest, ResponseStream, StreamingResponder
from hearth.base.log import Log
from hearth.model.errors import ServiceError
from hearth.model.ids import Caller
from hearth.model.invocations import InvokeCall, InvokeResult, ResponseSource, StreamStart

log = Log("api")

DETAILS_LENGTH_MAX: Final = 1_048_576
"""A message of the format has a limit; an error that is longer helps nobody."""


class StreamInvokeHandler:
    """From arguments to a stream of events."""

    def __init__(self, invoke: InvokeHandler, rate: Rate | None, clock: Clock) -> None:
        """`rate`: how fast a response may go once its first megabytes are through."""
        self._invoke = invoke
        self._rate = rate
        self._clock = clock

    def prepare(
        self, arguments: InvokeArguments, request: HttpRequest, caller: Caller, request_id: str
    ) -> InvokeCall:
        """Raises what Invoke raises."""
        return self._invoke.prepare(arguments, request, caller, request_id)

    def dry_run(self, call: InvokeCall) -> Answer:
        """Raises what the invoke would."""
        return self._invoke.dry_run(call)

    def is_dry_run(self, arguments: InvokeArguments) -> bool:
        return arguments.invocation_type == DRY_RUN

    async def run(self, call: InvokeCall, responder: StreamingResponder) -> None:
        """Answers. Raises ServiceError when the function was not run, and nothing was sent."""
        events = EventSink(responder, call, self._rate, self._clock)
        try:
            result = await self._invoke.invoke(replace(call, sink=events))
        except Exception as error:
            if not events.has_begun:
                raise
            if not isinstance(error, ServiceError):
                log.error("a streamed invoke failed", error=error, request=call.request)
            events.fail(error)
        else:
            events.complete(result)
        finally:
            events.close()


class EventSink:
    """A ResponseSink: one client's stream of events."""

    def __init__(
        self, responder: StreamingResponder, call: InvokeCall, rate: Rate | None, clock: Clock
    ) -> None:
        self._responder = responder
        self._call = call
        self._rate = rate
        self._clock = clock
        self._stream: ResponseStream | None = None
        self._flow: Flow | None = None

    @property
    def has_begun(self) -> bool:
        return self._stream is not None

    def begin(self, source: ResponseSource, start: StreamStart) -> None:
        stream = self._open(start.executed_version)
        self._flow = Flow(source, stream, self._rate, self._clock.monotonic_s)

    def write(self, data: bytes) -> None:
        assert self._stream is not None, "begin comes first"
        assert self._flow is not None
        self._stream.write(message("PayloadChunk", BINARY, data))
        self._flow.passed(len(data))

    def complete(self, result: InvokeResult) -> None:
        """The invoke has ended: what is left to tell, and InvokeComplete."""
        stream = self._stream or self._open(result.executed_version)
        end: dict[str, str] = {}
        if result.function_error is not None:
            end["ErrorCode"] = result.function_error
            end["ErrorDetails"] = result.payload.decode(errors="replace")[:DETAILS_LENGTH_MAX]
        elif result.payload:
            stream.write(message("PayloadChunk", BINARY, result.payload))
        if result.log_tail is not None:
            end["LogResult"] = base64.b64encode(result.log_tail).decode()
        self._end(stream, end)

    def fail(self, error: Exception) -> None:
        """It was cut short by us, not by the function."""
        assert self._stream is not None
        code = error.code if isinstance(error, ServiceError) else "ServiceException"
        text = error.message if isinstance(error, ServiceError) else "Internal failure"
        details = msgspec.json.encode({"errorType": code, "errorMessage": text}).decode()
        self._end(self._stream, {"ErrorCode": code, "ErrorDetails": details})

    def close(self) -> None:
        """No timer of it may be left."""
        if self._flow is not None:
            self._flow.close()

    def _open(self, executed_version: str) -> ResponseStream:
        headers: Headers = [
            ("Content-Type", CONTENT_TYPE),
            (REQUEST_ID_HEADER, self._call.request),
            ("X-Amz-Executed-Version", executed_version),
            ("X-Amzn-Trace-Id", self._call.trace_id or ""),
        ]
        self._stream = self._responder.begin(200, headers)
        return self._stream

    def _end(self, stream: ResponseStream, end: dict[str, str]) -> None:
        stream.write(message("InvokeComplete", JSON, msgspec.json.encode(end)))
        stream.end()
