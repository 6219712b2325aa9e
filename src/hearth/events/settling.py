"""How does an event end? What follows from its settlement is on disk before it is acknowledged.

A settlement becomes one Delivery for each target that was named. A failed one without a target is
dropped by the user's own settings: it is counted, said in the log, and kept for two weeks as a
dead event, which can be redriven.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable, Queue
from hearth.events.contract import Meter
from hearth.events.places import NEW, dead_place, delivery_partition, function_tokens, place
from hearth.events.retry import targets
from hearth.events.stored import write_dead, write_delivery
from hearth.model.events import (
    AsyncEvent,
    Condition,
    Delivery,
    EventSettings,
    Settlement,
    TargetKind,
)

PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 5.0

log = Log("events")

T = TypeVar("T")


def message_id(event: AsyncEvent, *what: object) -> str:
    """The same for the same step of the same event, so that a repetition is one."""
    return "/".join(str(part) for part in (event.call.request, event.incarnation, *what))


async def persist(step: Callable[[], Awaitable[T]]) -> T:
    """Do it until the engine has it on disk. Each repetition has the id of the first."""
    pause_s = PAUSE_S
    while True:
        try:
            return await step()
        except EngineUnavailable as error:
            log.warning("the engine does not take an event's next step yet", error=error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)


class Settling:
    def __init__(self, deliveries: Queue, dead: Queue, meter: Meter) -> None:
        self._deliveries = deliveries
        self._dead = dead
        self._meter = meter

    async def settle(self, settlement: Settlement, settings: EventSettings) -> None:
        """Return when everything that follows is on disk."""
        event, condition = settlement.event, settlement.condition
        destination, dead_letter = targets(settings, condition)
        told = [
            Delivery(settlement=settlement, target=target, kind=kind)
            for target, kind in (
                (destination, TargetKind.DESTINATION),
                (dead_letter, TargetKind.DEAD_LETTER),
            )
            if target is not None
        ]
        for delivery in told:
            await self.enqueue(delivery)
        if not told and condition is not Condition.SUCCESS:
            await self._drop(settlement)
        self._meter.settled(event.key, condition)

    async def enqueue(self, delivery: Delivery, occasion: str = "") -> None:
        event = delivery.settlement.event
        key = place(NEW, delivery_partition(delivery.target), function_tokens(event.key))
        body = write_delivery(delivery)
        name = message_id(event, delivery.kind, delivery.target, occasion)
        await persist(lambda: self._deliveries.publish(key, body, name))

    async def bury(self, dead: Settlement | Delivery) -> None:
        """Keep what nobody could be told."""
        settlement = dead.settlement if isinstance(dead, Delivery) else dead
        event = settlement.event
        what = dead.target if isinstance(dead, Delivery) else "dead"
        name, body = message_id(event, what, "buried"), write_dead(dead)
        await persist(lambda: self._dead.publish(dead_place(event.key), body, name))

    async def _drop(self, settlement: Settlement) -> None:
        event = settlement.event
        await self.bury(settlement)
        self._meter.dropped(event.key, settlement.condition)
        response = settlement.response
        log.warning(
            "event dropped: it failed, and its function names no target for failures",
            request=event.call.request,
            function=settlement.function_arn,
            condition=settlement.condition,
            invokes=settlement.invoke_count,
            error=None if response is None else response.function_error,
        )
