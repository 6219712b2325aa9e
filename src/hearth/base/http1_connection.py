"""What happens on one HTTP connection? The asyncio side: reading, replying, waiting, ending.

reading --request--> working --send--> reading ...
   |                    |
   |--refusal--> lingering (answered; input is thrown away so that the client can read it)
   `--------------------+--> closing (flushing what was written) --> gone
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from hearth.base.http1_fields import HttpRefusal
from hearth.base.http1_parser import HttpLimits, HttpRequest, Phase, RequestParser
from hearth.base.log import Log

if TYPE_CHECKING:
    from collections.abc import Hashable

log = Log("http")

PENDING_BYTES_MAX: Final = 65_536
"""Input that may wait unparsed behind a request that is being worked on."""

LINGER_S: Final = 10.0
LINGER_BYTES_MAX: Final = 268_435_456
"""Throwing away is cheap; a client that gets a reset instead never sees why it was refused."""

JOIN_BYTES_MAX: Final = 65_536
"""A larger body is not copied behind its head just to be written in one go."""

KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A held-open request notices within two minutes that its client's machine is no more."""

_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
_INTERNAL_ERROR: Final = b'{"message":"Internal server error"}'
_JSON: Final = (("Content-Type", "application/json"),)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

Headers = Iterable[tuple[str, str]]


class Server(Protocol):
    """What a connection needs of its server."""

    in_flight: int
    held_bytes: int
    draining: bool

    @property
    def limits(self) -> HttpLimits: ...

    @property
    def handler(self) -> Callable[[HttpRequest, "Exchange"], None]: ...

    @property
    def error_answer(self) -> Callable[[HttpRefusal], tuple[int, list[tuple[str, str]], bytes]]: ...

    def opened(self, connection: "Connection") -> bool: ...

    def closed(self, connection: "Connection") -> None: ...


class Exchange:
    """One request and its answer: the Responder that a handler gets."""

    __slots__ = ("_callbacks", "_connection", "_gone", "_is_head", "_sent")

    def __init__(self, connection: "Connection", is_head: bool) -> None:
        self._connection: Connection | None = connection
        self._is_head = is_head
        self._sent = False
        self._gone = False
        self._callbacks: list[Callable[[], None]] | None = None

    @property
    def gone(self) -> bool:
        return self._gone

    @property
    def sent(self) -> bool:
        return self._sent

    def send(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        if self._sent:
            raise RuntimeError("this request was answered before")
        connection = self._connection
        if connection is None:
            self._sent = True
            return
        head = response_head(status, headers, len(body), connection.next_token())
        self._sent = True
        self._connection = self._callbacks = None
        has_no_body = self._is_head or status in (204, 304)
        connection.reply(head, b"" if has_no_body else body)

    def on_gone(self, callback: Callable[[], None]) -> None:
        if self._gone:
            asyncio.get_running_loop().call_soon(callback)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def lose(self) -> None:
        """The connection tells that the client is gone."""
        self._connection = None
        self._gone = True
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except Exception as error:  # noqa: BLE001 -- the other callbacks must still hear of it
                log.error("on_gone callback failed", error=error)


def response_head(status: int, headers: Headers, length: int, connection: str) -> bytes:
    """`connection` is that header's value, if any.

    Raises ValueError if a header would break out of its line or is not latin-1.
    """
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
    text = line if status == HTTPStatus.NO_CONTENT else f"{line}Content-Length: {length}\r\n"
    if connection:
        text += f"Connection: {connection}\r\n"
    lines_max = text.count("\n")
    for name, value in headers:
        text += f"{name}: {value}\r\n"
        lines_max += 1
    if text.count("\n") != lines_max or text.count("\r") != lines_max:
        raise ValueError("a response header holds a line break")
    return (text + "\r\n").encode("latin-1")


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_exchange",
        "_held",
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
        "_writing_paused",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast("Any", None)  # until connection_made
        self._parser = RequestParser(server.limits)
        self._exchange: Exchange | None = None
        self._requests = 0
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
        if self._server.draining or not self._parser.keep_alive:
            return "close"
        return "keep-alive" if self._parser.is_old else ""

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):  # reset by the client already: connection_lost follows
                _tune(sock)
            self._parser = RequestParser(self._server.limits, _peer(transport))
        if not self._server.opened(self):
            why = "It is ending." if self._server.draining else "Too many connections."
            self._refuse(HttpRefusal(503, why))
            self._transport.close()  # no lingering: it would hold yet another connection

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._throw_away(len(data))
            return
        self._parser.feed(data)
        if self._exchange is None and not self._writing_paused:
            self._pump()
        elif self._parser.buffered > PENDING_BYTES_MAX:
            self._pause_reading()

    def eof_received(self) -> bool:
        return False  # close; connection_lost tells the exchange

    def connection_lost(self, _: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        self._lingering = True  # nothing that is still fed in may be parsed
        if exchange is not None:
            self._server.in_flight -= 1
            exchange.lose()
        self._hold(0)
        self._server.closed(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._exchange is None and not self._lingering:
            self._pump()

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
                try:
                    server.handler(request, exchange)
                except Exception as error:  # noqa: BLE001 -- a bug: log it, tell the client nothing
                    log.error("handler failed", error=error)
                    if not exchange.sent:
                        exchange.send(500, _JSON, _INTERNAL_ERROR)
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
        elif self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def _hold(self, held: int) -> None:
        """Without a common bound, a few clients with large bodies could take all memory."""
        server = self._server
        server.held_bytes += held - self._held
        grows, self._held = held > self._held, held
        if grows and server.held_bytes > server.limits.held_bytes_max:
            self._refuse(HttpRefusal(503, "Too many requests are arriving."))

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
        if self._server.draining or not self._parser.keep_alive:
            transport.close()
        elif not self._pumping and not self._writing_paused and self._parser.buffered:
            self._pump()

    def _refuse(self, refusal: HttpRefusal) -> None:
        """Answer, half-close, and throw away what the client is still sending."""
        log.debug("request refused", status=refusal.status, reason=refusal.reason)
        try:
            status, headers, body = self._server.error_answer(refusal)
            answer = response_head(status, headers, len(body), "close") + body
        except Exception as error:  # noqa: BLE001 -- a bug, and the client still needs an answer
            log.error("refusal failed", error=error)
            answer = response_head(500, _JSON, len(_INTERNAL_ERROR), "close") + _INTERNAL_ERROR
        self._lingering = True
        self._hold(0)
        self._parser = RequestParser(self._server.limits)  # frees what was buffered
        transport = self._transport
        transport.write(answer)
        if transport.can_write_eof():
            transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            transport.resume_reading()

    def _throw_away(self, length: int) -> None:
        self._linger_left -= length
        if self._linger_left < 0:
            self._transport.abort()

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    # Ending and waiting

    def close_if_idle(self) -> None:
        """For drain: close unless a request is arriving or in hand, or an answer on its way."""
        if self._exchange is None and self._parser.phase is Phase.IDLE and not self._lingering:
            self._transport.close()

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

    def _wait(self) -> tuple["Hashable", float]:
        limits = self._server.limits
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            return ("write", unsent), limits.write_timeout_s
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


def _tune(sock: socket.socket) -> None:
    """Raises OSError if the client has reset the connection meanwhile."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _peer(transport: asyncio.BaseTransport) -> str:
    name = transport.get_extra_info("peername")
    if name is None:  # gone already
        return ""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
