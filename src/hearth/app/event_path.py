"""How is the asynchronous path wired to the rest? What owners have set, and who tells targets."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from hearth.app.choices import new_id
from hearth.app.senders import open_senders
from hearth.app.tracing import TracedTargets, Tracing
from hearth.base.clock import SystemClock
from hearth.control.documents import Documents
from hearth.control.event_invoke import CONFIGS
from hearth.control.replica import Replica
from hearth.engine.contract import Engine
from hearth.events.contract import Invoker, Meter, Targets
from hearth.events.path import EventPath, Needs, open_path
from hearth.model.events import AGE_S_DEFAULT, RETRIES_DEFAULT, EventSettings
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, FunctionKey
from hearth.model.invocations import InvokeCall
from hearth.settings import Settings

MB: Final = 1024 * 1024


class EventOwners:
    """What a function's owner has set for its events, from the local copy: no I/O."""

    def __init__(
        self,
        replica: Replica,
        documents: Documents,
        reserved: Callable[[FunctionVersion], int | None],
    ) -> None:
        self._replica = replica
        self._documents = documents
        self._reserved = reserved

    def find(self, key: FunctionKey, qualifier: str | None, /) -> EventSettings:
        """Of the version or alias that was invoked; the dead letter target is that of $LATEST."""
        latest = self._replica.get(key)
        if latest is None:
            return EventSettings()
        config = self._documents.get(CONFIGS, latest, qualifier or LATEST)
        dead_letter = latest.dead_letter_arn
        if config is None:
            return EventSettings(dead_letter=dead_letter)
        retries_max, age_max_s = config.retries_max, config.age_max_s
        return EventSettings(
            retries_max=RETRIES_DEFAULT if retries_max is None else retries_max,
            age_max_s=AGE_S_DEFAULT if age_max_s is None else age_max_s,
            on_success=config.on_success or None,
            on_failure=config.on_failure or None,
            dead_letter=dead_letter,
        )

    def reserved(self, key: FunctionKey, /) -> int | None:
        latest = self._replica.get(key)
        return None if latest is None else self._reserved(latest)


async def open_events(
    engine: Engine,
    *,
    invoker: Invoker,
    owners: EventOwners,
    meter: Meter,
    clock: SystemClock,
    settings: Settings,
    stack: AsyncExitStack,
    tracing: Tracing | None,
) -> EventPath:
    """The path, not running yet. A function as a target gets an event of its own."""

    async def accept(call: InvokeCall) -> None:
        await path.intake.accept(call)

    targets: Targets = open_senders(settings.endpoints, accept, stack)
    if tracing is not None:
        targets = TracedTargets(targets, tracing)
    path = await open_path(
        engine,
        Needs(
            invoker=invoker,
            settings=owners,
            reservations=owners,
            targets=targets,
            meter=meter,
            clock=clock,
            new_id=new_id,
        ),
        settings.async_queue_mb * MB,
        settings.keep_dead_s,
    )
    return path


async def run_events(path: EventPath, *ready: asyncio.Event) -> None:
    """Not before it is known which functions there are: events of others are settled at once."""
    for known in ready:
        await known.wait()
    await path.run()
