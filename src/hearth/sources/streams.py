"""What is a stream to its poller? Shards, records in them, and where reading goes on. Pure.

Kinesis and DynamoDB streams differ in how they are asked and in what their records look like; both
are a `Stream`. Times of records are when the stream got them, in milliseconds since the epoch.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hearth.sources.contract import SourceFailed


class IteratorUseless(SourceFailed):
    """The place to read at is not known any more: it has to be looked up anew."""


@dataclass(frozen=True, slots=True)
class Shard:
    id: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamRecord:
    sequence: str
    partition: str
    """Records of one partition keep their order."""
    arrived_ms: int
    record: bytes
    """As JSON, as the function gets it."""


@dataclass(frozen=True, slots=True)
class Read:
    records: Sequence[StreamRecord]
    next: str | None
    """Where to go on; None at the end of a shard that was closed."""


@dataclass(frozen=True, slots=True)
class Window:
    """A tumbling window that is open, and what its function made of the records in it."""

    start_ms: int
    end_ms: int
    state: str = "{}"
    """JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far a shard was read. No member: from its oldest record on."""

    after: str | None = None
    """This record and all before it are done."""
    since_ms: int | None = None
    """Nothing is done yet; records from this time on are wanted."""
    has_ended: bool = False
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Latest:
    """What comes from now on."""


Start = Checkpoint | Latest


class Stream(Protocol):
    """Every method raises SourceFailed."""

    async def shards(self) -> Sequence[Shard]:
        """All that still have records, closed ones too."""
        ...

    async def iterator(self, shard: str, start: Start) -> str:
        """Where to read. Records before `since_ms` may come all the same."""
        ...

    async def read(self, shard: str, iterator: str, limit: int) -> Read: ...


def startable(
    shards: Sequence[Shard], checkpoints: Mapping[str, Checkpoint], running: Collection[str]
) -> list[Shard]:
    """Shards whose turn it is: not read yet, and their parents are done or have expired."""
    known = {shard.id for shard in shards}
    done = {name for name, checkpoint in checkpoints.items() if checkpoint.has_ended}
    return [
        shard
        for shard in shards
        if shard.id not in done
        and shard.id not in running
        and all(parent in done or parent not in known for parent in shard.parents)
    ]


def _is_upto(sequence: str, after: str | None) -> bool:
    """Sequence numbers are numbers, with more digits than any machine's."""
    if after is None or not (sequence.isdecimal() and after.isdecimal()):
        return False
    return int(sequence) <= int(after)


@dataclass(slots=True)
class _Step:
    sequence: str
    is_done: bool = False


@dataclass(slots=True)
class Progress:
    """Of a shard whose records are done in any order: up to where are all of them?"""

    after: str | None = None
    """The last of those that are done without a gap."""
    _steps: deque[_Step] = field(default_factory=deque)
    _by_sequence: dict[str, _Step] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        return len(self._steps)

    def began(self, sequence: str) -> bool:
        """In the order of the shard. False for one that has begun, or is done, already."""
        if sequence in self._by_sequence or _is_upto(sequence, self.after):
            return False
        step = _Step(sequence)
        self._steps.append(step)
        self._by_sequence[sequence] = step
        return True

    def done(self, sequences: Iterable[str]) -> None:
        for sequence in sequences:
            self._by_sequence[sequence].is_done = True
        while self._steps and self._steps[0].is_done:
            self.after = self._steps.popleft().sequence
            del self._by_sequence[self.after]
