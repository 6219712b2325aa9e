"""One HTTP connection on a fake transport, whose client is the test."""

import asyncio
from typing import Any

from hearth.base.http1 import Handler, HttpLimits, HttpRequest, HttpServer, StreamingResponder
from hearth.base.http1_connection import Connection
from hearth.base.http1_parser import Streams


class FakeTransport(asyncio.Transport):
    """Keeps what is written; `stuck` bytes stay unsent, as with a client that does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.protocol: Connection | None = None
        self.stuck = 0
        self.is_reading_now = True
        self.closing = False
        self.eof = False

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof
        self.writes.append(bytes(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def get_write_buffer_size(self) -> int:
        return self.stuck

    def pause_reading(self) -> None:
        assert self.is_reading_now
        self.is_reading_now = False

    def resume_reading(self) -> None:
        assert not self.is_reading_now
        self.is_reading_now = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.stuck:
                self._tell()

    def abort(self) -> None:
        self.closing = True
        self._tell()

    def _tell(self) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            asyncio.get_running_loop().call_soon(protocol.connection_lost, None)


class Bench:
    """A server whose handler keeps the exchanges for the test, and one connection to it."""

    def __init__(
        self,
        limits: HttpLimits,
        *,
        answers_at_once: bool = False,
        streams: Streams | None = None,
        take: Handler | None = None,
    ) -> None:
        self.requests: list[HttpRequest] = []
        self.responders: list[StreamingResponder] = []
        self.answers_at_once = answers_at_once
        self.server = HttpServer(take or self._handle, limits, streams=streams)
        self.transport, self.connection = self.connect()

    def _handle(self, request: HttpRequest, responder: StreamingResponder) -> None:
        self.requests.append(request)
        self.responders.append(responder)
        if self.answers_at_once:
            responder.send(200)

    def connect(self) -> tuple[FakeTransport, Connection]:
        transport, connection = FakeTransport(), self.server._accept()
        transport.protocol = connection
        connection.connection_made(transport)
        return transport, connection

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)
