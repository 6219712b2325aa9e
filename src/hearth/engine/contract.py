"""What does Hearth ask of its engine? A key-value store with compare-and-set and watch, and queues.

Rules that callers live by (docs/decisions/0003-engine.md):

- Never decide on a read; decide on a compare-and-set.
- A write that timed out is *unknown*, not failed: read back and reconcile.
- A revision is a number that grows with every write to the bucket; 0 is never one.

Keys are dot-separated tokens of `[-/_=a-zA-Z0-9]`, as NATS subjects are; values are bytes.
Every implementation passes tests/contract/test_engine.py and test_engine_queue.py.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

VALUE_BYTES_MAX = 512 * 1024
MESSAGE_BYTES_MAX = 8_000_000
"""Of a queue: an event of 1 MB and an answer of 6 MB, and what is said about them."""
ACK_WAIT_S = 30.0
DEDUPLICATION_S = 120.0


class Conflict(Exception):
    """The compare-and-set found another revision than the expected one; nothing was written."""


class EngineUnavailable(Exception):
    """The engine did not answer in time. A write may or may not have happened."""


class EngineTakesNoWrites(EngineUnavailable):
    """Reads work, writes do not: the disk is full, most likely. The text is for whoever asked."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The engine takes no writes at present: {reason}.")


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Deleted:
    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """In a watch: everything that existed when it began has been delivered."""


Change = Entry | Deleted | CaughtUp


class KeyValue(Protocol):
    """One bucket."""

    async def get(self, key: str) -> Entry | None:
        """The entry, or None. May be stale: see the rules above."""
        ...

    async def create(self, key: str, value: bytes) -> int:
        """Write a key that must not exist; returns its revision. Raises Conflict."""
        ...

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Write if the key is at `revision`; returns the new one. Raises Conflict."""
        ...

    async def delete(self, key: str, revision: int) -> int:
        """Delete if the key is at `revision`; returns the deletion's own. Raises Conflict."""
        ...

    def watch(self, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """All entries below `prefix` ("" for all; `fn.1` means `fn.1.x`, neither `fn.1` nor
        `fn.10`): first what is there, then CaughtUp once, then every change in order of revision,
        without a gap, until the context is left; reconnects by itself."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """One message of a queue, looked at and left where it is."""

    key: str
    sequence: int
    body: bytes
    due_ms: int | None = None
    """When it goes to its target, if it is scheduled; since the epoch."""


class Taken(Protocol):
    """A message that is ours until `ack`, `nak`, or ACK_WAIT_S without `in_progress`."""

    @property
    def key(self) -> str: ...

    @property
    def sequence(self) -> int:
        """Of the message in its queue: the same in each of its deliveries."""
        ...

    @property
    def body(self) -> bytes: ...

    async def ack(self) -> None:
        """It leaves the queue. Not confirmed: if the engine ends now, it is delivered again."""
        ...

    async def nak(self, delay_s: float = 0.0) -> None:
        """It is delivered again, after `delay_s`. Not confirmed."""
        ...

    async def in_progress(self) -> None:
        """It is ours for another ACK_WAIT_S. Not confirmed."""
        ...


class Consumer(Protocol):
    """Takes messages out of a queue. One task may use it at a time."""

    async def take(self, limit: int) -> Sequence[Taken]:
        """At least one message, at most `limit`; waits for it, and through outages.

        Raises EngineUnavailable once the engine's connection is closed for good."""
        ...


class Queue(Protocol):
    """Messages that stay until they are acknowledged, each under a key. Consumers share nothing:
    the prefixes of those that are open at one time must not overlap."""

    @property
    def is_busy(self) -> bool:
        """Whether a write would have to wait for others, which is not limited in time."""
        ...

    async def publish(self, key: str, body: bytes, message_id: str) -> int:
        """On disk when this returns: its sequence. A second message with one id, within two
        minutes, is the first one. Raises EngineUnavailable (and then it may be there)."""
        ...

    async def schedule(
        self, key: str, body: bytes, message_id: str, *, due_ms: int, target: str
    ) -> int:
        """Publish it to `target` at `due_ms`. Until then it stands under `key`, which holds one
        message: a later one takes its place. On disk when this returns."""
        ...

    def consume(self, name: str, prefix: str) -> AbstractAsyncContextManager[Consumer]:
        """Everything under `prefix` that is not acknowledged, from the oldest on. What an earlier
        consumer of that name had taken and not acknowledged is delivered at once. What is taken
        when it ends goes back."""
        ...

    async def counts(self, prefix: str = "") -> Mapping[str, int]:
        """Messages by key: waiting, taken and scheduled."""
        ...

    async def size(self) -> "QueueSize":
        """How much is in it."""
        ...

    async def next(self, prefix: str, after: int = 0) -> Stored | None:
        """The first message under `prefix` with a sequence above `after`."""
        ...

    async def last(self) -> int:
        """The highest sequence so far; 0 if nothing was ever written."""
        ...

    async def remove(self, sequence: int) -> bool:
        """Whether it was there."""
        ...

    async def purge(self, prefix: str) -> int:
        """Drop everything under `prefix`: how many."""
        ...


@dataclass(frozen=True, slots=True)
class QueueSize:
    messages: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueKind:
    """What a queue keeps."""

    age_max_s: float = 0.0
    """0: for ever. Else what is older goes."""
    bytes_max: int = 0
    """0: no bound. Else the oldest goes."""


KEEPS_ALL: Final = QueueKind()


class Engine(Protocol):
    async def bucket(self, name: str) -> KeyValue:
        """The bucket of that name, made if it is not there."""
        ...

    async def queue(self, name: str, kind: QueueKind = KEEPS_ALL) -> Queue:
        """The queue of that name, made if it is not there; of this kind from now on."""
        ...

    async def probe(self) -> None:
        """One write and one read, with a deadline. Raises EngineUnavailable."""
        ...
