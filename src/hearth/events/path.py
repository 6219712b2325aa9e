"""What is the asynchronous path made of? Its parts on one engine, and how they run and end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hearth.base.clock import Clock
from hearth.engine.contract import Engine, QueueKind
from hearth.events.attempts import Attempts
from hearth.events.contract import EventDesk, Invoker, Meter, Reservations, Settings, Targets
from hearth.events.deliveries import Deliveries
from hearth.events.desk import DEAD_BYTES_MAX, Desk
from hearth.events.dispatcher import Dispatcher
from hearth.events.intake import Intake
from hearth.events.places import DEAD_NAME, DELIVERIES_NAME, QUEUE_NAMES
from hearth.events.settling import Settling

DEAD_AGE_S_DEFAULT: Final = 14 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Of other rooms."""

    invoker: Invoker
    settings: Settings
    reservations: Reservations
    targets: Targets
    meter: Meter
    clock: Clock
    new_id: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPath:
    """Make it with `open_path`."""

    intake: Intake
    dispatcher: Dispatcher
    deliveries: Deliveries
    desk: EventDesk

    async def run(self) -> None:
        """Until cancelled. What is in hand then is in the queues."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self.intake.run(), name="events-intake")
            loops.create_task(self.dispatcher.run(), name="events-dispatcher")
            loops.create_task(self.deliveries.run(), name="events-deliveries")

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more; return when what has begun is over, or after `timeout_s`."""
        async with asyncio.TaskGroup() as draining:
            draining.create_task(self.dispatcher.drain(timeout_s))
            draining.create_task(self.deliveries.drain(timeout_s))


async def open_path(
    engine: Engine, needs: Needs, queue_bytes_max: int, dead_age_s: float = DEAD_AGE_S_DEFAULT
) -> EventPath:
    """The queues are made where they are not there. Raises EngineUnavailable."""
    dead_kind = QueueKind(age_max_s=dead_age_s, bytes_max=DEAD_BYTES_MAX)
    clock, meter = needs.clock, needs.meter
    async with asyncio.TaskGroup() as opening:
        opened = [opening.create_task(engine.queue(name)) for name in QUEUE_NAMES]
        opened_deliveries = opening.create_task(engine.queue(DELIVERIES_NAME))
        opened_dead = opening.create_task(engine.queue(DEAD_NAME, dead_kind))
    queues = [task.result() for task in opened]
    deliveries, dead = opened_deliveries.result(), opened_dead.result()
    settling = Settling(deliveries, dead, meter)
    attempts = Attempts(needs.invoker, needs.settings, needs.reservations, meter, clock)
    dispatcher = Dispatcher(queues, attempts, settling, needs.settings, clock)
    return EventPath(
        intake=Intake(queues, needs.invoker, dispatcher, meter, clock, queue_bytes_max),
        dispatcher=dispatcher,
        deliveries=Deliveries(deliveries, needs.targets, settling, meter, clock),
        desk=Desk(queues, deliveries, dead, settling, dispatcher, clock, needs.new_id, dead_age_s),
    )
