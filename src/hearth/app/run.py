"""How does Hearth start, serve and end?

`run` builds the parts in the order in which a request needs them, last first, serves until it is
told to stop, and takes them apart in the reverse order. Infinite loops live in `_loops` and
nowhere else: if one of them fails all end and the process exits, since a platform that had lost
one of them would look alive and be wrong.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from hearth.app.building import META_BUCKET, build
from hearth.app.doors import open_doors
from hearth.app.event_path import run_events
from hearth.app.event_sources import run_sources
from hearth.app.listening import Addresses, bind_all, endpoint_of
from hearth.app.neighbours import neighbours
from hearth.app.parts import Parts
from hearth.base.clock import SystemClock
from hearth.base.log import Log
from hearth.control.leftovers import Leftovers
from hearth.control.sweeper import Sweeper
from hearth.engine.contract import KeyValue
from hearth.engine.export import Exporter
from hearth.model.functions import FunctionVersion
from hearth.settings import Settings, Surroundings
from hearth.worker.worker import Worker

log = Log("app")

LOG_FLUSH_S: Final = 0.25
FREEZE_LOOK_S: Final = 0.25
EXPORT_AFTER_S: Final = 3.0
REPLICA_READY_S: Final = 30.0


async def run(
    settings: Settings,
    surroundings: Surroundings,
    *,
    ready: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set; calls `ready` with the endpoint once requests are answered.

    Raises StartRefused if this machine or these settings do not allow it.
    """
    async with AsyncExitStack() as stack:
        starting = stack.enter_context(_Start())
        addresses = bind_all(settings)
        stack.callback(addresses.close)
        parts = await build(settings, surroundings, stack)
        starting.is_built()
        async with asyncio.TaskGroup() as loops:
            tasks = [loops.create_task(work, name=name) for name, work in _loops(settings, parts)]
            try:
                await _wait_known(parts)
                starting.is_known()
                await _serve(settings, addresses, parts, ready, stop, starting)
            finally:
                for task in tasks:
                    task.cancel()


async def _wait_known(parts: Parts) -> None:
    """Until it is known which functions there are, and what is set for them."""
    async with asyncio.timeout(REPLICA_READY_S):
        await parts.replica.ready.wait()
        await parts.documents.ready.wait()


async def _serve(
    settings: Settings,
    addresses: Addresses,
    parts: Parts,
    ready: Callable[[str], None],
    stop: asyncio.Event,
    starting: "_Start",
) -> None:
    parts.worker.neighbours = neighbours(endpoint_of(addresses.front), parts.endpoints)
    parts.functions.resume()
    parts.runtimes.warm_up(_runtimes_in_use(parts))
    parts.worker.snapshots.resume(parts.replica.all_versions())
    parts.replica.on_change(partial(_warm_up, parts))
    doors = await open_doors(settings, addresses, parts, stop)
    ready(doors.endpoint)
    log.info("ready", endpoint=doors.endpoint, sandbox=parts.backend.name, **starting.took_ms)
    try:
        await stop.wait()
        parts.logs.is_ending = True
        log.info("stopping", in_flight=doors.edge.in_flight)
        async with asyncio.TaskGroup() as draining:
            draining.create_task(doors.edge.drain(settings.drain_s))
            draining.create_task(parts.events.drain(settings.drain_s))
            draining.create_task(parts.sources.running.drain(settings.drain_s))
    finally:
        await doors.edge.close()
        await doors.back.aclose()
        await parts.worker.stop_all()


class _Start:
    """How long did it take? And no garbage meanwhile: what a start makes and reads stays, and
    looking through it, again and again or at each full collection later, is time for nothing."""

    def __init__(self) -> None:
        self.took_ms: dict[str, int] = {}
        self._clock = SystemClock()
        self._since_s = self._clock.monotonic_s()

    def __enter__(self) -> Self:
        gc.disable()
        return self

    def is_built(self) -> None:
        """The engine and the sandboxes run, and every part is there."""
        self._note("build_ms")

    def is_known(self) -> None:
        """All that was stored is read: from now on there may be garbage."""
        self._note("read_ms")
        gc.freeze()
        gc.enable()

    def _note(self, name: str) -> None:
        now_s = self._clock.monotonic_s()
        self.took_ms[name], self._since_s = round((now_s - self._since_s) * 1e3), now_s

    def __exit__(self, *_: object) -> None:
        gc.enable()


def _runtimes_in_use(parts: Parts) -> set[str]:
    """Of the functions that there are, and of whoever creates the first one: most likely the
    Python that is there for certain, since it runs us."""
    own = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return {own} | {function.runtime for function in parts.replica.everything()}


def _warm_up(parts: Parts, old: FunctionVersion | None, new: FunctionVersion | None) -> None:
    """Set a runtime up (it may have to be fetched) while its first function is being created."""
    if new is not None and (old is None or old.runtime != new.runtime):
        parts.runtimes.warm_up({new.runtime})


def _loops(settings: Settings, parts: Parts) -> list[tuple[str, Coroutine[Any, Any, None]]]:
    """Everything that runs for as long as Hearth does."""
    export = settings.state / "export" / f"{META_BUCKET}.jsonl"
    return [
        ("replica", parts.replica.run()),
        ("documents", parts.documents.run()),
        ("document-sweeper", parts.documents.run_sweeps()),
        ("worker-manager", parts.manager.run()),
        ("placement", parts.placement.run()),
        ("sweeper", _sweeper(parts).run()),
        ("export", _export(parts.meta, export)),
        ("log-flush", _flush_logs(parts.worker)),
        ("freeze", _freeze_idle(parts.worker, settings.freeze_after_s)),
        ("log-retention", parts.logs.catalog.run_retention()),
        ("events", run_events(parts.events, parts.replica.ready, parts.documents.ready)),
        ("durable", parts.durable.upkeep.run()),
        ("sources", run_sources(parts.sources, parts.replica.ready, parts.documents.ready)),
        ("engine", parts.server.wait_died()),
        ("engine-health", parts.engine_health.run()),
    ]


def _sweeper(parts: Parts) -> Sweeper:
    leftovers = Leftovers(parts.meta, parts.replica, parts.clock)
    stores = (leftovers, parts.packages, parts.code_cache)
    return Sweeper(parts.replica, *stores, also=parts.layers.packages)


async def _export(meta: KeyValue, path: Path) -> None:
    """Not before the start is over: the first pass reads every record."""
    await asyncio.sleep(EXPORT_AFTER_S)
    await Exporter(meta, META_BUCKET, path).run()


async def _flush_logs(worker: Worker) -> None:
    while True:
        await asyncio.sleep(LOG_FLUSH_S)
        worker.flush_logs()


async def _freeze_idle(worker: Worker, idle_s: float) -> None:
    while True:
        await asyncio.sleep(FREEZE_LOOK_S)
        await worker.freeze_idle(idle_s)
