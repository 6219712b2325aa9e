"""What is one request and its answer? The way back for a handler, and bodies that do not fit in it.

An answer goes out at once (`send`), or bit by bit:

    stream = responder.begin(200, headers)
    stream.write(b"...")         while not stream.is_full; on_room tells when there is room again
    stream.end()                 or stream.abort(), which the client sees as an answer cut off

A request's body comes in as a whole, or, where the server was told so (`streams`), bit by bit:

    request.stream.receive(sink)      in the handler; the rest of the body follows
    request.stream.pause() / resume() what the client sends then waits in the kernel

An answer to a request whose body has not ended ends the connection: the rest is thrown away.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final, Protocol

from hearth.base.log import Log

log = Log("http")

JOIN_BYTES_MAX: Final = 65_536
"""A larger body is not copied behind its head just to be written in one go."""

HEADS_REMEMBERED: Final = 256

_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
_LAST_CHUNK: Final = b"0\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})

Headers = Iterable[tuple[str, str]]


class BodySink(Protocol):
    """Takes a body that comes bit by bit. Called synchronously; must not raise."""

    def body_data(self, data: bytes) -> None: ...

    def body_end(self, trailers: dict[str, str]) -> None:
        """That was all, and it was whole."""
        ...

    def body_broken(self) -> None:
        """The client left in the middle, or what it sent was no body. Nothing else follows."""
        ...


class BodyConnection(Protocol):
    """What an incoming body needs of its connection."""

    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...


class Connection(BodyConnection, Protocol):
    """What an exchange needs of its connection."""

    @property
    def is_full(self) -> bool: ...

    @property
    def speaks_chunked(self) -> bool: ...

    def next_token(self) -> str: ...

    def reply(self, head: bytes, body: bytes) -> None: ...

    def begin(self, head: bytes) -> None: ...

    def write(self, parts: Sequence[bytes]) -> None: ...

    def finish(self, last: bytes) -> None: ...

    def cut_off(self) -> None: ...

    def abort(self) -> None: ...


class IncomingBody:
    """The body of a request, while it is on its way."""

    __slots__ = ("_connection", "_paused", "sink")

    def __init__(self, connection: BodyConnection) -> None:
        self._connection: BodyConnection | None = connection
        self._paused = False
        self.sink: BodySink | None = None

    def receive(self, sink: BodySink) -> None:
        """Call `sink` from now on. Once, before the handler returns."""
        self.sink = sink

    @property
    def is_paused(self) -> bool:
        return self._paused

    def pause(self) -> None:
        """What was read already still comes."""
        if not self._paused and self._connection is not None:
            self._paused = True
            self._connection.pause_body()

    def resume(self) -> None:
        if self._paused and self._connection is not None:
            self._paused = False
            self._connection.resume_body()

    def close(self) -> None:
        """The connection tells that nothing more will come."""
        self._connection = None


class OutgoingBody:
    """The body of an answer, while it is written."""

    __slots__ = ("_connection", "_exchange", "_frames", "_has_body", "_on_room")

    def __init__(
        self, exchange: "Exchange", connection: Connection | None, *, frames: bool, has_body: bool
    ) -> None:
        self._exchange = exchange
        self._connection = connection
        self._frames = frames
        self._has_body = has_body
        self._on_room: Callable[[], None] | None = None

    @property
    def is_full(self) -> bool:
        """The client reads more slowly than this is written: wait for on_room."""
        return self._connection is not None and self._connection.is_full

    @property
    def gone(self) -> bool:
        """The client has left; whatever is written goes nowhere."""
        return self._exchange.gone

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever there is room again, and when the client has left."""
        self._on_room = callback

    def write(self, data: bytes) -> None:
        if self._connection is None or not data or not self._has_body:
            return
        if not self._frames:
            self._connection.write((data,))
        else:
            self._connection.write(join_or_list(b"%x\r\n" % len(data), data, b"\r\n"))

    def end(self) -> None:
        """That was all. Safe to call when the client has left."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._exchange.finished()
            connection.finish(_LAST_CHUNK if self._frames and self._has_body else b"")

    def abort(self) -> None:
        """End the connection, so that nobody takes this for the whole answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._exchange.finished()
            if self._frames and self._has_body:
                connection.cut_off()  # what was written arrives; its last chunk is missing
            else:
                connection.abort()

    def has_room(self) -> None:
        """The connection tells that the client has read on."""
        if self._on_room is not None:
            self._on_room()

    def lose(self) -> None:
        """The connection tells that the client is gone."""
        self._connection = None
        self.has_room()


