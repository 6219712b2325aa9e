"""Kills, cancelled callers and an engine that does not answer: what was acknowledged is there.

A kill is played by closing the caller's coroutine where it waits (at its first, second, ...
suspension) and cancelling everything else of the process; the engine and the files stay.
"""

import asyncio
import itertools
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fakes.control import (
    ControlPlane,
    FakeCodeCache,
    control_plane,
    creation,
    function_key,
    made,
    until,
)
from fakes.mortal import Killed, Mortal
from fakes.packages import zip_of
from hearth.control.requests import UpdateCode, UpdateConfiguration
from hearth.control.store import FunctionStore
from hearth.engine.contract import EngineUnavailable, Entry, KeyValue
from hearth.engine.memory import MemoryEngine, Outage
from hearth.model.errors import InternalFailure, ResourceConflict, ResourceNotFound
from hearth.model.functions import FunctionVersion, State, UpdateStatus

KEY = function_key()
SUSPENSIONS_MAX = 400


@dataclass
class Ledger:
    """What callers were told: per name what the function must be, or None if it was deleted."""

    known: dict[str, tuple[str, int] | None]
    under_way: tuple[str, tuple[str, int] | None] | None = None

    async def call(
        self, name: str, outcome: tuple[str, int] | None, work: Awaitable[object]
    ) -> None:
        self.under_way = (name, outcome)
        await work
        self.known[name] = outcome
        self.under_way = None


PACKAGES = [zip_of({"app.py": f"x = {n}"}) for n in range(3)]


async def workload(plane: ControlPlane, ledger: Ledger) -> None:
    """Two functions, every kind of change, each as soon as AWS would allow it."""
    shas = [plane.packages.describe(package).sha256 for package in PACKAGES]
    functions, f, g = plane.functions, function_key("f"), function_key("g")
    await ledger.call("f", (shas[0], 3), functions.create(creation("f", PACKAGES[0])))
    await ledger.call("g", (shas[1], 3), functions.create(creation("g", PACKAGES[1])))
    await plane.settled()
    update = UpdateCode(key=f, package=PACKAGES[2])
    await ledger.call("f", (shas[2], 3), functions.update_code(update))
    await plane.settled()
    configuration = UpdateConfiguration(key=f, timeout_s=9)
    await ledger.call("f", (shas[2], 9), functions.update_configuration(configuration))
    await ledger.call("g", None, functions.delete(g))
    await ledger.call("g", (shas[2], 3), functions.create(creation("g", PACKAGES[2])))
    await ledger.call("f", None, functions.delete(f))


async def live_until_killed(kv: KeyValue, directory: Path, ledger: Ledger, life: int) -> bool:
    """True if the workload came to its end first."""
    async with control_plane(kv, directory) as plane:
        try:
            await Mortal(workload(plane, ledger), life)
        except Killed:
            return False
        return True


def seen(function: FunctionVersion | None) -> tuple[str, int] | None:
    return (function.code.sha256, function.timeout_s) if function else None


async def check_after(kv: KeyValue, directory: Path, ledger: Ledger) -> None:
    async with control_plane(kv, directory) as plane:
        await plane.settled()
        for name in ("f", "g"):
            function = plane.replica.get(function_key(name))
            possible = {ledger.known.get(name)}
            if ledger.under_way is not None and ledger.under_way[0] == name:
                possible.add(ledger.under_way[1])
            assert seen(function) in possible
            if function is not None:
                assert function.state is State.ACTIVE
                assert function.update_status is UpdateStatus.SUCCESSFUL
        referenced = {function.code.sha256 for function in plane.replica.everything()}
        assert await plane.packages.missing(referenced) == frozenset()


def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async def scene(life: int) -> bool:
        kv, directory = await MemoryEngine().bucket("meta"), tmp_path / str(life)
        ledger = Ledger({})
        ended = await live_until_killed(kv, directory, ledger, life)
        await check_after(kv, directory, ledger)
        return ended

    for life in itertools.count():
        assert life < SUSPENSIONS_MAX
        if asyncio.run(scene(life)):
            assert life > 20, "the workload has more moments than that"
            break
    assert not list(tmp_path.glob("*/.put-*"))


@pytest.mark.parametrize("patience", range(12))
def test_a_caller_who_goes_away_leaves_no_function_half_done(tmp_path: Path, patience: int) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, tmp_path) as plane:
            call = asyncio.create_task(plane.functions.create(creation()))
            for _ in range(patience):
                await asyncio.sleep(0.0002)
            call.cancel()
            await asyncio.wait([call])
            await plane.settled()
            function = plane.replica.get(KEY) or await made(plane)
            assert function.state is State.ACTIVE

    asyncio.run(scene())


class Unheard:
    """A bucket that carries writes out, and loses the replies of those a test asks it to."""

    def __init__(self, kv: KeyValue) -> None:
        self.lose = 0
        self.watch = kv.watch
        self.get = kv.get
        self._kv = kv

    async def create(self, key: str, value: bytes) -> int:
        return self._reply(await self._kv.create(key, value))

    async def update(self, key: str, value: bytes, revision: int) -> int:
        return self._reply(await self._kv.update(key, value, revision))

    async def delete(self, key: str, revision: int) -> int:
        return self._reply(await self._kv.delete(key, revision))

    def _reply(self, revision: int) -> int:
        if self.lose:
            self.lose -= 1
            raise EngineUnavailable("the reply was lost")
        return revision


