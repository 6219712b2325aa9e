"""How is a queue kept in NATS? A stream with work-queue retention, and durable pull consumers.

    Q_<name>                stream; subjects `Q.<name>.<key>`
    Nats-Msg-Id             the message id; forgotten after two minutes
    Nats-Schedule: @at ...  a delay: the server publishes it to its target itself

Work-queue retention deletes what is acknowledged. No bound of the stream may drop what was
accepted, and NATS refuses `discard: new` together with schedules (error 10052): whoever publishes
asks for `size` and refuses in time.

Sources: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-51.md
(schedules), .../ADR-42.md and https://docs.nats.io/nats-concepts/jetstream/consumers (pulls).
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from nats.js.errors import APIError, NotFoundError

from hearth.engine.contract import (
    DEDUPLICATION_S,
    MESSAGE_BYTES_MAX,
    Consumer,
    EngineUnavailable,
    QueueKind,
    QueueSize,
    Stored,
)
from hearth.engine.keys import check_bucket, check_key, check_prefix
from hearth.engine.nats_connection import Connection
from hearth.engine.nats_consumer import NatsConsumer

STREAM_PREFIX: Final = "Q_"
WRITES_MAX: Final = 16
"""Under way at a time. The server does them one after the other: enough that it never waits for
us, and so few that a write which is not acknowledged within a second means something. With all of
a flood under way, a slow disk looks like a dead one, and is given up when it is needed most."""

MESSAGE_ID: Final = "Nats-Msg-Id"
SCHEDULE: Final = "Nats-Schedule"
SCHEDULE_TARGET: Final = "Nats-Schedule-Target"

Publish = Callable[[str, str, bytes, dict[str, str]], Awaitable[int]]
"""Stream, subject, body, headers."""


class NatsQueue:
    """One queue. `doubt` it when the connection was lost or is back."""

    def __init__(self, connection: Connection, publish: Publish, name: str) -> None:
        self._connection = connection
        self._publish = publish
        self._stream = f"{STREAM_PREFIX}{name}"
        self._subjects = f"Q.{name}."
        self._consumers: set[NatsConsumer] = set()
        self._slots = asyncio.Semaphore(WRITES_MAX)

    def doubt(self) -> None:
        for consumer in self._consumers:
            consumer.doubt()

    @property
    def is_busy(self) -> bool:
        return self._slots.locked()

    async def publish(self, key: str, body: bytes, message_id: str) -> int:
        check_key(key)
        _check_body(body)
        return await self._write(key, body, {MESSAGE_ID: message_id})

    async def schedule(
        self, key: str, body: bytes, message_id: str, *, due_ms: int, target: str
    ) -> int:
        check_key(key)
        check_key(target)
        _check_body(body)
        headers = {
            MESSAGE_ID: message_id,
            SCHEDULE: f"@at {_rfc3339(due_ms)}",
            SCHEDULE_TARGET: f"{self._subjects}{target}",
        }
        return await self._write(key, body, headers)

    async def _write(self, key: str, body: bytes, headers: dict[str, str]) -> int:
        async with self._slots:
            return await self._publish(self._stream, f"{self._subjects}{key}", body, headers)

    @asynccontextmanager
    async def consume(self, name: str, prefix: str) -> AsyncIterator[Consumer]:
        check_bucket(name)
        check_key(prefix)
        consumer = NatsConsumer(
            self._connection,
            stream=self._stream,
            name=name,
            subjects=self._under(prefix),
            key_from=len(self._subjects),
        )
        self._consumers.add(consumer)
        try:
            await consumer.open()
            yield consumer
        finally:
            self._consumers.discard(consumer)
            await consumer.close()

    async def counts(self, prefix: str = "") -> Mapping[str, int]:
        check_prefix(prefix)
        found: dict[str, int] = {}
        for subjects in self._under(prefix):
            while True:
                answer = await self._call(
                    f"STREAM.INFO.{self._stream}",
                    {"subjects_filter": subjects, "offset": len(found)},
                )
                page: dict[str, int] = answer["state"].get("subjects") or {}
                found.update((name[len(self._subjects) :], n) for name, n in page.items())
                if not page or len(found) >= answer.get("total", 0):
                    break
        return found

    async def size(self) -> QueueSize:
        state = (await self._call(f"STREAM.INFO.{self._stream}"))["state"]
        return QueueSize(int(state["messages"]), int(state["bytes"]))

    async def last(self) -> int:
        return int((await self._call(f"STREAM.INFO.{self._stream}"))["state"]["last_seq"])

    async def next(self, prefix: str, after: int = 0) -> Stored | None:
        check_prefix(prefix)
        found = [
            stored
            for subjects in self._under(prefix)
            if (stored := await self._next(subjects, after)) is not None
        ]
        return min(found, key=lambda stored: stored.sequence, default=None)

    async def _next(self, subjects: str, after: int) -> Stored | None:
        try:
            answer = await self._call(
                f"STREAM.MSG.GET.{self._stream}", {"seq": after + 1, "next_by_subj": subjects}
            )
        except NotFoundError:
            return None
        message = answer["message"]
        headers = base64.b64decode(message.get("hdrs", "")).decode()
        return Stored(
            message["subject"][len(self._subjects) :],
            message["seq"],
            base64.b64decode(message.get("data", "")),
            _due_ms(headers),
        )

    async def remove(self, sequence: int) -> bool:
        try:
            await self._call(
                f"STREAM.MSG.DELETE.{self._stream}", {"seq": sequence, "no_erase": True}
            )
        except (NotFoundError, EngineUnavailable) as error:
            if isinstance(error, EngineUnavailable) and not isinstance(error.__cause__, APIError):
                raise
            return False  # "no message found", or a sequence that was there once
        return True

    async def purge(self, prefix: str) -> int:
        check_prefix(prefix)
        purged = 0
        for subjects in self._under(prefix):
            answer = await self._call(f"STREAM.PURGE.{self._stream}", {"filter": subjects})
            purged += int(answer["purged"])
        return purged

    def _under(self, prefix: str) -> list[str]:
        """Subjects of `prefix` itself and below it."""
        if not prefix:
            return [f"{self._subjects}>"]
        return [f"{self._subjects}{prefix}", f"{self._subjects}{prefix}.>"]

    async def _call(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return await self._connection.call(name, body)
        except NotFoundError:
            raise
        except APIError as error:
            raise EngineUnavailable("the engine refused a request") from error


def queue_config(name: str, kind: QueueKind, replicas: int) -> dict[str, Any]:
    """The stream of a queue, as JetStream's API wants it."""
    return {
        "name": f"{STREAM_PREFIX}{name}",
        "subjects": [f"Q.{name}.>"],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "old",  # of what has a bound by its kind; see the module
        "max_age": int(kind.age_max_s * 1e9),
        "max_bytes": kind.bytes_max or -1,
        "max_msg_size": MESSAGE_BYTES_MAX + 4096,
        "duplicate_window": int(min(DEDUPLICATION_S, kind.age_max_s or DEDUPLICATION_S) * 1e9),
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,  # schedules need it
    }


def trial_of(stream: str) -> tuple[str, bytes, dict[str, str]]:
    """What a probe writes to a queue: it is gone a second later, and no consumer takes it."""
    return f"Q.{stream.removeprefix(STREAM_PREFIX)}.probe", b"", {"Nats-TTL": "1s"}


def _check_body(body: bytes) -> None:
    if len(body) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {len(body)} bytes; at most {MESSAGE_BYTES_MAX} are kept")


def _rfc3339(epoch_ms: int) -> str:
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03d}Z"


def _due_ms(headers: str) -> int | None:
    for line in headers.split("\r\n"):
        name, _, value = line.partition(":")
        if name == SCHEDULE:
            moment = datetime.fromisoformat(value.strip().removeprefix("@at "))
            return int(moment.timestamp() * 1000)
    return None
