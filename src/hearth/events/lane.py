"""How do the events of a flooded or throttled function run? In a lane: a consumer of their own.

A lane takes a few events at a time out of its part of the queue and starts as many as its window
allows. A refused event stays in hand, first in the row, until another run of the function ends or
its pause is over; nothing is written for it.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final, Protocol

from hearth.base.clock import Clock
from hearth.engine.contract import Consumer, Queue, Taken
from hearth.events.flow import Flow, LaneWindow
from hearth.events.hands import LANES_SHARE, Hand, Load
from hearth.events.places import aside_place, function_tokens
from hearth.events.retry import Again
from hearth.model.ids import FunctionKey

BUFFER_MAX: Final = 64


class Crew(Protocol):
    """What a lane needs of the dispatcher."""

    @property
    def most_per_lane(self) -> int:
        """How many events one lane may run, so that all can."""
        ...

    async def receive(self, key: FunctionKey, taken: Taken) -> Hand | None: ...

    async def release(self, hand: Hand) -> None:
        """Back into the queue."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], hand: Hand) -> None: ...

    async def advance(self, hand: Hand) -> Again | None:
        """Attempt it, and see to what follows; but for a throttle, which is answered."""
        ...


class Lane:
    """One function's."""

    def __init__(
        self, key: FunctionKey, flow: Flow, queue: Queue, crew: Crew, load: Load, clock: Clock
    ) -> None:
        self.key = key
        self.flow = flow
        self.touched_s = clock.monotonic_s()
        """When somebody last wrote to it, or took from it."""
        self._window = LaneWindow()
        self._queue = queue
        self._crew = crew
        self._load = load
        self._now_s = clock.monotonic_s
        self._row: deque[Hand] = deque()
        self._wake = asyncio.Event()
        flow.aside = self._window

    @property
    def is_idle(self) -> bool:
        return not self._row and not self._window.running and not self.flow.publishing

    def clear(self) -> list[Hand]:
        """Forget what is in hand and does not run."""
        row = list(self._row)
        self._row.clear()
        self._wake.set()
        return row

    @property
    def _row_max(self) -> int:
        return min(BUFFER_MAX, 2 * self._window.window)

    def touch(self) -> None:
        self.touched_s = self._now_s()

    def pause(self, wait_s: float) -> None:
        """One of its function's events was refused elsewhere."""
        self._window.refusals = max(self._window.refusals, 1)
        self._window.pause(self._now_s(), wait_s)

    def wake(self) -> None:
        """Something that the function used is free."""
        self._window.paused_until_s = 0.0
        self._wake.set()

    async def run(self, draining: asyncio.Event, drained: asyncio.Event) -> None:
        """Until `drained`; takes and starts nothing after `draining`."""
        name = "aside-" + function_tokens(self.key).replace(".", "_")
        async with (
            self._queue.consume(name[:64], aside_place(self.key)) as consumer,
            asyncio.TaskGroup() as tasks,
        ):
            work = [tasks.create_task(self._take(consumer)), tasks.create_task(self._start())]
            await draining.wait()
            for task in work:
                task.cancel()
            await drained.wait()

    async def _take(self, consumer: Consumer) -> None:
        while True:
            wanted = self._row_max - len(self._row)
            if wanted <= 0:
                await self._wait(None)
                continue
            if self._load.is_full(LANES_SHARE):
                if self._row or self._window.running:
                    await self._load.wait_room(LANES_SHARE)
                    continue
                wanted = 1  # each lane may have that, so that all of them go on
            for taken in await consumer.take(wanted):
                hand = await self._crew.receive(self.key, taken)
                if hand is not None:
                    self._row.append(hand)
            self.touch()
            self._wake.set()

    async def _start(self) -> None:
        while True:
            now_s = self._now_s()
            if self._row and self._window.may_start(now_s, self._crew.most_per_lane):
                hand = self._row.popleft()
                self._window.started()
                self._crew.spawn(self._run(hand), hand)
                self._wake.set()  # there is room in the row
                await asyncio.sleep(0)
                continue
            pause_s = self._window.paused_until_s - now_s
            await self._wait(pause_s if self._row and pause_s > 0 else None)

    async def _wait(self, timeout_s: float | None) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _run(self, hand: Hand) -> None:
        is_over, began_after = False, self._window.completed
        # Pauses grow while the function runs nothing, whichever of its events is refused.
        hand.event = replace(hand.event, throttles=self._window.refusals)
        try:
            again = await self._crew.advance(hand)
            if again is not None:
                hand.event = again.event
                self._row.appendleft(hand)
                self._window.refused(self._now_s(), again.wait_s, began_after)
                while len(self._row) > self._row_max:  # others have more use for the room
                    await self._crew.release(self._row.pop())
            else:
                self._window.ended()
            is_over = True
        finally:
            if not is_over:  # cancelled, or a defect: it is delivered again
                self._window.running -= 1
            self._wake.set()
