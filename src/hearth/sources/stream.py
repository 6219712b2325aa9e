"""How does a stream reach its function? A reader for each shard, parents before children.

Where a mapping begins that has read nothing yet is kept before anything is read: for LATEST and
AT_TIMESTAMP a time, for all shards that there are then. Shards that come later, by resharding, are
read from their beginning. Shards are listed when one has ended, and every now and then.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable
from hearth.model.mappings import EventSourceMapping, Position
from hearth.sources.calling import Function
from hearth.sources.checkpoints import Checkpoints
from hearth.sources.contract import SourceFailed
from hearth.sources.failures import FailureTargets
from hearth.sources.lane import Done, Lane
from hearth.sources.shard import ShardReader
from hearth.sources.status import MappingStatus
from hearth.sources.streams import Checkpoint, Shard, Stream, startable
from hearth.sources.window_lane import WindowLane

LIST_S: Final = 30.0
PAUSE_S_MAX: Final = 20.0
PLANTED: Final = "="
"""No shard: that where to begin was kept for all shards that there were."""

log = Log("sources")


class StreamPoller:
    """A Poller. `run` it once."""

    def __init__(
        self,
        mapping: EventSourceMapping,
        stream: Stream,
        function: Function,
        failures: FailureTargets,
        checkpoints: Checkpoints,
        status: MappingStatus,
        clock: Clock,
    ) -> None:
        self._mapping = mapping
        self._stream = stream
        self._function = function
        self._failures = failures
        self._checkpoints = checkpoints
        self._status = status
        self._clock = clock
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._known: dict[str, Checkpoint] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._latest: set[str] = set()
        """Shards that are to be read from now on, since the mapping has just begun."""

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            pause_s = 1.0
            while not self._stopping.is_set():
                wait_s = LIST_S
                try:
                    if not self._known:
                        self._known = await self._checkpoints.load(self._mapping.uuid)
                    await self._begin(tasks)
                    pause_s = 1.0
                except (SourceFailed, EngineUnavailable) as error:
                    self._status.source_failed(str(error))
                    wait_s = pause_s
                    pause_s = min(2 * pause_s, PAUSE_S_MAX)
                await self._wait(wait_s)

    async def _begin(self, tasks: asyncio.TaskGroup) -> None:
        """Readers for the shards whose turn it is. Raises SourceFailed, EngineUnavailable."""
        if (why := self._function.why_not()) is not None:
            raise SourceFailed(why)
        shards = await self._stream.shards()
        if PLANTED not in self._known:
            await self._plant(shards)
        await self._prune(shards)
        for shard in startable(shards, self._known, self._running):
            self._status.pollers += 1
            self._running[shard.id] = tasks.create_task(
                self._run_shard(shard.id), name=f"shard-{shard.id}"
            )

    async def _run_shard(self, shard: str) -> None:
        is_first = shard in self._latest
        self._latest.discard(shard)
        reader = ShardReader(
            self._mapping,
            shard,
            self._known.get(shard, Checkpoint()),
            self._stream,
            self._checkpoints,
            self._status,
            self._clock,
            self._stopping,
            lambda stopping, done: self._lane(shard, stopping, done),
            is_first=is_first,
        )
        try:
            has_ended = await reader.run()
            self._known[shard] = replace(reader.saved, has_ended=has_ended)
        finally:
            self._status.pollers -= 1
            del self._running[shard]
            self._wake.set()

    def _lane(self, shard: str, stopping: asyncio.Event, done: Done) -> Lane:
        make = WindowLane if self._mapping.tumbling_s else Lane
        return make(
            self._mapping,
            shard,
            self._function,
            self._failures,
            self._status,
            self._clock,
            stopping,
            done,
        )

    async def _plant(self, shards: Sequence[Shard]) -> None:
        """Keep where to begin, for the shards that there are."""
        mapping = self._mapping
        planted: dict[str, Checkpoint] = {}
        if mapping.position is not Position.TRIM_HORIZON:
            at = mapping.position_at
            since_ms = self._clock.epoch_ms() if at is None else int(at.timestamp() * 1000)
            planted = {shard.id: Checkpoint(since_ms=since_ms) for shard in shards}
        planted[PLANTED] = Checkpoint()  # last: a start that was cut short plants anew
        await self._checkpoints.save(mapping.uuid, planted)
        self._known |= planted
        if mapping.position is Position.LATEST:
            parents = {parent for shard in shards for parent in shard.parents}
            self._latest = {shard.id for shard in shards} - parents

    async def _prune(self, shards: Sequence[Shard]) -> None:
        """Forget shards that have expired; what was not done of them is gone."""
        there = {shard.id for shard in shards}
        for shard, task in self._running.items():
            if shard not in there:
                task.cancel()
        kept = there | {PLANTED} | self._running.keys()
        for shard in [name for name in self._known if name not in kept]:
            await self._checkpoints.drop(self._mapping.uuid, shard)
            del self._known[shard]

    async def _wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return
        if not self._stopping.is_set():
            self._wake.clear()
