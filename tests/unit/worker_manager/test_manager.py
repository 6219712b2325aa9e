"""The shell around the pools: what only it can get wrong is cancellation, failure and shutdown."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from fakes.invokes import function_version
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.counting.counter import Counter
from hearth.model.errors import InternalFailure, NoCapacity, ServiceError
from hearth.model.functions import FunctionVersion, configuration_id
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.workers import Placed, StartId
from hearth.worker_manager.manager import WorkerManager
from hearth.worker_manager.slot import Slot

F = function_version()


class FakePlacement:
    """Starts take a second and always work, unless told otherwise."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.withdrawable = False
        self.withdrawn: list[StartId] = []
        self.stopped: list[SandboxId] = []
        self.tenant: WorkerManager | None = None
        self._names = count(1)
        self._withdrawals: dict[StartId, asyncio.Event] = {}

    def attach(self, tenant: WorkerManager) -> None:
        self.tenant = tenant

    async def start_sandbox(self, start: StartId, function: FunctionVersion) -> Placed | None:
        withdrawal = self._withdrawals[start] = asyncio.Event()
        try:
            async with asyncio.timeout(1.0):
                await withdrawal.wait()
        except TimeoutError:
            if self.error is not None:
                raise self.error from None
            return Placed(
                sandbox=SandboxId(f"s{next(self._names)}"),
                worker=WorkerId("w"),
                reuse_until_s=1e9,
                start_s=1.0,
            )
        return None

    def withdraw(self, start: StartId) -> bool:
        if self.withdrawable:
            self.withdrawn.append(start)
            self._withdrawals[start].set()
        return self.withdrawable

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        self.stopped.append(sandbox)


