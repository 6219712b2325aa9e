"""Where do `up` and `doctor` find the platform? In app.py, loaded when it is needed and not before.

`hearth logs` shall not wait for the whole platform to be imported; and app.py, which wires all
rooms, stands above this one: so it is looked up by name, and checked against this Protocol.
"""

import asyncio
import importlib
from collections.abc import Callable
from typing import Protocol, cast

from hearth.model.diagnosis import Diagnosis
from hearth.settings import Settings, Surroundings


class Platform(Protocol):
    """What this room needs of app.py."""

    async def run(
        self,
        settings: Settings,
        surroundings: Surroundings,
        *,
        ready: Callable[[str], None],
        stop: asyncio.Event,
    ) -> None:
        """Serve until `stop` is set, and drain. `ready` gets the endpoint, once it can be used.

        Raises StartRefused.
        """
        ...

    async def diagnose(self, settings: Settings, surroundings: Surroundings) -> Diagnosis: ...


class InstalledPlatform:
    """hearth.app."""

    async def run(
        self,
        settings: Settings,
        surroundings: Surroundings,
        *,
        ready: Callable[[str], None],
        stop: asyncio.Event,
    ) -> None:
        await _app().run(settings, surroundings, ready=ready, stop=stop)

    async def diagnose(self, settings: Settings, surroundings: Surroundings) -> Diagnosis:
        return await _app().diagnose(settings, surroundings)


def _app() -> Platform:
    return cast("Platform", importlib.import_module("hearth.app"))
