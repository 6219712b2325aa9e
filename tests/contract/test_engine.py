"""Do the engine in memory and the one on a real nats-server keep the same contract?"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.virtual_time import run_in_virtual_time
from hearth.engine.contract import (
    VALUE_BYTES_MAX,
    CaughtUp,
    Change,
    Conflict,
    Deleted,
    Engine,
    Entry,
    KeyValue,
)
from hearth.engine.memory import MemoryEngine
from hearth.engine.nats import NatsEngine
from hearth.engine.server import EmbeddedServer

PATIENCE_S = 20.0

Scenario = Callable[[Engine, KeyValue], Awaitable[None]]
Play = Callable[[Scenario], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    state: Path = tmp_path_factory.mktemp("engine")
    with asyncio.Runner() as runner:
        server = EmbeddedServer(state)
        runner.run(server.start())
        try:
            yield server
        finally:
            runner.run(server.stop())


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.integration)])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a scenario on an engine with a bucket that nobody has used."""
    if request.param == "memory":
        return _play_in_memory
    server: EmbeddedServer = request.getfixturevalue("server")
    return lambda scenario: _play_on_nats(scenario, server)


def _play_in_memory(scenario: Scenario) -> None:
    async def run() -> None:
        engine = MemoryEngine()
        await scenario(engine, await engine.bucket("TEST"))

    run_in_virtual_time(run())


def _play_on_nats(scenario: Scenario, server: EmbeddedServer) -> None:
    async def run() -> None:
        engine = await NatsEngine.connect(server.url, server.user, server.password)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(engine, await engine.bucket(f"TEST-{secrets.token_hex(4)}"))
        finally:
            await engine.close()

    asyncio.run(run())


async def until_caught_up(changes: AsyncIterator[Change]) -> list[Change]:
    """What comes before CaughtUp."""
    seen: list[Change] = []
    async for change in changes:
        if isinstance(change, CaughtUp):
            return seen
        seen.append(change)
    raise AssertionError("the watch ended")


async def snapshot(bucket: KeyValue, prefix: str = "") -> list[Change]:
    async with bucket.watch(prefix) as changes:
        return await until_caught_up(changes)


async def keys(bucket: KeyValue, prefix: str = "") -> list[str]:
    return [change.key for change in await snapshot(bucket, prefix) if isinstance(change, Entry)]


@asynccontextmanager
async def watching(
    bucket: KeyValue, prefix: str = ""
) -> AsyncIterator[Callable[[], Awaitable[Change]]]:
    """A watch past CaughtUp; what is yielded gives the next change."""
    async with bucket.watch(prefix) as changes:
        await until_caught_up(changes)

        async def following() -> Change:
            async with asyncio.timeout(PATIENCE_S):
                return await anext(changes)

        yield following


# Reading and writing


