"""Do all engines watch as the contract says: first what is there, then every change, in order?"""

import asyncio
import itertools
import secrets

import pytest

from contract.engine_scene import (
    PATIENCE_S,
    Play,
    engine_player,
    keys,
    running_server,
    snapshot,
    until_caught_up,
    watching,
)
from hearth.engine.contract import (
    VALUE_BYTES_MAX,
    CaughtUp,
    Change,
    Deleted,
    Engine,
    Entry,
    KeyValue,
)

__all__ = ["engine_player", "running_server"]


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
        assert await keys(bucket, "fn.1") == ["fn.1.x", "fn.1.x.y"]
        assert await keys(bucket, "fn.10") == ["fn.10.x"]
        assert await keys(bucket, "fn.1.x.y") == []
        assert len(await keys(bucket, "fn")) == 5
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
            b = await bucket.create("b.1", b"")
            assert await second() == Entry("b.1", b"", b)
            assert await first() == Entry("a", b"", a)
            assert await first() == Entry("b.1", b"", b)

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
        wanted = {f"k.{i}" for i in range(1100)}
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
