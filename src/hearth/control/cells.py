"""How is one entry written when others write it too, and the engine may not answer?

A write is a compare-and-set. One whose outcome is unknown is read back: what was written is proof
of itself, since nobody else could have made it. Not finding it is no proof of the opposite, and
the caller is told that the service failed; it may ask again.
"""

from collections.abc import Callable

from hearth.control.replica import Replica
from hearth.engine.contract import (
    VALUE_BYTES_MAX,
    Conflict,
    Deleted,
    EngineTakesNoWrites,
    EngineUnavailable,
    Entry,
    KeyValue,
)
from hearth.model.errors import CodeStorageExceeded, InternalFailure

IsOurs = Callable[[bytes], bool]
"""Whether what is there is what this very write has put there."""


class Cells:
    """The only place in this room that writes functions and versions to the engine. Whatever it
    learns it tells the local copy. Raises InternalFailure where nobody knows."""

    def __init__(self, kv: KeyValue, replica: Replica) -> None:
        self._kv = kv
        self._replica = replica

    async def read(self, key: str) -> Entry | None:
        """From the engine, past the local copy."""
        try:
            found = await self._kv.get(key)
        except EngineUnavailable as error:
            raise unavailable(error) from error
        if found is not None:
            self._replica.apply(found)
        return found

    async def write(self, key: str, value: bytes, revision: int | None, is_ours: IsOurs) -> bool:
        """Write if the entry is at `revision`, or if None is not there; False if somebody else
        was faster. Raises CodeStorageExceeded if it is more than one entry can hold."""
        if len(value) > VALUE_BYTES_MAX:
            raise CodeStorageExceeded("Code storage limit exceeded.")
        try:
            if revision is None:
                written = await self._kv.create(key, value)
            else:
                written = await self._kv.update(key, value, revision)
        except (Conflict, EngineUnavailable) as error:
            found = await self.read(key)
            if found is not None and is_ours(found.value):
                return True
            if isinstance(error, EngineUnavailable):
                raise unavailable(error) from error
            return False
        self._replica.apply(Entry(key, value, written))
        return True

    async def delete(self, key: str, revision: int) -> bool:
        """False if somebody else was faster."""
        try:
            gone = await self._kv.delete(key, revision)
        except Conflict:
            return False
        except EngineUnavailable as error:
            if await self.read(key) is not None:
                raise unavailable(error) from error
            gone = revision + 1  # at least
        self._replica.apply(Deleted(key, gone))
        return True


def unavailable(why: EngineUnavailable | None = None) -> InternalFailure:
    """A caller may know that writes are refused, but no other reason."""
    if isinstance(why, EngineTakesNoWrites):
        return InternalFailure(str(why))
    return InternalFailure("The Lambda service encountered an internal error.")
