"""How does Hearth keep its state in NATS JetStream? Buckets of keys, seen as the engine's contract.

A bucket is a stream with one message a key, readable by NATS's own tools. Every write is a
compare-and-set: the server compares the last sequence of the key's subject with the one that the
caller expects. A deletion is a message too (`KV-Operation: DEL`), so that watchers hear of it.

Sources: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md,
docs/decisions/0003-engine.md.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from nats.js import api
from nats.js.errors import APIError, BadRequestError, NotFoundError

from hearth.engine.contract import (
    KEEPS_ALL,
    VALUE_BYTES_MAX,
    Change,
    Conflict,
    EngineUnavailable,
    Entry,
    KeyValue,
    Queue,
    QueueKind,
)
from hearth.engine.keys import check_bucket, check_key, check_prefix, check_value
from hearth.engine.nats_connection import Connection
from hearth.engine.nats_queue import STREAM_PREFIX, NatsQueue, queue_config, trial_of
from hearth.engine.nats_watch import DELETION, Watch, is_deletion
from hearth.engine.write_gate import WriteGate

DEADLINE_S = 10.0  # longer than a leader's election, 4-8 s
HEADERS_BYTES_MAX = 4096
DUPLICATES_S = 120

PROBE_BUCKET = "PROBE"
PROBE_KEY = "probe"

# Codes of the server's answers: https://github.com/nats-io/nats-server/blob/main/server/errors.json
WRONG_LAST_SEQUENCE = (10071, 10164)
STREAM_IS_DIFFERENT = 10058


class NatsEngine:
    """One server or a cluster, over one connection. Make it with `connect`, end it with `close`."""

    def __init__(self, replicas: int, deadline_s: float) -> None:
        self.gate = WriteGate()
        """Shut by whoever finds out, with `probe`, that writes fail."""
        self._replicas = replicas
        self._watches: set[Watch] = set()
        self._listeners: list[Callable[[], None]] = []
        self._connection = Connection(deadline_s, on_change=self._doubt_watches)

    @classmethod
    async def connect(
        cls,
        url: str,
        user: str,
        password: str,
        replicas: int = 1,
        deadline_s: float = DEADLINE_S,
    ) -> Self:
        """`replicas` is how many servers hold each bucket made from here: 1, 3 or 5. `deadline_s`
        is for each request and for this one.

        Raises EngineUnavailable if nobody lets us in.
        """
        engine = cls(replicas, deadline_s)
        await engine._connection.open(url, user, password)
        return engine

    @property
    def is_connected(self) -> bool:
        return self._connection.is_connected

    async def close(self) -> None:
        """End the connection; watches that are still open raise EngineUnavailable."""
        await self._connection.close()

    async def bucket(self, name: str) -> KeyValue:
        """Raises RuntimeError if a stream of that name is no bucket of ours."""
        return await self._bucket(name)

    async def queue(self, name: str, kind: QueueKind = KEEPS_ALL) -> Queue:
        check_bucket(name)
        stream = f"{STREAM_PREFIX}{name}"
        config = queue_config(name, kind, self._replicas)
        try:
            await self._connection.call(f"STREAM.CREATE.{stream}", config)
        except APIError as error:
            if error.err_code != STREAM_IS_DIFFERENT:
                raise EngineUnavailable(f"queue {name} could not be made") from error
            await self._update_queue(name, config)
        queue = NatsQueue(self._connection, self.publish, name)
        self._listeners.append(queue.doubt)
        return queue

    async def _update_queue(self, name: str, config: dict[str, Any]) -> None:
        """What another version of Hearth has made becomes what this one expects."""
        try:
            await self._connection.call(f"STREAM.UPDATE.{config['name']}", config)
        except APIError as error:
            raise EngineUnavailable(f"queue {name} could not be changed") from error

    async def probe(self) -> None:
        """Also writes to the streams that are under suspicion, past the gate."""
        await self._bucket(PROBE_BUCKET)
        stream, subject = f"KV_{PROBE_BUCKET}", f"$KV.{PROBE_BUCKET}.{PROBE_KEY}"
        written = await self._store(stream, subject, b"", {})
        found = await self.last_message(stream, subject)
        if found is None or (found.seq or 0) < written:
            raise EngineUnavailable("what was written cannot be read back")
        for suspect in self.gate.suspects:
            if suspect.startswith(STREAM_PREFIX):
                await self._store(suspect, *trial_of(suspect))
                continue
            # The deletion of a key that never was: no reader takes it for anything.
            subject = f"$KV.{suspect.removeprefix('KV_')}.{PROBE_KEY}"
            await self._store(suspect, subject, b"", DELETION)

    async def publish(
        self, stream: str, subject: str, value: bytes, headers: dict[str, str]
    ) -> int:
        """The sequence under which the stream has stored it. Raises Conflict, or
        EngineTakesNoWrites if that is known."""
        async with self.gate.write(stream):
            return await self._store(stream, subject, value, headers)

    async def _store(self, stream: str, subject: str, value: bytes, headers: dict[str, str]) -> int:
        publish = self._connection.jetstream.publish
        try:
            ack = await self._connection.ask(
                lambda: publish(subject, value, headers=headers or None)
            )
        except BadRequestError as error:
            if error.err_code in WRONG_LAST_SEQUENCE:
                raise Conflict(subject) from error
            self.gate.doubt(stream)
            raise EngineUnavailable("the engine refused a write") from error
        except APIError as error:
            self.gate.doubt(stream)
            raise EngineUnavailable("the engine could not write") from error
        self.gate.trust(stream)
        return ack.seq

    async def last_message(self, stream: str, subject: str) -> api.RawStreamMsg | None:
        """The newest message of `subject`, read from the stream's leader."""
        get = self._connection.jetstream.get_msg
        try:
            return await self._connection.ask(lambda: get(stream, subject=subject))
        except NotFoundError:
            return None
        except APIError as error:
            raise EngineUnavailable("the engine could not read") from error

    @asynccontextmanager
    async def watch(self, stream: str, subjects: str) -> AsyncIterator[Watch]:
        """An open watch. Raises EngineUnavailable if it cannot begin in time."""
        watch = Watch(self._connection, stream, subjects)
        self._watches.add(watch)
        try:
            await self._begin(watch)
            yield watch
        finally:
            self._watches.discard(watch)
            await watch.close()

    async def _begin(self, watch: Watch) -> None:
        try:
            await self._connection.ask(watch.open)
        except APIError as error:
            raise EngineUnavailable("the engine could not begin a watch") from error

    async def _bucket(self, name: str) -> "NatsKeyValue":
        check_bucket(name)
        wanted = _stream_config(name, self._replicas)
        jetstream = self._connection.jetstream
        try:
            await self._connection.ask(lambda: jetstream.add_stream(wanted))
        except APIError as error:
            if error.err_code != STREAM_IS_DIFFERENT:
                raise EngineUnavailable(f"bucket {name} could not be made") from error
            found = await self._connection.ask(lambda: jetstream.stream_info(str(wanted.name)))
            _check_stream(found.config, wanted)
        return NatsKeyValue(self, name)

    def _doubt_watches(self) -> None:
        for watch in self._watches:
            watch.doubt()
        for doubt in self._listeners:
            doubt()


