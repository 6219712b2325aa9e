"""Sources and functions that fail at random, pollers that are stopped and killed: nothing is lost.

Of a queue: no message is deleted before its function took it, and in the end all are. Of a stream:
its function takes every record, and each partition's in their order, across shards that split.
"""

import asyncio
import itertools
import random
from typing import Any

import pytest

from fakes.mappings import FIFO, QUEUE, mapping
from fakes.sources import FakeFunction, FakeQueue, FunctionFailed, Handler, moody, throttled
from fakes.streams import FakeCheckpoints, FakeStream, FakeTargets
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.model.mappings import SourceKind
from hearth.sources.calling import Function
from hearth.sources.queue import QueuePoller
from hearth.sources.status import MappingStatus
from hearth.sources.stream import StreamPoller

MESSAGES = 120


async def live(chance: random.Random, queue: FakeQueue, settings: dict[str, Any]) -> dict[str, int]:
    """Several lives of a poller, some of which end hard; then one without faults."""
    good: dict[str, int] = {}
    deleted_by: list[str] = queue.deleted
    function = FakeFunction(moody(chance, good))
    queue.fails = lambda _operation: chance.random() < 0.1
    chosen = mapping(reports_failures=True, **settings)
    ids = itertools.count()
    sent = iter(range(MESSAGES))
    for last in [False] * 6 + [True]:
        if last:
            queue.fails = lambda _operation: False
            function.handler = moody(random.Random(0), good, 0.0)
        poller = QueuePoller(
            chosen,
            queue,
            Function(chosen, function, lambda: f"r{next(ids)}"),
            MappingStatus(chosen),
            VirtualClock(),
        )
        run = asyncio.ensure_future(poller.run())
        for _ in range(20):
            for n in itertools.islice(sent, 1):
                group = f"g{chance.randrange(3)}" if chosen.is_fifo else None
                queue.send(f"b{n}", group=group)
            await asyncio.sleep(chance.random() * 4)
            assert set(deleted_by) <= set(good), "deleted, and not taken"
        if last:
            await asyncio.sleep(3_000)
        if chance.random() < 0.5 and not last:
            run.cancel()
        poller.stop()
        await asyncio.gather(run, return_exceptions=True)
        assert set(deleted_by) <= set(good)
    return good


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "settings",
    [
        {"source_arn": QUEUE, "batch_size": 5},
        {"source_arn": QUEUE, "batch_size": 40, "window_s": 3},
        {"source_arn": QUEUE, "batch_size": 1, "concurrency_max": 3},
        {"source_arn": FIFO, "batch_size": 4},
    ],
    ids=["standard", "window", "few", "fifo"],
)
def test_no_message_is_lost(seed: int, settings: dict[str, Any]) -> None:
    async def scene() -> None:
        chance = random.Random(f"{seed}{settings}")
        queue = FakeQueue(visibility_s=20)
        good = await live(chance, queue, settings)
        assert queue.held == {}
        assert sorted(queue.deleted) == sorted(f"b{n}" for n in range(MESSAGES))
        assert set(good) == set(queue.deleted)

    run_in_virtual_time(scene())


class Producer:
    """Puts records of three partitions into a stream whose shards split and merge."""

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream
        self._leaves = ["s0"]
        self._sent = 0
        stream.open("s0")

    def put(self) -> None:
        for letter in "abc":
            shard = self._leaves[ord(letter) % len(self._leaves)]
            self._stream.put(shard, f"{letter}{self._sent}")
        self._sent += 1

    def reshard(self) -> None:
        parents = self._leaves
        first = parents[0]
        self._leaves = [f"{first}x", f"{first}y"] if len(parents) == 1 else [f"{first}m"]
        for leaf in self._leaves:
            self._stream.open(leaf, *parents)


def taking(chance: random.Random, taken: list[str], reports: bool) -> Handler:
    async def handler(records: list[dict[str, Any]]) -> Any:
        mood = chance.random()
        if mood < 0.1:
            raise throttled()
        await asyncio.sleep(chance.random())
        if mood < 0.3:
            raise FunctionFailed
        good = chance.randrange(len(records)) if reports and mood > 0.8 else len(records)
        taken.extend(record["body"] for record in records[:good])
        return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in records[good:]]}

    return handler


async def live_stream(
    chance: random.Random, stream: FakeStream, settings: dict[str, Any]
) -> tuple[list[str], FakeCheckpoints]:
    """Several lives over shards that split and merge; then one without faults."""
    taken: list[str] = []
    checkpoints = FakeCheckpoints()
    chosen = mapping(**{"kind": SourceKind.DYNAMODB} | settings)
    ids = itertools.count()
    producer = Producer(stream)
    function = FakeFunction(taking(chance, taken, chosen.reports_failures))
    for last in [False] * 5 + [True]:
        faulty = 0.0 if last else 0.1
        stream.fails = lambda _operation, faulty=faulty: chance.random() < faulty  # type: ignore[misc]
        stream.expires = lambda faulty=faulty: chance.random() < faulty  # type: ignore[misc]
        checkpoints.fails = lambda faulty=faulty: chance.random() < faulty  # type: ignore[misc]
        poller = StreamPoller(
            chosen,
            stream,
            Function(chosen, function, lambda: f"r{next(ids)}"),
            FakeTargets(),
            checkpoints,  # type: ignore[arg-type]
            MappingStatus(chosen),
            VirtualClock(),
        )
        run = asyncio.ensure_future(poller.run())
        for step in range(15):
            if not last:
                producer.put()
            if not last and step == 7:
                producer.reshard()
            await asyncio.sleep(chance.random() * 4)
        await asyncio.sleep(500 if last else 0)
        if chance.random() < 0.5 and not last:
            run.cancel()
        poller.stop()
        await asyncio.gather(run, return_exceptions=True)
    return taken, checkpoints


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 4},
        {"batch_size": 50, "window_s": 3, "bisects": True},
        {"batch_size": 3, "parallel": 3},
        {"batch_size": 5, "reports_failures": True},
    ],
    ids=["plain", "bisect", "parallel", "reports"],
)
def test_no_record_is_lost_and_partitions_keep_their_order(
    seed: int, settings: dict[str, Any]
) -> None:
    async def scene() -> None:
        chance = random.Random(f"{seed}{settings}")
        stream = FakeStream()
        taken, checkpoints = await live_stream(chance, stream, settings)
        for letter in "abc":
            sent = [f"{letter}{n}" for n in range(75)]
            first_times = list(dict.fromkeys(body for body in taken if body[0] == letter))
            assert first_times == sent
        ends = {
            name: held.records[-1].sequence for name, held in stream.held.items() if held.records
        }
        assert {name: checkpoints.kept[name].after for name in ends} == ends

    run_in_virtual_time(scene())
