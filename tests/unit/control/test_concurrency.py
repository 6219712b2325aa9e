"""Reservations: what is refused, and what the counter hears, whatever the order of events."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fakes.control import until
from fakes.invokes import function_key, function_version
from hearth.base.jobs import Jobs
from hearth.control.concurrency import (
    PROVISIONINGS,
    AccountLocks,
    Provisioning,
    ReservedConcurrency,
)
from hearth.control.documents import Documents
from hearth.control.replica import Replica
from hearth.control.store import FunctionStore
from hearth.counting.counter import Counter
from hearth.engine.contract import KeyValue
from hearth.engine.memory import MemoryEngine
from hearth.model.errors import InvalidParameterValue, TooManyRequests
from hearth.model.functions import FunctionVersion
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, LATEST, FunctionKey

F, G = function_version("f"), function_version("g")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class World:
    """One process, up to the counter."""

    def __init__(self, kv: KeyValue, jobs: Jobs, limit: int) -> None:
        numbers = itertools.count(1)
        self.replica = Replica(kv)
        self.store = FunctionStore(kv, self.replica)
        self.documents = Documents(kv, self.replica, jobs, lambda: f"{id(self)}-{next(numbers)}")
        self.counter = Counter(limit)
        self.reserved = ReservedConcurrency(
            self.documents, self.replica, self.counter, AccountLocks()
        )
        jobs.spawn(self.documents.run(), name="documents")
        jobs.spawn(self.replica.run(), name="replica")

    async def ready(self) -> None:
        await asyncio.wait_for(self.replica.ready.wait(), 5)
        await asyncio.wait_for(self.documents.ready.wait(), 5)

    @property
    def unreserved(self) -> int:
        return self.counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION).unreserved

    def refusal(self, key: FunctionKey) -> str | None:
        try:
            self.counter.acquire(key, LATEST, 0.0).release()
        except TooManyRequests as error:
            return error.reason
        return None


def play(scenario: Callable[[World], Awaitable[None]], limit: int = 1_000) -> None:
    async def run() -> None:
        async with Jobs() as jobs:
            w = World(await MemoryEngine().bucket("META"), jobs, limit)
            await w.ready()
            for function in (F, G):
                await w.store.create(function)
            await scenario(w)

    asyncio.run(run())


async def refused(w: World, function: FunctionVersion, amount: int) -> str:
    with pytest.raises(InvalidParameterValue) as caught:
        await w.reserved.put(function, amount)
    assert caught.value.blame is None, "AWS sends no Type here"
    return caught.value.message


def test_the_counter_hears_of_a_reservation_at_once() -> None:
    async def scenario(w: World) -> None:
        await w.reserved.put(F, 0)
        assert w.refusal(F.key) == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert w.reserved.get(F) == 0
        await w.reserved.put(F, 300)
        assert (w.refusal(F.key), w.unreserved) == (None, 700)
        await w.reserved.delete(F)
        assert (w.reserved.get(F), w.unreserved) == (None, 1_000)
        await w.reserved.delete(F)

    play(scenario)


def test_a_hundred_stay_unreserved() -> None:
    async def scenario(w: World) -> None:
        await w.reserved.put(F, 500)
        assert await refused(w, G, 401) == (
            "Specified ReservedConcurrentExecutions for function decreases account's "
            "UnreservedConcurrentExecution below its minimum value of [100]."
        )
        await w.reserved.put(G, 400)
        assert w.unreserved == 100
        await refused(w, F, 501)
        await w.reserved.put(F, 499)

    play(scenario)


def test_a_small_account_keeps_all_it_has_unreserved() -> None:
    async def scenario(w: World) -> None:
        assert (await refused(w, F, 1)).endswith("below its minimum value of [10].")
        await w.reserved.put(F, 0)
        assert w.unreserved == 10

    play(scenario, limit=10)


def test_callers_at_the_same_time_cannot_reserve_more_than_there_is() -> None:
    async def scenario(w: World) -> None:
        outcomes = await asyncio.gather(
            w.reserved.put(F, 600), w.reserved.put(G, 600), return_exceptions=True
        )
        assert sum(isinstance(o, InvalidParameterValue) for o in outcomes) == 1
        assert w.unreserved == 400

    play(scenario)


def test_a_reservation_is_not_below_what_is_provisioned_of_it() -> None:
    async def scenario(w: World) -> None:
        for qualifier in ("1", "blue"):
            provisioning = Provisioning(requested=1, modified=NOW)
            await w.documents.put(PROVISIONINGS, F, provisioning, qualifier)
        assert await refused(w, F, 1) == (
            " ReservedConcurrentExecutions  1 should not be lower than function's total "
            "provisioned concurrency [2]."
        )
        await w.reserved.put(F, 2)

    play(scenario)


def test_a_reservation_ends_with_its_function() -> None:
    async def scenario(w: World) -> None:
        await w.reserved.put(F, 0)
        await w.store.delete(F.key)
        await until(lambda: w.refusal(F.key) is None)
        again = replace(F, instance_id="second-life")
        await w.store.create(again)
        assert w.refusal(F.key) is None
        assert w.reserved.get(again) is None

    play(scenario)


def test_reservations_survive_a_restart_whichever_copy_comes_first() -> None:
    async def run() -> None:
        kv = await MemoryEngine().bucket("META")
        async with Jobs() as jobs:
            w = World(kv, jobs, 1_000)
            await w.ready()
            await w.store.create(F)
            await w.reserved.put(F, 0)
        async with Jobs() as jobs:
            w = World(kv, jobs, 1_000)
            await w.ready()
            assert w.refusal(F.key) == "ReservedFunctionConcurrentInvocationLimitExceeded"
            assert w.refusal(function_key("g")) is None

    asyncio.run(run())
