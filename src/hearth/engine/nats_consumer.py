"""How are messages taken out of a queue in NATS? By pulls: so many, for so long, and again.

A pull asks for a number of messages and is answered as they come; the rest of it stays open. What
ends one, besides its last message, comes as a message with a status: expired (408), complete or
large enough (409), or that the consumer is gone. The consumer is made anew when this one opens, so
that what an earlier process had taken comes back at once, and when the server has lost it.
"""

import asyncio
import contextlib
import json
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import APIError, NotFoundError

from hearth.base.log import Log
from hearth.engine.contract import ACK_WAIT_S, EngineUnavailable, Taken
from hearth.engine.nats_connection import Connection, heeding_cancellation

PULL_S: Final = 60.0
HEARTBEAT_S: Final = 5.0
SILENCE_S: Final = 3 * HEARTBEAT_S
PULL_BYTES_MAX: Final = 8_500_000  # one message fits, whatever its size
PAUSE_S: Final = 0.25
UNACKED_MAX: Final = 10_000
MESSAGES_QUEUED_MAX: Final = 1_024
STATUS: Final = "Status"

# RuntimeError: uvloop's, where nats-py writes to a transport that has just been closed.
UNTOLD = (EngineUnavailable, APIError, OSError, RuntimeError, nats.errors.Error)

log = Log("engine")


class NatsTaken:
    """One delivery of one message."""

    __slots__ = ("_message", "_sequence", "key")

    def __init__(self, message: Msg, key: str) -> None:
        self._message = message
        self._sequence = int(message.reply.split(".")[5])
        self.key = key

    @property
    def sequence(self) -> int:
        return self._sequence

    @property
    def body(self) -> bytes:
        body: bytes = self._message.data
        return body

    async def ack(self) -> None:
        await self._say(b"+ACK")

    async def nak(self, delay_s: float = 0.0) -> None:
        delay = json.dumps({"delay": int(delay_s * 1e9)}) if delay_s else ""
        await self._say(f"-NAK {delay}".rstrip().encode())

    async def in_progress(self) -> None:
        await self._say(b"+WPI")

    async def _say(self, what: bytes) -> None:
        """Not confirmed; while the connection is lost it is not said at all."""
        try:
            await self._message._client.publish(self._message.reply, what)  # noqa: SLF001
        except (OSError, RuntimeError, nats.errors.Error) as error:
            log.debug("not told to the engine", error=error)


class NatsConsumer:
    """`open` it once; `close` it in any state."""

    def __init__(
        self, connection: Connection, *, stream: str, name: str, subjects: list[str], key_from: int
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._name = name
        self._subjects = subjects
        self._key_from = key_from
        self._inbox = f"_INBOX.hearth.{secrets.token_hex(8)}"
        self._subscription: Subscription | None = None
        self._queue: asyncio.Queue[Msg | None] = asyncio.Queue()  # bounded by what is asked for
        self._ready: deque[Taken] = deque()
        self._asked = 0
        self._is_lost = True  # the server does not have the consumer, or may have lost it

    async def open(self) -> None:
        """The first `take` makes the consumer. Raises EngineUnavailable if the connection is
        closed."""
        try:
            self._subscription = await self._connection.client.subscribe(
                self._inbox, cb=self._queue.put
            )
        except nats.errors.Error as error:
            raise EngineUnavailable("the connection to the engine was closed") from error

    async def close(self) -> None:
        """What was taken and not acknowledged goes back. The consumer is removed."""
        if self._connection.is_closed or not self._connection.is_connected:
            return
        try:
            with heeding_cancellation():
                if self._subscription is not None:
                    await self._subscription.unsubscribe()
                await self._connection.call(f"CONSUMER.DELETE.{self._stream}.{self._name}")
        except NotFoundError:
            return
        except UNTOLD as error:
            log.debug("consumer was not removed", name=self._name, error=error)

    def doubt(self) -> None:
        """The connection changed: what was asked for may never come."""
        self._queue.put_nowait(None)

    async def take(self, limit: int) -> Sequence[Taken]:
        while not self._ready:
            try:
                if self._is_lost:
                    await self._make()
                if self._asked <= 0:
                    await self._pull(limit)
                async with asyncio.timeout(SILENCE_S):
                    message = await self._queue.get()
            except TimeoutError:
                self._asked = 0  # no heartbeat: the pull is lost
                continue
            except UNTOLD as error:
                if self._connection.is_closed:
                    raise EngineUnavailable("the connection to the engine was closed") from error
                log.debug("consumer cannot go on yet", name=self._name, error=error)
                self._asked = 0
                await asyncio.sleep(PAUSE_S)
                continue
            self._sort(message)
            while not self._queue.empty():
                self._sort(self._queue.get_nowait())
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def _sort(self, message: Msg | None) -> None:
        if message is None:
            self._asked = 0
            # A server that was restarted may have lost it, or what it knew of it.
            self._is_lost = True
            return
        headers: Mapping[str, str] | None = message.headers
        status = headers.get(STATUS) if headers else None
        if status is None:
            self._asked -= 1
            self._ready.append(NatsTaken(message, message.subject[self._key_from :]))
        elif status != "100":
            self._asked = 0
            why = (headers or {}).get("Description", "")
            # Batch Completed, Message Size Exceeds MaxBytes, Request Timeout: ask again.
            if status not in ("404", "408") and "Batch" not in why and "MaxBytes" not in why:
                self._is_lost = True

    async def _pull(self, limit: int) -> None:
        request = {
            "batch": min(limit, MESSAGES_QUEUED_MAX),
            "max_bytes": PULL_BYTES_MAX,
            "expires": int(PULL_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        if not self._connection.is_connected:
            raise EngineUnavailable("no connection")
        await self._connection.client.publish(
            subject, json.dumps(request).encode(), reply=self._inbox
        )
        self._asked = int(request["batch"])

    async def _make(self) -> None:
        """Without what an earlier one remembers of deliveries."""
        with contextlib.suppress(NotFoundError):
            await self._connection.call(f"CONSUMER.DELETE.{self._stream}.{self._name}")
        config: dict[str, Any] = {
            "name": self._name,
            "durable_name": self._name,
            "filter_subjects": self._subjects,
            "ack_policy": "explicit",
            "ack_wait": int(ACK_WAIT_S * 1e9),
            "max_deliver": -1,
            "max_ack_pending": UNACKED_MAX,
            "deliver_policy": "all",
        }
        await self._connection.call(
            f"CONSUMER.CREATE.{self._stream}.{self._name}",
            {"stream_name": self._stream, "config": config, "action": "create"},
        )
        self._asked = 0
        self._is_lost = False
