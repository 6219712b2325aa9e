"""Which functions exist? The full local copy of the metadata, kept by one watch; no I/O to ask.

The copy is fed from two sides: by the watch, in order of revision, and by this process's own
writes, at once, so that whoever was answered also reads what he wrote. See local_copy.py.

While the engine cannot be reached the copy stays as it was, and answers: invokes of known
functions do not need the engine.

A version is there when both its record and the function that names it are; records that no
function names are kept aside, since they come before their function does.
"""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeVar

from hearth.base.log import Log
from hearth.control.local_copy import LocalCopy
from hearth.control.records import (
    PREFIX,
    UnreadableRecord,
    decode,
    decode_function,
    place_at,
)
from hearth.engine.contract import Deleted, Entry, KeyValue
from hearth.model.functions import Alias, Function, FunctionVersion, Routes
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

log = Log("control")

Listener = Callable[[FunctionVersion | None, FunctionVersion | None], None]
"""Told (old, new) of $LATEST: None for what was not there before, or is not there any more."""

QualifierListener = Callable[[FunctionVersion, AbstractSet[str]], None]
"""Told of $LATEST and qualifiers: versions and aliases that have come, changed or gone."""

T = TypeVar("T")


@dataclass(slots=True)
class _Published:
    """What is known of one function beside $LATEST."""

    function: Function
    versions: dict[str, FunctionVersion] = field(default_factory=dict)
    """By number, those whose records have arrived."""
    in_order: tuple[FunctionVersion, ...] | None = None
    """The same in a row, once somebody has asked."""


