"""How is a function changed when others change it too, and the engine may not answer?

Every change is a compare-and-set on what was read; a conflict means reading again and deciding
again. A write whose outcome is unknown is read back: it carries a revision id that nobody else
could have made, so finding that id is proof. Not finding it is no proof of the opposite, and the
caller is told that the service failed; it may ask again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hearth.control.records import UnreadableRecord, decode, encode, entry_key
from hearth.control.replica import Replica
from hearth.engine.contract import Conflict, Deleted, EngineUnavailable, Entry, KeyValue
from hearth.model.errors import InternalFailure, ResourceConflict, ResourceNotFound
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey

ATTEMPTS_MAX: Final = 16
"""Each lost attempt means that somebody else's change went through."""

Decision = Callable[[FunctionVersion], FunctionVersion]
"""What to write, given what is there. Raises ServiceError to leave it. May be asked repeatedly."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A function as it was read, and the engine's revision to compare with."""

    function: FunctionVersion
    revision: int


def not_found(key: FunctionKey, qualifier: str | None = None) -> ResourceNotFound:
    return ResourceNotFound(f"Function not found: {key.arn(qualifier)}")


class FunctionStore:
    """The only place in this room that writes to the engine."""

    def __init__(self, kv: KeyValue, replica: Replica) -> None:
        self._kv = kv
        self._replica = replica

    async def read(self, key: FunctionKey) -> Stored | None:
        """From the engine, past the local copy. Raises InternalFailure."""
        entry = entry_key(key)
        if entry is None:
            return None
        try:
            found = await self._kv.get(entry)
        except EngineUnavailable as error:
            raise _unavailable() from error
        if found is None:
            return None
        self._replica.apply(found)
        try:
            return Stored(decode(found.value), found.revision)
        except UnreadableRecord as error:
            raise _unavailable() from error

    async def create(self, function: FunctionVersion) -> None:
        """Raises ResourceConflict if the name is taken, InternalFailure if nobody knows."""
        entry, value = _entry(function.key), encode(function)
        try:
            revision = await self._kv.create(entry, value)
        except Conflict as error:
            found = await self._read_back(function)
            if found is None:
                raise already_exists(function.key) from error
            revision = found
        except EngineUnavailable as error:
            found = await self._read_back(function)
            if found is None:
                raise _unavailable() from error
            revision = found
        self._replica.apply(Entry(entry, value, revision))

    async def change(self, key: FunctionKey, decide: Decision) -> FunctionVersion:
        """Write what `decide` makes of the function; returns it.

        Raises ResourceNotFound, InternalFailure, ResourceConflict if others never let it through,
        and whatever `decide` raises.
        """
        for _attempt in range(ATTEMPTS_MAX):
            before = await self.read(key)
            if before is None:
                raise not_found(key)
            after = decide(before.function)
            if await self._update(after, before.revision):
                return after
        raise update_in_progress(key)

    async def delete(self, key: FunctionKey) -> None:
        """Raises ResourceNotFound, InternalFailure."""
        for _attempt in range(ATTEMPTS_MAX):
            before = await self.read(key)
            if before is None:
                raise not_found(key)
            if await self._delete(key, before.revision):
                return
        raise update_in_progress(key)

    async def _update(self, after: FunctionVersion, revision: int) -> bool:
        """False if somebody else was faster."""
        entry, value = _entry(after.key), encode(after)
        written: int | None
        try:
            written = await self._kv.update(entry, value, revision)
        except Conflict:
            written = await self._read_back(after)
            if written is None:
                return False
        except EngineUnavailable as error:
            written = await self._read_back(after)
            if written is None:
                raise _unavailable() from error
        self._replica.apply(Entry(entry, value, written))
        return True

    async def _delete(self, key: FunctionKey, revision: int) -> bool:
        """False if somebody else was faster."""
        entry = _entry(key)
        try:
            gone = await self._kv.delete(entry, revision)
        except Conflict:
            return False
        except EngineUnavailable as error:
            if await self.read(key) is not None:
                raise _unavailable() from error
            gone = revision + 1  # at least
        self._replica.apply(Deleted(entry, gone))
        return True

    async def _read_back(self, written: FunctionVersion) -> int | None:
        """The revision at which `written` is there, or None if something else is."""
        found = await self.read(written.key)
        if found is None or found.function.revision_id != written.revision_id:
            return None
        return found.revision


def already_exists(key: FunctionKey) -> ResourceConflict:
    return ResourceConflict(f"Function already exist: {key.name}")


def update_in_progress(key: FunctionKey) -> ResourceConflict:
    return ResourceConflict(
        "The operation cannot be performed at this time. "
        f"An update is in progress for resource: {key.arn()}"
    )


def _unavailable() -> InternalFailure:
    return InternalFailure("The Lambda service encountered an internal error.")


def _entry(key: FunctionKey) -> str:
    entry = entry_key(key)
    assert entry is not None, f"{key} was read or validated before it is written"
    return entry
