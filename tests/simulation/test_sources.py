"""Queues and functions that fail at random, pollers that are stopped and killed: nothing is lost.

Checked after each run: every message was taken by its function or is still in the queue, none was
deleted before, and in the end all are deleted.
"""

import asyncio
import itertools
import random
from typing import Any

import pytest

from fakes.mappings import FIFO, QUEUE, mapping
from fakes.sources import FakeFunction, FakeQueue, moody
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.sources.calling import Function
from hearth.sources.queue import QueuePoller
from hearth.sources.status import MappingStatus

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


@pytest.mark.parametrize("seed", range(6))
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
