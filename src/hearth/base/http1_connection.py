"""What happens on one HTTP connection? The asyncio side: reading, replying, waiting, ending.

reading --request--> working --send, or begin ... end--> reading ...
   |                    |
   |--refusal--> lingering (answered; input is thrown away so that the client can read it)
   `--------------------+--> closing (flushing what was written) --> gone
"""

import asyncio
import socket
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from hearth.base.http1_exchange import JOIN_BYTES_MAX, Exchange, IncomingBody, response_head
from hearth.base.http1_fields import HttpRefusal
from hearth.base.http1_parser import HttpLimits, HttpRequest, Phase, RequestParser, Streams
from hearth.base.http1_sockets import peer_of, tune
from hearth.base.log import Log

log = Log("http")

PENDING_BYTES_MAX: Final = 65_536
"""Input that may wait unparsed behind a request that is being worked on."""

LINGER_S: Final = 10.0
LINGER_BYTES_MAX: Final = 268_435_456
"""Throwing away is cheap; a client that gets a reset instead never sees why it was refused."""

_INTERNAL_ERROR: Final = b'{"message":"Internal server error"}'
_JSON: Final = (("Content-Type", "application/json"),)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Server(Protocol):
    """What a connection needs of its server."""

    in_flight: int
    held_bytes: int
    draining: bool

    @property
    def limits(self) -> HttpLimits: ...

    @property
    def handler(self) -> Callable[[HttpRequest, Exchange], None]: ...

    @property
    def streams(self) -> Streams | None: ...

    @property
    def error_answer(self) -> Callable[[HttpRefusal], tuple[int, list[tuple[str, str]], bytes]]: ...

    def opened(self, connection: "Connection") -> bool: ...

    def closed(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_exchange",
        "_held",
        "_incoming",
        "_linger_left",
        "_lingering",
        "_marker",
        "_marker_since_s",
        "_parser",
        "_pumping",
        "_reading_paused",
        "_requests",
        "_server",
        "_transport",
        "_writes",
        "_writing_paused",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast("Any", None)  # until connection_made
        self._parser = RequestParser(server.limits, "", server.streams)
        self._exchange: Exchange | None = None
        self._incoming: IncomingBody | None = None
        """The body of the request in hand, while it is handed on as it comes."""
        self._requests = 0
        self._writes = 0  # of streamed answers: tells a slow client from a stopped one
        self._held = 0  # our part of the server's held_bytes
        self._pumping = False
        self._reading_paused = False
        self._writing_paused = False
        self._lingering = False
        self._linger_left = LINGER_BYTES_MAX
        self._marker: Hashable = None
        self._marker_since_s = 0.0

    def next_token(self) -> str:
        """What the next response has to say in its Connection header."""
        if self._server.draining or not self._parser.keep_alive or self._incoming is not None:
            return "close"
        return "keep-alive" if self._parser.is_old else ""

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):  # reset by the client already: connection_lost follows
                tune(sock)
            server = self._server
            self._parser = RequestParser(server.limits, peer_of(transport), server.streams)
        if not self._server.opened(self):
            why = "It is ending." if self._server.draining else "Too many connections."
            self._refuse(HttpRefusal(503, why))
            self._transport.close()  # no lingering: it would hold yet another connection

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._throw_away(len(data))
            return
        self._parser.feed(data)
        if self._incoming is not None:
            self._hand_on(self._incoming)
        elif self._exchange is None and not self._writing_paused:
            self._pump()
        elif self._parser.buffered > PENDING_BYTES_MAX:
            self._pause_reading()

    def eof_received(self) -> bool:
        return False  # close; connection_lost tells the exchange

    def connection_lost(self, _: Exception | None) -> None:
        self._lingering = True  # nothing that is still fed in may be parsed
        self._lose_exchange()
        self._hold(0)
        self._server.closed(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._exchange is None:
            if not self._lingering:
                self._pump()
        elif self._exchange.outgoing is not None:
            self._exchange.outgoing.has_room()

    # Requests and answers

    def _pump(self) -> None:
        """Hand over requests until one has to wait for its answer, or bytes are missing."""
        parser, server = self._parser, self._server
        self._pumping = True
        try:
            while self._exchange is None and not self._writing_paused:
                if self._transport.is_closing():
                    return
                request = parser.next_request()
                if request is None:
                    break
                self._requests += 1
                exchange = self._exchange = Exchange(self, request.method == "HEAD")
                server.in_flight += 1
                if parser.is_streaming:
                    self._incoming = request.stream = IncomingBody(self)
                try:
                    server.handler(request, exchange)
                except Exception as error:  # noqa: BLE001 -- a bug: log it, tell the client nothing
                    log.error("handler failed", error=error)
                    if not exchange.sent:
                        exchange.send(500, _JSON, _INTERNAL_ERROR)
                if self._incoming is not None:
                    self._hand_on(self._incoming)
                if self._lingering:
                    return
        except HttpRefusal as refusal:
            self._refuse(refusal)
            return
        finally:
            self._pumping = False
        self._settle()

    def _settle(self) -> None:
        """All that can be parsed now is parsed: what does the rest ask for?"""
        parser = self._parser
        if parser.wants_continue:
            parser.wants_continue = False
            self._transport.write(_CONTINUE)
        if parser.received or self._held:
            self._hold(parser.received if parser.phase is Phase.BODY else 0)
            if self._lingering:
                return
        is_held_up = self._exchange is not None or self._writing_paused
        if is_held_up and parser.buffered > PENDING_BYTES_MAX:
            self._pause_reading()
        elif self._reading_paused and self._incoming is None:
            self._resume_reading()

    def _hold(self, held: int) -> None:
        """Without a common bound, a few clients with large bodies could take all memory."""
        server = self._server
        server.held_bytes += held - self._held
        grows, self._held = held > self._held, held
        if grows and server.held_bytes > server.limits.held_bytes_max:
            self._refuse(HttpRefusal(503, "Too many requests are arriving."))

    # Bodies that are handed on as they come

    def _hand_on(self, incoming: IncomingBody) -> None:
        """Give what has come of the request's body to whoever takes it."""
        parser, sink = self._parser, incoming.sink
        if sink is None:
            raise RuntimeError("nobody takes the body of a request that comes bit by bit")
        try:
            data, trailers = parser.next_piece()
        except HttpRefusal as refusal:
            self._lose_exchange()
            self._refuse(refusal)
            return
        if data:
            sink.body_data(data)
        if trailers is not None and self._incoming is incoming:
            self._incoming = None
            incoming.close()
            self._resume_reading()
            sink.body_end(trailers)

    def pause_body(self) -> None:
        self._pause_reading()

    def resume_body(self) -> None:
        self._resume_reading()

    def _lose_exchange(self) -> None:
        """The request in hand cannot be answered, and its body does not end."""
        exchange, self._exchange = self._exchange, None
        incoming, self._incoming = self._incoming, None
        if exchange is not None:
            self._server.in_flight -= 1
            exchange.lose()
        if incoming is not None:
            incoming.close()
            if incoming.sink is not None:
                incoming.sink.body_broken()

    # Answers

    @property
    def is_full(self) -> bool:
        return self._writing_paused

    @property
    def speaks_chunked(self) -> bool:
        return not self._parser.is_old

    def reply(self, head: bytes, body: bytes) -> None:
        """Write the answer to the request in hand, and go on with the next."""
        self._exchange = None
        self._server.in_flight -= 1
        transport = self._transport
        if transport.is_closing():  # connection_lost is on its way
            return
        if len(body) <= JOIN_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        self._go_on()

    def begin(self, head: bytes) -> None:
        self.write((head,))

    def write(self, parts: Sequence[bytes]) -> None:
        self._writes += 1
        if not self._transport.is_closing():
            for part in parts:
                self._transport.write(part)

    def finish(self, last: bytes) -> None:
        """The streamed answer to the request in hand is complete."""
        self._exchange = None
        self._server.in_flight -= 1
        if self._transport.is_closing():
            return
        if last:
            self._transport.write(last)
        if self._parser.is_old:
            self._transport.close()
        else:
            self._go_on()

    def cut_off(self) -> None:
        """The streamed answer to the request in hand will never be complete."""
        self._exchange = None
        self._server.in_flight -= 1
        self._transport.close()

    def _go_on(self) -> None:
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            incoming.close()
            self._linger()
        elif self._server.draining or not self._parser.keep_alive:
            self._transport.close()
        elif not self._pumping and not self._writing_paused and self._parser.buffered:
            self._pump()

    def _refuse(self, refusal: HttpRefusal) -> None:
        """Answer, and listen no more."""
        log.debug("request refused", status=refusal.status, reason=refusal.reason)
        try:
            status, headers, body = self._server.error_answer(refusal)
            answer = response_head(status, headers, len(body), "close") + body
        except Exception as error:  # noqa: BLE001 -- a bug, and the client still needs an answer
            log.error("refusal failed", error=error)
            answer = response_head(500, _JSON, len(_INTERNAL_ERROR), "close") + _INTERNAL_ERROR
        self._transport.write(answer)
        self._linger()

    def _linger(self) -> None:
        """All is said: half-close, and throw away what the client is still sending."""
        self._lingering = True
        self._hold(0)
        self._parser = RequestParser(self._server.limits)  # frees what was buffered
        transport = self._transport
        if transport.can_write_eof():
            transport.write_eof()
        self._resume_reading()

    def _throw_away(self, length: int) -> None:
        self._linger_left -= length
        if self._linger_left < 0:
            self._transport.abort()

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    # Ending and waiting

    def close_if_idle(self) -> bool:
        """Close unless a request is arriving or in hand, or an answer on its way. Whether it was
        open, and no more is."""
        if self._exchange is None and self._parser.phase is Phase.IDLE and not self._lingering:
            was_open = not self._transport.is_closing()
            self._transport.close()
            return was_open
        return False

    def abort(self) -> None:
        self._transport.abort()

    def sweep(self, now_s: float) -> None:
        """End this connection if what it waits for is overdue.

        A wait is known by its marker; a marker that stays the same means no progress.
        """
        marker, timeout_s = self._wait()
        if marker is None or marker != self._marker:
            self._marker, self._marker_since_s = marker, now_s
        elif now_s - self._marker_since_s >= timeout_s:
            self._end_wait()

    def _wait(self) -> tuple[Hashable, float]:
        limits = self._server.limits
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            return ("write", unsent, self._writes), limits.write_timeout_s
        if self._lingering or self._transport.is_closing():
            return "linger", LINGER_S
        if self._exchange is not None:
            return None, 0.0
        match self._parser.phase:
            case Phase.IDLE:
                return ("idle", self._requests), limits.idle_timeout_s
            case Phase.HEAD:
                return ("head", self._requests), limits.head_timeout_s
            case Phase.BODY:
                return ("body", self._requests, self._parser.received), limits.body_timeout_s

    def _end_wait(self) -> None:
        transport = self._transport
        if self._lingering or transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()
        elif self._parser.phase is Phase.IDLE:
            transport.close()
        else:
            self._refuse(HttpRefusal(408, "Request timed out."))
            self._marker = None
