"""What did the engine last say of every key under a prefix? Followed by one watch, newest wins.

Changes come from two sides: the watch, in order of revision, and this process's own writes, at
once. `apply` takes a change only if its revision is higher than what is known of the key; a
deletion is remembered by its revision, or a late echo of the entry would bring it back.
While the engine cannot be reached the copy stays as it was.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from hearth.base.log import Log
from hearth.engine.contract import (
    CaughtUp,
    Change,
    Deleted,
    EngineUnavailable,
    Entry,
    KeyValue,
)

log = Log("control")

RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0
TOMBSTONES_MAX: Final = 10_000

Taken = Callable[[Entry | Deleted], None]
"""Told of every change that is news, in this turn of the loop. It must not raise."""


class LocalCopy:
    """Keeps the order of changes; what they mean is the business of `taken`."""

    def __init__(self, kv: KeyValue, prefix: str, taken: Taken) -> None:
        self.ready = asyncio.Event()
        self.is_following = False
        """Up to date with the engine, as far as anyone can know."""
        self._kv = kv
        self._prefix = prefix
        self._taken = taken
        self._revisions: dict[str, int] = {}
        self._tombstones: dict[str, int] = {}

    def apply(self, change: Entry | Deleted) -> None:
        """Take the change if it is newer than what is known; else do nothing."""
        known = max(self._revisions.get(change.key, 0), self._tombstones.get(change.key, 0))
        if change.revision <= known:
            return
        self._tombstones.pop(change.key, None)
        if isinstance(change, Entry):
            self._revisions[change.key] = change.revision
        else:
            self._bury(change)
        self._taken(change)

    async def run(self) -> None:
        """Follow the engine until cancelled; what it cannot reach it tries again."""
        retry_s = RETRY_S_MIN
        while True:
            # Before the watch begins: what is written meanwhile may be told after its CaughtUp.
            unseen = dict(self._revisions)
            try:
                async with self._kv.watch(self._prefix) as changes:
                    async for change in changes:
                        self._follow(change, unseen)
                        if self.is_following:
                            retry_s = RETRY_S_MIN
                log.warning("watch ended", prefix=self._prefix)
            except EngineUnavailable as error:
                log.warning("watch was lost", prefix=self._prefix, error=error)
            finally:
                self.is_following = False
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    def _follow(self, change: Change, unseen: dict[str, int]) -> None:
        if not isinstance(change, CaughtUp):
            unseen.pop(change.key, None)
            self.apply(change)
            return
        # What was known when this watch began and is not there now was deleted in between.
        for key, revision in unseen.items():
            if self._revisions.get(key) == revision:
                # The deletion's own revision was never seen; it is somewhere above this one.
                self.apply(Deleted(key, revision + 1))
        unseen.clear()
        self.is_following = True
        self.ready.set()

    def _bury(self, change: Deleted) -> None:
        self._revisions.pop(change.key, None)
        self._tombstones[change.key] = change.revision
        if len(self._tombstones) > TOMBSTONES_MAX:
            del self._tombstones[next(iter(self._tombstones))]
