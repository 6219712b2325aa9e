"""How is a bucket watched without a gap, whatever happens to connection, server or reader?

By a consumer that lives only as long as nothing goes wrong. It hands out the stream's messages in
order, numbered without a hole. When its numbering has a hole, its heartbeat stays out or the
connection was lost, it is thrown away and another one begins after the last sequence seen.
A stream holds one message a key, the newest, deletions included: beginning anywhere therefore
ends in the same state.

Messages are pulled in batches, so that a slow reader holds up to one batch and loses nothing.
Sources: ADR-17 and ADR-37 of github.com/nats-io/nats-architecture-and-design.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Self

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api

from hearth.base.log import Log
from hearth.engine.contract import CaughtUp, Change, Deleted, EngineUnavailable, Entry
from hearth.engine.nats_connection import Connection, heeding_cancellation

BATCH_MESSAGES = 1024
BATCH_BYTES = 8 * 1024 * 1024
PULL_S = 30.0
HEARTBEAT_S = 5.0
SILENCE_S = 2.5 * HEARTBEAT_S
INACTIVE_S = 60.0  # after this the server removes a consumer that nobody asks
CLOSE_S = 1.0
REOPEN_S_MIN, REOPEN_S_MAX = 0.05, 1.0
REOPENING_S = 3.0  # a request that the end of a server has swallowed is not answered any more

OPERATION = "KV-Operation"
DELETION = {OPERATION: "DEL"}
STATUS = "Status"
HEARTBEAT = "100"

log = Log("engine")


def is_deletion(headers: Mapping[str, str] | None) -> bool:
    """Is a message with these headers a key's deletion? PURGE comes from NATS's own tools."""
    return headers is not None and headers.get(OPERATION) in ("DEL", "PURGE")


class _Doubt(Exception):
    """The consumer may be gone or may have skipped something."""


class Watch:
    """The changes of some subjects of one stream, as an iterator. `open` it, iterate, `close` it.

    An iteration that is cancelled loses nothing: the next one goes on where it was.
    """

    def __init__(self, connection: Connection, stream: str, subjects: str) -> None:
        self._connection = connection
        self._client = connection.client
        self._jetstream = connection.jetstream
        self._stream = stream
        self._subjects = subjects
        self._key_from = len(f"$KV.{stream.removeprefix('KV_')}.")
        self._began_at: int | None = None
        self._seen = 0
        self._caught_up = False
        self._ready: deque[Change] = deque()
        # Of the present consumer:
        self._is_open = False
        self._consumer: str | None = None
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._arrived: deque[Msg | None] = deque()  # None: see `doubt`
        self._has_arrived = asyncio.Event()
        self._delivered = 0
        self._asked = 0  # messages still to come for the last pull

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """Raises EngineUnavailable if the connection was closed or the stream was replaced."""
        while not self._ready:
            if self._connection.is_closed:
                raise EngineUnavailable("the connection to the engine was closed")
            try:
                if not self._is_open:
                    await self._reopen()
                await self._wait_arrived()
                while self._arrived:
                    self._take(self._arrived.popleft())
            except _Doubt as doubt:
                log.debug("watch begins again", stream=self._stream, why=doubt, seen=self._seen)
                await self.close()
        return self._ready.popleft()

    def doubt(self) -> None:
        """Whoever knows that the connection changed says it here; the reader then reopens."""
        self._arrived.append(None)
        self._has_arrived.set()

    async def open(self) -> None:
        """Make a consumer that begins after what was seen. Raises what nats-py raises."""
        state = (await self._jetstream.stream_info(self._stream)).state
        if self._began_at is None:
            self._began_at = state.last_seq
        if state.last_seq < self._seen:
            raise EngineUnavailable(f"{self._stream} is older than what was seen of it: replaced?")
        await self.close()
        arrived = self._arrived = deque()  # what an earlier consumer sends goes nowhere
        has_arrived = self._has_arrived
        self._delivered = self._asked = 0

        async def receive(message: Msg) -> None:
            arrived.append(message)
            has_arrived.set()

        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(self._inbox, cb=receive)
        self._consumer = secrets.token_hex(11)
        made = await self._jetstream.add_consumer(self._stream, self._consumer_config())
        self._is_open = True
        if made.num_pending == 0:
            self._catch_up()

    async def close(self) -> None:
        """Give the consumer back. If the server cannot be told, it finds out after INACTIVE_S."""
        self._is_open = False
        consumer, self._consumer = self._consumer, None
        subscription, self._subscription = self._subscription, None
        if (consumer is None and subscription is None) or self._connection.is_closed:
            return
        try:
            with heeding_cancellation():
                await self._give_back(consumer, subscription)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            log.debug("consumer left behind", stream=self._stream, error=error)

    async def _give_back(self, consumer: str | None, subscription: Subscription | None) -> None:
        async with asyncio.timeout(CLOSE_S):
            if subscription is not None:
                await subscription.unsubscribe()
            if consumer is not None and self._connection.is_connected:
                await self._jetstream.delete_consumer(self._stream, consumer)

    def _consumer_config(self) -> api.ConsumerConfig:
        return api.ConsumerConfig(
            name=self._consumer,
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._seen + 1,
            ack_policy=api.AckPolicy.NONE,
            filter_subject=self._subjects,
            inactive_threshold=INACTIVE_S,
            num_replicas=1,
            mem_storage=True,
        )

    async def _reopen(self) -> None:
        wait_s = REOPEN_S_MIN
        while not self._connection.is_closed:
            try:
                if self._connection.is_connected:
                    async with asyncio.timeout(REOPENING_S):
                        with heeding_cancellation():
                            return await self.open()
            except (TimeoutError, OSError, nats.errors.Error) as error:
                log.warning("watch cannot go on yet", stream=self._stream, error=error)
                await self.close()
            await asyncio.sleep(wait_s * (0.5 + secrets.randbelow(1000) / 1000))
            wait_s = min(2 * wait_s, REOPEN_S_MAX)
        raise EngineUnavailable("the connection to the engine was closed")

    async def _wait_arrived(self) -> None:
        if self._arrived:
            return
        self._has_arrived.clear()
        try:
            async with asyncio.timeout(SILENCE_S):
                if self._asked <= 0:
                    await self._pull()
                await self._has_arrived.wait()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise _Doubt("silence") from error

    async def _pull(self) -> None:
        request = {
            "batch": BATCH_MESSAGES,
            "max_bytes": BATCH_BYTES,
            "expires": int(PULL_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        await self._client.publish(subject, json.dumps(request).encode(), reply=self._inbox)
        self._asked = BATCH_MESSAGES

    def _take(self, message: Msg | None) -> None:
        if message is None:
            raise _Doubt("the connection changed")
        headers: Mapping[str, str] | None = message.headers
        status = headers.get(STATUS) if headers else None
        if status == HEARTBEAT:
            return
        if status is not None:
            self._end_pull(status, headers)
            return
        self._asked -= 1
        self._delivered += 1
        revision, delivered, pending = _position(message)
        if delivered != self._delivered:
            raise _Doubt("a message is missing")
        self._seen = revision
        key = message.subject[self._key_from :]
        assert self._began_at is not None
        if not is_deletion(headers):
            self._ready.append(Entry(key, message.data, revision))
        elif revision > self._began_at:  # what was deleted earlier is not there
            self._ready.append(Deleted(key, revision))
        if pending == 0:
            self._catch_up()

    def _end_pull(self, status: str, headers: Mapping[str, str] | None) -> None:
        description = (headers or {}).get("Description", "")
        if status == "408" or (status == "409" and "MaxBytes" in description):
            self._asked = 0  # expired or full: ask again
        else:
            raise _Doubt(f"{status} {description}")

    def _catch_up(self) -> None:
        if not self._caught_up:
            self._caught_up = True
            self._ready.append(CaughtUp())


def _position(message: Msg) -> tuple[int, int, int]:
    """Sequence in the stream, number of the delivery, messages still to come. Nearly all of what
    is read comes through here, and is told in nine tokens:
    $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>
    """
    tokens = message.reply.split(".")
    if len(tokens) == 9:
        return int(tokens[5]), int(tokens[6]), int(tokens[8])
    told = message.metadata  # of a server with domains
    return told.sequence.stream, told.sequence.consumer, told.num_pending
