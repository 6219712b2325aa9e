"""The shell around the decisions, with fake workers in virtual time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

import pytest

from fakes.invokes import function_version
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from fakes.worker import FakeWorker, Habits, StartBroke
from hearth.model.errors import InternalFailure, NoCapacity
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.workers import Placed, StartId, WorkerLoad
from hearth.placement import placement as rooms
from hearth.placement.placement import Placement

F = function_version()
SMALL = Habits(memory_mb=256)  # 2048 MB may be promised


class FakeTenant:
    def __init__(self, placement: Placement) -> None:
        self.idle: list[SandboxId] = []
        self.evicted: list[SandboxId] = []
        self.condemned: list[SandboxId] = []
        self._placement = placement
        self._stops: list[asyncio.Task[None]] = []
        placement.attach(self)

    def idle_sandboxes(self) -> list[SandboxId]:
        return list(self.idle)

    def evict(self, sandbox: SandboxId) -> None:
        self.idle.remove(sandbox)
        self.evicted.append(sandbox)
        self._stops.append(asyncio.create_task(self._placement.stop_sandbox(sandbox)))

    def condemn(self, sandbox: SandboxId) -> None:
        self.condemned.append(sandbox)


class Scene:
    def __init__(self) -> None:
        names = count(1)
        self.placement = Placement(
            VirtualClock(), lambda: SandboxId(f"s{next(names)}"), random.Random(1).random
        )
        self.tenant = FakeTenant(self.placement)
        self._starts = count(1)

    def add(self, name: str = "w", habits: Habits | None = None) -> FakeWorker:
        worker = FakeWorker(name, habits or Habits(), random.Random(1))
        self.placement.register(worker)
        return worker

    async def start(self, **changes: object) -> Placed:
        placed = await self.placement.start_sandbox(
            StartId(next(self._starts)),
            replace(F, **changes),  # type: ignore[arg-type]
        )
        assert placed is not None
        return placed


def play(scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        loop = asyncio.create_task(scene.placement.run())
        await scenario(scene)
        loop.cancel()

    run_in_virtual_time(run())


def test_a_start_ends_on_a_worker_with_a_sandbox_that_may_be_reused_for_hours() -> None:
    async def scenario(scene: Scene) -> None:
        worker = scene.add()
        placed = await scene.start()
        assert (placed.sandbox, placed.worker) == ("s1", "w")
        assert placed.start_s == pytest.approx(0.1)
        assert 5 * 3600 < placed.reuse_until_s < 8 * 3600
        assert list(worker.sandboxes) == ["s1"]

    play(scenario)


def test_a_start_waits_for_the_first_worker() -> None:
    async def scenario(scene: Scene) -> None:
        waiting = asyncio.create_task(scene.start())
        await asyncio.sleep(2.0)
        assert scene.placement.queued == 1
        scene.add()
        assert (await waiting).worker == "w"

    play(scenario)


def test_a_queued_start_can_be_withdrawn_and_a_begun_one_cannot() -> None:
    async def scenario(scene: Scene) -> None:
        queued = asyncio.create_task(scene.placement.start_sandbox(StartId(91), F))
        await asyncio.sleep(0.1)
        assert scene.placement.withdraw(StartId(91))
        assert await queued is None
        scene.add()
        begun = asyncio.create_task(scene.placement.start_sandbox(StartId(92), F))
        await asyncio.sleep(0.05)
        assert not scene.placement.withdraw(StartId(92))
        assert await begun is not None

    play(scenario)


def test_no_worker_starts_more_than_it_takes_at_a_time() -> None:
    async def scenario(scene: Scene) -> None:
        worker = scene.add(habits=Habits(starting_max=2))
        await asyncio.gather(*(scene.start() for _ in range(10)))
        assert worker.violations == []
        assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.01)

    play(scenario)


def test_a_failed_start_is_told_and_frees_its_slot_and_memory() -> None:
    async def scenario(scene: Scene) -> None:
        scene.add(habits=Habits(memory_mb=256, start_fails=1.0, starting_max=1))
        for _ in range(5):
            with pytest.raises(StartBroke):
                await scene.start(memory_mb=2048)
        assert scene.placement._fleet.tenancies == {}

    play(scenario)


def test_a_start_cancelled_at_any_time_frees_what_it_held() -> None:
    async def scenario(scene: Scene) -> None:
        scene.add(habits=Habits(starting_max=1))
        for after_s in (0.0, 0.05):
            task = asyncio.create_task(scene.start())
            await asyncio.sleep(after_s)
            task.cancel()
            await asyncio.wait([task])
        task = asyncio.create_task(scene.start())
        await asyncio.sleep(0.0)
        asyncio.get_running_loop().call_soon(task.cancel)  # right after it got its berth
        await asyncio.wait([task])
        assert scene.placement._fleet.tenancies == {}
        assert (await scene.start()).worker == "w"

    play(scenario)


def test_idle_sandboxes_are_evicted_when_there_is_no_room() -> None:
    async def scenario(scene: Scene) -> None:
        worker = scene.add(habits=SMALL)
        first = await scene.start(memory_mb=1024)
        second = await scene.start(memory_mb=1024)
        scene.tenant.idle = [first.sandbox, second.sandbox]
        await scene.start(memory_mb=512)
        assert scene.tenant.evicted == [first.sandbox]
        assert worker.stopped == [first.sandbox]

    play(scenario)


def test_starts_of_several_functions_do_not_evict_for_one_another_twice() -> None:
    async def scenario(scene: Scene) -> None:
        scene.add(habits=Habits(memory_mb=256, footprint_mb=1))
        placed = [await scene.start(memory_mb=512) for _ in range(4)]
        scene.tenant.idle = [each.sandbox for each in placed]
        functions = [function_version(name, memory_mb=256) for name in "ab"]
        await asyncio.gather(
            *(
                scene.placement.start_sandbox(StartId(90 + number), function)
                for number, function in enumerate(functions)
            )
        )
        assert len(scene.tenant.evicted) == 1

    play(scenario)


def test_without_room_a_start_fails_after_a_while() -> None:
    async def scenario(scene: Scene) -> None:
        scene.add(habits=SMALL)
        await scene.start(memory_mb=2048)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(NoCapacity):
            await scene.start()
        waited_s = asyncio.get_running_loop().time() - began_s
        assert rooms.CAPACITY_WAIT_S <= waited_s <= rooms.CAPACITY_WAIT_S + 2 * rooms.TICK_S

    play(scenario)


def test_room_that_appears_in_time_is_used() -> None:
    async def scenario(scene: Scene) -> None:
        scene.add(habits=SMALL)
        full = await scene.start(memory_mb=2048)
        waiting = asyncio.create_task(scene.start())
        await asyncio.sleep(3.0)
        await scene.placement.stop_sandbox(full.sandbox)
        assert (await waiting).worker == "w"

    play(scenario)


def test_a_start_does_not_wait_for_a_slot_for_ever() -> None:
    async def scenario(scene: Scene) -> None:
        scene.add(habits=Habits(starting_max=0))
        with pytest.raises(NoCapacity):
            await scene.start()
        waited_s = asyncio.get_running_loop().time()
        assert rooms.START_WAIT_S_MAX <= waited_s <= rooms.START_WAIT_S_MAX + 2 * rooms.TICK_S

    play(scenario)


def test_a_worker_that_vanishes_during_a_start_fails_it_and_condemns_the_rest() -> None:
    async def scenario(scene: Scene) -> None:
        worker = scene.add()
        placed = await scene.start()
        starting = asyncio.create_task(scene.start())
        await asyncio.sleep(0.05)
        worker.vanish()
        scene.placement.deregister(worker.id)
        with pytest.raises(InternalFailure):
            await starting
        assert scene.tenant.condemned == [placed.sandbox, "s2"]
        await scene.placement.stop_sandbox(placed.sandbox)

    play(scenario)


def test_a_start_that_ends_after_its_worker_was_deregistered_is_not_used() -> None:
    async def scenario(scene: Scene) -> None:
        worker = scene.add()
        starting = asyncio.create_task(scene.start())
        await asyncio.sleep(0.05)
        scene.placement.deregister(worker.id)
        with pytest.raises(NoCapacity):
            await starting

    play(scenario)


def test_a_drained_worker_takes_no_start_and_what_was_starting_is_used_once_at_most() -> None:
    async def scenario(scene: Scene) -> None:
        worker = scene.add("w1")
        starting = asyncio.create_task(scene.start())
        await asyncio.sleep(0.05)
        scene.placement.drain(worker.id)
        scene.add("w2")
        assert (await scene.start()).worker == "w2"
        late = await starting
        assert late.reuse_until_s < 2.0

    play(scenario)


def test_a_lease_is_renewed_in_time() -> None:
    async def scenario(scene: Scene) -> None:
        scene.add()
        for _hour in range(10):
            placed = await scene.start()
            assert placed.reuse_until_s >= asyncio.get_running_loop().time() + 1799
            await asyncio.sleep(3600.0)

    play(scenario)


class Leaving(FakeWorker):
    """Must be empty three hours from now."""

    def load(self) -> WorkerLoad:
        return replace(super().load(), lease_ends_s=3 * 3600.0)


def test_a_worker_that_must_be_empty_soon_gets_no_successor_lease() -> None:
    async def scenario(scene: Scene) -> None:
        scene.placement.register(Leaving("leaving", Habits(), random.Random(1)))
        placed = await scene.start()
        assert placed.reuse_until_s <= 3 * 3600 - 900
        await asyncio.sleep(2.5 * 3600)
        with pytest.raises(NoCapacity):
            await scene.start()

    play(scenario)


def test_the_workers_say_how_they_are() -> None:
    async def scenario(scene: Scene) -> None:
        scene.add()
        await scene.start()
        load = scene.placement.workers()[WorkerId("w")]
        assert (load.sandboxes, load.committed_mb) == (1, 128)

    play(scenario)
