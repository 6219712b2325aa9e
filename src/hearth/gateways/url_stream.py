"""How does a response leave through a URL in RESPONSE_STREAM mode? As the function writes it.

Status and headers come first: from the prelude, if there is one, which is held until it is whole,
so that an error before its end is an ordinary 502; so is one before the first byte of a response
without a prelude. Later errors cut the answer off. A function that does not stream is answered as
through any other URL.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hearth.base.flow import Flow, Rate
from hearth.base.http1 import ResponseStream, StreamingResponder
from hearth.gateways.url_response import (
    PRELUDE_BYTES_MAX,
    PRELUDE_END,
    PRELUDE_TYPE,
    STREAM_TYPE,
    BadResponse,
    Headers,
    read_prelude,
)
from hearth.model.invocations import ResponseSource, StreamStart


@dataclass(frozen=True, slots=True)
class Pace:
    rate: Rate | None
    now_s: Callable[[], float]


class UrlStream:
    """A ResponseSink: one client's answer."""

    def __init__(
        self,
        responder: StreamingResponder,
        finished: Callable[[Headers], Headers],
        pace: Pace,
    ) -> None:
        """`finished` makes the answer's headers of the function's. `bad` is set where the answer
        cannot be one of HTTP; it is not answered then."""
        self.bad: BadResponse | None = None
        self.has_begun = False
        """The function streams; nothing of it may have gone out yet."""
        self.stream: ResponseStream | None = None
        self._responder = responder
        self._finished = finished
        self._pace = pace
        self._source: ResponseSource | None = None
        self._flow: Flow | None = None
        self._prelude = bytearray()
        self._plain: Headers | None = None
        """Of a response without a prelude, until its first byte."""

    def begin(self, source: ResponseSource, start: StreamStart) -> None:
        self.has_begun = True
        self._source = source
        content_type = start.content_type or STREAM_TYPE
        if content_type.partition(";")[0].strip().lower() != PRELUDE_TYPE:
            self._plain = [("Content-Type", content_type)]

    def write(self, data: bytes) -> None:
        if self.bad is not None:
            return
        if self.stream is None and self._plain is not None:
            if data:
                self._open(200, self._plain)
        elif self.stream is None:
            data = self._read_prelude(data)
        if self.stream is not None and data:
            assert self._flow is not None
            self.stream.write(data)
            self._flow.passed(len(data))

    def complete(self) -> None:
        """The function has written all; it may have been nothing."""
        if self.stream is None and self._plain is not None:
            self._open(200, self._plain)

    def close(self) -> None:
        """No timer of it may be left."""
        if self._flow is not None:
            self._flow.close()

    def _read_prelude(self, data: bytes) -> bytes:
        """Returns what comes after it."""
        looked_at = max(0, len(self._prelude) - len(PRELUDE_END) + 1)
        self._prelude += data
        end = self._prelude.find(PRELUDE_END, looked_at)
        try:
            if end >= 0:
                status, headers = read_prelude(bytes(self._prelude[:end]))
                self._open(status, headers)
        except BadResponse as error:
            self.bad = error
        if end < 0 and len(self._prelude) > PRELUDE_BYTES_MAX:
            self.bad = BadResponse("the prelude does not end")
        rest = bytes(self._prelude[end + len(PRELUDE_END) :]) if end >= 0 else b""
        if end >= 0 or self.bad is not None:
            self._prelude = bytearray()
        return rest

    def _open(self, status: int, headers: Headers) -> None:
        assert self._source is not None, "begin comes first"
        self.stream = self._responder.begin(status, self._finished(headers))
        self._flow = Flow(self._source, self.stream, self._pace.rate, self._pace.now_s)