class Exchange:
    """One request and its answer: the Responder that a handler gets."""

    __slots__ = ("_callbacks", "_connection", "_gone", "_is_head", "_sent", "outgoing")

    def __init__(self, connection: Connection, is_head: bool) -> None:
        self._connection: Connection | None = connection
        self._is_head = is_head
        self._sent = False
        self._gone = False
        self._callbacks: list[Callable[[], None]] | None = None
        self.outgoing: OutgoingBody | None = None

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
        token = connection.next_token()
        if type(headers) is tuple:
            head = _constant_head(status, headers, len(body), token)
        else:
            head = response_head(status, headers, len(body), token)
        self._sent = True
        self._connection = self._callbacks = None
        has_no_body = self._is_head or status in _BODILESS
        connection.reply(head, b"" if has_no_body else body)

    def begin(self, status: int, headers: Headers = ()) -> OutgoingBody:
        if self._sent:
            raise RuntimeError("this request was answered before")
        connection = self._connection
        if connection is None:
            self._sent = True
            return OutgoingBody(self, None, frames=False, has_body=False)
        has_body = not self._is_head and status not in _BODILESS
        frames = connection.speaks_chunked
        token = connection.next_token() if frames else "close"
        head = response_head(status, headers, None if frames else -1, token)
        self._sent = True
        self.outgoing = OutgoingBody(self, connection, frames=frames, has_body=has_body)
        connection.begin(head)
        return self.outgoing

    def on_gone(self, callback: Callable[[], None]) -> None:
        if self._gone:
            asyncio.get_running_loop().call_soon(callback)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def finished(self) -> None:
        """The streamed answer is complete: nobody needs to hear of this connection's end."""
        self._connection = self._callbacks = self.outgoing = None

    def lose(self) -> None:
        """The connection tells that the client is gone."""
        self._connection = None
        self._gone = True
        callbacks, self._callbacks = self._callbacks, None
        told = [] if self.outgoing is None else [self.outgoing.lose]
        for callback in (*told, *(callbacks or ())):
            try:
                callback()
            except Exception as error:  # noqa: BLE001 -- the other callbacks must still hear of it
                log.error("on_gone callback failed", error=error)


def response_head(status: int, headers: Headers, length: int | None, connection: str) -> bytes:
    """`connection` is that header's value, if any; `length` is None for chunks, and negative for a
    body that the end of the connection ends.

    Raises ValueError if a header would break out of its line or is not latin-1.
    """
    text = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
    if status != HTTPStatus.NO_CONTENT:
        if length is None:
            text += "Transfer-Encoding: chunked\r\n"
        elif length >= 0:
            text += f"Content-Length: {length}\r\n"
    if connection:
        text += f"Connection: {connection}\r\n"
    fields = [f"{name}: {value}\r\n" for name, value in headers]
    lines = "".join(fields)
    if lines.count("\n") != len(fields) or lines.count("\r") != len(fields):
        raise ValueError("a response header holds a line break")
    return f"{text}{lines}\r\n".encode("latin-1")


_constant_head = lru_cache(maxsize=HEADS_REMEMBERED)(response_head)
"""For headers in tuples, which are written in the source where the others are put together."""


def join_or_list(head: bytes, body: bytes, tail: bytes = b"") -> Sequence[bytes]:
    """One piece if it is small, else the three without copying the body."""
    if len(body) <= JOIN_BYTES_MAX:
        return (head + body + tail,)
    return (head, body, tail) if tail else (head, body)