class NatsKeyValue:
    """One bucket."""

    def __init__(self, engine: NatsEngine, name: str) -> None:
        self._engine = engine
        self._stream = f"KV_{name}"
        self._subjects = f"$KV.{name}."

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        found = await self._last(key)
        return None if found is None or is_deletion(found.headers) else _entry(key, found)

    async def create(self, key: str, value: bytes) -> int:
        check_key(key)
        check_value(value)
        try:
            return await self.write(key, value, expected=0)
        except Conflict:
            found = await self._last(key)
            if found is None or found.seq is None or not is_deletion(found.headers):
                raise
            # Not there, but it was: its deletion is what must not have changed.
            return await self.write(key, value, expected=found.seq)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        check_key(key)
        check_value(value)
        return await self.write(key, value, expected=_some(key, revision))

    async def delete(self, key: str, revision: int) -> int:
        check_key(key)
        return await self.write(key, b"", expected=_some(key, revision), headers=DELETION)

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[AsyncIterator[Change]]:
        check_prefix(prefix)
        # One filter: for a consumer with two of them the server looks at message after message.
        subjects = f"{self._subjects}{prefix}.>" if prefix else f"{self._subjects}>"
        async with self._engine.watch(self._stream, subjects) as changes:
            yield changes

    async def write(
        self, key: str, value: bytes, expected: int | None, headers: dict[str, str] | None = None
    ) -> int:
        """Write if the last message of `key` has the sequence `expected`: 0 for no message at all,
        None for whatever it is. Returns the new one. Raises Conflict."""
        all_headers = dict(headers or {})
        if expected is not None:
            all_headers[api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected)
        subject = f"{self._subjects}{key}"
        return await self._engine.publish(self._stream, subject, value, all_headers)

    async def _last(self, key: str) -> api.RawStreamMsg | None:
        return await self._engine.last_message(self._stream, f"{self._subjects}{key}")


def _entry(key: str, message: api.RawStreamMsg) -> Entry:
    assert message.seq is not None
    return Entry(key, message.data or b"", message.seq)


def _some(key: str, revision: int) -> int:
    """To NATS, 0 would mean "no such key": an update would create."""
    if revision < 1:
        raise Conflict(key)
    return revision


def _stream_config(bucket: str, replicas: int) -> api.StreamConfig:
    return api.StreamConfig(
        name=f"KV_{bucket}",
        subjects=[f"$KV.{bucket}.>"],
        storage=api.StorageType.FILE,
        num_replicas=replicas,
        max_msgs_per_subject=1,
        max_msg_size=VALUE_BYTES_MAX + HEADERS_BYTES_MAX,  # the server counts headers too
        discard=api.DiscardPolicy.NEW,
        allow_direct=False,  # reads ask the leader
        allow_atomic=True,
        allow_rollup_hdrs=True,  # NATS's own tools expect it of a bucket
        deny_delete=True,
        duplicate_window=DUPLICATES_S,
    )


def _check_stream(found: api.StreamConfig, wanted: api.StreamConfig) -> None:
    """An operator may have changed replicas or limits; what correctness rests on must hold."""
    for name in ("subjects", "storage", "max_msgs_per_subject", "allow_direct", "deny_delete"):
        is_value, must_value = getattr(found, name) or False, getattr(wanted, name) or False
        if is_value != must_value:
            raise RuntimeError(f"stream {wanted.name} has {name}={is_value}, not {must_value}")
