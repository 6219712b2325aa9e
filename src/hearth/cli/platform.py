"""Where do `up`, `doctor` and `runtimes` find the platform? In app, loaded when it is needed.

`hearth logs` shall not wait for the whole platform to be imported; and app.py, which wires all
rooms, stands above this one: so it is looked up by name, and checked against this Protocol.
"""

import asyncio
import gc
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

from hearth.model.diagnosis import Diagnosis
from hearth.settings import Settings, Surroundings

if TYPE_CHECKING:
    from hearth.runtimes.survey import RuntimeStatus


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

    async def survey_runtimes(self, surroundings: Surroundings) -> "list[RuntimeStatus]": ...

    async def prepare_runtime(self, name: str, surroundings: Surroundings) -> None:
        """Raises InvalidRuntime."""
        ...


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

    async def survey_runtimes(self, surroundings: Surroundings) -> "list[RuntimeStatus]":
        return await _app().survey_runtimes(surroundings)

    async def prepare_runtime(self, name: str, surroundings: Surroundings) -> None:
        await _app().prepare_runtime(name, surroundings)


def _app() -> Platform:
    with _no_collections():  # nothing of an import is garbage
        return cast("Platform", importlib.import_module("hearth.app"))


@contextmanager
def _no_collections() -> Iterator[None]:
    """Without looking for garbage, then or later."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