def play(scenario: Callable[[WorkerManager, FakePlacement], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Jobs() as jobs:
            placement = FakePlacement()
            manager = WorkerManager(
                placement, VirtualClock(), jobs, keepalive_s=600.0, rates=Counter(1_000)
            )
            await scenario(manager, placement)

    run_in_virtual_time(run())


async def reserve(manager: WorkerManager, function: FunctionVersion = F) -> Slot:
    return manager.take(function) or await manager.wait(function)


def test_it_tells_placement_whom_to_ask_about_idle_sandboxes() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        assert placement.tenant is manager

    play(scenario)


def test_the_first_invoke_waits_for_a_start_and_the_next_takes_the_same_sandbox() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        assert manager.take(F) is None
        slot = await manager.wait(F)
        manager.responded(slot.sandbox)
        manager.released(slot.sandbox, sandbox_is_good=True)
        assert manager.take(F) is slot

    play(scenario)


def test_configurations_never_share_a_sandbox() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        slot = await reserve(manager)
        manager.released(slot.sandbox, sandbox_is_good=True)
        assert manager.take(function_version(revision_id="other")) is None
        assert manager.take(function_version(instance_id="recreated")) is None
        assert manager.take(function_version("g")) is None

    play(scenario)


def test_whoever_waits_gets_the_error_of_the_start() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        placement.error = NoCapacity("full")
        with pytest.raises(NoCapacity, match="full"):
            await reserve(manager)
        assert manager.sandboxes() == []

    play(scenario)


def test_an_unforeseen_error_of_a_start_is_told_as_an_internal_one() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        placement.error = ValueError("a bug")
        with pytest.raises(InternalFailure):
            await reserve(manager)

    play(scenario)


def test_giving_up_withdraws_the_start() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        placement.withdrawable = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await reserve(manager)
        assert placement.withdrawn == [1]
        assert manager.sandboxes() == []
        assert manager._homes == {}, "a pool that nobody uses was kept"

    play(scenario)


def test_giving_up_after_the_start_has_begun_leaves_an_idle_sandbox() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await reserve(manager)
        await asyncio.sleep(1.0)
        assert [row.state for row in manager.sandboxes()] == ["idle"]
        assert manager.take(F) is not None

    play(scenario)


def test_giving_up_in_the_very_turn_of_the_assignment_loses_nothing() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        slot = await reserve(manager)
        for cancel_first in (True, False):
            impatient = asyncio.create_task(reserve(manager))
            await asyncio.sleep(0.01)
            if cancel_first:
                impatient.cancel()
            manager.released(slot.sandbox, sandbox_is_good=True)
            if not cancel_first:
                impatient.cancel()
            await asyncio.wait([impatient])
            assert impatient.cancelled()
            again = manager.take(F)
            assert again is slot
            await asyncio.sleep(2.0)  # the start that the impatient one had asked for
            for other in iter(lambda: manager.take(F), None):
                manager.released(other.sandbox, sandbox_is_good=False)

    play(scenario)


def test_cancelled_in_the_turn_of_a_refusal_nothing_is_left() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        placement.error = NoCapacity("full")
        impatient = asyncio.create_task(reserve(manager))
        asyncio.get_running_loop().call_later(1.0, impatient.cancel)
        await asyncio.wait([impatient])
        await asyncio.sleep(2.0)
        assert manager.sandboxes() == []

    play(scenario)


def test_eviction_goes_by_idle_time_across_functions() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        functions = [function_version(name) for name in "abc"]
        slots = [await reserve(manager, function) for function in functions]
        for slot in (slots[1], slots[2], slots[0]):
            manager.released(slot.sandbox, sandbox_is_good=True)
            await asyncio.sleep(1.0)
        assert manager.idle_sandboxes() == ["s2", "s3", "s1"]
        manager.evict(SandboxId("s2"))
        manager.evict(SandboxId("s2"))
        assert manager.idle_sandboxes() == ["s3", "s1"]
        await asyncio.sleep(0.0)
        assert placement.stopped == ["s2"]

    play(scenario)


def test_retiring_keeps_the_configurations_that_it_is_told_to_keep() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        old, new = F, function_version(revision_id="2")
        other = function_version("g")
        for function in (old, new, other):
            slot = await reserve(manager, function)
            manager.released(slot.sandbox, sandbox_is_good=True)
        manager.retire(F.key, keep={configuration_id(new)})
        await asyncio.sleep(0.0)
        assert placement.stopped == ["s1"]
        manager.retire(F.key)
        await asyncio.sleep(0.0)
        assert placement.stopped == ["s1", "s2"]

    play(scenario)


def test_the_list_of_sandboxes_says_what_each_is_doing() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        slot = await reserve(manager)
        await asyncio.sleep(2.0)
        waiting = asyncio.create_task(reserve(manager))
        await asyncio.sleep(0.5)
        starting, busy = manager.sandboxes()
        assert (starting.state, starting.sandbox, starting.age_s) == ("starting", None, 0.5)
        assert (busy.state, busy.sandbox, busy.invokes) == ("busy", slot.sandbox, 1)
        assert (busy.function, busy.version, busy.age_s) == (F.key, "$LATEST", 2.5)
        manager.responded(slot.sandbox)
        states = [row.state for row in manager.sandboxes()]
        assert states == ["starting", "finishing"]
        await waiting

    play(scenario)


def test_news_of_a_sandbox_that_is_gone_already_changes_nothing() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        slot = await reserve(manager)
        manager.released(slot.sandbox, sandbox_is_good=False)
        manager.condemn(slot.sandbox)
        manager.evict(slot.sandbox)
        await asyncio.sleep(0.0)
        assert placement.stopped == [slot.sandbox]

    play(scenario)


def test_after_its_loop_has_ended_nothing_is_started_any_more() -> None:
    async def scenario(manager: WorkerManager, placement: FakePlacement) -> None:
        loop = asyncio.create_task(manager.run())
        slot = await reserve(manager)
        loop.cancel()
        await asyncio.wait([loop])
        with pytest.raises(ServiceError):
            await reserve(manager)
        manager.released(slot.sandbox, sandbox_is_good=False)
        await asyncio.sleep(1.0)
        assert placement.stopped == []

    play(scenario)
