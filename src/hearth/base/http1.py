"""How does Hearth speak HTTP on its hot paths? A small HTTP/1.1 server for asyncio or uvloop.

One request at a time per connection: the handler is called synchronously with a whole request and
a Responder, and replies now or later; the next pipelined request is parsed only then. There is no
Task and no timer per request: one sweep per server looks for clients that wait too long.

    server = HttpServer(handler, HttpLimits())
    await server.start(listening_socket)
    ...
    await server.drain(timeout_s=10.0)

A client that closes, or half-closes, while its request is being worked on is gone: its Responder
says so. Source: RFC 9112.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from hearth.base.http1_connection import Connection
from hearth.base.http1_exchange import BodySink, IncomingBody, OutgoingBody
from hearth.base.http1_fields import HttpRefusal
from hearth.base.http1_parser import HttpLimits, HttpRequest, Streams

__all__ = [
    "BodySink",
    "ErrorAnswer",
    "Handler",
    "HttpLimits",
    "HttpRefusal",
    "HttpRequest",
    "HttpServer",
    "IncomingBody",
    "OutgoingBody",
    "Responder",
    "ResponseStream",
    "StreamingResponder",
]

BACKLOG: Final = 1_024
SWEEP_S_MIN: Final = 0.01
SWEEP_S_MAX: Final = 1.0


class ResponseStream(Protocol):
    """The body of an answer that is written bit by bit; see http1_exchange."""

    @property
    def is_full(self) -> bool: ...

    @property
    def gone(self) -> bool: ...

    def on_room(self, callback: Callable[[], None]) -> None: ...

    def write(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def abort(self) -> None: ...


class Responder(Protocol):
    """The way back for one request. Send exactly once, now or later."""

    def send(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        """Content-Length and Connection are added. A no-op when the client is gone.

        Raises RuntimeError if called twice, ValueError if a header holds a line break or is not
        latin-1 (nothing was sent then).
        """
        ...

    @property
    def gone(self) -> bool:
        """The client has disconnected, and this request was not answered before."""
        ...

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call `callback` once if the client disconnects before the answer (or has done so)."""
        ...


class StreamingResponder(Responder, Protocol):
    """Send or begin, exactly once."""

    def begin(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> ResponseStream:
        """For a body that is written bit by bit, in chunks to a client that understands them."""
        ...


Handler = Callable[[HttpRequest, StreamingResponder], None]
"""Called synchronously, in order per connection."""

ErrorAnswer = Callable[[HttpRefusal], tuple[int, list[tuple[str, str]], bytes]]
"""What to answer when the bytes were no acceptable request: status, headers, body."""


def _plain_answer(refusal: HttpRefusal) -> tuple[int, list[tuple[str, str]], bytes]:
    body = json.dumps({"message": refusal.reason}).encode()
    return refusal.status, [("Content-Type", "application/json")], body


class HttpServer:
    """Serves one listening socket."""

    def __init__(
        self,
        handler: Handler,
        limits: HttpLimits,
        *,
        on_error: ErrorAnswer | None = None,
        streams: Streams | None = None,
    ) -> None:
        """`streams`: which requests' bodies are handed on as they come (`request.stream`)."""
        self.handler: Final = handler
        self.streams: Final = streams
        self.limits: Final = limits
        self.error_answer: Final = on_error or _plain_answer
        self.in_flight = 0
        """Requests that were handed to the handler and are not answered yet."""
        self.held_bytes = 0
        """Bytes of bodies that are still arriving."""
        self.draining = False
        self._connections: dict[Connection, None] = {}
        """Oldest first."""
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_s = _sweep_s(limits)
        self._empty: asyncio.Future[None] | None = None

    @property
    def connections(self) -> int:
        """Open connections, those included that are being refused or closed."""
        return len(self._connections)

    async def start(self, sock: socket.socket) -> None:
        """Accept on `sock`: bound, TCP or unix. The server owns it from now on."""
        assert self._server is None, "started twice"
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(self._accept, sock=sock, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(self._accept, sock=sock, backlog=BACKLOG)

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, close idle connections, let requests in flight end; then `close`."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close_if_idle()
        await self._wait_empty(timeout_s)
        await self.close()

    async def close(self) -> None:
        """End now: connections are aborted, requests in flight find their client gone."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._wait_empty(None)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def opened(self, connection: Connection) -> bool:
        """A connection tells of itself. False: there are too many, or the server is ending."""
        is_room = len(self._connections) < self.limits.connections_max
        if not is_room and self.limits.closes_idle_for_new:
            is_room = self._make_room()
        self._connections[connection] = None
        if self._sweep is None:
            self._schedule_sweep()
        return is_room and not self.draining

    def _make_room(self) -> bool:
        """Close the oldest that asks for nothing: else whoever opens enough of them and is silent
        keeps everybody out. Not a new one: what it asks for may be on its way."""
        return any(connection.close_if_idle() for connection in self._connections)

    def closed(self, connection: Connection) -> None:
        """A connection tells of its end."""
        self._connections.pop(connection, None)
        if self._connections:
            return
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _accept(self) -> Connection:
        return Connection(self)

    def _schedule_sweep(self) -> None:
        """Only while there is somebody to look at: an idle server does not wake the machine."""
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._sweep_s, self._look_for_the_overdue)

    def _look_for_the_overdue(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for connection in list(self._connections):
            connection.sweep(now_s)
        self._sweep = None
        if self._connections:
            self._schedule_sweep()

    async def _wait_empty(self, timeout_s: float | None) -> None:
        """Return when no connection is left, or after `timeout_s`."""
        if not self._connections:
            return
        if self._empty is None or self._empty.done():
            self._empty = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._empty], timeout=timeout_s)


def _sweep_s(limits: HttpLimits) -> float:
    shortest_s = min(
        limits.head_timeout_s,
        limits.body_timeout_s,
        limits.idle_timeout_s,
        limits.write_timeout_s,
    )
    return min(SWEEP_S_MAX, max(SWEEP_S_MIN, shortest_s / 8))
