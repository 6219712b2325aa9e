"""Mappings that are made, changed, disabled and deleted while pollers run."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from fakes.mappings import mapping
from fakes.virtual_time import run_in_virtual_time
from hearth.model.errors import InternalFailure
from hearth.model.mappings import Change, EventSourceMapping
from hearth.sources.keeper import Sources
from hearth.sources.status import MappingStatus


@dataclass
class Kept:
    """The Mappings of `sources/contract.py`."""

    held: dict[str, EventSourceMapping] = field(default_factory=dict)
    failures: int = 0
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def every(self) -> Iterator[EventSourceMapping]:
        return iter(list(self.held.values()))

    def find(self, mapping: EventSourceMapping) -> EventSourceMapping | None:
        return self.held.get(mapping.uuid)

    def on_change(self, listener: Callable[[], None]) -> None:
        self.listeners.append(listener)

    def put(self, mapping: EventSourceMapping) -> None:
        self.held[mapping.uuid] = mapping
        for listener in self.listeners:
            listener()

    async def forget(self, mapping: EventSourceMapping) -> None:
        if self.failures:
            self.failures -= 1
            raise InternalFailure("not now")
        del self.held[mapping.uuid]
        for listener in self.listeners:
            listener()


@dataclass
class SlowPoller:
    """Takes ten seconds to stop."""

    stage: "Stage"
    mapping: EventSourceMapping
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        self.stage.running.append(self.mapping.write_id)
        if self.stage.breaks:
            self.stage.breaks -= 1
            self.stage.running.remove(self.mapping.write_id)
            raise RuntimeError("a defect")
        try:
            await self.stopping.wait()
            await asyncio.sleep(10)
        finally:
            self.stage.running.remove(self.mapping.write_id)

    def stop(self) -> None:
        self.stopping.set()


class Stage:
    def __init__(self) -> None:
        self.kept = Kept()
        self.running: list[str] = []
        self.breaks = 0
        self.sources = Sources(self.kept, self._open)

    def _open(self, mapping: EventSourceMapping, status: MappingStatus) -> SlowPoller:
        return SlowPoller(self, mapping)


def play(scenario: Callable[[Stage], object]) -> None:
    async def scene() -> None:
        stage = Stage()
        async with asyncio.TaskGroup() as tasks:
            run = tasks.create_task(stage.sources.run())
            await scenario(stage)  # type: ignore[misc]
            run.cancel()
        assert stage.running == []

    run_in_virtual_time(scene())


def test_a_mapping_is_up_to_date_when_its_earlier_poller_has_ended() -> None:
    async def scenario(stage: Stage) -> None:
        first = mapping()
        stage.kept.put(first)
        await asyncio.sleep(1)
        assert stage.sources.is_done(first)
        assert stage.running == ["w1"]
        second = replace(first, write_id="w2", change=Change.UPDATING)
        stage.kept.put(second)
        await asyncio.sleep(5)
        assert not stage.sources.is_done(second)
        assert stage.running == ["w1"]
        await asyncio.sleep(6)
        assert stage.sources.is_done(second)
        assert stage.running == ["w2"]
        disabled = replace(second, write_id="w3", enabled=False)
        stage.kept.put(disabled)
        await asyncio.sleep(11)
        assert stage.sources.is_done(disabled)
        assert stage.running == []
        stage.kept.put(replace(disabled, write_id="w4", enabled=True))
        await asyncio.sleep(1)
        assert stage.running == ["w4"]

    play(scenario)


def test_a_deleted_mapping_is_forgotten_when_its_poller_has_ended() -> None:
    async def scenario(stage: Stage) -> None:
        stage.kept.failures = 2
        stage.kept.put(mapping())
        await asyncio.sleep(1)
        stage.kept.put(replace(mapping(), write_id="w2", change=Change.DELETING))
        await asyncio.sleep(9)
        assert stage.kept.held
        await asyncio.sleep(12)
        assert not stage.kept.held
        assert stage.sources.statuses() == []

    play(scenario)


def test_a_poller_that_breaks_is_begun_anew_and_seen() -> None:
    async def scenario(stage: Stage) -> None:
        stage.breaks = 2
        stage.kept.put(mapping())
        await asyncio.sleep(1)
        assert stage.sources.last_result(mapping().uuid).startswith("PROBLEM: ")
        await asyncio.sleep(20)
        assert stage.running == ["w1"]

    play(scenario)


def test_draining_waits_for_pollers_and_not_for_ever() -> None:
    async def scenario(stage: Stage) -> None:
        stage.kept.put(mapping())
        await asyncio.sleep(1)
        await stage.sources.drain(60)
        assert stage.running == []
        assert asyncio.get_running_loop().time() < 20

    async def impatient(stage: Stage) -> None:
        stage.kept.put(mapping())
        await asyncio.sleep(1)
        await stage.sources.drain(2)
        assert stage.running == []
        assert asyncio.get_running_loop().time() < 5

    play(scenario)
    play(impatient)