def test_a_write_whose_reply_was_lost_is_found_and_acknowledged(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = Unheard(await MemoryEngine().bucket("meta"))
        async with control_plane(kv, tmp_path) as plane:
            kv.lose = 1
            created = await plane.functions.create(creation())
            assert plane.replica.get(KEY) is not None
            kv.lose = 1  # of the job that settles it
            await plane.settled()
            kv.lose = 1
            await plane.functions.update_configuration(UpdateConfiguration(key=KEY, timeout_s=8))
            await plane.settled()
            updated = await plane.functions.get(KEY)
            assert (updated.timeout_s, updated.instance_id) == (8, created.instance_id)
            kv.lose = 1
            await plane.functions.delete(KEY)
            assert plane.replica.get(KEY) is None
            with pytest.raises(ResourceNotFound):
                await plane.functions.delete(KEY)

    asyncio.run(scene())


def test_a_lost_reply_and_then_anothers_write_is_not_taken_for_ours(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, tmp_path) as plane:
            await made(plane)
            with pytest.raises(ResourceConflict, match="Function already exist: f"):
                await FunctionStore(kv, plane.replica).create(
                    replace(await plane.functions.get(KEY), revision_id="mine", instance_id="mine")
                )

    asyncio.run(scene())


def test_without_the_engine_reads_go_on_and_writes_say_that_they_failed(tmp_path: Path) -> None:
    async def scene() -> None:
        engine = MemoryEngine()
        async with control_plane(await engine.bucket("meta"), tmp_path) as plane:
            function = await made(plane)
            engine.outage = Outage.UNREACHABLE
            assert await plane.functions.get(KEY) == function
            for write in (
                plane.functions.create(creation("g")),
                plane.functions.update_code(UpdateCode(key=KEY, package=zip_of())),
                plane.functions.update_configuration(UpdateConfiguration(key=KEY)),
                plane.functions.delete(KEY),
            ):
                with pytest.raises(InternalFailure) as failed:
                    await write
                assert failed.value.status == 500
            engine.outage = Outage.NONE
            assert (await plane.functions.get(KEY)).revision_id == function.revision_id

    asyncio.run(scene())


def test_a_function_is_settled_however_long_the_engine_is_away(tmp_path: Path) -> None:
    async def scene() -> None:
        engine = MemoryEngine()
        async with control_plane(await engine.bucket("meta"), tmp_path) as plane:
            plane.code_cache.gate.clear()
            await plane.functions.create(creation())
            engine.outage = Outage.UNREACHABLE
            plane.code_cache.gate.set()
            await asyncio.sleep(0.15)  # at least one attempt fails
            engine.outage = Outage.NONE
            await plane.settled()
            assert (await plane.functions.get(KEY)).state is State.ACTIVE

    asyncio.run(scene())


def test_a_write_that_nobody_heard_of_is_settled_all_the_same(tmp_path: Path) -> None:
    async def scene() -> None:
        engine = MemoryEngine()
        async with control_plane(await engine.bucket("meta"), tmp_path) as plane:
            store = FunctionStore(plane.functions.kv, plane.replica)
            template = await made(plane, "template")
            engine.outage = Outage.REPLIES_LOST
            with pytest.raises(InternalFailure):
                await store.create(replace(template, key=KEY, state=State.PENDING, revision_id="x"))
            engine.outage = Outage.NONE
            await until(lambda: plane.replica.get(KEY) is not None)
            await plane.settled()

    asyncio.run(scene())


def test_interrupted_jobs_are_taken_up_at_the_next_start(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        stuck = FakeCodeCache()
        stuck.gate.clear()
        async with control_plane(kv, tmp_path, stuck) as plane:
            await plane.functions.create(creation("new"))
        async with control_plane(kv, tmp_path) as plane:
            await plane.settled()
            assert plane.replica.get(function_key("new")) is not None
            await made(plane, "changed")
        async with control_plane(kv, tmp_path, stuck) as plane:
            changed = function_key("changed")
            await plane.functions.update_code(UpdateCode(key=changed, package=PACKAGES[1]))
        async with control_plane(kv, tmp_path) as plane:
            await plane.settled()
            assert {f.state for f in plane.replica.everything()} == {State.ACTIVE}
            settled = await plane.functions.get(function_key("changed"))
            assert settled.update_status is UpdateStatus.SUCCESSFUL
            assert len(plane.code_cache.prepared) == 1

    asyncio.run(scene())


def test_two_processes_agree_on_who_settles(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with (
            control_plane(kv, tmp_path) as one,
            control_plane(kv, tmp_path) as two,
        ):
            for number in range(10):
                await one.functions.create(creation(f"f{number}"))
            await until(lambda: len(two.replica.everything()) == 10)
            await one.settled()
            await two.settled()
            await until(lambda: one.replica.everything() == two.replica.everything())

    asyncio.run(scene())


def test_a_change_is_decided_anew_when_somebody_was_faster(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, tmp_path) as plane:
            await made(plane)
            store = FunctionStore(kv, plane.replica)
            numbers = itertools.count()

            def longer(now: FunctionVersion) -> FunctionVersion:
                return replace(now, timeout_s=now.timeout_s + 1, revision_id=f"x{next(numbers)}")

            await asyncio.gather(*(store.change(KEY, longer) for _ in range(10)))
            assert (await plane.functions.get(KEY)).timeout_s == 13
            assert isinstance(await kv.get("fn.123456789012.eu-central-1.f"), Entry)

    asyncio.run(scene())
