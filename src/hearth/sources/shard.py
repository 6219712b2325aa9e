"""How is one shard read? Once a second while it has nothing, and its records dealt out to lanes.

What was read and is not done is bounded; reading waits then. How far all is done is on disk before
a lane goes on: what is read again after a kill are the batches that were running.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from zlib import crc32

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable
from hearth.model.event_filters import Filters
from hearth.model.mappings import EventSourceMapping
from hearth.sources.checkpoints import Checkpoints
from hearth.sources.contract import SourceFailed
from hearth.sources.lane import Done, Lane
from hearth.sources.status import MappingStatus
from hearth.sources.streams import (
    Checkpoint,
    IteratorUseless,
    Latest,
    Progress,
    Read,
    Start,
    Stream,
    StreamRecord,
)

POLL_S: Final = 1.0
"""Between reads of a shard that has nothing."""
BUSY_S: Final = 0.2
"""Between reads of one that has: a shard takes five a second."""
READ_MAX: Final = 1_000
AHEAD: Final = 2
"""Batches, for each lane, that may wait."""
SAVE_FILTERED_S: Final = 10.0
PAUSE_S_MAX: Final = 20.0

log = Log("sources")

MakeLane = Callable[[asyncio.Event, Done], Lane]


class ShardReader:
    def __init__(
        self,
        mapping: EventSourceMapping,
        shard: str,
        checkpoint: Checkpoint,
        stream: Stream,
        checkpoints: Checkpoints,
        status: MappingStatus,
        clock: Clock,
        stopping: asyncio.Event,
        make_lane: MakeLane,
        *,
        is_first: bool,
    ) -> None:
        """`is_first`: the mapping has just begun, and wants what comes from now on."""
        self._mapping = mapping
        self._shard = shard
        self._start: Start = Latest() if is_first else checkpoint
        self._checkpoint = checkpoint
        self._stream = stream
        self._checkpoints = checkpoints
        self._status = status
        self._clock = clock
        self._stopping = stopping
        self._filters = Filters(mapping.kind, mapping.filters)
        self._progress = Progress(checkpoint.after)
        self._saved = checkpoint
        self._saved_s = clock.monotonic_s()
        self._read_last = checkpoint.after
        self._room = asyncio.Event()
        self._saving = asyncio.Lock()
        self._is_latest = False
        """The stream itself sees to it that nothing earlier comes."""
        self._lanes = [make_lane(stopping, self._done) for _ in range(mapping.parallel)]
        self._lanes[0].window = checkpoint.window
        self._pending_max = max(READ_MAX, AHEAD * mapping.parallel * mapping.batch_size)

    @property
    def saved(self) -> Checkpoint:
        """What is on disk."""
        return self._saved

    async def run(self) -> bool:
        """Whether the shard has ended, and all of it is done; not if this was stopped."""
        async with asyncio.TaskGroup() as tasks:
            lanes = [tasks.create_task(lane.run(), name="lane") for lane in self._lanes]
            watch = tasks.create_task(self._watch_stop(), name="lanes-stop")
            has_ended = await self._read()
            for lane in self._lanes:
                lane.end()
            await asyncio.gather(*lanes)
            watch.cancel()
        if has_ended and not self._progress.pending and not self._stopping.is_set():
            await self._save(Checkpoint(after=self._progress.after, has_ended=True))
            return True
        return False

    async def _watch_stop(self) -> None:
        await self._stopping.wait()
        self._room.set()
        for lane in self._lanes:
            lane.stop()

    # --- reading

    async def _read(self) -> bool:
        """Whether it came to the shard's end."""
        iterator: str | None = None
        pause_s = POLL_S
        while not self._stopping.is_set():
            await self._wait_room()
            try:
                if iterator is None:
                    iterator = await self._stream.iterator(self._shard, self._where())
                read = await self._stream.read(self._shard, iterator, READ_MAX)
            except SourceFailed as error:
                iterator = None
                if not isinstance(error, IteratorUseless):
                    self._status.source_failed(str(error))
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                continue
            pause_s = POLL_S
            await self._deal(read)
            if read.next is None:
                return True
            iterator = read.next
            if not read.records:
                self._lanes[0].caught_up(self._clock.epoch_ms())
            await self._sleep(BUSY_S if read.records else POLL_S)
        return False

    def _where(self) -> Start:
        """After what was read, done or not: what was read is in the lanes."""
        if self._read_last is not None:
            return Checkpoint(after=self._read_last)
        start, self._start = self._start, self._checkpoint
        self._is_latest = isinstance(start, Latest)
        return start

    async def _deal(self, read: Read) -> None:
        passed_over: list[str] = []
        since_ms = self._since_ms()
        self._status.polled += len(read.records)
        for record in read.records:
            if not self._progress.began(record.sequence):
                continue  # the server gave it out again, though it was asked for what follows
            self._read_last = record.sequence
            is_early = since_ms is not None and record.arrived_ms < since_ms
            if is_early or not self._filters.passes(record.record):
                self._status.filtered += not is_early
                passed_over.append(record.sequence)
            else:
                lane = crc32(record.partition.encode()) % len(self._lanes)
                self._lanes[lane].put(record)
        self._progress.done(passed_over)
        is_time = self._clock.monotonic_s() - self._saved_s > SAVE_FILTERED_S
        if passed_over and is_time:
            await self._save(self._checkpoint)

    def _since_ms(self) -> int | None:
        """Of the first records; times of DynamoDB are whole seconds."""
        since_ms = self._checkpoint.since_ms
        if since_ms is None or self._is_latest or self._checkpoint.after is not None:
            return None
        return since_ms // 1000 * 1000

    async def _wait_room(self) -> None:
        while self._progress.pending >= self._pending_max and not self._stopping.is_set():
            self._room.clear()
            await self._room.wait()

    async def _sleep(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    # --- keeping

    async def _done(self, records: Sequence[StreamRecord]) -> None:
        self._progress.done(record.sequence for record in records)
        self._room.set()
        await self._save(self._checkpoint)

    async def _save(self, checkpoint: Checkpoint) -> None:
        """Again and again, until it is on disk or this is stopped."""
        pause_s = 0.5
        async with self._saving:
            if not checkpoint.has_ended:  # it may have grown
                window = self._lanes[0].kept_window()
                checkpoint = replace(self._checkpoint, after=self._progress.after, window=window)
                if checkpoint == self._saved:
                    return
            while True:
                try:
                    await self._checkpoints.save(self._mapping.uuid, {self._shard: checkpoint})
                except EngineUnavailable as error:
                    log.warning("checkpoint was not kept yet", shard=self._shard, error=error)
                    if self._stopping.is_set():
                        return
                    await self._sleep(pause_s)
                    pause_s = min(2 * pause_s, PAUSE_S_MAX)
                else:
                    self._saved = checkpoint
                    self._saved_s = self._clock.monotonic_s()
                    return