class Replica:
    """Ask it anything after `ready`; before, it may not know of a function yet."""

    def __init__(self, kv: KeyValue) -> None:
        self._copy = LocalCopy(kv, PREFIX, self._take)
        self._scopes: dict[tuple[AccountId, Region], dict[FunctionName, FunctionVersion]] = {}
        self._in_order: dict[tuple[AccountId, Region], tuple[FunctionVersion, ...]] = {}
        """The same in a row, where somebody has asked since the last change."""
        self._published: dict[FunctionKey, _Published] = {}
        """Of the functions of which anything was published."""
        self._routes: dict[tuple[AccountId, Region, FunctionName], Routes] = {}
        """The same and $LATEST, for invokes."""
        self._serving: dict[FunctionKey, FunctionVersion] = {}
        """Of functions with an update that is in progress or failed: what their $LATEST runs."""
        self._records: dict[FunctionKey, dict[str, FunctionVersion]] = {}
        """All versions' records by name."""
        self._unreadable: set[str] = set()
        self._newest: FunctionVersion | None = None
        """What was read last: the next one may have much in common with it."""
        self._listeners: list[Listener] = []
        self._qualifier_listeners: list[QualifierListener] = []

    @property
    def ready(self) -> asyncio.Event:
        return self._copy.ready

    @property
    def is_complete(self) -> bool:
        """Up to date and understood to the last record: only then may what no function refers
        to be thrown away."""
        return self._copy.is_following and not self._unreadable

    def get(self, key: FunctionKey, /) -> FunctionVersion | None:
        """$LATEST."""
        return self._scopes.get((key.account, key.region), {}).get(key.name)

    def serving(self, key: FunctionKey, /) -> FunctionVersion | None:
        """What invokes of $LATEST run: an earlier one while an update of it is not done."""
        return self._serving.get(key) or self.get(key)

    def find(self, account: AccountId, region: Region, name: FunctionName, /) -> Routes | None:
        """All that an invoke may mean; the way for those who have no FunctionKey yet."""
        return self._routes.get((account, region, name))

    def qualified(self, key: FunctionKey, qualifier: str, /) -> FunctionVersion | Alias | None:
        """The version of that number, or the alias of that name."""
        published = self._published.get(key)
        if published is None:
            return None
        return published.versions.get(qualifier) or published.function.aliases.get(qualifier)

    def versions(self, key: FunctionKey) -> tuple[FunctionVersion, ...]:
        """What was published of the function, by number; without $LATEST."""
        published = self._published.get(key)
        if published is None:
            return ()
        if published.in_order is None:
            numbers = sorted(published.versions, key=int)
            published.in_order = tuple(published.versions[number] for number in numbers)
        return published.in_order

    def aliases(self, key: FunctionKey) -> tuple[Alias, ...]:
        """By name."""
        published = self._published.get(key)
        aliases: Mapping[str, Alias] = published.function.aliases if published is not None else {}
        return tuple(aliases[name] for name in sorted(aliases))

    def record_of(self, version: FunctionVersion) -> str | None:
        """The name of the version's record, unless it is gone."""
        published = self._published.get(version.key)
        return None if published is None else published.function.versions.get(version.version)

    def list(self, account: AccountId, region: Region) -> tuple[FunctionVersion, ...]:
        """The functions of one account and region, by name."""
        found = self._in_order.get((account, region))
        if found is None:
            scope = self._scopes.get((account, region), {})
            found = tuple(scope[name] for name in sorted(scope))
            if found:
                self._in_order[account, region] = found
        return found

    def everything(self) -> tuple[FunctionVersion, ...]:
        """All functions of all accounts and regions."""
        return tuple(f for scope in self._scopes.values() for f in scope.values())

    def all_versions(self) -> tuple[FunctionVersion, ...]:
        """The same, what was published of them, and what is served instead of them for now."""
        published = (v for held in self._published.values() for v in held.versions.values())
        return (*self.everything(), *self._serving.values(), *published)

    def leftovers(self) -> frozenset[tuple[FunctionKey, str]]:
        """Versions' records that no function names: not yet, or not any more."""
        return frozenset(
            (key, record)
            for key, records in self._records.items()
            for record in records.keys() - self._named(key)
        )

    def on_change(self, listener: Listener) -> None:
        """Call `listener` after every change, in this turn of the loop. It must not raise."""
        self._listeners.append(listener)

    def on_qualified(self, listener: QualifierListener) -> None:
        """Call `listener` when something published has changed while its function stays, once for
        all of it; it reads what is there now, if anything. It must not raise."""
        self._qualifier_listeners.append(listener)

    def apply(self, change: Entry | Deleted) -> None:
        """Take the change if it is newer than what is known; else do nothing."""
        self._copy.apply(change)

    async def run(self) -> None:
        """Follow the engine until cancelled; what it cannot reach it tries again."""
        await self._copy.run()

    def _take(self, change: Entry | Deleted) -> None:
        place = place_at(change.key)
        if place is None:
            return
        key, record = place
        if record is None:
            self._take_function(key, self._read(change, key, decode_function))
        else:
            self._take_version(key, record, self._read(change, key, decode))

    def _read(
        self,
        change: Entry | Deleted,
        key: FunctionKey,
        decoder: Callable[[bytes, FunctionVersion | None], T],
    ) -> T | None:
        self._unreadable.discard(change.key)
        if isinstance(change, Deleted):
            return None
        try:
            value = decoder(change.value, self._relative(key))
            self._newest = _checked(value, key)
        except UnreadableRecord as error:
            log.error("record cannot be read", key=change.key, error=error)
            self._unreadable.add(change.key)
            return None
        return value

    def _relative(self, key: FunctionKey) -> FunctionVersion | None:
        """Something that a record of the function may have much in common with."""
        if (latest := self.get(key)) is not None:
            return latest
        return next(iter(self._records.get(key, {}).values()), self._newest)

    def _take_function(self, key: FunctionKey, function: Function | None) -> None:
        old = self.get(key)
        new = function.latest if function is not None else None
        touched = self._publish(key, function)
        self._serving.pop(key, None)
        if function is not None and function.serving is not None:
            self._serving[key] = function.serving
        self._replace(key, new)
        self._lay_out(key, new)
        if old is None and new is None:
            return
        for listener in self._listeners:
            listener(old, new)
        if new is not None:
            self._tell(new, touched)

    def _take_version(self, key: FunctionKey, record: str, version: FunctionVersion | None) -> None:
        records = self._records.setdefault(key, {})
        before = records.pop(record, None)
        if version is not None:
            records[record] = version
        elif not records:
            del self._records[key]
        published, latest = self._published.get(key), self.get(key)
        known = version or before
        if published is None or latest is None or known is None:
            return
        number = known.version
        if published.function.versions.get(number) != record:
            return
        published.in_order = None
        if version is not None:
            published.versions[number] = version
        else:
            published.versions.pop(number, None)
        self._lay_out(key, latest)
        self._tell(latest, {number})

    def _publish(self, key: FunctionKey, function: Function | None) -> set[str]:
        """Keep what was published of it; answers the qualifiers of which that is news."""
        before = self._published.pop(key, None)
        if function is None or not (function.versions or function.aliases):
            return _qualifiers(before)
        after = self._published[key] = _Published(function)
        if before is None:
            after.versions = self._arrived(key, function)
            return _qualifiers(after)
        touched = _differences(before.function.aliases, function.aliases)
        if before.function.versions == function.versions:
            after.versions, after.in_order = before.versions, before.in_order
        else:
            after.versions = self._arrived(key, function)
            touched |= _differences(before.function.versions, function.versions)
        return touched

    def _lay_out(self, key: FunctionKey, latest: FunctionVersion | None) -> None:
        where = (key.account, key.region, key.name)
        if latest is None:
            self._routes.pop(where, None)
            return
        published = self._published.get(key)
        qualified: Mapping[str, FunctionVersion | Alias] = {}
        if published is not None:
            qualified = {**published.versions, **published.function.aliases}
        self._routes[where] = Routes(self._serving.get(key, latest), key.arn(), qualified)

    def _arrived(self, key: FunctionKey, function: Function) -> dict[str, FunctionVersion]:
        records = self._records.get(key, {})
        return {n: records[name] for n, name in function.versions.items() if name in records}

    def _named(self, key: FunctionKey) -> frozenset[str]:
        published = self._published.get(key)
        return frozenset(published.function.versions.values() if published is not None else ())

    def _tell(self, latest: FunctionVersion, qualifiers: AbstractSet[str]) -> None:
        if not qualifiers:
            return
        for listener in self._qualifier_listeners:
            listener(latest, qualifiers)

    def _replace(self, key: FunctionKey, new: FunctionVersion | None) -> None:
        self._in_order.pop((key.account, key.region), None)
        scope = self._scopes.setdefault((key.account, key.region), {})
        if new is not None:
            scope[key.name] = new
        else:
            scope.pop(key.name, None)
            if not scope:
                del self._scopes[key.account, key.region]


def _qualifiers(published: _Published | None) -> set[str]:
    if published is None:
        return set()
    return {*published.function.versions, *published.function.aliases}


def _differences(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    names = old.keys() | new.keys()
    return {name for name in names if old.get(name) != new.get(name)}


def _checked(value: object, key: FunctionKey) -> FunctionVersion:
    """The version, or $LATEST. Raises UnreadableRecord for a record of another key."""
    version = value.latest if isinstance(value, Function) else value
    assert isinstance(version, FunctionVersion)
    if version.key != key:
        raise UnreadableRecord(f"a record of {version.key}")
    return version
