"""A stream as its poller sees it, in virtual time: shards, resharding, and calls that fail."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from fakes.virtual_time import VirtualClock
from hearth.engine.contract import VALUE_BYTES_MAX, EngineUnavailable
from hearth.sources.contract import SourceFailed
from hearth.sources.failures import GivenUp
from hearth.sources.streams import (
    Checkpoint,
    IteratorUseless,
    Latest,
    Read,
    Shard,
    Start,
    StreamRecord,
)

LATENCY_S = 0.02


@dataclass
class _Held:
    shard: Shard
    records: list[StreamRecord] = field(default_factory=list)
    is_closed: bool = False


class FakeStream:
    """Records are `{"body": …, "n": …}`; their partition is the first letter of the body."""

    def __init__(self) -> None:
        self.held: dict[str, _Held] = {}
        self.fails: Callable[[str], bool] = lambda _operation: False
        self.expires: Callable[[], bool] = lambda: False
        self.reads = 0
        self.overlap = 0
        """Records before the place that was asked for, that are given out again."""
        self._numbers = 0

    def open(self, shard: str, *parents: str) -> None:
        for parent in parents:
            self.held[parent].is_closed = True
        self.held[shard] = _Held(Shard(shard, parents))

    def put(self, shard: str, *bodies: str) -> None:
        now_ms = VirtualClock().epoch_ms()
        for body in bodies:
            self._numbers += 1
            sequence = f"{self._numbers:06}"
            record = json.dumps({"body": body, "messageId": sequence}).encode()
            self.held[shard].records.append(StreamRecord(sequence, body[0], now_ms, record))

    def drop(self, shard: str) -> None:
        del self.held[shard]

    async def shards(self) -> Sequence[Shard]:
        await self._answer("shards")
        return [held.shard for held in self.held.values()]

    async def iterator(self, shard: str, start: Start) -> str:
        await self._answer("iterator")
        held = self._held(shard)
        match start:
            case Latest():
                at = len(held.records)
            case Checkpoint(after=str(after)):
                at = sum(record.sequence <= after for record in held.records)
                at = max(0, at - self.overlap)
            case _:
                at = 0
        return f"{shard}:{at}"

    async def read(self, shard: str, iterator: str, limit: int) -> Read:
        self.reads += 1
        await self._answer("read")
        if self.expires():
            raise IteratorUseless("expired")
        at = int(iterator.rpartition(":")[2])
        held = self._held(shard)
        records = held.records[at : at + limit]
        at += len(records)
        has_ended = held.is_closed and at == len(held.records)
        return Read(records, None if has_ended else f"{shard}:{at}")

    def _held(self, shard: str) -> _Held:
        if shard not in self.held:
            raise SourceFailed("no such shard")
        return self.held[shard]

    async def _answer(self, operation: str) -> None:
        await asyncio.sleep(LATENCY_S)
        if self.fails(operation):
            raise SourceFailed(f"no {operation} today")


class FakeCheckpoints:
    """What a start after a kill would find. The Checkpoints of `sources/checkpoints.py`."""

    def __init__(self) -> None:
        self.kept: dict[str, Checkpoint] = {}
        self.fails: Callable[[], bool] = lambda: False
        self.writes = 0

    async def load(self, uuid: str) -> dict[str, Checkpoint]:
        return dict(self.kept)

    async def save(self, uuid: str, checkpoints: dict[str, Checkpoint]) -> None:
        await asyncio.sleep(LATENCY_S / 2)
        if self.fails():
            raise EngineUnavailable("not today")
        for checkpoint in checkpoints.values():
            assert len(msgspec.json.encode(checkpoint)) < VALUE_BYTES_MAX
        self.writes += len(checkpoints)
        self.kept |= checkpoints

    async def drop(self, uuid: str, shard: str) -> None:
        self.kept.pop(shard, None)


@dataclass
class FakeTargets:
    told: list[GivenUp] = field(default_factory=list)
    failures: int = 0

    async def tell(self, given_up: GivenUp) -> None:
        if self.failures:
            self.failures -= 1
            raise SourceFailed("nobody there")
        self.told.append(given_up)
