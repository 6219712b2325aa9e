"""What would the engine do, without a server? The same contract, in this process's memory.

For unit tests and simulations; nothing survives the process. It is strict where NATS is: a watch
that lags sees the last state of a key and not what was overwritten meanwhile, and every call lets
other tasks run in between, as a network does, so that races show.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Self

from hearth.base.clock import Clock, SystemClock
from hearth.engine.contract import (
    KEEPS_ALL,
    CaughtUp,
    Change,
    Conflict,
    Deleted,
    EngineTakesNoWrites,
    EngineUnavailable,
    Entry,
    KeyValue,
    Queue,
    QueueKind,
)
from hearth.engine.keys import check_bucket, check_key, check_prefix, check_value, is_below
from hearth.engine.memory_queue import MemoryQueue


class Outage(Enum):
    """How a test breaks the engine."""

    NONE = "works"
    UNREACHABLE = "nothing is read or written"
    NO_WRITES = "reads work, writes are refused"
    REPLIES_LOST = "requests are carried out, but nobody hears of it"


class MemoryEngine:
    """Buckets in memory. Set `outage` to see how callers take it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.outage = Outage.NONE
        self._buckets: dict[str, MemoryKeyValue] = {}
        self._queues: dict[str, MemoryQueue] = {}
        self._clock = clock or SystemClock()

    async def bucket(self, name: str) -> KeyValue:
        check_bucket(name)
        await self.send()
        bucket = self._buckets.setdefault(name, MemoryKeyValue(self))
        await self.receive()
        return bucket

    async def queue(self, name: str, kind: QueueKind = KEEPS_ALL) -> Queue:
        check_bucket(name)
        await self.send()
        queue = self._queues.setdefault(name, MemoryQueue(self, kind, self._clock))
        queue.kind = kind
        await self.receive()
        return queue

    async def probe(self) -> None:
        await self.send()
        await self.receive()

    def check_writable(self) -> None:
        """Raises EngineTakesNoWrites."""
        if self.outage is Outage.NO_WRITES:
            raise EngineTakesNoWrites("the disk is full")

    async def send(self) -> None:
        """A request travels. Raises EngineUnavailable if it does not arrive."""
        await asyncio.sleep(0)
        if self.outage is Outage.UNREACHABLE:
            raise EngineUnavailable("the engine cannot be reached")

    async def receive(self) -> None:
        """A reply travels. Raises EngineUnavailable if it does not arrive."""
        await asyncio.sleep(0)
        if self.outage is Outage.REPLIES_LOST:
            raise EngineUnavailable("the engine's reply was lost")


class MemoryKeyValue:
    """One bucket."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._revision = 0
        self._last: dict[str, Entry | Deleted] = {}  # in order of revision: the newest at the end
        self._written = asyncio.Event()  # replaced by each write

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        await self._engine.send()
        last = self._last.get(key)
        await self._engine.receive()
        return last if isinstance(last, Entry) else None

    async def create(self, key: str, value: bytes) -> int:
        check_key(key)
        check_value(value)
        await self._engine.send()
        if isinstance(self._last.get(key), Entry):
            raise Conflict(key)
        return await self._write(Entry(key, value, self._revision + 1))

    async def update(self, key: str, value: bytes, revision: int) -> int:
        check_key(key)
        check_value(value)
        await self._engine.send()
        self._expect(key, revision)
        return await self._write(Entry(key, value, self._revision + 1))

    async def delete(self, key: str, revision: int) -> int:
        check_key(key)
        await self._engine.send()
        self._expect(key, revision)
        return await self._write(Deleted(key, self._revision + 1))

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[AsyncIterator[Change]]:
        check_prefix(prefix)
        await self._engine.send()
        yield _Watch(self, prefix, began_at=self._revision)

    def after(self, revision: int, prefix: str) -> list[Entry | Deleted]:
        """What was written after `revision` and not overwritten since, oldest first."""
        newer = []
        for last in reversed(self._last.values()):
            if last.revision <= revision:
                break
            if is_below(last.key, prefix):
                newer.append(last)
        newer.reverse()
        return newer

    async def wait_written(self) -> None:
        """Return after the next write."""
        await self._written.wait()

    def _expect(self, key: str, revision: int) -> None:
        last = self._last.get(key)
        if last is None or last.revision != revision:
            raise Conflict(key)

    async def _write(self, change: Entry | Deleted) -> int:
        self._engine.check_writable()
        self._last.pop(change.key, None)
        self._last[change.key] = change
        self._revision = change.revision
        self._written.set()
        self._written = asyncio.Event()
        await self._engine.receive()
        return change.revision


class _Watch:
    def __init__(self, bucket: MemoryKeyValue, prefix: str, began_at: int) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._began_at = began_at
        self._seen = 0
        self._has_begun = False
        self._caught_up = False
        self._ready: deque[Entry | Deleted] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        await asyncio.sleep(0)
        while True:
            while self._ready:
                change = self._ready.popleft()
                self._seen = change.revision
                if isinstance(change, Entry) or change.revision > self._began_at:
                    return change  # what was deleted before the watch began is not there
            if self._has_begun and not self._caught_up:
                self._caught_up = True
                return CaughtUp()
            self._ready.extend(self._bucket.after(self._seen, self._prefix))
            if self._has_begun and not self._ready:
                await self._bucket.wait_written()
            self._has_begun = True
