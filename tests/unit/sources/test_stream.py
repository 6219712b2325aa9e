"""A stream's poller against shards and a function in virtual time."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from fakes.mappings import mapping
from fakes.sources import FakeFunction, FunctionFailed, Handler, throttled
from fakes.streams import FakeCheckpoints, FakeStream, FakeTargets
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.model.mappings import CALL_FAILED, OK, Position, SourceKind
from hearth.sources.calling import Function
from hearth.sources.failures import message
from hearth.sources.status import MappingStatus
from hearth.sources.stream import StreamPoller

QUEUE = "arn:aws:sqs:eu-central-1:123456789012:failures"


class Stage:
    def __init__(self, handler: Handler, **members: Any) -> None:
        self.mapping = mapping(**{"kind": SourceKind.KINESIS} | members)
        self.stream = FakeStream()
        self.function = FakeFunction(handler)
        self.checkpoints = FakeCheckpoints()
        self.targets = FakeTargets()
        self.status = MappingStatus(self.mapping)
        self._ids = itertools.count()
        self.poller = self.make()

    def make(self) -> StreamPoller:
        return StreamPoller(
            self.mapping,
            self.stream,
            Function(self.mapping, self.function, lambda: f"r{next(self._ids)}"),
            self.targets,
            self.checkpoints,  # type: ignore[arg-type]
            self.status,
            VirtualClock(),
        )

    async def restart(self, tasks: asyncio.TaskGroup) -> None:
        self.poller.stop()
        await asyncio.sleep(30)
        self.poller = self.make()
        tasks.create_task(self.poller.run())


async def takes_all(records: list[dict[str, Any]]) -> None:
    await asyncio.sleep(1)


async def fails(records: list[dict[str, Any]]) -> None:
    raise FunctionFailed


Scenario = Callable[[Stage, asyncio.TaskGroup], Awaitable[None]]


def play(scenario: Scenario, handler: Handler = takes_all, **members: Any) -> Stage:
    async def scene() -> Stage:
        stage = Stage(handler, **members)
        stage.stream.open("s0")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stage.poller.run())
            await scenario(stage, tasks)
            stage.poller.stop()
        assert stage.status.pollers == stage.status.running == 0
        return stage

    return run_in_virtual_time(scene())


def test_records_come_in_order_and_in_batches() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", *(f"a{n}" for n in range(25)))
        await asyncio.sleep(10)
        assert stage.function.bodies() == [f"a{n}" for n in range(25)]
        assert [len(batch) for batch in stage.function.batches] == [10, 10, 5]
        assert stage.checkpoints.kept["s0"].after == "000025"

    stage = play(scenario, batch_size=10)
    assert stage.status.last_result == OK
    assert stage.status.iterator_age.total > 0


def test_an_idle_shard_is_read_once_a_second() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        await asyncio.sleep(10)
        before = stage.stream.reads
        await asyncio.sleep(100)
        assert 90 <= stage.stream.reads - before <= 101

    play(scenario)


def test_a_start_goes_on_where_the_last_one_ended() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", "a0", "a1")
        await asyncio.sleep(5)
        await stage.restart(tasks)
        stage.stream.put("s0", "a2")
        await asyncio.sleep(5)
        assert stage.function.bodies() == ["a0", "a1", "a2"]

    play(scenario)


def test_latest_begins_when_the_mapping_was_made_also_after_a_start() -> None:
    async def scene() -> None:
        stage = Stage(takes_all, position=Position.LATEST)
        stage.stream.open("s0")
        stage.stream.put("s0", "early")
        await asyncio.sleep(10)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stage.poller.run())
            await asyncio.sleep(5)
            stage.poller.stop()
            await asyncio.sleep(5)
            stage.stream.put("s0", "between")
            stage.poller = stage.make()
            tasks.create_task(stage.poller.run())
            await asyncio.sleep(5)
            stage.stream.put("s0", "later")
            await asyncio.sleep(5)
            assert stage.function.bodies() == ["between", "later"]
            stage.poller.stop()

    run_in_virtual_time(scene())


def test_a_time_to_begin_at_leaves_out_what_is_older() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", "early")
        await asyncio.sleep(30)
        stage.stream.put("s0", "later")
        await asyncio.sleep(5)
        assert stage.function.bodies() == ["later"]

    at = VirtualClock.ORIGIN + timedelta(seconds=20)
    play(scenario, position=Position.AT_TIMESTAMP, position_at=at)


def test_parents_come_before_children() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", "a0", "a1")
        stage.stream.open("s1", "s0")
        stage.stream.open("s2", "s0")
        stage.stream.put("s1", "a2")
        stage.stream.put("s2", "b0")
        await asyncio.sleep(120)
        assert stage.function.bodies()[:2] == ["a0", "a1"]
        assert sorted(stage.function.bodies()[2:]) == ["a2", "b0"]
        assert stage.checkpoints.kept["s0"].has_ended
        stage.stream.drop("s0")
        await asyncio.sleep(60)
        assert "s0" not in stage.checkpoints.kept

    play(scenario, batch_size=2)


def test_a_failed_batch_holds_up_its_shard_until_it_succeeds() -> None:
    failures = iter([True] * 5)

    async def handler(records: list[dict[str, Any]]) -> None:
        if next(failures, False):
            raise FunctionFailed

    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", "a0", "a1", "a2")
        await asyncio.sleep(4)
        assert stage.status.last_result == CALL_FAILED
        await asyncio.sleep(60)
        assert stage.function.bodies()[-3:] == ["a0", "a1", "a2"]
        assert len(stage.function.batches) == 7

    play(scenario, handler, batch_size=2)


def test_retries_end_and_the_destination_is_told() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.targets.failures = 2
        stage.stream.put("s0", "a0", "a1")
        await asyncio.sleep(60)
        (given_up,) = stage.targets.told
        told = json.loads(message(given_up))
        assert told["requestContext"] == {
            "requestId": given_up.answer.request if given_up.answer else "",
            "functionArn": stage.mapping.function_arn,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 3,
        }
        assert told["responseContext"] == {
            "statusCode": 200,
            "executedVersion": "1",
            "functionError": "Unhandled",
        }
        info = told["KinesisBatchInfo"]
        assert info.pop("approximateArrivalOfFirstRecord").startswith("2026-01-01T00:00:00.")
        assert info.pop("approximateArrivalOfLastRecord").endswith("Z")
        assert info == {
            "shardId": "s0",
            "startSequenceNumber": "000001",
            "endSequenceNumber": "000002",
            "batchSize": 2,
            "streamArn": stage.mapping.source_arn,
        }
        assert stage.checkpoints.kept["s0"].after == "000002"

    stage = play(scenario, fails, retries_max=2, on_failure=QUEUE)
    assert stage.status.dropped == stage.status.on_failure_delivered == 2


def test_old_records_are_given_up() -> None:
    async def handler(records: list[dict[str, Any]]) -> None:
        raise throttled()

    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", "a0")
        await asyncio.sleep(59)
        assert stage.targets.told == []
        await asyncio.sleep(40)
        assert [one.condition for one in stage.targets.told] == ["RecordAgeExpired"]

    play(scenario, handler, age_max_s=60, on_failure=QUEUE)


def test_a_bad_record_is_found_by_halves() -> None:
    async def handler(records: list[dict[str, Any]]) -> None:
        if any(record["body"] == "a5" for record in records):
            raise FunctionFailed

    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", *(f"a{n}" for n in range(16)))
        await asyncio.sleep(120)
        (given_up,) = stage.targets.told
        assert [record.sequence for record in given_up.batch.records] == ["000006"]
        assert stage.checkpoints.kept["s0"].after == "000016"

    play(scenario, handler, bisects=True, retries_max=1, on_failure=QUEUE)


@pytest.mark.parametrize("bisects", [False, True])
def test_a_report_says_where_to_go_on(bisects: bool) -> None:
    failures = iter(["a2", "a3", None])

    async def handler(records: list[dict[str, Any]]) -> Any:
        wanted = next(failures, None)
        names = [one["messageId"] for one in records if one["body"] == wanted]
        return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}

    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", *(f"a{n}" for n in range(5)))
        await asyncio.sleep(30)
        seen = [[record["body"] for record in batch] for batch in stage.function.batches]
        assert seen == [["a0", "a1", "a2", "a3", "a4"], ["a2", "a3", "a4"], ["a3", "a4"]]

    play(scenario, handler, reports_failures=True, bisects=bisects)


def test_partitions_run_beside_each_other_and_each_in_order() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        bodies = [f"{letter}{n}" for n in range(5) for letter in "abcdefgh"]
        stage.stream.put("s0", *bodies)
        await asyncio.sleep(60)
        seen = stage.function.bodies()
        for letter in "abcdefgh":
            assert [one for one in seen if one[0] == letter] == [f"{letter}{n}" for n in range(5)]
        assert stage.function.most > 1
        assert stage.checkpoints.kept["s0"].after == "000040"

    play(scenario, batch_size=2, parallel=4)


def test_a_record_that_is_given_out_twice_holds_nothing_up() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        expirations = iter([True, False] * 20)
        stage.stream.overlap = 2
        stage.stream.expires = lambda: next(expirations, False)
        for n in range(12):
            stage.stream.put("s0", f"a{n}")
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        seen = list(dict.fromkeys(stage.function.bodies()))
        assert seen == [f"a{n}" for n in range(12)]
        assert stage.checkpoints.kept["s0"].after == "000012"

    play(scenario, batch_size=2)


def test_a_window_gathers_a_batch() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        for n in range(4):
            stage.stream.put("s0", f"a{n}")
            await asyncio.sleep(2)
        await asyncio.sleep(10)
        assert len(stage.function.batches) == 1

    play(scenario, window_s=10)


def test_what_no_filter_takes_is_passed_over() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", "a0", "b0")
        await asyncio.sleep(10)
        assert stage.function.bodies() == ["b0"]
        assert stage.checkpoints.kept["s0"].after == "000002"

    stage = play(scenario, kind=SourceKind.DYNAMODB, filters=('{"body": ["b0"]}',))
    assert stage.status.filtered == 1


def test_a_function_that_is_stopped_meanwhile_ends_and_the_rest_comes_again() -> None:
    async def scenario(stage: Stage, tasks: asyncio.TaskGroup) -> None:
        stage.stream.put("s0", "a0", "a1", "a2")
        await asyncio.sleep(0.5)
        await stage.restart(tasks)
        await asyncio.sleep(10)
        assert stage.function.bodies() == ["a0", "a1", "a2"]

    play(scenario, batch_size=1)
