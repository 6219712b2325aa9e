"""The invoke path with real rooms and fake workers, one behaviour at a time."""

import asyncio

import pytest

from fakes.invokes import function_version, invoke_call
from fakes.worker import Habits, StartBroke
from hearth.counting.counter import Counter
from hearth.model.errors import NoCapacity, ResourceNotFound, TooManyRequests
from hearth.model.functions import configuration_id
from simulation.world import World, play


def test_a_burst_of_200_ends_well_with_few_starts_at_a_time() -> None:
    async def scenario(w: World) -> None:
        await asyncio.gather(*(w.invoke() for _ in range(200)))
        assert w.audit.outcomes == {"ok": 200}

    play(scenario, habits=Habits(starting_max=4, start_s=(0.05, 0.4), run_s=(0.001, 2.0)))


def test_a_burst_of_quick_invokes_is_served_by_the_first_sandboxes_to_start() -> None:
    async def scenario(w: World) -> None:
        await asyncio.gather(*(w.invoke() for _ in range(200)))
        assert w.sandboxes() <= 10, "starts that reuse made superfluous were not withdrawn"

    play(scenario, habits=Habits(starting_max=4, start_s=(0.1, 0.1), run_s=(0.001, 0.001)))


def test_a_sequential_client_needs_one_sandbox_and_a_limit_of_one() -> None:
    async def scenario(w: World) -> None:
        for _ in range(100):
            await w.invoke()
        assert w.sandboxes() == 1

    # Ten requests a second for each unit of concurrency: a faster client would be throttled.
    play(scenario, limit=1, habits=Habits(run_s=(0.1, 0.1), finish_s=(0.0, 0.01)))


def test_a_client_that_is_faster_than_a_slow_extension_is_throttled_after_the_grace() -> None:
    async def scenario(w: World) -> None:
        await w.invoke()
        began_s = w.clock.monotonic_s()
        with pytest.raises(TooManyRequests) as caught:
            await w.invoke()
        assert caught.value.fields == {"Reason": "ConcurrentInvocationLimitExceeded"}
        assert w.clock.monotonic_s() - began_s == pytest.approx(0.5)

    play(scenario, limit=1, habits=Habits(finish_s=(1.0, 1.0)))


def test_whoever_comes_while_the_limit_is_in_use_is_refused_at_once() -> None:
    async def scenario(w: World) -> None:
        outcomes = await asyncio.gather(*(w.attempt() for _ in range(30)))
        assert sum(outcome is None for outcome in outcomes) == 20
        assert w.audit.outcomes == {"ok": 10, "TooManyRequestsException": 20}

    play(scenario, limit=10)


def test_a_finishing_sandbox_that_takes_too_long_is_replaced_by_a_new_one() -> None:
    async def scenario(w: World) -> None:
        first = await w.invoke()
        began_s = w.clock.monotonic_s()
        second = await w.invoke()
        assert first.payload != second.payload
        assert w.clock.monotonic_s() - began_s == pytest.approx(0.05 + 0.1 + 0.01)

    play(scenario, habits=Habits(finish_s=(3.0, 3.0)))


def test_the_most_recently_used_sandbox_serves_first_and_the_others_age() -> None:
    async def scenario(w: World) -> None:
        await asyncio.gather(*(w.invoke() for _ in range(5)))
        assert w.sandboxes() == 5
        for _ in range(130):
            await w.invoke()
            await asyncio.sleep(1.0)
        served = sorted(len(sandbox.served) for sandbox in w.worker.sandboxes.values())
        assert served == [131]

    play(scenario, keepalive_s=60.0, habits=Habits(starting_max=10))


def test_an_idle_sandbox_goes_after_the_keepalive() -> None:
    async def scenario(w: World) -> None:
        await w.invoke()
        await asyncio.sleep(595)
        assert w.sandboxes() == 1
        await asyncio.sleep(10)
        assert w.sandboxes() == 0
        assert w.manager.sandboxes() == []

    play(scenario, keepalive_s=600.0)


def test_a_start_that_fails_refuses_one_invoke_with_its_error() -> None:
    async def scenario(w: World) -> None:
        with pytest.raises(StartBroke):
            await w.invoke()
        w.worker.habits.start_fails = 0.0
        await w.invoke()

    play(scenario, habits=Habits(start_fails=1.0))


