"""Where is an execution on disk? Its facts in a queue of the engine, a record of it in a bucket.

    DURABLE (bucket)   n.<account>.<region>.<function>.<instance>.<name>   which executions exist
    DURABLE_<0..3>     x.<id>                                             their facts, in order

The record is written last when an execution begins and first-come for its name: a compare-and-set
makes names unique. Facts without a record are nobody's. The record is written again when the
execution is over; until then the facts know better. Each message has all that one decision came
to, so that it happens as a whole or not at all. Four streams, since each fsyncs one message after
the other. Nobody consumes them: messages stay until the execution is deleted.
"""

import asyncio
import itertools
import secrets
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Final

import msgspec

from hearth.durable.facts import Fact
from hearth.engine.contract import (
    MESSAGE_BYTES_MAX,
    CaughtUp,
    Conflict,
    Engine,
    EngineUnavailable,
    Entry,
    KeyValue,
    Queue,
)
from hearth.model.durable import DurableConfig, ExecutionArn, ExecutionStatus
from hearth.model.errors import RequestEntityTooLarge
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

BUCKET: Final = "DURABLE"
QUEUES: Final = tuple(f"DURABLE_{n}" for n in range(4))
FORMAT: Final = 1
Name = tuple[str, str, str]
"""Account, region and name of a function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of an execution without its facts."""

    id: str
    name: str
    account: str
    region: str
    function: str
    instance: str
    """Of the function: another one may have had its name."""
    version: str
    digest: str
    """Of its input."""
    status: ExecutionStatus
    started_ms: int
    ended_ms: int | None = None
    config: DurableConfig
    format: int = FORMAT
    revision: int = 0
    """In the bucket; not stored."""

    @property
    def key(self) -> FunctionKey:
        return FunctionKey(
            AccountId(self.account), Region(self.region), FunctionName(self.function)
        )

    @property
    def arn(self) -> ExecutionArn:
        return ExecutionArn(function=self.key, version=self.version, name=self.name, id=self.id)

    @property
    def counted_as(self) -> Name:
        return self.account, self.region, self.function

    @property
    def place(self) -> str:
        parts = ("n", self.account, self.region, self.function, self.instance, self.name)
        return ".".join(parts)


class UnreadableFacts(Exception):
    """Broken, or written by a newer Hearth."""


_DEFAULTS: Final = {f.name: f.default for f in fields(Fact) if f.default is not MISSING}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Fact])


def encode(facts: Sequence[Fact]) -> bytes:
    return _encoder.encode([_short(fact) for fact in facts])


def decode(body: bytes) -> list[Fact]:
    """Raises UnreadableFacts."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise UnreadableFacts("not facts that this Hearth knows") from error


def _short(fact: Fact) -> dict[str, Any]:
    """Without what is as it is by default."""
    members: dict[str, Any] = {"kind": fact.kind, "at_ms": fact.at_ms}
    for name, default in _DEFAULTS.items():
        value = getattr(fact, name)
        if value != default:
            members[name] = value
    return members


class Store:
    """Make it with `open`. Raises EngineUnavailable: a write may have happened then."""

    def __init__(self, bucket: KeyValue, queues: Sequence[Queue]) -> None:
        self._bucket = bucket
        self._queues = queues
        self._records: dict[str, Record] = {}
        """By id."""
        self._names: dict[str, str] = {}
        """From place to id."""
        self._run = secrets.token_hex(8)
        self._writes = itertools.count()

    @classmethod
    async def open(cls, engine: Engine) -> "Store":
        """With all records read, and facts that nobody owns removed."""
        bucket = await engine.bucket(BUCKET)
        store = cls(bucket, [await engine.queue(name) for name in QUEUES])
        async with bucket.watch() as changes:
            async for change in changes:
                if isinstance(change, CaughtUp):
                    break
                if isinstance(change, Entry):
                    store._know(_record(change))
        await asyncio.gather(*(store._sweep(queue) for queue in store._queues))
        return store

    async def _sweep(self, queue: Queue) -> None:
        for key in await queue.counts("x"):
            if key.partition(".")[2] not in self._records:
                await queue.purge(key)

    # --- records

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def get(self, id_: str) -> Record | None:
        return self._records.get(id_)

    def named(self, place: str) -> Record | None:
        id_ = self._names.get(place)
        return None if id_ is None else self._records.get(id_)

    async def create(self, record: Record, first: Fact) -> Record:
        """The execution exists when this returns; it may be another one, of the same name."""
        await self.append(record, [first])
        try:
            revision = await self._bucket.create(record.place, _encoder.encode(record))
        except Conflict:
            other = await self._bucket.get(record.place)
            await self._queue(record.id).purge(f"x.{record.id}")
            if other is None:  # deleted this moment
                raise EngineUnavailable("the name is being given back") from None
            return self._know(_record(other))
        return self._know(replace(record, revision=revision))

    async def update(self, record: Record) -> None:
        """Raises Conflict."""
        revision = await self._bucket.update(record.place, _encoder.encode(record), record.revision)
        self._know(replace(record, revision=revision))

    async def read_again(self, record: Record) -> None:
        """After a conflict: what the bucket has counts."""
        found = await self._bucket.get(record.place)
        if found is not None:
            self._know(_record(found))
        else:
            self._forget(record)

    async def delete(self, record: Record) -> None:
        """With all its facts. Raises Conflict."""
        await self._queue(record.id).purge(f"x.{record.id}")
        await self._bucket.delete(record.place, record.revision)
        self._forget(record)

    def _forget(self, record: Record) -> None:
        self._records.pop(record.id, None)
        if self._names.get(record.place) == record.id:
            del self._names[record.place]

    def _know(self, record: Record) -> Record:
        self._records[record.id] = record
        self._names[record.place] = record.id
        return record

    # --- facts

    async def append(self, record: Record, facts: Sequence[Fact]) -> None:
        """Raises RequestEntityTooLarge, EngineUnavailable."""
        body = encode(facts)
        if len(body) > MESSAGE_BYTES_MAX:
            raise RequestEntityTooLarge(f"{len(body)} bytes are too many for one checkpoint")
        message_id = f"{self._run}-{next(self._writes)}"
        await self._queue(record.id).publish(f"x.{record.id}", body, message_id)

    async def read(self, record: Record) -> list[Fact]:
        facts: list[Fact] = []
        queue, key, after = self._queue(record.id), f"x.{record.id}", 0
        while (stored := await queue.next(key, after)) is not None:
            facts.extend(decode(stored.body))
            after = stored.sequence
        return facts

    def _queue(self, id_: str) -> Queue:
        return self._queues[zlib.crc32(id_.encode()) % len(self._queues)]


def _record(entry: Entry) -> Record:
    record = msgspec.msgpack.decode(entry.value, type=Record)
    return replace(record, revision=entry.revision)