def test_what_was_created_can_be_read(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        revision = await bucket.create("fn.1.hello", b"value")
        assert revision >= 1
        assert await bucket.get("fn.1.hello") == Entry("fn.1.hello", b"value", revision)

    play(scenario)


def test_a_key_that_was_never_written_reads_as_none(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        await bucket.create("fn.1", b"value")
        assert await bucket.get("fn") is None
        assert await bucket.get("fn.2") is None
        assert await bucket.get("fn.1.x") is None

    play(scenario)


def test_creating_what_is_there_conflicts_and_changes_nothing(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        revision = await bucket.create("a", b"first")
        with pytest.raises(Conflict):
            await bucket.create("a", b"second")
        assert await bucket.get("a") == Entry("a", b"first", revision)

    play(scenario)


def test_an_update_at_the_right_revision_is_written(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        first = await bucket.create("a", b"first")
        second = await bucket.update("a", b"second", first)
        assert second > first
        assert await bucket.get("a") == Entry("a", b"second", second)

    play(scenario)


def test_an_update_at_any_other_revision_conflicts_and_changes_nothing(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        first = await bucket.create("a", b"first")
        second = await bucket.update("a", b"second", first)
        for wrong in (first, second + 1, second + 1000, 0, -1):
            with pytest.raises(Conflict):
                await bucket.update("a", b"third", wrong)
        assert await bucket.get("a") == Entry("a", b"second", second)

    play(scenario)


def test_a_key_that_is_not_there_cannot_be_updated_or_deleted(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        other = await bucket.create("b", b"value")
        for revision in (0, 1, other):
            with pytest.raises(Conflict):
                await bucket.update("a", b"value", revision)
            with pytest.raises(Conflict):
                await bucket.delete("a", revision)
        assert await bucket.get("a") is None

    play(scenario)


def test_what_was_deleted_is_gone(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        first = await bucket.create("a", b"value")
        assert await bucket.delete("a", first) > first
        assert await bucket.get("a") is None

    play(scenario)


def test_a_deletion_at_another_revision_conflicts_and_changes_nothing(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        first = await bucket.create("a", b"first")
        second = await bucket.update("a", b"second", first)
        for wrong in (first, second + 1, 0, -1):
            with pytest.raises(Conflict):
                await bucket.delete("a", wrong)
        assert await bucket.get("a") == Entry("a", b"second", second)

    play(scenario)


def test_deleting_twice_at_the_same_revision_conflicts(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        first = await bucket.create("a", b"value")
        await bucket.delete("a", first)
        with pytest.raises(Conflict):
            await bucket.delete("a", first)
        with pytest.raises(Conflict):
            await bucket.update("a", b"value", first)

    play(scenario)


def test_a_deleted_key_can_be_created_again_and_again(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        last = 0
        for turn in range(4):
            revision = await bucket.create("a", b"%d" % turn)
            assert revision > last
            assert await bucket.get("a") == Entry("a", b"%d" % turn, revision)
            with pytest.raises(Conflict):
                await bucket.create("a", b"too much")
            last = await bucket.delete("a", revision)
            assert last > revision

    play(scenario)


def test_a_deletion_can_be_taken_back_at_its_own_revision(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        deleted = await bucket.delete("a", await bucket.create("a", b"first"))
        revision = await bucket.update("a", b"second", deleted)
        assert await bucket.get("a") == Entry("a", b"second", revision)

    play(scenario)


def test_revisions_grow_with_every_write_to_the_bucket(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        revisions = [
            a := await bucket.create("a", b"1"),
            b := await bucket.create("b", b"1"),
            a := await bucket.update("a", b"2", a),
            await bucket.delete("b", b),
            await bucket.create("b", b"2"),
            await bucket.delete("a", a),
        ]
        assert revisions == sorted(set(revisions))
        assert revisions[0] > 0

    play(scenario)


@pytest.mark.parametrize(
    "value",
    [b"", b"\x00", bytes(range(256)), "hällo ☃".encode(), b'{"json": 1}\r\n'],
    ids=["empty", "zero", "all-bytes", "utf-8", "lines"],
)
def test_a_value_is_any_bytes(play: Play, value: bytes) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        revision = await bucket.create("a", value)
        assert await bucket.get("a") == Entry("a", value, revision)
        assert await snapshot(bucket) == [Entry("a", value, revision)]

    play(scenario)


def test_the_largest_value_fits_and_a_larger_one_is_refused(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        largest = secrets.token_bytes(VALUE_BYTES_MAX)
        revision = await bucket.create("a", largest)
        assert await bucket.get("a") == Entry("a", largest, revision)
        with pytest.raises(ValueError, match="524289 bytes"):
            await bucket.update("a", largest + b"x", revision)
        with pytest.raises(ValueError, match="524289 bytes"):
            await bucket.create("b", largest + b"x")

    play(scenario)


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "a:b", "ä", "a\n"])
def test_a_key_of_other_characters_is_refused(play: Play, key: str) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        for attempt in (
            bucket.get(key),
            bucket.create(key, b""),
            bucket.update(key, b"", 1),
            bucket.delete(key, 1),
        ):
            with pytest.raises(ValueError, match="not a key"):
                await attempt
        if key:
            with pytest.raises(ValueError, match="not a key"):
                async with bucket.watch(key):
                    pass
        assert await snapshot(bucket) == []

    play(scenario)


def test_every_allowed_character_works_in_a_key(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        key = "fn.000000000012.My-Function_1.$LATEST".replace("$", "=") + ".a/b"
        revision = await bucket.create(key, b"value")
        assert await bucket.get(key) == Entry(key, b"value", revision)
        assert await keys(bucket, "fn.000000000012") == [key]

    play(scenario)


# Buckets


def test_a_bucket_that_is_opened_again_is_the_same(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        name = f"AGAIN-{secrets.token_hex(4)}"
        revision = await (await engine.bucket(name)).create("a", b"value")
        assert await (await engine.bucket(name)).get("a") == Entry("a", b"value", revision)

    play(scenario)


def test_buckets_do_not_see_each_other(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        other = await engine.bucket(f"OTHER-{secrets.token_hex(4)}")
        await bucket.create("a", b"here")
        assert await other.get("a") is None
        await other.create("a", b"there")
        assert [c.value for c in await snapshot(bucket) if isinstance(c, Entry)] == [b"here"]

    play(scenario)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a*", "ä", "x" * 65])
def test_a_bucket_has_a_plain_name(play: Play, name: str) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        with pytest.raises(ValueError, match="not a bucket name"):
            await engine.bucket(name)

    play(scenario)


def test_a_working_engine_passes_its_probe(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        await engine.probe()
        await engine.probe()
        assert await snapshot(bucket) == []

    play(scenario)


# Races


def test_of_many_creators_exactly_one_wins(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        for _ in range(3):  # a new key, then twice one that was deleted
            attempts = [bucket.create("a", b"%d" % i) for i in range(20)]
            outcomes = await asyncio.gather(*attempts, return_exceptions=True)
            won = [(i, r) for i, r in enumerate(outcomes) if isinstance(r, int)]
            assert len(won) == 1
            assert all(isinstance(r, Conflict | int) for r in outcomes)
            (winner, revision), *_ = won
            assert await bucket.get("a") == Entry("a", b"%d" % winner, revision)
            await bucket.delete("a", revision)

    play(scenario)


def test_of_many_writers_at_one_revision_exactly_one_wins(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        revision = await bucket.create("a", b"")
        attempts = [bucket.update("a", b"%d" % i, revision) for i in range(19)]
        outcomes = await asyncio.gather(
            *attempts, bucket.delete("a", revision), return_exceptions=True
        )
        assert sum(isinstance(r, int) for r in outcomes) == 1
        assert sum(isinstance(r, Conflict) for r in outcomes) == 19

    play(scenario)


async def _count_up(bucket: KeyValue, times: int) -> None:
    for _ in range(times):
        while True:
            found = await bucket.get("count")
            assert found is not None
            try:
                await bucket.update("count", b"%d" % (int(found.value) + 1), found.revision)
            except Conflict:
                continue
            break


def test_a_counter_that_many_raise_loses_nothing(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        await bucket.create("count", b"0")
        await asyncio.gather(*(_count_up(bucket, 10) for _ in range(5)))
        found = await bucket.get("count")
        assert found is not None
        assert found.value == b"50"

    play(scenario)


# Watching


def test_a_watch_of_an_empty_bucket_has_caught_up_at_once(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        async with bucket.watch() as changes, asyncio.timeout(PATIENCE_S):
            assert await anext(changes) == CaughtUp()

    play(scenario)


def test_a_watch_that_nothing_matches_has_caught_up_at_once(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        await bucket.create("fn.1", b"value")
        async with bucket.watch("fn.2") as changes, asyncio.timeout(PATIENCE_S):
            assert await anext(changes) == CaughtUp()

    play(scenario)


def test_a_watch_begins_with_what_is_there_in_order_of_revision(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        a = await bucket.create("a", b"1")
        b = await bucket.create("b", b"1")
        c = await bucket.create("c", b"1")
        a = await bucket.update("a", b"2", a)
        await bucket.delete("b", b)
        assert await snapshot(bucket) == [Entry("c", b"1", c), Entry("a", b"2", a)]

    play(scenario)


def test_what_was_deleted_before_a_watch_is_not_in_it(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        await bucket.delete("a", await bucket.create("a", b""))
        assert await snapshot(bucket) == []
        async with watching(bucket) as following:
            revision = await bucket.create("a", b"again")
            assert await following() == Entry("a", b"again", revision)

    play(scenario)


def test_a_watch_goes_on_with_every_change(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        a = await bucket.create("a", b"1")
        async with watching(bucket) as following:
            b = await bucket.create("b", b"1")
            assert await following() == Entry("b", b"1", b)
            a = await bucket.update("a", b"2", a)
            assert await following() == Entry("a", b"2", a)
            a = await bucket.delete("a", a)
            assert await following() == Deleted("a", a)
            a = await bucket.create("a", b"3")
            assert await following() == Entry("a", b"3", a)

    play(scenario)


def test_a_prefix_matches_whole_tokens(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        for key in ("fn", "fn.1", "fn.1.x", "fn.1.x.y", "fn.10", "fn.10.x", "fnx.1", "x.fn.1"):
            await bucket.create(key, b"")
        assert await keys(bucket, "fn.1") == ["fn.1", "fn.1.x", "fn.1.x.y"]
        assert await keys(bucket, "fn.10") == ["fn.10", "fn.10.x"]
        assert await keys(bucket, "fn.1.x.y") == ["fn.1.x.y"]
        assert len(await keys(bucket, "fn")) == 6
        assert len(await keys(bucket)) == 8

    play(scenario)


def test_a_watch_with_a_prefix_hears_of_nothing_else(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        async with watching(bucket, "fn.1") as following:
            await bucket.create("fn.10.x", b"")
            await bucket.delete("fn.2", await bucket.create("fn.2", b""))
            revision = await bucket.create("fn.1.x", b"")
            assert await following() == Entry("fn.1.x", b"", revision)

    play(scenario)


def test_watches_are_independent(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        async with watching(bucket) as first, watching(bucket, "b") as second:
            a = await bucket.create("a", b"")
            b = await bucket.create("b", b"")
            assert await second() == Entry("b", b"", b)
            assert await first() == Entry("a", b"", a)
            assert await first() == Entry("b", b"", b)

    play(scenario)


def test_an_iteration_that_was_given_up_loses_nothing(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        async with bucket.watch() as changes:
            await until_caught_up(changes)
            for turn in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await anext(changes)
                revision = await bucket.create(f"a.{turn}", b"")
                assert await anext(changes) == Entry(f"a.{turn}", b"", revision)

    play(scenario)


def test_a_watch_delivers_more_than_one_batch(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        wanted = {f"k.{i}" for i in range(600)}
        await asyncio.gather(*(bucket.create(key, key.encode()) for key in wanted))
        found = await snapshot(bucket)
        assert {c.key: c.value for c in found if isinstance(c, Entry)} == {
            key: key.encode() for key in wanted
        }
        _assert_in_order(found)

    play(scenario)


def test_a_watch_delivers_many_of_the_largest_values(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        largest = secrets.token_bytes(VALUE_BYTES_MAX)
        for i in range(20):  # 10 MiB
            await bucket.create(f"k.{i}", largest)
        found = await snapshot(bucket)
        assert [c.value == largest for c in found if isinstance(c, Entry)] == [True] * 20

    play(scenario)


def _assert_in_order(changes: list[Change]) -> None:
    revisions = [c.revision for c in changes if not isinstance(c, CaughtUp)]
    assert revisions == sorted(set(revisions))


async def _write_at_random(bucket: KeyValue, writer: int, last: dict[str, bytes]) -> None:
    """Each writer has keys of its own and notes their last values."""
    revisions: dict[str, int] = {}
    for step, name in zip(range(60), itertools.cycle("abcde"), strict=False):
        key = f"{name}.{writer}"
        value = b"%d" % step
        if key not in revisions:
            revisions[key] = await bucket.create(key, value)
            last[key] = value
        elif step % 7 == 0:
            await bucket.delete(key, revisions.pop(key))
            del last[key]
        else:
            revisions[key] = await bucket.update(key, value, revisions[key])
            last[key] = value


def test_a_watch_begun_amid_writes_is_in_order_and_ends_with_the_truth(play: Play) -> None:
    async def scenario(engine: Engine, bucket: KeyValue) -> None:
        last: dict[str, bytes] = {}
        await asyncio.gather(*(_write_at_random(bucket, writer, last) for writer in range(4)))
        seen: list[Change] = []

        async def follow() -> None:
            async with bucket.watch() as changes:
                async for change in changes:
                    seen.append(change)
                    if isinstance(change, Entry) and change.key == "end":
                        return

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            await asyncio.gather(
                *(_write_at_random(bucket, writer, last) for writer in range(4, 8))
            )
            await bucket.create("end", b"")
        _assert_in_order(seen)
        assert seen.count(CaughtUp()) == 1
        assert _state(seen) == last | {"end": b""}

    play(scenario)


def _state(changes: list[Change]) -> dict[str, bytes]:
    state: dict[str, bytes] = {}
    for change in changes:
        match change:
            case Entry(key, value):
                state[key] = value
            case Deleted(key):
                state.pop(key, None)
            case CaughtUp():
                pass
    return state
