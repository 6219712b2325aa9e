"""Where are the logs of functions kept? On this machine's disk, a directory for each log group.

    append -> Queue (memory, bounded) -> every FLUSH_S one batch -> writing thread -> segments
                                                                      '-> whoever follows wakes

`append` is called while an invoke runs: it takes microseconds and waits for nothing. A disk that
is slow or full costs lines, which are counted, and never an invoke. What was appended less than
FLUSH_S before a kill -9 is lost; what a batch wrote is read again whole or not at all.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.logs import reading, records, segments
from hearth.logs.catalog import LogCatalog
from hearth.logs.disk import Disk, ThreadedDisk
from hearth.logs.pending import Batch, Queue, QueueLimits, Waiting
from hearth.logs.reading import PAGE_EVENTS_MAX, LogPage, LogQuery
from hearth.logs.records import Frame
from hearth.logs.segments import OpenGroups, SegmentLimits
from hearth.model.logs import EventId, LogEvent, LogGroup

FLUSH_S: Final = 0.02
FOLLOW_S: Final = 60.0

log = Log("logs")


@dataclass(frozen=True, slots=True)
class LogLimits:
    segments: SegmentLimits = field(default_factory=SegmentLimits)
    queue: QueueLimits = field(default_factory=QueueLimits)


class LogStore:
    """All log groups. Made while the event loop runs; close() it before its Jobs scope ends."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        jobs: Jobs,
        *,
        limits: LogLimits | None = None,
        disk: Disk | None = None,
    ) -> None:
        limits = limits or LogLimits()
        self._directory = directory
        self._clock = clock
        self._disk = disk or ThreadedDisk()
        self._queue = Queue(limits.queue)
        self._open = OpenGroups(directory, limits.segments, clock.epoch_ms)
        self.catalog = LogCatalog(directory, self._disk, self._open, clock, self.flush)
        self.is_ending = False
        """Hearth stops: whoever follows a log should leave, for it would hold the stop up."""
        self._watchers: dict[LogGroup, set[asyncio.Event]] = {}
        self._something = asyncio.Event()  # waits to be written
        self._hurry = asyncio.Event()
        self._busy = False
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._failing = False
        self._writer = jobs.spawn(self._write_batches(), name="write-logs")

    @property
    def lines_lost(self) -> int:
        """Lines dropped since the start: the queue was full, or the disk."""
        return self._queue.lines_lost

    def append(self, group: LogGroup, stream: str, at_ms: int, lines: Sequence[bytes]) -> None:
        """Take lines that one stream wrote at one moment (milliseconds since the epoch).

        Never waits, never fails; lines are kept as they are, with a newline at their
        end or without. What comes after close() is not kept.
        """
        if self._closed or not lines:
            return
        self._queue.put(group, Frame(at_ms, self._clock.epoch_ms(), stream, tuple(lines)))
        self._something.set()

    async def flush(self) -> None:
        """Return when everything appended before the call is on disk (or counted as lost)."""
        for _ in range(2):  # the batch that is being written, and the one that waits
            if not self._queue and not self._busy:
                return
            self._hurry.set()
            await asyncio.wait({self._turn, self._writer}, return_when=asyncio.FIRST_COMPLETED)

    async def read(
        self,
        group: LogGroup,
        start_ms: int = 0,
        limit: int = PAGE_EVENTS_MAX,
        *,
        end_ms: int | None = None,
        streams: frozenset[str] | None = None,
        after: EventId | None = None,
    ) -> LogPage:
        """The oldest events from `start_ms` on, in the order in which they were written; an
        unknown group is an empty one. Raises ValueError for an `after` that is no event id."""
        query = LogQuery(
            start_ms=start_ms, end_ms=end_ms, streams=streams, after=after, limit=limit
        )
        await self.flush()
        return await self._first_page(group, query)

    async def find(self, group: LogGroup, query: LogQuery, *, newest: bool = False) -> LogPage:
        """The oldest events that the query wants, or the newest. Raises ValueError for an `after`
        or a `before` that is no event id."""
        directory = segments.directory_of(self._directory, group)
        page = reading.last_page if newest else reading.first_page
        await self.flush()
        return await self._disk.read(lambda: page(directory, query))

    async def read_last(
        self, group: LogGroup, limit: int = PAGE_EVENTS_MAX, *, start_ms: int = 0
    ) -> LogPage:
        """The newest events from `start_ms` on; the cursor is the end of the log."""
        query = LogQuery(start_ms=start_ms, limit=limit)
        directory = segments.directory_of(self._directory, group)
        await self.flush()
        return await self._disk.read(lambda: reading.last_page(directory, query))

    async def read_next(
        self, group: LogGroup, after: EventId | None, *, wait_s: float = FOLLOW_S
    ) -> LogPage:
        """What was written after that event; waits up to `wait_s` while there is nothing."""
        query = LogQuery(after=after)
        wake = asyncio.Event()
        watchers = self._watchers.setdefault(group, set())
        watchers.add(wake)
        try:
            deadline_s = self._clock.monotonic_s() + wait_s
            while True:
                wake.clear()
                page = await self._first_page(group, query)
                left_s = deadline_s - self._clock.monotonic_s()
                if page.events or left_s <= 0:
                    return page
                await _wait(wake, left_s)
        finally:
            watchers.discard(wake)
            if not watchers and self._watchers.get(group) is watchers:
                del self._watchers[group]

    async def follow(
        self, group: LogGroup, after: EventId | None = None
    ) -> AsyncGenerator[LogEvent, None]:
        """Every event from now on (or after that event), without end; wrap it in `aclosing`.

        A follower holds one page of events at most: one that is slow reads from disk what it
        missed, and misses only what was retired before it came.
        """
        cursor = after or (await self.read_last(group, 1)).cursor
        while True:
            page = await self.read_next(group, cursor)
            for event in page.events:
                yield event
            cursor = page.cursor

    async def groups(self) -> list[LogGroup]:
        await self.flush()
        return await self._disk.read(lambda: segments.groups(self._directory))

    async def delete(self, group: LogGroup) -> None:
        """Remove the group and its events; a later append begins it anew."""
        self._queue.forget(group)
        await self._disk.write(lambda: self._open.delete(group))

    async def close(self) -> None:
        """Write what waits, and close the files."""
        self._closed = True
        await self.flush()
        self._writer.cancel()
        await asyncio.wait({self._writer})
        if self._queue:  # the writer was gone before us
            await self._write_batch()
        await self._disk.write(self._open.close)
        self._disk.close()

    async def _first_page(self, group: LogGroup, query: LogQuery) -> LogPage:
        directory = segments.directory_of(self._directory, group)
        return await self._disk.read(lambda: reading.first_page(directory, query))

    async def _write_batches(self) -> None:
        while True:
            await self._something.wait()
            await _wait(self._hurry, FLUSH_S)
            self._something.clear()
            self._hurry.clear()
            await self._write_batch()

    async def _write_batch(self) -> None:
        batch = self._queue.take()
        self._busy = True
        try:
            failures = await self._disk.write(lambda: self._write(batch))
        finally:
            self._queue.done(batch)
            self._busy = False
            turn, self._turn = self._turn, asyncio.get_running_loop().create_future()
            turn.set_result(None)
        for group in failures:
            self._queue.failed(group, batch[group])
        self._say_once(failures)
        for group in batch:
            for wake in self._watchers.get(group, ()):
                wake.set()

    def _write(self, batch: Batch) -> dict[LogGroup, OSError]:
        """In the writing thread. Returns the groups that could not be written."""
        failures = {}
        for group, waiting in batch.items():
            try:
                self._open.files(group).append(_encode(waiting))
            except OSError as error:
                failures[group] = error
        return failures

    def _say_once(self, failures: dict[LogGroup, OSError]) -> None:
        """A full disk is said once, not fifty times a second."""
        if failures and not self._failing:
            group, error = next(iter(failures.items()))
            log.error("function logs cannot be written", group=group.name, error=error)
        self._failing = bool(failures)


def _encode(waiting: Waiting) -> list[bytes]:
    frames = [content for frame in waiting.frames for content in records.encode(frame)]
    if (lost := waiting.lost) is not None:
        text = f"hearth: {lost.lines} log lines were lost here: they came faster than they could "
        note = Frame(lost.at_ms, lost.at_ms, lost.stream, (text.encode() + b"be written",))
        frames += records.encode(note)
    return frames


async def _wait(event: asyncio.Event, at_most_s: float) -> None:
    try:
        async with asyncio.timeout(at_most_s):
            await event.wait()
    except TimeoutError:
        return
