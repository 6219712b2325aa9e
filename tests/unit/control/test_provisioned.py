"""What is provisioned follows documents, versions and aliases, whoever changes them, and when."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count

import pytest

from fakes.control import HandClock, until
from fakes.invokes import function_version
from hearth.base.jobs import Jobs
from hearth.control.allocation import FAILURES_MAX, INIT_FAILURE, Status
from hearth.control.concurrency import AccountLocks, ReservedConcurrency
from hearth.control.documents import Documents
from hearth.control.provisioned import ProvisionedConcurrency
from hearth.control.replica import Replica
from hearth.control.store import FunctionStore
from hearth.counting.counter import Counter
from hearth.engine.contract import KeyValue
from hearth.engine.memory import MemoryEngine
from hearth.model.errors import (
    InitFailed,
    InvalidParameterValue,
    NoCapacity,
    ProvisionedConcurrencyConfigNotFound,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import (
    Alias,
    ConfigurationId,
    Function,
    FunctionVersion,
    State,
    configuration_id,
)
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, LATEST

F = function_version("f")
V1 = replace(F, version="1", revision_id="r1")
V2 = replace(F, version="2", revision_id="r2")
BLUE = Alias(key=F.key, name="blue", version="1", revision_id="a1")


@dataclass(frozen=True)
class Now:
    """What a worker manager would say."""

    initialised: int
    failures: int = 0
    error: ServiceError | None = None


class Environments:
    """What was asked for; the test says what came of it."""

    def __init__(self) -> None:
        self.targets: dict[ConfigurationId, int] = {}

    def provision(self, function: FunctionVersion, target: int) -> None:
        self.targets[configuration_id(function)] = target

    def target(self, version: FunctionVersion) -> int:
        return self.targets.get(configuration_id(version), 0)


class World:
    """One process, up to the counter and the environments."""

    def __init__(self, kv: KeyValue, jobs: Jobs) -> None:
        numbers = count(1)
        self.replica = Replica(kv)
        self.store = FunctionStore(kv, self.replica)
        self.documents = Documents(kv, self.replica, jobs, lambda: f"{id(self)}-{next(numbers)}")
        self.counter = Counter(1_000)
        self.environments = Environments()
        locks = AccountLocks()
        self.reserved = ReservedConcurrency(self.documents, self.replica, self.counter, locks)
        self.provisioned = ProvisionedConcurrency(
            self.documents,
            self.replica,
            self.reserved,
            self.counter,
            self.environments,
            locks,
            HandClock(),
        )
        jobs.spawn(self.documents.run(), name="documents")
        jobs.spawn(self.replica.run(), name="replica")

    async def ready(self) -> None:
        await asyncio.wait_for(self.replica.ready.wait(), 5)
        await asyncio.wait_for(self.documents.ready.wait(), 5)

    async def change(self, decide: Callable[[Function], Function]) -> None:
        numbers = count(1)
        await self.store.change_whole(
            F.key, lambda now: replace(decide(now), write_id=f"w{id(decide)}-{next(numbers)}")
        )

    def kept(self, version: FunctionVersion, now: Now) -> None:
        self.provisioned.kept(configuration_id(version), now)

    def shown(self, qualifier: str) -> tuple[Status, int, int]:
        got = self.provisioned.get(F, qualifier)
        return got.status, got.allocated, got.available

    def unreserved(self) -> int:
        return self.counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION).unreserved

    def draws_provisioned(self, version: str) -> bool:
        lease = self.counter.acquire(F.key, version, 0.0)
        lease.release()
        return lease.is_provisioned


async def published(w: World) -> None:
    """f with versions 1 and 2, and the alias blue of 1."""
    assert await w.store.write_version(V1, "rec1")
    assert await w.store.write_version(V2, "rec2")
    await w.store.create_whole(
        Function(
            latest=F,
            last_number=2,
            versions={"1": "rec1", "2": "rec2"},
            aliases={"blue": BLUE},
            write_id="w0",
        )
    )


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Jobs() as jobs:
            w = World(await MemoryEngine().bucket("META"), jobs)
            await w.ready()
            await published(w)
            await scenario(w)

    asyncio.run(run())


def test_all_are_initialised_before_any_is_given_to_invokes() -> None:
    async def scenario(w: World) -> None:
        put = await w.provisioned.put(F, "1", 2)
        assert (put.status, put.allocated, put.available) == (Status.IN_PROGRESS, 0, 0)
        assert put.asked.modified == datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)
        assert w.environments.target(V1) == 2
        assert w.unreserved() == 998
        w.kept(V1, Now(1))
        assert w.shown("1") == (Status.IN_PROGRESS, 1, 0)
        assert not w.draws_provisioned("1")
        w.kept(V1, Now(2))
        assert w.shown("1") == (Status.READY, 2, 2)
        assert w.draws_provisioned("1")
        again = await w.provisioned.put(F, "1", 2)
        assert again.status is Status.IN_PROGRESS
        assert w.shown("1") == (Status.READY, 2, 2)

    play(scenario)


def test_a_deletion_lets_the_environments_go() -> None:
    async def scenario(w: World) -> None:
        await w.provisioned.put(F, "1", 2)
        w.kept(V1, Now(2))
        await w.provisioned.delete(F, "1")
        assert (w.environments.target(V1), w.unreserved()) == (0, 1_000)
        assert not w.draws_provisioned("1")
        with pytest.raises(ProvisionedConcurrencyConfigNotFound):
            w.provisioned.get(F, "1")
        await w.provisioned.delete(F, "1")

    play(scenario)


def test_an_alias_that_moves_on_takes_its_provisioned_concurrency_along() -> None:
    async def scenario(w: World) -> None:
        await w.provisioned.put(F, "blue", 3)
        w.kept(V1, Now(3))
        assert w.shown("blue") == (Status.READY, 3, 3)
        moved = replace(BLUE, version="2", revision_id="a2")
        await w.change(lambda now: replace(now, aliases={"blue": moved}))
        assert (w.environments.target(V1), w.environments.target(V2)) == (0, 3)
        assert w.shown("blue") == (Status.IN_PROGRESS, 0, 0)
        w.kept(V1, Now(3))
        assert w.shown("blue") == (Status.IN_PROGRESS, 0, 0), "those are of the old version"
        w.kept(V2, Now(3))
        assert w.shown("blue") == (Status.READY, 3, 3)
        assert w.unreserved() == 997

    play(scenario)


def test_two_aliases_of_one_version_share_its_environments() -> None:
    async def scenario(w: World) -> None:
        green = replace(BLUE, name="green")
        await w.change(lambda now: replace(now, aliases={"blue": BLUE, "green": green}))
        await w.provisioned.put(F, "blue", 2)
        await w.provisioned.put(F, "green", 3)
        assert w.environments.target(V1) == 5
        w.kept(V1, Now(4))
        assert w.shown("blue") == (Status.IN_PROGRESS, 2, 0)
        assert w.shown("green") == (Status.IN_PROGRESS, 2, 0)
        w.kept(V1, Now(5))
        assert w.shown("green") == (Status.READY, 3, 3)

    play(scenario)


def test_only_the_functions_own_fault_fails_it() -> None:
    async def scenario(w: World) -> None:
        await w.provisioned.put(F, "1", 2)
        w.kept(V1, Now(0, 50, NoCapacity("no room")))
        assert w.shown("1")[0] is Status.IN_PROGRESS
        w.kept(V1, Now(1, FAILURES_MAX, InitFailed("no luck")))
        assert w.shown("1") == (Status.FAILED, 0, 0)
        assert w.provisioned.get(F, "1").reason == INIT_FAILURE
        assert w.environments.target(V1) == 0
        await w.provisioned.put(F, "1", 2)
        assert w.environments.target(V1) == 2

    play(scenario)


def test_a_version_that_is_not_active_yet_is_provisioned_once_it_is() -> None:
    async def scenario(w: World) -> None:
        pending = replace(F, version="3", revision_id="r3", state=State.PENDING)
        assert await w.store.write_version(pending, "rec3")
        await w.change(lambda now: replace(now, versions={**now.versions, "3": "rec3"}))
        await w.provisioned.put(F, "3", 1)
        assert w.environments.targets == {}
        assert w.shown("3") == (Status.IN_PROGRESS, 0, 0)
        active = replace(pending, state=State.ACTIVE, revision_id="r3-active")
        assert await w.store.write_version(active, "rec3-active")
        await w.change(lambda now: replace(now, versions={**now.versions, "3": "rec3-active"}))
        assert w.environments.target(active) == 1

    play(scenario)


def test_a_deleted_function_keeps_nothing() -> None:
    async def scenario(w: World) -> None:
        await w.provisioned.put(F, "1", 2)
        await w.store.delete(F.key)
        assert (w.environments.target(V1), w.unreserved()) == (0, 1_000)

    play(scenario)


def test_provisioned_concurrency_is_wanted_again_after_a_restart() -> None:
    async def run() -> None:
        kv = await MemoryEngine().bucket("META")
        async with Jobs() as jobs:
            w = World(kv, jobs)
            await w.ready()
            await published(w)
            await w.provisioned.put(F, "blue", 2)
        async with Jobs() as jobs:
            w = World(kv, jobs)
            await w.ready()
            await until(lambda: w.environments.target(V1) == 2)
            assert w.shown("blue") == (Status.IN_PROGRESS, 0, 0)

    asyncio.run(run())


def test_what_may_not_be_provisioned_is_told_apart() -> None:
    async def refused(w: World, kind: type[ServiceError], qualifier: str, number: int = 1) -> str:
        with pytest.raises(kind) as caught:
            await w.provisioned.put(F, qualifier, number)
        return caught.value.message

    async def scenario(w: World) -> None:
        invalid = InvalidParameterValue
        unpublished = (
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
        )
        assert await refused(w, invalid, LATEST) == unpublished
        assert await refused(w, ResourceNotFound, "9") == f"Function not found: {F.key.arn('9')}"
        assert (await refused(w, ResourceNotFound, "red")).startswith("Cannot find alias arn: ")
        latest = replace(BLUE, name="latest", version=LATEST)
        split = replace(BLUE, name="split", weights={"2": 0.1})
        aliases = {"blue": BLUE, "latest": latest, "split": split}
        await w.change(lambda now: replace(now, aliases=aliases))
        assert await refused(w, invalid, "latest") == unpublished
        assert (await refused(w, invalid, "split")).startswith("Alias with weights")
        assert (await refused(w, invalid, "1", 1_001)).endswith("unreserved concurrency [1000].")
        assert (await refused(w, invalid, "1", 901)).endswith("its minimum value of [100].")
        await w.provisioned.put(F, "1", 900)
        assert "already Provisioned" in await refused(w, ResourceConflict, "blue")
        await w.provisioned.delete(F, "1")
        await w.provisioned.put(F, "blue", 1)
        assert (await refused(w, ResourceConflict, "1")).startswith("Version is pointed by")
        await w.reserved.put(F, 3)
        assert "reservedConcurrentExecution" in await refused(w, invalid, "2", 3)
        await w.provisioned.put(F, "2", 2)
        with pytest.raises(InvalidParameterValue):
            w.provisioned.get(F, LATEST)

    play(scenario)


def test_a_function_that_keeps_tenants_apart_has_none() -> None:
    async def scenario(w: World) -> None:
        with pytest.raises(InvalidParameterValue, match="Provisioned concurrency is not supported"):
            await w.provisioned.put(replace(F, per_tenant=True), "1", 1)

    play(scenario)
