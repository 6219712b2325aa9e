"""Tumbling windows: a state from batch to batch, and one more invoke when a window is over."""

import asyncio
import itertools
import json
from typing import Any

import pytest

from fakes.mappings import mapping
from fakes.streams import FakeCheckpoints, FakeStream, FakeTargets
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.model.invocations import InvokeCall, InvokeResult
from hearth.model.mappings import SourceKind
from hearth.sources.calling import Function
from hearth.sources.status import MappingStatus
from hearth.sources.stream import StreamPoller


class Summing:
    """Counts the records of a window in its state."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.extra = ""
        self.forgets = 0
        self.without = b"{}"
        """What it answers when it forgets."""

    def dry_run(self, call: InvokeCall) -> None:
        return

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        event = json.loads(call.payload)
        self.events.append(event)
        count = event["state"].get("count", 0) + len(event["Records"])
        answer: dict[str, Any] = {"state": {"count": count, "extra": self.extra}}
        if self.forgets:
            self.forgets -= 1
            return InvokeResult(payload=self.without, executed_version="1")
        return InvokeResult(payload=json.dumps(answer).encode(), executed_version="1")

    def seen(self) -> list[tuple[str, int, int, bool]]:
        """Window, records, the count so far, and whether it was the last one."""
        return [
            (
                event["window"]["start"][14:19],
                len(event["Records"]),
                event["state"].get("count", 0),
                event["isFinalInvokeForWindow"],
            )
            for event in self.events
        ]


class Stage:
    def __init__(self) -> None:
        self.mapping = mapping(SourceKind.KINESIS, tumbling_s=60, batch_size=2)
        self.stream = FakeStream()
        self.stream.open("s0")
        self.function = Summing()
        self.checkpoints = FakeCheckpoints()
        self._ids = itertools.count()

    def poller(self) -> StreamPoller:
        return StreamPoller(
            self.mapping,
            self.stream,
            Function(self.mapping, self.function, lambda: f"r{next(self._ids)}"),
            FakeTargets(),
            self.checkpoints,  # type: ignore[arg-type]
            MappingStatus(self.mapping),
            VirtualClock(),
        )


def test_a_window_has_a_state_and_an_end() -> None:
    async def scene() -> None:
        stage = Stage()
        async with asyncio.TaskGroup() as tasks:
            poller = stage.poller()
            tasks.create_task(poller.run())
            await asyncio.sleep(5)
            stage.stream.put("s0", "a", "b", "c")
            await asyncio.sleep(65)
            stage.stream.put("s0", "d")
            await asyncio.sleep(60)
            poller.stop()
        assert stage.function.seen() == [
            ("00:00", 2, 0, False),
            ("00:00", 1, 2, False),
            ("00:00", 0, 3, True),
            ("01:00", 1, 0, False),
            ("01:00", 0, 1, True),
        ]
        first = stage.function.events[0]
        assert first["window"] == {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z"}
        assert (first["shardId"], first["eventSourceARN"]) == ("s0", stage.mapping.source_arn)
        assert first["isWindowTerminatedEarly"] is False
        assert stage.checkpoints.kept["s0"].window is None

    run_in_virtual_time(scene())


def test_a_state_survives_a_start_and_a_shards_end_closes_its_window() -> None:
    async def scene() -> None:
        stage = Stage()
        async with asyncio.TaskGroup() as tasks:
            poller = stage.poller()
            tasks.create_task(poller.run())
            stage.stream.put("s0", "a", "b")
            await asyncio.sleep(10)
            poller.stop()
            await asyncio.sleep(2)
            again = stage.poller()
            tasks.create_task(again.run())
            stage.stream.put("s0", "c")
            await asyncio.sleep(5)
            stage.stream.open("s1", "s0")
            await asyncio.sleep(10)
            again.stop()
        assert stage.function.seen() == [
            ("00:00", 2, 0, False),
            ("00:00", 1, 2, False),
            ("00:00", 0, 3, True),
        ]
        assert stage.checkpoints.kept["s0"].has_ended

    run_in_virtual_time(scene())


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"",
        b"[]",
        b'{"state": 1}',
        b'{"state": {"a": "\xff"}}',
        b'{"state": ' + b'{"a":' * 9_000,
    ],
)
def test_an_answer_without_a_state_is_a_failure(answer: bytes) -> None:
    async def scene() -> None:
        stage = Stage()
        stage.function.forgets = 2
        stage.function.without = answer
        async with asyncio.TaskGroup() as tasks:
            poller = stage.poller()
            tasks.create_task(poller.run())
            stage.stream.put("s0", "a")
            await asyncio.sleep(20)
            poller.stop()
        assert stage.function.seen() == [("00:00", 1, 0, False)] * 3

    run_in_virtual_time(scene())


def test_a_large_state_ends_its_window_early() -> None:
    async def scene() -> None:
        stage = Stage()
        stage.function.extra = "x" * 600_000
        async with asyncio.TaskGroup() as tasks:
            poller = stage.poller()
            tasks.create_task(poller.run())
            stage.stream.put("s0", "a")
            await asyncio.sleep(10)
            poller.stop()
        assert [e["isWindowTerminatedEarly"] for e in stage.function.events] == [False, True]
        assert stage.function.events[1]["isFinalInvokeForWindow"]

    run_in_virtual_time(scene())
