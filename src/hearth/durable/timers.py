"""When does time do something to an execution? One sleep for all of them."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Final

from hearth.base.clock import Clock
from hearth.durable.case import Case

SOON_MS: Final = 10
SLEEP_S_MAX: Final = 3600.0
"""Clocks are set, and laptops sleep."""


class Timers:
    """`run` it. A case has one time at which it is woken; the last one that was set."""

    def __init__(self, clock: Clock, wake: Callable[[Case], Awaitable[None]]) -> None:
        self._now_ms = clock.epoch_ms
        self._wake = wake
        self._dues: list[tuple[int, int, Case]] = []
        self._count = 0
        self._changed = asyncio.Event()

    def set(self, case: Case, due_ms: int | None) -> None:
        if due_ms is None or case.due_ms == due_ms:
            return
        case.due_ms = due_ms = max(due_ms, self._now_ms() + SOON_MS)
        self._count += 1
        heapq.heappush(self._dues, (due_ms, self._count, case))
        self._changed.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as woken:
            while True:
                now_ms = self._now_ms()
                while self._dues and self._dues[0][0] <= now_ms:
                    due_ms, _, case = heapq.heappop(self._dues)
                    if case.due_ms == due_ms:
                        case.due_ms = None
                        woken.create_task(self._wake_up(case), name="durable-wake")
                self._changed.clear()
                await self._sleep(self._dues[0][0] - now_ms if self._dues else None)

    async def _wake_up(self, case: Case) -> None:
        await self._wake(case)

    async def _sleep(self, left_ms: int | None) -> None:
        try:
            async with asyncio.timeout(
                None if left_ms is None else min(left_ms / 1000, SLEEP_S_MAX)
            ):
                await self._changed.wait()
        except TimeoutError:
            return
