import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import pytest

from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.logs import segments
from hearth.logs.pending import QueueLimits
from hearth.logs.reading import FUTURE_MS_MAX
from hearth.logs.segments import SegmentLimits
from hearth.logs.store import FLUSH_S, LogLimits, LogStore
from hearth.model.ids import AccountId, Region
from hearth.model.logs import EventId, LogEvent, LogGroup

T = TypeVar("T")
STREAM = "2026/01/01/[$LATEST]0123"


def group(name: str) -> LogGroup:
    return LogGroup(AccountId("000000000000"), Region("us-east-1"), f"/aws/lambda/{name}")


HELLO, OTHER = group("hello"), group("other")


class SlowDisk:
    """Does the work in the caller's thread, after `delay_s` of virtual time."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.refuses = False
        self.writes = 0
        self._turn = asyncio.Lock()

    async def write(self, work: Callable[[], T]) -> T:
        async with self._turn:
            self.writes += 1
            await asyncio.sleep(self.delay_s)
            return work()

    async def read(self, work: Callable[[], T]) -> T:
        return work()

    def close(self) -> None:
        pass


LIMITS = LogLimits(
    SegmentLimits(segment_bytes_max=2_000, group_bytes_max=20_000),
    QueueLimits(queue_bytes_max=100_000, group_queue_bytes_max=50_000),
)

Scenario = Callable[[LogStore, SlowDisk], Awaitable[None]]


def play(root: Path, scenario: Scenario) -> None:
    async def scene() -> None:
        async with Jobs() as jobs:
            disk = SlowDisk()
            store = LogStore(root, VirtualClock(), jobs, limits=LIMITS, disk=disk)
            await scenario(store, disk)
            await store.close()

    run_in_virtual_time(scene())


def messages(events: tuple[LogEvent, ...]) -> list[bytes]:
    return [event.message for event in events]


def test_what_was_appended_is_read_at_once(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        store.append(HELLO, STREAM, 1_000, [b"one", b"two\x1b"])
        store.append(OTHER, STREAM, 1_000, [b"elsewhere"])
        page = await store.read(HELLO)
        assert messages(page.events) == [b"one", b"two\x1b"]
        assert not page.more
        assert [(e.stream, e.at_ms) for e in page.events] == [(STREAM, 1_000)] * 2
        assert page.events[0].ingested_ms == VirtualClock().epoch_ms()
        assert page.events[0].event_id < page.events[1].event_id == page.cursor

    play(tmp_path, scenario)


def test_many_appends_are_one_write(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        for n in range(100):
            store.append(HELLO, STREAM, n, [b"line"])
        await asyncio.sleep(FLUSH_S * 2)
        assert disk.writes == 1
        assert len((await store.read(HELLO)).events) == 100

    play(tmp_path, scenario)


def test_a_slow_disk_costs_lines_and_says_how_many_but_delays_nobody(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        disk.delay_s = 3_600.0
        began_s = VirtualClock().monotonic_s()
        for _ in range(200):
            store.append(HELLO, STREAM, 5, [b"x" * 1_000])
            store.append(OTHER, STREAM, 5, [b"quiet"] if _ == 0 else [])
        assert VirtualClock().monotonic_s() == began_s
        disk.delay_s = 0.0
        found = messages((await store.read_last(HELLO)).events)
        kept = 50_000 // (1_000 + 64 + 256)
        note = f"hearth: {200 - kept} log lines were lost here: they came faster than they could "
        assert found[-1] == note.encode() + b"be written"
        assert store.lines_lost == 200 - kept
        assert messages((await store.read(OTHER)).events) == [b"quiet"]

    play(tmp_path, scenario)


def test_a_disk_that_refuses_costs_lines_that_are_told_when_it_works_again(
    tmp_path: Path,
) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        directory = segments.directory_of(tmp_path, HELLO)
        directory.parent.mkdir(parents=True)
        directory.write_bytes(b"in the way")
        store.append(HELLO, STREAM, 5, [b"one", b"two"])
        store.append(OTHER, STREAM, 5, [b"fine"])
        assert messages((await store.read(OTHER)).events) == [b"fine"]
        directory.unlink()
        store.append(HELLO, STREAM, 6, [b"three"])
        found = messages((await store.read(HELLO)).events)
        assert found[0] == b"three"
        assert found[1].startswith(b"hearth: 2 log lines were lost here")
        assert store.lines_lost == 2

    play(tmp_path, scenario)


def test_pages_lead_through_all_segments_without_gap_or_repetition(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        sent = [b"%03d" % n for n in range(300)]
        for n in range(0, 300, 3):
            store.append(HELLO, STREAM, n, sent[n : n + 3])
        await store.flush()
        assert len(segments.segments(segments.directory_of(tmp_path, HELLO))) > 2
        got: list[bytes] = []
        cursor: EventId | None = None
        more = True
        while more:
            page = await store.read(HELLO, limit=7, after=cursor)
            got += messages(page.events)
            cursor, more = page.cursor, page.more
        assert got == sent
        assert (await store.read(HELLO, after=cursor)).cursor == cursor

    play(tmp_path, scenario)


def test_events_are_chosen_by_time_and_stream(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        for n in range(100):
            store.append(HELLO, f"stream-{n % 2}", n, [b"%d" % n])
        page = await store.read(HELLO, 10, end_ms=14)
        assert messages(page.events) == [b"10", b"11", b"12", b"13"]
        page = await store.read(HELLO, 95, streams=frozenset({"stream-1"}))
        assert messages(page.events) == [b"95", b"97", b"99"]

    play(tmp_path, scenario)


def test_a_cursor_passes_events_that_the_reader_does_not_want(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        store.append(HELLO, STREAM, 1, [b"old"])
        page = await store.read(HELLO, 1_000)
        assert page.events == ()
        store.append(HELLO, STREAM, 2, [b"old too"])
        [event] = (await store.read(HELLO, after=page.cursor)).events
        assert event.message == b"old too"

    play(tmp_path, scenario)


def test_the_newest_lines_are_found_from_the_end(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        for n in range(300):
            store.append(HELLO, STREAM, n, [b"%03d" % n])
            if n % 100 == 99:
                await store.flush()
        page = await store.read_last(HELLO, 50)
        assert messages(page.events) == [b"%03d" % n for n in range(250, 300)]
        assert page.cursor == page.events[-1].event_id
        page = await store.read_last(HELLO, 50, start_ms=298)
        assert messages(page.events) == [b"298", b"299"]
        page = await store.read_last(HELLO, 50, start_ms=10_000)
        assert page.events == ()
        assert page.cursor is not None

    play(tmp_path, scenario)


def test_a_segment_last_written_long_before_is_not_even_read(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        store.append(HELLO, STREAM, 90_000_000, [b"a time that its file cannot have"])
        await store.flush()
        [(_, path)] = segments.segments(segments.directory_of(tmp_path, HELLO))
        os.utime(path, (60_000, 60_000))
        assert (await store.read(HELLO, 60_000_000 + FUTURE_MS_MAX)).events != ()
        assert (await store.read(HELLO, 60_000_001 + FUTURE_MS_MAX)).events == ()

    play(tmp_path, scenario)


def test_an_unknown_group_is_empty_and_a_false_id_is_refused(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        page = await store.read(HELLO)
        assert (page.events, page.cursor, page.more) == ((), None, False)
        assert (await store.read_last(HELLO)).events == ()
        with pytest.raises(ValueError, match="not an event id"):
            await store.read(HELLO, after=EventId("42"))

    play(tmp_path, scenario)


def test_a_follower_hears_what_comes_and_not_what_was(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        store.append(HELLO, STREAM, 1, [b"before"])
        async with aclosing(store.follow(HELLO)) as following:
            first = asyncio.create_task(following.__anext__())
            await asyncio.sleep(3_600)
            store.append(OTHER, STREAM, 2, [b"elsewhere"])
            store.append(HELLO, STREAM, 2, [b"one", b"two"])
            heard_s = VirtualClock().monotonic_s()
            assert (await first).message == b"one"
            assert VirtualClock().monotonic_s() - heard_s <= FLUSH_S * 2
            assert (await anext(following)).message == b"two"
            store.append(HELLO, STREAM, 3, [b"three"])
            assert (await anext(following)).message == b"three"

    play(tmp_path, scenario)


def test_a_slow_follower_misses_nothing_and_two_hear_the_same(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        async with aclosing(store.follow(HELLO)) as a, aclosing(store.follow(HELLO)) as b:
            first = [asyncio.create_task(each.__anext__()) for each in (a, b)]
            for n in range(100):
                await asyncio.sleep(1)
                store.append(HELLO, STREAM, n, [b"%d" % n])
            assert [(await task).message for task in first] == [b"0", b"0"]
            for following in (a, b):
                assert [(await anext(following)).message for _ in range(99)] == [
                    b"%d" % n for n in range(1, 100)
                ]

    play(tmp_path, scenario)


def test_waiting_for_the_next_events_ends_in_time(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        began_s = VirtualClock().monotonic_s()
        page = await store.read_next(HELLO, None, wait_s=30)
        assert (page.events, page.cursor) == ((), None)
        assert VirtualClock().monotonic_s() - began_s == pytest.approx(30)

    play(tmp_path, scenario)


def test_a_deleted_group_begins_anew_and_its_followers_go_on(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        store.append(HELLO, STREAM, 1, [b"old"])
        page = await store.read(HELLO)
        store.append(HELLO, STREAM, 1, [b"never written"])
        await store.delete(HELLO)
        assert (await store.read(HELLO)).events == ()
        assert await store.groups() == []
        await asyncio.sleep(1)
        store.append(HELLO, STREAM, 2, [b"new"])
        assert messages((await store.read_next(HELLO, page.cursor)).events) == [b"new"]
        assert await store.groups() == [HELLO]

    play(tmp_path, scenario)


def test_close_writes_what_waits_even_after_its_jobs_have_ended(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = SlowDisk()
        async with Jobs() as jobs:
            store = LogStore(tmp_path, VirtualClock(), jobs, limits=LIMITS, disk=disk)
            store.append(HELLO, STREAM, 1, [b"one"])
        store.append(HELLO, STREAM, 1, [b"two"])
        await store.close()
        store.append(HELLO, STREAM, 1, [b"too late"])
        async with Jobs() as jobs:
            again = LogStore(tmp_path, VirtualClock(), jobs, limits=LIMITS, disk=disk)
            assert messages((await again.read(HELLO)).events) == [b"one", b"two"]
            await again.close()

    run_in_virtual_time(scene())


def test_a_reader_who_gives_up_does_not_stop_the_writing(tmp_path: Path) -> None:
    async def scenario(store: LogStore, disk: SlowDisk) -> None:
        disk.delay_s = 10.0
        store.append(HELLO, STREAM, 1, [b"one"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await store.read(HELLO)
        assert messages((await store.read(HELLO)).events) == [b"one"]
        assert disk.writes == 1

    play(tmp_path, scenario)


def test_it_works_on_real_threads_too(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Jobs() as jobs:
            store = LogStore(tmp_path, SystemClock(), jobs)
            async with aclosing(store.follow(HELLO)) as following:
                first = asyncio.create_task(following.__anext__())
                while not first.done():
                    store.append(HELLO, STREAM, 1, [b"tick"])
                    await asyncio.sleep(0.005)
            for n in range(1_000):
                store.append(HELLO, STREAM, n, [b"%d" % n])
            page = await store.read_last(HELLO, 1_000)
            assert messages(page.events) == [b"%d" % n for n in range(1_000)]
            await store.close()

    asyncio.run(scene())
