"""Do all engines read, write and refuse as the contract says?"""

import asyncio
import secrets

import pytest

from contract.engine_scene import (
    Play,
    engine_player,
    keys,
    running_server,
    snapshot,
)
from hearth.engine.contract import (
    VALUE_BYTES_MAX,
    Conflict,
    Engine,
    Entry,
    KeyValue,
)

__all__ = ["engine_player", "running_server"]


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
