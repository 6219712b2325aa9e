"""Which packages and unpacked trees does no function need any more? Removes them, now and then."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from hearth.base.log import Log
from hearth.control.replica import Replica

log = Log("control")

EVERY_S: Final = 300.0


class Swept(Protocol):
    """A store of things named by the digest of a package."""

    async def sweep(self, referenced: AbstractSet[str], /) -> int:
        """Remove what has not been referenced for a while; returns how many."""
        ...


class Sweeper:
    """A loop; a turn of it may be asked for at any time."""

    def __init__(self, replica: Replica, *stores: Swept) -> None:
        self._replica = replica
        self._stores = stores

    async def run(self) -> None:
        """Sweep every EVERY_S until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.turn()
            except OSError as error:
                log.error("sweep failed", error=error)

    async def turn(self) -> int:
        """Sweep every store once; returns how many things went. Raises OSError.

        Does nothing while the local copy is not complete: a function that is not in it would
        lose its code.
        """
        removed = 0
        for store in self._stores:
            if not self._replica.is_complete:
                break
            referenced = {function.code.sha256 for function in self._replica.all_versions()}
            removed += await store.sweep(referenced)
        return removed
