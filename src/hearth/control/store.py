"""How is a function changed when others change it too?

Every change is a compare-and-set on what was read; a conflict means reading again and deciding
again. Each write carries an id that nobody else could have made: the revision id of $LATEST where
that changes, else a write id.

A version is published in two writes: its record, under a name that nobody knows, and then the
function's, which names it. Only the second one counts. A record that no function names is thrown
away: at once if this process knows of it, else by `Leftovers`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hearth.control.cells import Cells, unavailable
from hearth.control.records import (
    UnreadableRecord,
    decode,
    decode_function,
    encode,
    encode_function,
    entry_key,
    version_entry_key,
)
from hearth.control.replica import Replica
from hearth.engine.contract import KeyValue
from hearth.model.errors import ResourceConflict, ResourceNotFound
from hearth.model.functions import Function, FunctionVersion, with_latest
from hearth.model.ids import FunctionKey

ATTEMPTS_MAX: Final = 16
"""Each lost attempt means that somebody else's change went through."""

Decision = Callable[[FunctionVersion], FunctionVersion]
"""What to write, given what is there. Raises ServiceError to leave it. May be asked repeatedly."""

WholeDecision = Callable[[Function], Function]
"""The same of the whole function. Gives $LATEST a new revision id, or the function a write id."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A function as it was read, and the engine's revision to compare with."""

    whole: Function
    revision: int

    @property
    def function(self) -> FunctionVersion:
        return self.whole.latest


@dataclass(frozen=True, slots=True)
class StoredVersion:
    version: FunctionVersion
    revision: int


def not_found(key: FunctionKey, qualifier: str | None = None) -> ResourceNotFound:
    return ResourceNotFound(f"Function not found: {key.arn(qualifier)}")


class FunctionStore:
    """Functions and versions in the engine. Every method may raise InternalFailure."""

    def __init__(self, kv: KeyValue, replica: Replica) -> None:
        self._cells = Cells(kv, replica)

    async def read(self, key: FunctionKey) -> Stored | None:
        """From the engine, past the local copy."""
        entry = entry_key(key)
        found = await self._cells.read(entry) if entry is not None else None
        if found is None:
            return None
        try:
            return Stored(decode_function(found.value), found.revision)
        except UnreadableRecord as error:
            raise unavailable() from error

    async def create(self, function: FunctionVersion) -> None:
        """Raises ResourceConflict if the name is taken."""
        await self.create_whole(Function(latest=function))

    async def create_whole(self, function: Function) -> None:
        """Raises ResourceConflict if the name is taken."""
        if not await self._write(function, None):
            raise already_exists(function.latest.key)

    async def change(self, key: FunctionKey, decide: Decision) -> FunctionVersion:
        """Write what `decide` makes of $LATEST; returns it. Raises as change_whole()."""
        changed = await self.change_whole(key, lambda now: with_latest(now, decide(now.latest)))
        return changed.latest

    async def change_whole(self, key: FunctionKey, decide: WholeDecision) -> Function:
        """Write what `decide` makes of the function; returns it. The very same is not written.

        Raises ResourceNotFound, ResourceConflict if others never let it through, and whatever
        `decide` raises.
        """
        for _attempt in range(ATTEMPTS_MAX):
            before = await self.read(key)
            if before is None:
                raise not_found(key)
            after = decide(before.whole)
            if after is before.whole or await self._write(after, before.revision):
                return after
        raise update_in_progress(key)

    async def replace_whole(self, before: Stored, after: Function) -> bool:
        """Write `after` if nothing was changed since `before`; False if somebody was faster."""
        return await self._write(after, before.revision)

    async def delete(self, key: FunctionKey) -> Function:
        """Returns what was deleted. Raises ResourceNotFound."""
        for _attempt in range(ATTEMPTS_MAX):
            before = await self.read(key)
            if before is None:
                raise not_found(key)
            if await self._cells.delete(_entry(key), before.revision):
                return before.whole
        raise update_in_progress(key)

    async def read_version(self, key: FunctionKey, record: str) -> StoredVersion | None:
        """The version in the record of that name, whether or not its function names it."""
        found = await self._cells.read(version_entry_key(key, record))
        if found is None:
            return None
        try:
            return StoredVersion(decode(found.value), found.revision)
        except UnreadableRecord as error:
            raise unavailable() from error

    async def write_version(self, version: FunctionVersion, record: str) -> bool:
        """The first half of publishing. False if there is a record of that name."""
        value = encode(version)
        entry = version_entry_key(version.key, record)
        return await self._cells.write(entry, value, None, value.__eq__)

    async def change_version(self, key: FunctionKey, record: str, decide: Decision) -> None:
        """Raises ResourceNotFound if it is gone, and whatever `decide` raises."""
        for _attempt in range(ATTEMPTS_MAX):
            before = await self.read_version(key, record)
            if before is None:
                raise not_found(key)
            value = encode(decide(before.version))
            entry = version_entry_key(key, record)
            if await self._cells.write(entry, value, before.revision, value.__eq__):
                return
        raise update_in_progress(key)

    async def discard_version(self, key: FunctionKey, record: str) -> None:
        """Throw a record away that no function names."""
        while (before := await self.read_version(key, record)) is not None:
            if await self._cells.delete(version_entry_key(key, record), before.revision):
                return

    async def _write(self, after: Function, revision: int | None) -> bool:
        """False if somebody else was faster."""
        proof = _proof(after)

        def is_ours(value: bytes) -> bool:
            try:
                return _proof(decode_function(value)) == proof
            except UnreadableRecord:
                return False

        entry = _entry(after.latest.key)
        return await self._cells.write(entry, encode_function(after), revision, is_ours)


def already_exists(key: FunctionKey) -> ResourceConflict:
    return ResourceConflict(f"Function already exist: {key.name}")


def update_in_progress(key: FunctionKey) -> ResourceConflict:
    return ResourceConflict(
        "The operation cannot be performed at this time. "
        f"An update is in progress for resource: {key.arn()}"
    )


def _proof(function: Function) -> tuple[str, str]:
    return function.latest.revision_id, function.write_id


def _entry(key: FunctionKey) -> str:
    entry = entry_key(key)
    assert entry is not None, f"{key} was read or validated before it is written"
    return entry
