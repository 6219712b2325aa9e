"""What the engine in memory does beyond the contract: it can be broken, and is like a model."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.virtual_time import run_in_virtual_time
from hearth.engine.contract import (
    CaughtUp,
    Change,
    Conflict,
    Deleted,
    EngineUnavailable,
    Entry,
    KeyValue,
)
from hearth.engine.keys import is_below, matches
from hearth.engine.memory import MemoryEngine, Outage


def test_an_unreachable_engine_neither_reads_nor_writes() -> None:
    async def scenario() -> None:
        engine = MemoryEngine()
        bucket = await engine.bucket("META")
        revision = await bucket.create("a", b"1")
        engine.outage = Outage.UNREACHABLE
        for attempt in (
            bucket.get("a"),
            bucket.create("b", b""),
            bucket.update("a", b"2", revision),
            bucket.delete("a", revision),
            engine.bucket("OTHER"),
            engine.probe(),
        ):
            with pytest.raises(EngineUnavailable):
                await attempt
        engine.outage = Outage.NONE
        assert await bucket.get("a") == Entry("a", b"1", revision)
        assert await bucket.get("b") is None

    run_in_virtual_time(scenario())


def test_a_lost_reply_leaves_the_write_done() -> None:
    async def scenario() -> None:
        engine = MemoryEngine()
        bucket = await engine.bucket("META")
        engine.outage = Outage.REPLIES_LOST
        with pytest.raises(EngineUnavailable):
            await bucket.create("a", b"1")
        engine.outage = Outage.NONE
        assert await bucket.get("a") == Entry("a", b"1", 1)
        with pytest.raises(Conflict):
            await bucket.create("a", b"1")

    run_in_virtual_time(scenario())


def test_an_outage_does_not_end_a_watch() -> None:
    async def scenario() -> None:
        engine = MemoryEngine()
        bucket = await engine.bucket("META")
        async with bucket.watch() as changes:
            assert await anext(changes) == CaughtUp()
            engine.outage = Outage.REPLIES_LOST
            with pytest.raises(EngineUnavailable):
                await bucket.create("a", b"1")
            assert await anext(changes) == Entry("a", b"1", 1)

    run_in_virtual_time(scenario())


def test_other_tasks_run_between_a_read_and_a_write() -> None:
    async def scenario() -> None:
        bucket = await MemoryEngine().bucket("META")
        await bucket.create("a", b"0")

        async def careless() -> None:
            found = await bucket.get("a")
            assert found is not None
            await bucket.update("a", found.value, found.revision)

        outcomes = await asyncio.gather(careless(), careless(), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), Conflict]

    run_in_virtual_time(scenario())


def test_a_watch_that_lags_sees_the_last_state_only() -> None:
    async def scenario() -> None:
        bucket = await MemoryEngine().bucket("META")
        async with bucket.watch() as changes:
            assert await anext(changes) == CaughtUp()
            revision = await bucket.create("a", b"0")
            for number in range(1, 5):
                revision = await bucket.update("a", b"%d" % number, revision)
            assert await anext(changes) == Entry("a", b"4", revision)

    run_in_virtual_time(scenario())


@pytest.mark.parametrize(
    ("key", "prefix", "does"),
    [
        ("fn.1", "", True),
        ("fn.1", "fn", True),
        ("fn.1", "fn.1", True),
        ("fn.1.x", "fn.1", True),
        ("fn.10", "fn.1", False),
        ("fn.10.x", "fn.1", False),
        ("fn", "fn.1", False),
        ("x.fn.1", "fn.1", False),
    ],
)
def test_a_prefix_is_whole_tokens(key: str, prefix: str, does: bool) -> None:
    assert matches(key, prefix) is does
    assert is_below(key, prefix) is (does and key != prefix)


# A naive model: what is there, and a list of all that happened.

KEYS = ["a", "a.b", "a.b.c", "ab", "b"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "delete"]),
        st.sampled_from(KEYS),
        st.integers(min_value=-2, max_value=0),  # how far off the expected revision is
    ),
    max_size=40,
)


class Model:
    def __init__(self) -> None:
        self.last: dict[str, Entry | Deleted] = {}
        self.revision = 0

    def write(self, step: str, key: str, expected: int) -> int | None:
        """The new revision, or None for a conflict."""
        last = self.last.get(key)
        if step == "create":
            if isinstance(last, Entry):
                return None
        elif last is None or last.revision != expected:
            return None
        self.revision += 1
        value = b"%d" % self.revision
        self.last[key] = (
            Deleted(key, self.revision) if step == "delete" else Entry(key, value, self.revision)
        )
        return self.revision

    def expected(self, key: str, off: int) -> int:
        last = self.last.get(key)
        return off + (0 if last is None else last.revision)

    def entries(self, prefix: str = "") -> list[Change]:
        found = [e for e in self.last.values() if isinstance(e, Entry) and is_below(e.key, prefix)]
        found.sort(key=lambda entry: entry.revision)
        return [*found]


async def _write(bucket: KeyValue, step: str, key: str, expected: int, value: bytes) -> int | None:
    try:
        match step:
            case "create":
                return await bucket.create(key, value)
            case "update":
                return await bucket.update(key, value, expected)
            case _:
                return await bucket.delete(key, expected)
    except Conflict:
        return None


async def _snapshot(bucket: KeyValue, prefix: str) -> list[Change]:
    found: list[Change] = []
    async with bucket.watch(prefix) as changes:
        async for change in changes:
            if isinstance(change, CaughtUp):
                break
            found.append(change)
    return found


@given(STEPS)
def test_any_order_of_writes_ends_as_in_the_model(
    steps: list[tuple[str, str, int]],
) -> None:
    async def scenario() -> None:
        bucket, model = await MemoryEngine().bucket("META"), Model()
        for step, key, off in steps:
            expected = model.expected(key, off)
            value = b"%d" % (model.revision + 1)
            written = await _write(bucket, step, key, expected, value)
            assert written == model.write(step, key, expected)
        for key in KEYS:
            last = model.last.get(key)
            assert await bucket.get(key) == (last if isinstance(last, Entry) else None)
        for prefix in ("", "a", "a.b", "b"):
            assert await _snapshot(bucket, prefix) == model.entries(prefix)

    run_in_virtual_time(scenario())
