"""What does Hearth ask of its engine? A key-value store with compare-and-set and watch.

Rules that callers live by (docs/decisions/0003-engine.md):

- Never decide on a read; decide on a compare-and-set.
- A write that timed out is *unknown*, not failed: read back and reconcile.
- A revision is a number that grows with every write to the bucket; 0 is never one.

Keys are dot-separated tokens of `[-/_=a-zA-Z0-9]`, as NATS subjects are; values are bytes.
Every implementation passes tests/contract/test_engine.py.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

VALUE_BYTES_MAX = 512 * 1024


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
        """All entries whose key begins with the tokens of `prefix` (`fn.123` or "" for all):
        first what is there, then CaughtUp once, then every change in order of revision, without
        a gap, until the context is left; reconnects by itself."""
        ...


class Engine(Protocol):
    async def bucket(self, name: str) -> KeyValue:
        """The bucket of that name, made if it is not there."""
        ...

    async def probe(self) -> None:
        """One write and one read, with a deadline. Raises EngineUnavailable."""
        ...
