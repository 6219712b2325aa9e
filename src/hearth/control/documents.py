"""What else is known of a function, or of an account? Typed documents beside the functions.

Aliases, permissions, tags of a policy, settings: whatever is not the function's configuration is a
document of some kind, stored under its own key, bound to one life of its function:

- Reading is a lookup in this process's full copy: no I/O, nothing to decode twice.
- Writing is a compare-and-set on what was read; a conflict means deciding again. Whoever was
  answered also reads what he wrote.
- A document carries its function's `instance_id`. What an earlier function of the same name left
  is invisible at once, gone when its deletion is heard of, and swept if that was missed.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.control.cells import unavailable
from hearth.control.document_records import (
    PREFIX,
    AccountScope,
    Envelope,
    Kind,
    Owner,
    Place,
    encode,
    entry_key,
    instance_of,
    open_envelope,
    place_at,
    place_of,
    value_of,
)
from hearth.control.local_copy import LocalCopy
from hearth.control.records import UnreadableRecord
from hearth.control.replica import Replica
from hearth.engine.contract import Conflict, Deleted, EngineUnavailable, Entry, KeyValue
from hearth.model.errors import InternalFailure, ResourceConflict
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, AccountId, FunctionKey, FunctionName, Region

__all__ = ["AccountScope", "Document", "Documents", "Kind", "Owner", "Place"]

T = TypeVar("T")

log = Log("control")

ATTEMPTS_MAX: Final = 16
SWEEP_EVERY_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Document(Generic[T]):
    """A value as it is stored. `revision_id` changes with every write; callers compare it."""

    value: T
    revision_id: str
    qualifier: str | None = None


@dataclass(slots=True)
class _Held:
    """One document of the local copy; decoded when it is first asked for."""

    envelope: Envelope
    document: Document[object] | None = None


_Scope = tuple[AccountId, Region, FunctionName | None]
Listener = Callable[[Place], None]


class Documents:
    """Ask it anything after `ready`; before, it may not know of a document yet."""

    def __init__(self, kv: KeyValue, replica: Replica, jobs: Jobs, ids: Callable[[], str]) -> None:
        """`ids`: a new UUID at each call."""
        self._kv = kv
        self._replica = replica
        self._jobs = jobs
        self._ids = ids
        self._held: dict[_Scope, dict[str, dict[str | None, _Held]]] = {}
        self._copy = LocalCopy(kv, PREFIX, self._take)
        self._listeners: dict[str, list[Listener]] = {}
        self._orphans: set[tuple[Place, str]] = set()
        self._unreadable: set[str] = set()
        replica.on_change(self._function_changed)

    @property
    def ready(self) -> asyncio.Event:
        return self._copy.ready

    @property
    def is_complete(self) -> bool:
        """Up to date and understood: only then may what no document refers to be thrown away."""
        return self._copy.is_following and not self._unreadable

    # --- reading: the local copy, no I/O

    def get(self, kind: Kind[T], owner: Owner, qualifier: str | None = None) -> T | None:
        """The value, or None. Raises InternalFailure if a newer Hearth wrote it."""
        document = self.find(kind, owner, qualifier)
        return None if document is None else document.value

    def find(self, kind: Kind[T], owner: Owner, qualifier: str | None = None) -> Document[T] | None:
        """The same with its revision id."""
        kinds = self._held.get(_scope_of(owner))
        if kinds is None:
            return None
        held = kinds.get(kind.name, {}).get(qualifier)
        if held is None or held.envelope.instance_id != instance_of(owner):
            return None
        return _decoded(held, kind, qualifier)

    def find_all(self, kind: Kind[T], owner: Owner) -> tuple[Document[T], ...]:
        """All of the kind that the owner has, by qualifier; the unqualified one is first."""
        held = self._held.get(_scope_of(owner), {}).get(kind.name, {})
        instance_id = instance_of(owner)
        return tuple(
            _decoded(held[qualifier], kind, qualifier)
            for qualifier in sorted(held, key=lambda q: q or "")
            if held[qualifier].envelope.instance_id == instance_id
        )

    def every(self, kind: Kind[T]) -> Iterator[T]:
        """All of the kind, whoever owns them, those of a function that is gone too."""
        for kinds in self._held.values():
            for qualifier, held in kinds.get(kind.name, {}).items():
                yield _decoded(held, kind, qualifier).value

    def on_change(self, kind: Kind[Any], listener: Listener) -> None:
        """Call `listener` after every change of a document of the kind, in this turn of the loop.
        It reads what is there now, if anything, and must not raise."""
        self._listeners.setdefault(kind.name, []).append(listener)

    # --- writing

    async def change(
        self,
        kind: Kind[T],
        owner: Owner,
        decide: Callable[[Document[T] | None], T | None],
        qualifier: str | None = None,
    ) -> Document[T] | None:
        """Write what `decide` makes of the document that is there; None deletes it.

        `decide` may be asked repeatedly, and raises ServiceError to leave everything as it is; its
        answer is a new value, or the very object it was given to change nothing.
        Raises InternalFailure if the engine cannot be reached, ResourceConflict if others never
        let it through.
        """
        place = place_of(owner, kind.name, qualifier)
        for _attempt in range(ATTEMPTS_MAX):
            entry = await self._read(place)
            before = self._document(entry, kind, owner, qualifier)
            value = decide(before)
            if before is not None and value is before.value:
                return before
            if value is None:
                if entry is None or await self._delete(entry):
                    return None
                continue
            document = Document(value, self._ids(), qualifier)
            encoded = encode(instance_of(owner), document.revision_id, value)
            if await self._write(place, encoded, document.revision_id, entry):
                return document
        raise ResourceConflict("The operation cannot be performed at this time. Please try again.")

    async def put(
        self, kind: Kind[T], owner: Owner, value: T, qualifier: str | None = None
    ) -> Document[T]:
        """Write `value`, whatever was there. Raises as change()."""
        document = await self.change(kind, owner, lambda _before: value, qualifier)
        assert document is not None, "a value was written"
        return document

    async def delete(self, kind: Kind[T], owner: Owner, qualifier: str | None = None) -> None:
        """Delete it, if it is there. Raises as change()."""
        await self.change(kind, owner, lambda _before: None, qualifier)

    async def delete_qualified(self, function: FunctionVersion, qualifier: str) -> None:
        """Every document of a version or an alias that is gone. Raises InternalFailure."""
        kinds = self._held.get(_scope_of(function), {})
        for kind in [name for name, held in kinds.items() if qualifier in held]:
            place = place_of(function, kind, qualifier)
            while (entry := await self._read(place)) is not None:
                if await self._delete(entry):
                    break

    # --- following and sweeping

    async def run(self) -> None:
        """Follow the engine until cancelled."""
        await self._copy.run()

    async def run_sweeps(self) -> None:
        """Sweep every SWEEP_EVERY_S until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            await self.sweep()

    async def sweep(self) -> int:
        """Delete what was without its function, version or alias at the last sweep and still is;
        returns how many.

        Twice, since the two copies are fed by two watches: a document may be heard of before its
        function. Does nothing while either copy is not complete.
        """
        if not (self._replica.is_complete and self.is_complete):
            return 0
        orphans = {
            (place, held.envelope.instance_id)
            for place, held in self._everything()
            if place.function is not None and not self._has_owner(place, held)
        }
        gone = 0
        for place, instance_id in orphans & self._orphans:
            gone += await self._delete_orphan(place, instance_id)
        self._orphans = orphans
        return gone

    def _function_changed(self, old: FunctionVersion | None, new: FunctionVersion | None) -> None:
        if old is None or (new is not None and new.instance_id == old.instance_id):
            return
        places = [
            place_of(old, kind, qualifier)
            for kind, held in self._held.get(_scope_of(old), {}).items()
            for qualifier, one in held.items()
            if one.envelope.instance_id == old.instance_id
        ]
        if places:
            self._jobs.spawn(self._delete_all(places, old.instance_id), name="delete-documents")

    async def _delete_all(self, places: list[Place], instance_id: str) -> None:
        for place in places:
            await self._delete_orphan(place, instance_id)

    async def _delete_orphan(self, place: Place, instance_id: str) -> bool:
        """What cannot be deleted now is found again by a later sweep."""
        try:
            entry = await self._read(place)
            if entry is None or open_envelope(entry.value).instance_id != instance_id:
                return False
            return await self._delete(entry)
        except (InternalFailure, UnreadableRecord) as error:
            log.warning("document was not deleted", key=entry_key(place), error=error)
            return False

    def _has_owner(self, place: Place, held: _Held) -> bool:
        """Is there still the function, and the version or alias of it?"""
        assert place.function is not None
        key = FunctionKey(place.account, place.region, place.function)
        function = self._replica.get(key)
        if function is None or function.instance_id != held.envelope.instance_id:
            return False
        if place.qualifier in {None, LATEST}:
            return True
        assert place.qualifier is not None
        return self._replica.qualified(key, place.qualifier) is not None

    def _everything(self) -> list[tuple[Place, _Held]]:
        return [
            (Place(account, region, function, kind, qualifier), held)
            for (account, region, function), kinds in self._held.items()
            for kind, qualified in kinds.items()
            for qualifier, held in qualified.items()
        ]

    # --- the engine

    async def _read(self, place: Place) -> Entry | None:
        key = entry_key(place)
        if key is None:
            return None
        try:
            entry = await self._kv.get(key)
        except EngineUnavailable as error:
            raise unavailable(error) from error
        if entry is not None:
            self._copy.apply(entry)
        return entry

    def _document(
        self, entry: Entry | None, kind: Kind[T], owner: Owner, qualifier: str | None
    ) -> Document[T] | None:
        """None too for what an earlier function of the name left."""
        if entry is None:
            return None
        try:
            envelope = open_envelope(entry.value)
            if envelope.instance_id != instance_of(owner):
                return None
            return Document(value_of(envelope, kind), envelope.revision_id, qualifier)
        except UnreadableRecord as error:
            raise unavailable() from error

    async def _write(
        self, place: Place, value: bytes, revision_id: str, before: Entry | None
    ) -> bool:
        """False if somebody else was faster."""
        key = entry_key(place)
        if key is None:
            raise ValueError(f"no document can be stored at {place}")
        try:
            if before is None:
                revision = await self._kv.create(key, value)
            else:
                revision = await self._kv.update(key, value, before.revision)
        except (Conflict, EngineUnavailable) as error:
            # Unknown, not failed: the revision id is proof if the write did happen.
            found = await self._read(place)
            if found is not None and _revision_id(found) == revision_id:
                return True
            if isinstance(error, EngineUnavailable):
                raise unavailable(error) from error
            return False
        self._copy.apply(Entry(key, value, revision))
        return True

    async def _delete(self, entry: Entry) -> bool:
        """False if somebody else was faster."""
        try:
            gone = await self._kv.delete(entry.key, entry.revision)
        except Conflict:
            return False
        except EngineUnavailable as error:
            place = place_at(entry.key)
            assert place is not None, "its key was made from a place"
            if await self._read(place) is not None:
                raise unavailable(error) from error
            gone = entry.revision + 1  # at least
        self._copy.apply(Deleted(entry.key, gone))
        return True

    def _take(self, change: Entry | Deleted) -> None:
        place = place_at(change.key)
        if place is None:
            return
        kinds = self._held.setdefault((place.account, place.region, place.function), {})
        held = kinds.setdefault(place.kind, {})
        held.pop(place.qualifier, None)
        self._unreadable.discard(change.key)
        if isinstance(change, Entry):
            try:
                held[place.qualifier] = _Held(open_envelope(change.value))
            except UnreadableRecord as error:
                log.error("document cannot be read", key=change.key, error=error)
                self._unreadable.add(change.key)
        if not held:
            del kinds[place.kind]
        if not kinds:
            del self._held[place.account, place.region, place.function]
        for listener in self._listeners.get(place.kind, ()):
            listener(place)


def _scope_of(owner: Owner) -> _Scope:
    if isinstance(owner, FunctionVersion):
        key = owner.key
        return key.account, key.region, key.name
    return owner.account, owner.region, None


def _decoded(held: _Held, kind: Kind[T], qualifier: str | None) -> Document[T]:
    if held.document is None:
        try:
            value = value_of(held.envelope, kind)
        except UnreadableRecord as error:
            raise unavailable() from error
        held.document = Document(value, held.envelope.revision_id, qualifier)
    document: Document[T] = held.document  # type: ignore[assignment]  # a kind has one type
    return document


def _revision_id(entry: Entry) -> str | None:
    try:
        return open_envelope(entry.value).revision_id
    except UnreadableRecord:
        return None
