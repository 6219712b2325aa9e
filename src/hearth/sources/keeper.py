"""Which mappings run now, and do they run as they should? One keeper for each mapping.

A keeper compares what its mapping should be with what runs of it, and changes that, one step at a
time: it stops the poller of an earlier write and waits until all that had begun has ended, starts
one for this write, or says that the mapping is gone. Keepers wait for changes only.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable
from hearth.model.errors import ServiceError
from hearth.model.mappings import NOTHING_YET, Change, EventSourceMapping
from hearth.sources.contract import Mappings, OpenPoller, Poller
from hearth.sources.status import MappingStatus

AGAIN_S: Final = 5.0
"""After the engine refused, or a poller broke."""

Forget = Callable[[EventSourceMapping], Awaitable[None]]
"""Raises EngineUnavailable."""

log = Log("sources")


class Sources:
    """All mappings at work. `run` it once; the Progress of `control/mappings.py`."""

    def __init__(
        self, mappings: Mappings, open_poller: OpenPoller, forget: Forget | None = None
    ) -> None:
        """`forget` what a deleted mapping had read."""
        self._forget = forget
        self._mappings = mappings
        self._open = open_poller
        self._keepers: dict[str, _Keeper] = {}
        self._changed = asyncio.Event()
        self._draining = asyncio.Event()
        self._jobs = Jobs()
        mappings.on_change(self._changed.set)

    async def run(self) -> None:
        """Until cancelled. Not before it is known which mappings and functions there are."""
        async with self._jobs:
            while not self._draining.is_set():
                self._changed.clear()
                self._look()
                await self._changed.wait()
            await asyncio.Event().wait()

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more, and return when what had begun has ended, or after `timeout_s`:
        sources give out again what has not ended then."""
        self._draining.set()
        self._changed.set()
        for keeper in self._keepers.values():
            keeper.drain()
        try:
            async with asyncio.timeout(timeout_s):
                await self._jobs.wait_idle()
        except TimeoutError:
            running = sum(keeper.status.running for keeper in self._keepers.values())
            log.info("batches go on after the next start", n=running)
            await self._jobs.cancel_all()

    def is_done(self, mapping: EventSourceMapping) -> bool:
        keeper = self._keepers.get(mapping.uuid)
        return keeper is not None and keeper.done == mapping.write_id

    def last_result(self, uuid: str) -> str:
        keeper = self._keepers.get(uuid)
        return NOTHING_YET if keeper is None else keeper.status.last_result

    def statuses(self) -> list[MappingStatus]:
        return [keeper.status for keeper in self._keepers.values()]

    def _look(self) -> None:
        for mapping in self._mappings.every():
            keeper = self._keepers.get(mapping.uuid)
            if keeper is None:
                keeper = _Keeper(mapping, self._mappings, self._open, self._forget)
                self._keepers[mapping.uuid] = keeper
                self._jobs.spawn(self._keep(keeper), name=f"mapping-{mapping.uuid}")
            keeper.changed.set()

    async def _keep(self, keeper: "_Keeper") -> None:
        try:
            await keeper.run()
        finally:
            if not self._draining.is_set():
                self._keepers.pop(keeper.status.mapping.uuid, None)
                self._changed.set()  # one that broke is begun anew


class _Keeper:
    def __init__(
        self,
        mapping: EventSourceMapping,
        mappings: Mappings,
        open_poller: OpenPoller,
        forget: Forget | None,
    ) -> None:
        self.status = MappingStatus(mapping)
        self.changed = asyncio.Event()
        self.done: str | None = None
        """The write that this is up to."""
        self._mappings = mappings
        self._open = open_poller
        self._forget_progress = forget
        self._is_draining = False

    def drain(self) -> None:
        self._is_draining = True
        self.changed.set()

    async def run(self) -> None:
        """Until its mapping is gone, or it is drained."""
        while not self._is_draining:
            mapping = self._mappings.find(self.status.mapping)
            if mapping is None:
                return
            if mapping.change is Change.DELETING:
                if await self._forget(mapping):
                    return
                continue
            self.status.mapping = mapping
            self.done = mapping.write_id
            if mapping.enabled:
                await self._run_poller(mapping)
            else:
                self.changed.clear()
                await self._wait_changed(mapping)

    def _is_current(self, mapping: EventSourceMapping) -> bool:
        now = self._mappings.find(mapping)
        return now is not None and now.write_id == mapping.write_id

    async def _wait_changed(self, mapping: EventSourceMapping) -> None:
        while not self._is_draining and self._is_current(mapping):
            self.changed.clear()
            await self.changed.wait()

    async def _run_poller(self, mapping: EventSourceMapping) -> None:
        """Until the mapping is another, and everything of this one has ended."""
        try:
            poller = self._open(mapping, self.status)
        except Exception as error:  # noqa: BLE001 -- one mapping must not end all others
            self._broke(error)
            await asyncio.sleep(AGAIN_S)
            return
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self._guard(poller), name="poller")
            waiting = tasks.create_task(self._wait_changed(mapping), name="mapping-changes")
            await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            poller.stop()

    async def _guard(self, poller: Poller) -> None:
        """A defect of ours is said, and the poller begun anew after a while."""
        try:
            await poller.run()
        except Exception as error:  # noqa: BLE001 -- what it had comes back from its source
            self._broke(error)
            await asyncio.sleep(AGAIN_S)

    def _broke(self, error: Exception) -> None:
        log.error("poller broke", mapping=self.status.mapping.uuid, error=error)
        self.status.source_failed("An error occurred in Lambda.")

    async def _forget(self, mapping: EventSourceMapping) -> bool:
        try:
            if self._forget_progress is not None:
                await self._forget_progress(mapping)
            await self._mappings.forget(mapping)
        except (ServiceError, EngineUnavailable) as error:
            log.warning("mapping was not deleted yet", mapping=mapping.uuid, error=error)
            await asyncio.sleep(AGAIN_S)
            return False
        return True
