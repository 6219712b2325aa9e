"""One queue's poller against a queue and a function in virtual time."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fakes.mappings import FIFO, mapping
from fakes.sources import FakeFunction, FakeQueue, FunctionFailed, Handler, throttled
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.model.errors import ResourceNotFound
from hearth.model.mappings import CALL_FAILED, OK
from hearth.sources.calling import Function
from hearth.sources.queue import QueuePoller
from hearth.sources.status import MappingStatus


class Stage:
    def __init__(self, handler: Handler, visibility_s: int = 30, **members: Any) -> None:
        self.mapping = mapping(**members)
        self.queue = FakeQueue(visibility_s)
        self.function = FakeFunction(handler)
        self.status = MappingStatus(self.mapping)
        ids = itertools.count()
        function = Function(self.mapping, self.function, lambda: f"r{next(ids)}")
        self.poller = QueuePoller(self.mapping, self.queue, function, self.status, VirtualClock())


async def takes_all(records: list[dict[str, Any]]) -> None:
    await asyncio.sleep(1)


async def fails(records: list[dict[str, Any]]) -> None:
    raise FunctionFailed


def play(
    scenario: Callable[[Stage], Awaitable[None]], handler: Handler = takes_all, **members: Any
) -> Stage:
    """Play while the poller runs; then stop it, and wait until it has ended."""

    async def scene() -> Stage:
        stage = Stage(handler, **members)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stage.poller.run())
            await scenario(stage)
            stage.poller.stop()
        assert stage.status.pollers == stage.status.running == 0
        return stage

    return run_in_virtual_time(scene())


def test_messages_are_deleted_when_their_batch_has_succeeded() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send("a", "b")
        await asyncio.sleep(0.5)
        assert stage.queue.deleted == []
        await asyncio.sleep(1)
        assert stage.queue.deleted == ["a", "b"]

    stage = play(scenario)
    assert stage.status.last_result == OK
    assert (stage.status.polled, stage.status.invoked, stage.status.deleted) == (2, 2, 2)


def test_an_idle_queue_costs_one_long_poll_in_twenty_seconds() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send("a")
        await asyncio.sleep(100)
        before = stage.queue.receives
        await asyncio.sleep(1_000)
        assert stage.queue.receives - before == 50
        assert stage.status.pollers == 1

    play(scenario)


def test_a_batch_that_failed_is_left_until_its_visibility_ends() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send("a")
        await asyncio.sleep(29)
        assert stage.function.counts() == {"a": 1}
        await asyncio.sleep(2)
        assert stage.function.counts() == {"a": 2}

    stage = play(scenario, fails)
    assert stage.queue.deleted == []
    assert stage.status.last_result == CALL_FAILED
    assert stage.status.failed == 2


def test_only_what_is_reported_fails() -> None:
    async def handler(records: list[dict[str, Any]]) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": records[0]["messageId"]}]}

    async def scenario(stage: Stage) -> None:
        stage.queue.send("a", "b", "c")
        await asyncio.sleep(1)
        assert stage.queue.deleted == ["b", "c"]

    play(scenario, handler, reports_failures=True)


def test_a_report_that_cannot_be_read_fails_the_batch() -> None:
    async def handler(records: list[dict[str, Any]]) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "somebody else"}]}

    async def scenario(stage: Stage) -> None:
        stage.queue.send("a", "b")
        await asyncio.sleep(1)
        assert stage.queue.deleted == []
        assert stage.status.failed == 2

    play(scenario, handler, reports_failures=True)


def test_a_throttled_batch_is_tried_again_while_its_messages_are_ours() -> None:
    tries = 0

    async def handler(records: list[dict[str, Any]]) -> Any:
        nonlocal tries
        tries += 1
        if tries < 6:
            raise throttled()

    async def scenario(stage: Stage) -> None:
        stage.queue.send("a")
        await asyncio.sleep(20)
        assert stage.queue.deleted == ["a"]
        assert stage.queue.held == {}

    stage = play(scenario, handler)
    assert stage.function.counts() == {"a": 1}


def test_a_throttled_function_has_fewer_pollers() -> None:
    is_open = False

    async def handler(records: list[dict[str, Any]]) -> Any:
        if not is_open:
            raise throttled()
        await asyncio.sleep(1)

    async def scenario(stage: Stage) -> None:
        nonlocal is_open
        stage.queue.send(*(f"m{n}" for n in range(100)))
        await asyncio.sleep(300)
        assert stage.status.pollers <= 2
        is_open = True
        await asyncio.sleep(300)
        assert len(stage.queue.deleted) == 100

    play(scenario, handler, batch_size=1)


def test_many_messages_get_many_pollers_but_no_more_than_allowed() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send(*(f"m{n}" for n in range(500)))
        await asyncio.sleep(60)
        assert len(stage.queue.deleted) == 500

    assert 20 < play(scenario, batch_size=1).function.most < 100
    assert play(scenario, batch_size=10, concurrency_max=2).function.most == 2


def test_a_window_gathers_a_batch() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send("a")
        await asyncio.sleep(2)
        stage.queue.send("b")
        await asyncio.sleep(2)
        assert stage.function.batches == []
        await asyncio.sleep(10)

    stage = play(scenario, batch_size=100, window_s=6)
    assert stage.function.bodies() == ["a", "b"]
    assert len(stage.function.batches) <= 2  # another poller may have got the second


def test_a_full_batch_does_not_wait_for_its_window() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send(*(f"m{n}" for n in range(25)))
        await asyncio.sleep(2)
        assert [len(batch) for batch in stage.function.batches] == [25]

    play(scenario, batch_size=25, window_s=300)


def test_a_batch_is_cut_at_six_megabytes() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send(*("x" * 1_000_000 for _ in range(8)))
        await asyncio.sleep(10)
        assert [len(batch) for batch in stage.function.batches] == [6, 2]
        assert len(stage.queue.deleted) == 8

    play(scenario)


def test_what_no_filter_takes_is_deleted_and_not_run() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send('{"n": 1}', '{"n": 2}', "text")
        await asyncio.sleep(2)
        assert sorted(stage.queue.deleted) == ["text", '{"n": 1}', '{"n": 2}']
        assert stage.queue.held == {}

    stage = play(scenario, filters=(json.dumps({"body": {"n": [1]}}),))
    assert stage.function.bodies() == ['{"n": 1}']
    assert stage.status.filtered == 2


def test_groups_keep_their_order_and_are_in_one_batch_at_a_time() -> None:
    seen: dict[str, list[str]] = {"a": [], "b": []}
    busy: set[str] = set()
    failures = iter([True, False, True] + [False] * 1_000)

    async def handler(records: list[dict[str, Any]]) -> Any:
        groups = {record["attributes"]["MessageGroupId"] for record in records}
        assert not groups & busy
        busy.update(groups)
        await asyncio.sleep(1)
        busy.difference_update(groups)
        if next(failures):
            raise FunctionFailed
        for record in records:
            seen[record["attributes"]["MessageGroupId"]].append(record["body"])

    async def scenario(stage: Stage) -> None:
        for n in range(20):
            stage.queue.send(f"a{n}", group="a")
            stage.queue.send(f"b{n}", group="b")
        await asyncio.sleep(600)

    play(scenario, handler, source_arn=FIFO, batch_size=3)
    assert seen == {group: [f"{group}{n}" for n in range(20)] for group in "ab"}


def test_a_function_that_is_not_there_takes_nothing_out_of_the_queue() -> None:
    async def scene() -> None:
        stage = Stage(takes_all)
        stage.function.missing = ResourceNotFound("Function not found")
        stage.queue.send("a")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stage.poller.run())
            await asyncio.sleep(50)
            assert stage.queue.held["m0"].received == 0
            assert stage.status.last_result == CALL_FAILED
            stage.function.missing = None
            await asyncio.sleep(30)
            assert stage.queue.deleted == ["a"]
            stage.poller.stop()

    run_in_virtual_time(scene())


def test_a_queue_that_cannot_be_reached_is_tried_again() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.fails = lambda operation: operation == "receive"
        stage.queue.send("a")
        await asyncio.sleep(100)
        assert stage.status.last_result == "PROBLEM: no receive today"
        stage.queue.fails = lambda operation: False
        await asyncio.sleep(25)
        assert stage.queue.deleted == ["a"]

    play(scenario)


def test_a_delete_that_fails_is_tried_again() -> None:
    failures = iter([True, True])

    async def scenario(stage: Stage) -> None:
        stage.queue.fails = lambda operation: operation == "delete" and next(failures, False)
        stage.queue.send("a")
        await asyncio.sleep(10)
        assert stage.queue.deleted == ["a"]

    assert play(scenario).function.counts() == {"a": 1}


def test_stopping_waits_for_what_runs_and_gives_back_what_does_not() -> None:
    async def scenario(stage: Stage) -> None:
        stage.queue.send("runs")
        await asyncio.sleep(6.5)  # the window is over, the function runs
        stage.queue.send("waits")
        await asyncio.sleep(0.1)
        assert stage.function.running == 1

    stage = play(scenario, batch_size=100, window_s=6)
    assert stage.queue.deleted == ["runs"]
    assert [one.body for one in stage.queue.held.values()] == ["waits"]
    assert [one.away_until_s for one in stage.queue.held.values()] == [0.0]


def test_stopping_gives_back_a_batch_that_is_throttled() -> None:
    async def handler(records: list[dict[str, Any]]) -> Any:
        raise throttled()

    async def scenario(stage: Stage) -> None:
        stage.queue.send("a")
        await asyncio.sleep(3)

    stage = play(scenario, handler)
    assert [one.away_until_s for one in stage.queue.held.values()] == [0.0]
