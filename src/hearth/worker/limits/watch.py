"""Who looks whether a sandbox holds more memory than it may? One job, for all that run."""

import asyncio
from collections.abc import Callable
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.worker.limits.contract import Cell

log = Log("limits")

LOOK_EVERY_S: Final = 0.05
# However many sandboxes run, looking takes at most a tenth of the loop's time.
SHARE: Final = 0.1


class MemoryWatch:
    """Calls back, once a run, when a cell has exceeded its memory. Looks only while any runs."""

    def __init__(self, clock: Clock, jobs: Jobs) -> None:
        self._clock = clock
        self._jobs = jobs
        self._running: dict[Cell, Callable[[], None]] = {}
        self._unreadable: set[Cell] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, cell: Cell, on_exceeded: Callable[[], None]) -> None:
        self._running[cell] = on_exceeded
        if self._task is None:
            self._task = self._jobs.spawn(self._look(), name="memory-watch")

    def remove(self, cell: Cell) -> None:
        self._running.pop(cell, None)
        self._unreadable.discard(cell)

    async def _look(self) -> None:
        try:
            await asyncio.sleep(LOOK_EVERY_S)  # what has just begun is better left to begin
            while self._running:
                began_s = self._clock.monotonic_s()
                for cell in list(self._running):
                    if self._is_exceeded(cell) and (act := self._running.pop(cell, None)):
                        act()
                took_s = self._clock.monotonic_s() - began_s
                await asyncio.sleep(max(LOOK_EVERY_S, took_s / SHARE))
        finally:
            self._task = None

    def _is_exceeded(self, cell: Cell) -> bool:
        try:
            is_exceeded = cell.is_exceeded()
        except OSError as error:  # one sandbox's trouble must not end the watch over the others
            if cell not in self._unreadable:  # 20 times a second nobody wants to read it
                self._unreadable.add(cell)
                log.warning("cannot tell a sandbox's memory", why=str(error))
            return False
        self._unreadable.discard(cell)
        return is_exceeded
