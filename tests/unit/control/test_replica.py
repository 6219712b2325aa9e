"""The local copy: what it knows, in whatever order it hears of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fakes.control import ACCOUNT, REGION, function_key, until
from fakes.virtual_time import run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.control.records import encode, entry_key
from hearth.control.replica import Replica
from hearth.engine.contract import (
    CaughtUp,
    Change,
    Deleted,
    EngineUnavailable,
    Entry,
    KeyValue,
)
from hearth.engine.memory import MemoryEngine, MemoryKeyValue
from hearth.model.functions import Code, FunctionVersion, State
from hearth.model.ids import AccountId, FunctionKey, Region

FUNCTION = FunctionVersion(
    key=function_key(),
    runtime="python3.12",
    handler="app.handler",
    role="r",
    code=Code(sha256="a" * 64, size_bytes=7),
    state=State.ACTIVE,
    last_modified="m",
    revision_id="r1",
    instance_id="i1",
)


def named(name: str, timeout_s: int = 3) -> FunctionVersion:
    return replace(FUNCTION, key=function_key(name), timeout_s=timeout_s)


def key_of(function: FunctionVersion) -> str:
    key = entry_key(function.key)
    assert key is not None
    return key


def entry(function: FunctionVersion, revision: int) -> Entry:
    return Entry(key_of(function), encode(function), revision)


def deleted(function: FunctionVersion, revision: int) -> Deleted:
    return Deleted(key_of(function), revision)


async def memory() -> MemoryKeyValue:
    kv = await MemoryEngine().bucket("meta")
    assert isinstance(kv, MemoryKeyValue)
    return kv


class Script:
    """A bucket whose watches are scripts, one after the other: changes, and errors to raise."""

    def __init__(self, *watches: list[Change | Exception]) -> None:
        self.begun = 0
        self._watches = watches

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[AsyncIterator[Change]]:
        over: list[Change | Exception] = [CaughtUp()]
        script = self._watches[self.begun] if self.begun < len(self._watches) else over
        self.begun += 1
        last = self.begun > len(self._watches)
        yield self._play(script, then_wait=last)

    async def _play(
        self, script: list[Change | Exception], *, then_wait: bool
    ) -> AsyncIterator[Change]:
        for step in script:
            if isinstance(step, Exception):
                raise step
            yield step
        if then_wait:
            await asyncio.sleep(1e9)

    async def get(self, key: str) -> Entry | None:
        raise NotImplementedError

    async def create(self, key: str, value: bytes) -> int:
        raise NotImplementedError

    async def update(self, key: str, value: bytes, revision: int) -> int:
        raise NotImplementedError

    async def delete(self, key: str, revision: int) -> int:
        raise NotImplementedError


def test_it_is_ready_when_it_knows_all_and_then_follows() -> None:
    async def scene() -> None:
        kv = await memory()
        for name in ("b", "a"):
            await kv.create(key_of(named(name)), encode(named(name)))
        replica = Replica(kv)
        assert not replica.ready.is_set()
        async with Jobs() as jobs:
            jobs.spawn(replica.run(), name="replica")
            await replica.ready.wait()
            assert [f.key.name for f in replica.list(ACCOUNT, REGION)] == ["a", "b"]
            assert replica.is_complete
            revision = await kv.create(key_of(named("c")), encode(named("c")))
            await until(lambda: replica.get(function_key("c")) is not None)
            await kv.delete(key_of(named("c")), revision)
            await until(lambda: replica.get(function_key("c")) is None)

    asyncio.run(scene())


def test_accounts_and_regions_are_kept_apart() -> None:
    async def scene() -> None:
        replica = Replica(await memory())
        elsewhere = FunctionKey(AccountId("0" * 12), Region("us-east-1"), FUNCTION.key.name)
        replica.apply(entry(FUNCTION, 1))
        replica.apply(entry(replace(FUNCTION, key=elsewhere), 2))
        assert replica.list(ACCOUNT, REGION) == (FUNCTION,)
        assert len(replica.everything()) == 2

    asyncio.run(scene())


def test_listeners_are_told_what_was_and_what_is_once_for_each_change() -> None:
    async def scene() -> None:
        replica = Replica(await memory())
        heard: list[tuple[int | None, int | None]] = []
        replica.on_change(
            lambda old, new: heard.append(
                (old.timeout_s if old else None, new.timeout_s if new else None)
            )
        )
        replica.apply(entry(named("f", 1), 1))
        replica.apply(entry(named("f", 2), 2))
        replica.apply(entry(named("f", 2), 2))
        replica.apply(entry(named("f", 1), 1))
        replica.apply(deleted(FUNCTION, 3))
        replica.apply(deleted(FUNCTION, 3))
        replica.apply(deleted(named("never"), 4))
        assert heard == [(None, 1), (1, 2), (2, None)]

    asyncio.run(scene())


CHANGES = st.lists(st.tuples(st.sampled_from("fgh"), st.booleans()), min_size=1, max_size=12)


@given(CHANGES, st.randoms(use_true_random=False))
def test_in_any_order_and_number_of_hearings_the_newest_wins(
    changes: list[tuple[str, bool]], random: object
) -> None:
    """The model: the last change of each key."""
    history: list[Entry | Deleted] = []
    expected: dict[str, int | None] = {}
    for revision, (name, is_deletion) in enumerate(changes, 1):
        function = named(name, timeout_s=revision)
        history.append(deleted(function, revision) if is_deletion else entry(function, revision))
        expected[name] = None if is_deletion else revision
    heard = history * 2
    random.shuffle(heard)  # type: ignore[attr-defined]
    replica = Replica(Script())
    for change in heard:
        replica.apply(change)
    for name, timeout_s in expected.items():
        function_ = replica.get(function_key(name))
        assert (function_ and function_.timeout_s) == timeout_s


def test_a_lost_watch_is_begun_again_and_what_went_meanwhile_is_gone() -> None:
    async def scene() -> None:
        kv: KeyValue = Script(
            [EngineUnavailable("not yet")],
            [entry(named("a"), 1), entry(named("b"), 2), CaughtUp(), EngineUnavailable("lost")],
            [entry(named("b"), 2), entry(named("c"), 9), CaughtUp()],
        )
        replica = Replica(kv)
        async with Jobs() as jobs:
            jobs.spawn(replica.run(), name="replica")
            await replica.ready.wait()
            assert replica.get(function_key("a")) is not None
            await asyncio.sleep(0.15)
            assert [f.key.name for f in replica.list(ACCOUNT, REGION)] == ["b", "c"]
            replica.apply(entry(named("a"), 1))  # a late echo
            assert replica.get(function_key("a")) is None
            assert replica.ready.is_set()

    run_in_virtual_time(scene())


def test_what_this_process_wrote_while_a_watch_began_is_kept() -> None:
    """The engine may begin the watch before such a write, and tell of it after CaughtUp."""

    class Slow(Script):
        @asynccontextmanager
        async def watch(self, prefix: str = "") -> AsyncIterator[AsyncIterator[Change]]:
            async with super().watch(prefix) as changes:
                replica.apply(entry(FUNCTION, 7))
                yield changes

    async def scene() -> None:
        async with Jobs() as jobs:
            jobs.spawn(replica.run(), name="replica")
            await replica.ready.wait()
            assert replica.get(FUNCTION.key) == FUNCTION

    replica = Replica(Slow([CaughtUp(), entry(FUNCTION, 7)]))
    run_in_virtual_time(scene())


def test_it_stays_as_it_was_while_the_engine_is_away_and_tries_for_ever() -> None:
    async def scene() -> None:
        lost: list[Change | Exception] = [EngineUnavailable("away")]
        kv = Script([entry(FUNCTION, 1), CaughtUp(), *lost], *([lost] * 500))
        replica = Replica(kv)
        async with Jobs() as jobs:
            jobs.spawn(replica.run(), name="replica")
            await asyncio.sleep(300)
            assert 50 < kv.begun < 120, "waits longer each time, but never longer than 5 s"
            assert replica.get(FUNCTION.key) == FUNCTION
            assert not replica.is_complete

    run_in_virtual_time(scene())


def test_a_record_that_cannot_be_read_hides_its_function_and_stops_the_sweeping() -> None:
    async def scene() -> None:
        kv = await memory()
        await kv.create(key_of(FUNCTION), b'{"format": 99}')
        await kv.create(key_of(named("wrong")), encode(FUNCTION))  # another's record
        revision = await kv.create(key_of(named("good")), encode(named("good")))
        replica = Replica(kv)
        async with Jobs() as jobs:
            jobs.spawn(replica.run(), name="replica")
            await replica.ready.wait()
            assert [f.key.name for f in replica.everything()] == ["good"]
            may_sweep = [replica.is_complete]
            replica.apply(entry(FUNCTION, revision + 1))
            replica.apply(deleted(named("wrong"), revision + 2))
            may_sweep.append(replica.is_complete)
            assert may_sweep == [False, True]
            assert replica.get(FUNCTION.key) == FUNCTION

    asyncio.run(scene())
