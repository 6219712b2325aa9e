"""Which functions exist? The full local copy of the metadata, kept by one watch; no I/O to ask.

The copy is fed from two sides: by the watch, in order of revision, and by this process's own
writes, at once, so that whoever was answered also reads what he wrote. Both come through apply(),
which takes a change only if its revision is higher than what is known of the key. A deletion is
remembered by its revision, or a late echo of the entry would bring the function back.

While the engine cannot be reached the copy stays as it was, and answers: invokes of known
functions do not need the engine.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from hearth.base.log import Log
from hearth.control.records import PREFIX, UnreadableRecord, decode, function_key
from hearth.engine.contract import (
    CaughtUp,
    Change,
    Deleted,
    EngineUnavailable,
    Entry,
    KeyValue,
)
from hearth.model.functions import FunctionVersion
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

log = Log("control")

RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0
TOMBSTONES_MAX: Final = 10_000

Listener = Callable[[FunctionVersion | None, FunctionVersion | None], None]
"""Told (old, new): None for what was not there before, or is not there any more."""


class Replica:
    """Ask it anything after `ready`; before, it may not know of a function yet."""

    def __init__(self, kv: KeyValue) -> None:
        self.ready = asyncio.Event()
        self._kv = kv
        self._scopes: dict[tuple[AccountId, Region], dict[FunctionName, FunctionVersion]] = {}
        self._revisions: dict[str, int] = {}
        """Of every entry that is there, readable or not."""
        self._tombstones: dict[str, int] = {}
        self._unreadable: set[str] = set()
        self._following = False
        self._listeners: list[Listener] = []

    @property
    def is_complete(self) -> bool:
        """Up to date and understood to the last record: only then may what no function refers
        to be thrown away."""
        return self._following and not self._unreadable

    def get(self, key: FunctionKey, /) -> FunctionVersion | None:
        return self._scopes.get((key.account, key.region), {}).get(key.name)

    def list(self, account: AccountId, region: Region) -> tuple[FunctionVersion, ...]:
        """The functions of one account and region, by name."""
        scope: Mapping[FunctionName, FunctionVersion] = self._scopes.get((account, region), {})
        return tuple(scope[name] for name in sorted(scope))

    def everything(self) -> tuple[FunctionVersion, ...]:
        """All functions of all accounts and regions."""
        return tuple(f for scope in self._scopes.values() for f in scope.values())

    def on_change(self, listener: Listener) -> None:
        """Call `listener` after every change, in this turn of the loop. It must not raise."""
        self._listeners.append(listener)

    def apply(self, change: Entry | Deleted) -> None:
        """Take the change if it is newer than what is known; else do nothing."""
        known = max(self._revisions.get(change.key, 0), self._tombstones.get(change.key, 0))
        key = function_key(change.key)
        if change.revision <= known or key is None:
            return
        old = self.get(key)
        new = None
        if isinstance(change, Entry):
            self._tombstones.pop(change.key, None)
            self._revisions[change.key] = change.revision
            new = self._read(change, key)
        else:
            self._bury(change.key, change.revision)
        self._replace(key, new)
        if old is None and new is None:
            return
        for listener in self._listeners:
            listener(old, new)

    async def run(self) -> None:
        """Follow the engine until cancelled; what it cannot reach it tries again."""
        retry_s = RETRY_S_MIN
        while True:
            # Before the watch begins: what is written meanwhile may be told after its CaughtUp.
            unseen = dict(self._revisions)
            try:
                async with self._kv.watch(PREFIX) as changes:
                    async for change in changes:
                        self._follow(change, unseen)
                        if self._following:
                            retry_s = RETRY_S_MIN
                log.warning("watch of the metadata ended")
            except EngineUnavailable as error:
                log.warning("watch of the metadata was lost", error=error)
            finally:
                self._following = False
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
        self._following = True
        self.ready.set()

    def _read(self, entry: Entry, key: FunctionKey) -> FunctionVersion | None:
        try:
            function = _decoded(entry, key)
        except UnreadableRecord as error:
            log.error("record cannot be read", key=entry.key, error=error)
            self._unreadable.add(entry.key)
            return None
        self._unreadable.discard(entry.key)
        return function

    def _bury(self, entry: str, revision: int) -> None:
        self._revisions.pop(entry, None)
        self._unreadable.discard(entry)
        self._tombstones.pop(entry, None)
        self._tombstones[entry] = revision
        if len(self._tombstones) > TOMBSTONES_MAX:
            del self._tombstones[next(iter(self._tombstones))]

    def _replace(self, key: FunctionKey, new: FunctionVersion | None) -> None:
        scope = self._scopes.setdefault((key.account, key.region), {})
        if new is not None:
            scope[key.name] = new
        else:
            scope.pop(key.name, None)
            if not scope:
                del self._scopes[key.account, key.region]


def _decoded(entry: Entry, key: FunctionKey) -> FunctionVersion:
    function = decode(entry.value)
    if function.key != key:
        raise UnreadableRecord(f"a record of {function.key}")
    return function
