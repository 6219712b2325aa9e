"""Every pool exact under many callers, whatever they do; nothing leaks."""

import asyncio

import pytest

from fakes.invokes import function_key, function_version, invoke_call
from fakes.worker import Habits
from hearth.control.allocation import Status
from hearth.counting.account import STARTS_BURST
from hearth.model.errors import TooManyRequests
from hearth.model.functions import FunctionVersion, Initialization
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION
from simulation.world import World, play

ON_DEMAND, PROVISIONED = Initialization.ON_DEMAND, Initialization.PROVISIONED
RESERVED_F, PROVISIONED_G, LIMIT = 50, 20, 200
BIG = 1_000_000
"""MB: more than the callers of these tests can fill."""


def version_one(name: str) -> FunctionVersion:
    return function_version(name, version="1", revision_id=f"revision-of-{name}-1")


async def ready(w: World, name: str, number: int) -> None:
    allocation = w.provision(version_one(name), number)
    async with asyncio.timeout(600.0):
        while allocation.status is not Status.READY:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_pool_is_full_and_never_fuller_under_500_callers(seed: int) -> None:
    async def scenario(w: World) -> None:
        for name in "gh":
            w.deploy(function_version(name))
        w.counter.reserve(function_key("f"), RESERVED_F)
        w.audit.unreserved = {"g", "h"}
        await ready(w, "g", PROVISIONED_G)

        async def caller() -> None:
            for _ in range(4):
                patience_s = w.rng.choice([0.0, 0.001, 0.05, 0.5, 60.0, 60.0, 60.0])
                try:
                    async with asyncio.timeout(patience_s):
                        await w.attempt(w.rng.choice(["f", "g:1", "g:1", "h"]))
                except TimeoutError:
                    w.audit.outcomes["left"] += 1
                await asyncio.sleep(w.rng.uniform(0.0, 0.5))

        await asyncio.gather(*(caller() for _ in range(500)))
        assert w.audit.outcomes["ok"] > 300
        assert w.audit.outcomes["left"] > 100
        assert w.audit.peaks["f", ON_DEMAND] == RESERVED_F
        assert w.audit.peaks["g", PROVISIONED] == PROVISIONED_G
        assert w.audit.unreserved_peak == LIMIT - RESERVED_F
        assert w.audit.running_peak == LIMIT
        assert set(w.audit.outcomes) <= {"ok", "left", "TooManyRequestsException"}

    habits = Habits(
        start_s=(0.01, 0.05), run_s=(1.0, 3.0), starting_max=64, memory_mb=BIG, footprint_mb=1
    )
    play(scenario, seed=seed, limit=LIMIT, habits=habits)


def test_changes_of_settings_under_load_pass_no_limit_and_leak_nothing() -> None:
    async def scenario(w: World) -> None:
        w.deploy(function_version("g"))
        await ready(w, "g", 5)
        f, g = function_key("f"), function_key("g")

        async def caller() -> None:
            while w.clock.monotonic_s() < 60.0:
                await w.attempt(w.rng.choice(["f", "g:1", "g"]))
                await asyncio.sleep(w.rng.uniform(0.0, 0.3))

        async def operator() -> None:
            while w.clock.monotonic_s() < 60.0:
                w.counter.reserve(f, w.rng.choice([None, 0, 5, 20]))
                w.counter.reserve(g, w.rng.choice([None, 5, 10]))
                w.manager.provision(version_one("g"), w.rng.choice([0, 2, 5]))
                await asyncio.sleep(w.rng.uniform(0.0, 1.0))

        await asyncio.gather(operator(), *(caller() for _ in range(100)))
        assert w.audit.running_peak <= 40
        w.counter.reserve(f, None)
        w.counter.reserve(g, None)
        usage = w.counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION)
        assert usage.waiting == 0

    habits = Habits(
        start_s=(0.01, 0.1), run_s=(0.05, 1.0), starting_max=16, memory_mb=BIG, footprint_mb=1
    )
    play(scenario, limit=40, habits=habits)