def test_a_sandbox_that_died_under_an_invoke_is_not_used_again() -> None:
    async def scenario(w: World) -> None:
        assert await w.attempt() is None
        w.worker.habits.run_raises = 0.0
        result = await w.invoke()
        assert result.payload == b"s2"

    play(scenario, habits=Habits(run_raises=1.0))


def test_a_sandbox_that_was_lost_while_idle_is_not_used_again() -> None:
    async def scenario(w: World) -> None:
        first = await w.invoke()
        await asyncio.sleep(1.0)
        (sandbox,) = w.worker.sandboxes
        w.worker.crash(sandbox)
        second = await w.invoke()
        assert (first.payload, second.payload) == (b"s1", b"s2")

    play(scenario)


def test_an_update_retires_idle_sandboxes_and_lets_running_invokes_finish() -> None:
    async def scenario(w: World) -> None:
        old, new = function_version(), function_version(revision_id="revision-2")
        await asyncio.gather(w.invoke(), w.invoke())
        running = asyncio.create_task(w.invoke())
        await asyncio.sleep(1.0)
        w.deploy(new)
        w.manager.retire(old.key, keep={configuration_id(new)})
        await asyncio.sleep(1.0)
        assert w.sandboxes() == 1, "the idle one went, the busy one stayed"
        assert (await w.invoke()).payload == b"s3"
        assert (await running).payload in {b"s1", b"s2"}
        await asyncio.sleep(1.0)
        assert list(w.worker.sandboxes) == ["s3"]

    play(scenario, habits=Habits(run_s=(5.0, 5.0)))


def test_invokes_that_wait_for_a_retired_configuration_are_still_served_by_it() -> None:
    async def scenario(w: World) -> None:
        waiting = [asyncio.create_task(w.invoke()) for _ in range(10)]
        await asyncio.sleep(0.05)
        w.deploy(function_version(revision_id="revision-2"))
        w.manager.retire(function_version().key)
        await asyncio.gather(*waiting)
        await asyncio.sleep(1.0)
        assert w.sandboxes() == 0

    play(scenario)


def test_a_function_that_is_deleted_while_its_caller_waits_for_a_lease_is_not_found() -> None:
    async def scenario(w: World) -> None:
        await w.invoke()
        waiting = asyncio.create_task(w.invoke())
        await asyncio.sleep(0.001)
        w.functions.clear()
        with pytest.raises(ResourceNotFound):
            await waiting

    play(scenario, limit=1, habits=Habits(finish_s=(0.02, 0.02)))


def test_the_longest_idle_sandbox_of_any_function_makes_room() -> None:
    async def scenario(w: World) -> None:
        for name in "abc":
            w.deploy(function_version(name, memory_mb=1024))
        await w.invoke("a")
        await asyncio.sleep(1.0)
        await w.invoke("b")
        await asyncio.sleep(1.0)
        await w.invoke("c")
        assert [row.function.name for row in w.manager.sandboxes()] == ["b", "c"]

    play(scenario, habits=Habits(memory_mb=256))  # 2048 MB may be promised


def test_without_room_and_without_idle_sandboxes_an_invoke_fails_after_a_while() -> None:
    async def scenario(w: World) -> None:
        w.deploy(function_version(memory_mb=1024))
        busy = [asyncio.create_task(w.invoke()) for _ in range(2)]
        await asyncio.sleep(1.0)
        with pytest.raises(NoCapacity):
            await w.invoke()
        assert 6.0 <= w.clock.monotonic_s() <= 8.0
        await asyncio.gather(*busy)

    play(scenario, habits=Habits(memory_mb=256, run_s=(60.0, 60.0)))


def test_a_function_larger_than_every_worker_is_refused_at_once() -> None:
    async def scenario(w: World) -> None:
        w.deploy(function_version(memory_mb=10_240))
        with pytest.raises(NoCapacity):
            await w.invoke()
        assert w.clock.monotonic_s() < 1.0

    play(scenario, habits=Habits(memory_mb=256))


def test_one_burst_does_not_keep_another_function_from_starting() -> None:
    async def scenario(w: World) -> None:
        w.deploy(function_version("other"))
        burst = [asyncio.create_task(w.invoke()) for _ in range(100)]
        await asyncio.sleep(0.01)
        began_s = w.clock.monotonic_s()
        await w.invoke("other")
        assert w.clock.monotonic_s() - began_s < 3.0
        await asyncio.gather(*burst)

    play(scenario, habits=Habits(start_s=(2.0, 2.0), run_s=(0.5, 0.5)))


