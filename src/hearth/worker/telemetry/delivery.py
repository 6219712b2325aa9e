"""How do events get to a subscriber? To a port inside its sandbox, by HTTP or as lines over TCP.

Beside the invoke path: a job of its own for each subscriber. Whoever does not answer, or answers
an error, is tried again, with pauses that grow; what it does not take stays in its buffer.
The subscriber is the function's own code and is not trusted: what it answers is bounded.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.worker.sandboxes.contract import SandboxFailed
from hearth.worker.telemetry.buffer import Buffer, Dropped
from hearth.worker.telemetry.subscription import Subscription

log = Log("telemetry")

LOOPBACK: Final = "127.0.0.1"
PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 5.0
PAUSED_S: Final = 0.2
ANSWER_S_MAX: Final = 60.0
"""Long: the environment may be frozen meanwhile."""
_HEAD_BYTES_MAX: Final = 16 * 1024
_BODY_BYTES_MAX: Final = 64 * 1024
_LOST: Final = (
    OSError,
    SandboxFailed,
    ValueError,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
)

Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Channel(Protocol):
    async def send(self, events: list[bytes]) -> None:
        """Raises one of _LOST."""
        ...

    def close(self) -> None: ...


class HttpChannel:
    """One POST a portion, a JSON array each, over a connection that is kept."""

    def __init__(self, subscription: Subscription, connect: Connect) -> None:
        self._connect = connect
        self._port = subscription.port
        self._head = (
            f"POST {subscription.path} HTTP/1.1\r\n"
            f"Host: sandbox.localdomain:{subscription.port}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode("ascii")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, events: list[bytes]) -> None:
        try:
            status = await self._exchange(b"[" + b",".join(events) + b"]")
        except BaseException:
            self.close()
            raise
        if not 200 <= status < 300:
            raise ValueError(f"it answered {status}")

    async def _exchange(self, body: bytes) -> int:
        if self._streams is None:
            self._streams = await self._connect(self._port)
        reader, writer = self._streams
        async with asyncio.timeout(ANSWER_S_MAX):
            writer.write(self._head + b"%d\r\n\r\n" % len(body) + body)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            status = _status(head)
            length = _length(head)
            if length is None or length > _BODY_BYTES_MAX:
                self.close()
            else:
                await reader.readexactly(length)
                if b"connection: close" in head.lower():
                    self.close()
        return status

    def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()


class TcpChannel:
    """JSON objects, one a line, over one connection."""

    def __init__(self, subscription: Subscription, connect: Connect) -> None:
        self._connect = connect
        self._port = subscription.port
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, events: list[bytes]) -> None:
        try:
            if self._writer is None:
                _, self._writer = await self._connect(self._port)
            async with asyncio.timeout(ANSWER_S_MAX):
                self._writer.write(b"\n".join(events) + b"\n")
                await self._writer.drain()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class Delivery:
    """One subscriber's events, from `add` to its port. Run `run` as a job."""

    def __init__(
        self,
        subscription: Subscription,
        connect: Connect,
        clock: Clock,
        describe_dropped: Callable[[Dropped], bytes],
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """Nothing is sent while `is_paused`: a frozen subscriber could take nothing."""
        self.subscription = subscription
        self._clock = clock
        self._describe_dropped = describe_dropped
        self._is_paused = is_paused
        self._buffer = Buffer(
            items_max=subscription.items_max,
            bytes_max=subscription.bytes_max,
            timeout_s=subscription.timeout_s,
        )
        kind = HttpChannel if subscription.protocol == "HTTP" else TcpChannel
        self._channel: Channel = kind(subscription, connect)
        self._added: asyncio.Future[None] | None = None
        self._is_hurrying = False
        self._is_sending = False
        self._emptied: asyncio.Future[None] | None = None

    def add(self, event: bytes) -> None:
        """Never waits."""
        self._buffer.add(event, self._clock.monotonic_s())
        if self._added is not None and not self._added.done():
            self._added.set_result(None)

    @property
    def is_busy(self) -> bool:
        return bool(len(self._buffer)) or self._is_sending

    async def flush(self, within_s: float) -> None:
        """Deliver all that waits, now; gives up after `within_s`."""
        self.hurry()
        if self.is_busy:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=within_s)

    def hurry(self) -> None:
        """All that waits is due now."""
        self._is_hurrying = True
        if self._added is not None and not self._added.done():
            self._added.set_result(None)

    async def run(self) -> None:
        pause_s = PAUSE_S
        try:
            while True:
                await self._wait_due()
                while self._is_paused():  # noqa: ASYNC110 - looked at, not told
                    await asyncio.sleep(PAUSED_S)
                portion = self._next_portion()
                try:
                    self._is_sending = True
                    await self._channel.send(portion)
                    pause_s = PAUSE_S
                except _LOST as error:
                    self._buffer.put_back(portion)
                    log.debug("telemetry was not taken", error=error)
                    await asyncio.sleep(pause_s)
                    pause_s = min(PAUSE_S_MAX, pause_s * 2)
                finally:
                    self._is_sending = False
        finally:
            self._channel.close()

    def _next_portion(self) -> list[bytes]:
        dropped = self._buffer.take_dropped()
        portion = self._buffer.take(self._clock.monotonic_s())
        return portion if dropped is None else [*portion, self._describe_dropped(dropped)]

    async def _wait_due(self) -> None:
        while True:
            due_s = self._buffer.due_in_s(self._clock.monotonic_s())
            if due_s is None:
                self._is_hurrying = False
                if self._emptied is not None and not self._emptied.done():
                    self._emptied.set_result(None)
            elif due_s == 0 or self._is_hurrying:
                return
            self._added = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._added], timeout=due_s)


def _length(head: bytes) -> int | None:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0 if _status(head) == 204 else None


def _status(head: bytes) -> int:
    """Raises ValueError."""
    _, _, rest = head.partition(b" ")
    return int(rest[:3])


def connector(open_socket: Callable[[], Awaitable[socket.socket]]) -> Connect:
    """Connects sockets of a sandbox's network to a port of its loopback."""

    async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        opened = await open_socket()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await asyncio.get_running_loop().sock_connect(opened, (LOOPBACK, port))
            return await asyncio.open_connection(sock=opened, limit=_HEAD_BYTES_MAX)
        except BaseException:
            opened.close()
            raise

    return connect