def test_a_sequential_client_stays_on_its_provisioned_sandbox() -> None:
    async def scenario(w: World) -> None:
        await ready(w, "f", 1)
        for _ in range(50):
            await w.invoke("f:1")
        assert w.audit.peaks == {("f", PROVISIONED): 1}
        assert w.sandboxes() == 1

    play(scenario, habits=Habits(run_s=(0.2, 0.2), finish_s=(0.001, 0.01)))


def test_provisioned_sandboxes_outlive_the_keepalive_and_a_crash() -> None:
    async def scenario(w: World) -> None:
        await ready(w, "f", 3)
        await asyncio.sleep(3_600.0)
        assert w.sandboxes() == 3
        w.worker.crash(next(iter(w.worker.sandboxes)))
        assert w.counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION).unreserved == 997
        await asyncio.sleep(5.0)
        assert sum(not s.is_dead for s in w.worker.sandboxes.values()) == 3
        await asyncio.gather(*(w.invoke("f:1") for _ in range(3)))
        assert w.audit.peaks == {("f", PROVISIONED): 3}

    play(scenario, keepalive_s=600.0)


def test_provisioned_sandboxes_are_replaced_before_they_must_go() -> None:
    async def scenario(w: World) -> None:
        await ready(w, "f", 1)
        while w.clock.monotonic_s() < 30 * 3_600.0:
            await w.invoke("f:1")
            await asyncio.sleep(10.0)
        assert w.audit.peaks == {("f", PROVISIONED): 1}
        assert len(w.worker.started) >= 4

    play(scenario, keepalive_s=60.0)


def test_a_function_scales_by_a_thousand_in_ten_seconds() -> None:
    async def scenario(w: World) -> None:
        await asyncio.gather(*(w.attempt() for _ in range(STARTS_BURST + 500)))
        assert w.audit.outcomes == {"ok": STARTS_BURST, "TooManyRequestsException": 500}
        assert w.audit.reasons == {"FunctionInvocationRateLimitExceeded": 500}
        w.audit.outcomes.clear()
        await asyncio.gather(*(w.attempt() for _ in range(STARTS_BURST)))
        assert w.audit.outcomes == {"ok": STARTS_BURST}, "all of them are warm"

    habits = Habits(
        start_s=(0.01, 0.01), run_s=(60.0, 60.0), starting_max=64, memory_mb=BIG, footprint_mb=1
    )
    play(scenario, limit=5_000, habits=habits)


def test_whoever_waited_for_a_provisioned_sandbox_in_vain_runs_on_demand() -> None:
    async def scenario(w: World) -> None:
        await ready(w, "f", 1)
        await w.invoke("f:1")
        began_s = w.clock.monotonic_s()
        await w.invoke("f:1")
        assert w.audit.peaks == {("f", PROVISIONED): 1, ("f", ON_DEMAND): 1}
        assert w.clock.monotonic_s() - began_s == pytest.approx(0.05 + 0.1 + 0.01)

    play(scenario, habits=Habits(finish_s=(1.0, 1.0)))


def test_the_reason_names_the_reservation() -> None:
    async def scenario(w: World) -> None:
        w.counter.reserve(function_key("f"), 1)
        running = asyncio.create_task(w.invoke())
        await asyncio.sleep(0.05)
        with pytest.raises(TooManyRequests) as caught:
            await w.invoke()
        assert caught.value.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"
        await running

    play(scenario)


def test_events_are_not_held_to_the_pace_of_synchronous_requests() -> None:
    async def scenario(w: World) -> None:
        w.counter.reserve(function_key("f"), 1)
        for _ in range(50):
            await w.invoker.invoke(invoke_call("f", is_event=True))

        async def many() -> None:
            for _ in range(50):
                await w.invoke("f")

        with pytest.raises(TooManyRequests):
            await many()

    play(scenario, habits=Habits(run_s=(0.001, 0.002)))
