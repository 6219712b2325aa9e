"""Which events are in hand: taken out of a queue, and not settled yet?

A queue delivers a message again when it thinks that it was lost: after an outage of the engine, or
when an acknowledgement did not arrive. What is in hand is not taken a second time, and what was
settled here is acknowledged again and not run. Memory stays flat: nothing more is taken while
IN_HAND_MAX events, or IN_HAND_BYTES_MAX of them, are in hand.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from hearth.engine.contract import Queue, Taken
from hearth.events.flow import Flow
from hearth.events.stored import read_event
from hearth.model.events import AsyncEvent

IN_HAND_MAX: Final = 1_024
IN_HAND_BYTES_MAX: Final = 64 * 1024 * 1024
LANES_SHARE: Final = 0.75
"""Lanes leave the rest to the shared partitions."""
SETTLED_REMEMBERED: Final = 20_000
"""Of one queue."""


class Hand:
    """One event in hand."""

    __slots__ = ("event", "flow", "size", "taken")

    def __init__(self, taken: Taken, event: AsyncEvent, flow: Flow) -> None:
        self.taken = taken
        """Its last delivery: the one to acknowledge."""
        self.event = event
        self.flow = flow
        self.size = len(taken.body)


class Load:
    """How much is in hand, over all queues."""

    def __init__(self) -> None:
        self.number = 0
        self.size_bytes = 0
        self._fell = asyncio.Event()

    def rose(self, size: int) -> None:
        self.number += 1
        self.size_bytes += size

    def fell(self, size: int) -> None:
        self.number -= 1
        self.size_bytes -= size
        self._fell.set()

    def is_full(self, share: float = 1.0) -> bool:
        return self.number >= IN_HAND_MAX * share or self.size_bytes >= IN_HAND_BYTES_MAX * share

    async def wait_room(self, share: float = 1.0) -> None:
        """Return when not more than that share of what may be in hand is."""
        while self.is_full(share):
            self._fell.clear()
            await self._fell.wait()


class Hands:
    """What is in hand of one queue."""

    def __init__(self, queue: Queue, load: Load) -> None:
        self.queue = queue
        self._load = load
        self._hands: dict[int, Hand] = {}
        self._settled: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hands)

    async def receive(self, taken: Taken) -> AsyncEvent | None:
        """What was delivered, or None if it is known here already. Raises Unreadable."""
        held = self._hands.get(taken.sequence)
        if held is not None:
            held.taken = taken
            return None
        if taken.sequence in self._settled:
            await taken.ack()
            return None
        return read_event(taken.body)

    def hold(self, taken: Taken, event: AsyncEvent, flow: Flow) -> Hand:
        hand = Hand(taken, event, flow)
        self._hands[taken.sequence] = hand
        self._load.rose(hand.size)
        return hand

    async def acknowledge(self, hand: Hand) -> None:
        """What becomes of it is on disk."""
        sequence = hand.taken.sequence
        self._settled[sequence] = None
        if len(self._settled) > SETTLED_REMEMBERED:
            self._settled.popitem(last=False)
        self.drop(hand)
        await hand.taken.ack()

    def drop(self, hand: Hand) -> None:
        """Out of hand; unless it was acknowledged, it is delivered again."""
        if self._hands.pop(hand.taken.sequence, None) is not None:
            self._load.fell(hand.size)

    async def keep(self) -> None:
        """Tell the queue that what is in hand is."""
        for hand in list(self._hands.values()):
            await hand.taken.in_progress()