def test_recycling_ends_no_invoke_and_leaves_no_old_sandbox() -> None:
    async def scenario(w: World) -> None:
        seen: dict[bytes, float] = {}

        async def client() -> None:
            while w.clock.monotonic_s() < 16 * 3600:
                result = await w.invoke()
                seen.setdefault(result.payload, w.clock.monotonic_s())
                assert w.clock.monotonic_s() - seen[result.payload] <= 8 * 3600
                await asyncio.sleep(60.0)

        await asyncio.gather(*(client() for _ in range(3)))
        assert set(w.audit.outcomes) == {"ok"}
        assert len(seen) >= 6

    play(scenario, keepalive_s=1e9, habits=Habits(run_s=(100.0, 700.0)))


def test_a_drained_worker_gets_nothing_new_and_loses_nothing_that_runs() -> None:
    async def scenario(w: World) -> None:
        running = [asyncio.create_task(w.invoke()) for _ in range(4)]
        await asyncio.sleep(2.0)
        (used,) = [worker for worker in w.workers.values() if worker.sandboxes]
        w.placement.drain(used.id)
        await w.invoke()
        await asyncio.gather(*running)
        await asyncio.sleep(1.0)
        assert used.sandboxes == {}
        w.placement.deregister(used.id)
        assert w.audit.outcomes == {"ok": 5}

    play(scenario, workers=2, habits=Habits(run_s=(5.0, 5.0), starting_max=10))


def test_a_worker_that_vanishes_takes_its_invokes_along_and_nothing_else() -> None:
    async def scenario(w: World) -> None:
        tasks = [asyncio.create_task(w.attempt()) for _ in range(10)]
        await asyncio.sleep(2.0)
        lost = next(worker for worker in w.workers.values() if worker.sandboxes)
        lost.vanish()
        w.lose(lost)
        await asyncio.gather(*tasks, *(w.invoke() for _ in range(10)))
        assert w.audit.outcomes.total() == 20
        assert w.audit.outcomes["ok"] >= 10

    play(scenario, workers=3, habits=Habits(run_s=(5.0, 5.0)))


def test_the_audit_sees_a_counter_that_gives_too_many_leases() -> None:
    async def scenario(w: World) -> None:
        w.counter = Counter(10)  # for the audit; the invoker has one that allows more
        await asyncio.gather(*(w.invoke() for _ in range(11)))

    with pytest.raises(ExceptionGroup) as caught:
        play(scenario, limit=11, habits=Habits(run_s=(60.0, 60.0)))
    assert "11 invokes at a time" in str(caught.value.exceptions[0])


def test_warm_invokes_go_on_while_there_is_no_worker_to_place_on() -> None:
    async def scenario(w: World) -> None:
        await w.invoke()
        w.worker.habits.starting_max = 0
        for _ in range(50):
            await w.invoke()
        assert w.audit.outcomes == {"ok": 51}

    play(scenario)


def test_callers_who_give_up_while_they_wait_leave_nothing_behind() -> None:
    async def scenario(w: World) -> None:
        waiting = [asyncio.create_task(w.invoke()) for _ in range(20)]
        await asyncio.sleep(0.05)
        for task in waiting[:15]:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert w.audit.outcomes == {"ok": 5}

    play(scenario)


def test_the_phases_of_a_cold_and_a_warm_invoke_are_timed() -> None:
    async def scenario(w: World) -> None:
        cold = (await w.invoke()).phases
        assert cold.wait_s == pytest.approx(0.1)
        assert cold.start_s == pytest.approx(0.1)
        assert cold.run_s == pytest.approx(0.01)
        await asyncio.sleep(1.0)
        warm = (await w.invoke()).phases
        assert (warm.lease_s, warm.wait_s, warm.start_s) == (0.0, 0.0, None)

    play(scenario)


def test_a_dry_run_resolves_and_runs_nothing() -> None:
    async def scenario(w: World) -> None:
        w.invoker.dry_run(invoke_call())
        with pytest.raises(ResourceNotFound):
            w.invoker.dry_run(invoke_call("unknown"))
        assert w.worker.started == []

    play(scenario)
