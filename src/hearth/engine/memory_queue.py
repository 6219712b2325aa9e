"""What would a queue of the engine do, without a server? The same contract, in memory.

It is strict where NATS is: a message that is taken and neither acknowledged nor said to be in
progress comes again after ACK_WAIT_S, ids are forgotten after DEDUPLICATION_S, and every call lets
other tasks run in between.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from hearth.base.clock import Clock
from hearth.engine.contract import (
    ACK_WAIT_S,
    DEDUPLICATION_S,
    MESSAGE_BYTES_MAX,
    Consumer,
    EngineUnavailable,
    QueueKind,
    QueueSize,
    Stored,
    Taken,
)
from hearth.engine.keys import check_bucket, check_key, check_prefix, matches

OUTAGE_PAUSE_S = 0.25


class Wire(Protocol):
    """The way to the engine and back; MemoryEngine supplies it."""

    async def send(self) -> None: ...

    async def receive(self) -> None: ...

    def check_writable(self) -> None: ...


@dataclass(slots=True)
class _Message:
    key: str
    sequence: int
    body: bytes
    stored_ms: int
    due_ms: int | None = None
    target: str = ""


@dataclass(slots=True)
class _Reader:
    """What the engine knows of one consumer."""

    prefix: str
    hidden_until_ms: dict[int, int] = field(default_factory=dict)
    """By sequence: taken, or put off."""


class MemoryQueue:
    """One queue."""

    def __init__(self, engine: Wire, kind: QueueKind, clock: Clock) -> None:
        self._engine = engine
        self.kind = kind
        self._clock = clock
        self._last = 0
        self._messages: dict[int, _Message] = {}  # oldest first
        self._ids: dict[str, tuple[int, int]] = {}  # to sequence, and when it came
        self._readers: dict[str, _Reader] = {}
        self._changed = asyncio.Event()  # replaced at each change

    @property
    def is_busy(self) -> bool:
        return False

    async def publish(self, key: str, body: bytes, message_id: str) -> int:
        return await self._store(key, body, message_id, None, "")

    async def schedule(
        self, key: str, body: bytes, message_id: str, *, due_ms: int, target: str
    ) -> int:
        check_key(target)
        return await self._store(key, body, message_id, due_ms, target)

    @asynccontextmanager
    async def consume(self, name: str, prefix: str) -> AsyncIterator[Consumer]:
        check_bucket(name)
        check_key(prefix)
        for other, reader in self._readers.items():
            is_apart = not matches(prefix, reader.prefix) and not matches(reader.prefix, prefix)
            if other != name and not is_apart:
                raise EngineUnavailable("the engine refused a request")
        reader = self._readers[name] = _Reader(prefix)
        try:
            yield _MemoryConsumer(self, reader)
        finally:
            if self._readers.get(name) is reader:
                del self._readers[name]

    async def counts(self, prefix: str = "") -> Mapping[str, int]:
        check_prefix(prefix)
        await self._engine.send()
        self._advance()
        found = Counter(m.key for m in self._messages.values() if matches(m.key, prefix))
        await self._engine.receive()
        return found

    async def size(self) -> QueueSize:
        await self._engine.send()
        self._advance()
        size = QueueSize(len(self._messages), sum(len(m.body) for m in self._messages.values()))
        await self._engine.receive()
        return size

    async def next(self, prefix: str, after: int = 0) -> Stored | None:
        check_prefix(prefix)
        await self._engine.send()
        self._advance()
        for message in self._messages.values():
            if message.sequence > after and matches(message.key, prefix):
                await self._engine.receive()
                return Stored(message.key, message.sequence, message.body, message.due_ms)
        await self._engine.receive()
        return None

    async def last(self) -> int:
        await self._engine.send()
        await self._engine.receive()
        return self._last

    async def remove(self, sequence: int) -> bool:
        await self._engine.send()
        self._engine.check_writable()
        was_there = self._messages.pop(sequence, None) is not None
        await self._engine.receive()
        return was_there

    async def purge(self, prefix: str) -> int:
        check_prefix(prefix)
        await self._engine.send()
        self._engine.check_writable()
        doomed = [m.sequence for m in self._messages.values() if matches(m.key, prefix)]
        for sequence in doomed:
            del self._messages[sequence]
        await self._engine.receive()
        return len(doomed)

    async def _store(
        self, key: str, body: bytes, message_id: str, due_ms: int | None, target: str
    ) -> int:
        check_key(key)
        if len(body) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message of {len(body)} bytes; at most {MESSAGE_BYTES_MAX}")
        await self._engine.send()
        self._engine.check_writable()
        now_ms = self._clock.epoch_ms()
        known = self._ids.get(message_id)
        if known is not None and now_ms - known[1] < DEDUPLICATION_S * 1000:
            sequence = known[0]
        else:
            if due_ms is not None:
                self._messages = {s: m for s, m in self._messages.items() if m.key != key}
            sequence = self._add(key, body, due_ms, target)
            self._ids[message_id] = (sequence, now_ms)
        await self._engine.receive()
        return sequence

    def _add(self, key: str, body: bytes, due_ms: int | None = None, target: str = "") -> int:
        self._last += 1
        self._messages[self._last] = _Message(
            key, self._last, body, self._clock.epoch_ms(), due_ms, target
        )
        self._change()
        return self._last

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _advance(self) -> None:
        """Do what time does: schedules come due, the old goes."""
        now_ms = self._clock.epoch_ms()
        for message in list(self._messages.values()):
            if message.due_ms is not None and message.due_ms <= now_ms:
                del self._messages[message.sequence]
                self._add(message.target, message.body)
            elif self.kind.age_max_s and now_ms - message.stored_ms > self.kind.age_max_s * 1000:
                del self._messages[message.sequence]
        while self.kind.bytes_max and self._bytes() > self.kind.bytes_max:
            del self._messages[next(iter(self._messages))]

    def _bytes(self) -> int:
        return sum(len(message.body) for message in self._messages.values())

    async def take(self, reader: _Reader, limit: int) -> Sequence[Taken]:
        while True:
            try:
                await self._engine.send()
            except EngineUnavailable:
                await asyncio.sleep(OUTAGE_PAUSE_S)
                continue
            changed = self._changed
            self._advance()
            now_ms = self._clock.epoch_ms()
            hidden = reader.hidden_until_ms
            found: list[Taken] = []
            for message in self._messages.values():
                if len(found) == limit:
                    break
                if matches(message.key, reader.prefix) and (
                    hidden.get(message.sequence, 0) <= now_ms
                ):
                    hidden[message.sequence] = now_ms + int(ACK_WAIT_S * 1000)
                    found.append(_MemoryTaken(self, reader, message))
            if found:
                return found
            await self._wait(changed, reader, now_ms)

    async def _wait(self, changed: asyncio.Event, reader: _Reader, now_ms: int) -> None:
        """Until something changed, or time brings something."""
        moments = [m.due_ms for m in self._messages.values() if m.due_ms is not None]
        moments += [
            until
            for sequence, until in reader.hidden_until_ms.items()
            if sequence in self._messages
        ]
        try:
            async with asyncio.timeout(max(min(moments) - now_ms, 1) / 1000 if moments else None):
                await changed.wait()
        except TimeoutError:
            return

    async def settle(self, reader: _Reader, sequence: int) -> None:
        if await self._arrives() and reader in self._readers.values():
            self._messages.pop(sequence, None)
            reader.hidden_until_ms.pop(sequence, None)

    async def hide(self, reader: _Reader, sequence: int, wait_s: float) -> None:
        if await self._arrives():
            reader.hidden_until_ms[sequence] = self._clock.epoch_ms() + int(wait_s * 1000)
            self._change()

    async def _arrives(self) -> bool:
        """Nobody confirms it: what is said in an outage is not heard."""
        try:
            await self._engine.send()
        except EngineUnavailable:
            return False
        return True


class _MemoryConsumer:
    def __init__(self, queue: MemoryQueue, reader: _Reader) -> None:
        self._queue = queue
        self._reader = reader

    async def take(self, limit: int) -> Sequence[Taken]:
        return await self._queue.take(self._reader, limit)


class _MemoryTaken:
    def __init__(self, queue: MemoryQueue, reader: _Reader, message: _Message) -> None:
        self._queue = queue
        self._reader = reader
        self.key = message.key
        self.sequence = message.sequence
        self.body = message.body

    async def ack(self) -> None:
        await self._queue.settle(self._reader, self.sequence)

    async def nak(self, delay_s: float = 0.0) -> None:
        await self._queue.hide(self._reader, self.sequence, delay_s)

    async def in_progress(self) -> None:
        await self._queue.hide(self._reader, self.sequence, ACK_WAIT_S)
