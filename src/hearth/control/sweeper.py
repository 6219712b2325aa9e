"""Which packages and unpacked trees does no function need any more? Removes them, now and then."""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from hearth.base.log import Log
from hearth.control.replica import Replica
from hearth.model.layers import merged_id, without_covered

log = Log("control")

EVERY_S: Final = 300.0


Also = Callable[[], AbstractSet[str] | None]
"""Further digests; None while they are not all known."""


class Swept(Protocol):
    """A store of things named by the digest of a package."""

    async def sweep(self, referenced: AbstractSet[str], /) -> int:
        """Remove what has not been referenced for a while; returns how many."""
        ...


class Sweeper:
    """A loop; a turn of it may be asked for at any time."""

    def __init__(self, replica: Replica, *stores: Swept, also: Also = frozenset) -> None:
        """`also`: what is referenced by other than functions."""
        self._replica = replica
        self._stores = stores
        self._also = also

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

        Does nothing while a local copy is not complete: a function that is not in it would
        lose its code.
        """
        removed = 0
        for store in self._stores:
            also = self._also()
            if also is None or not self._replica.is_complete:
                break
            referenced = set(also)
            for function in self._replica.all_versions():
                layers = without_covered([layer.sha256 for layer in function.layers])
                referenced.update((function.code.sha256, *layers))
                if len(layers) > 1:
                    referenced.add(merged_id(layers))
            removed += await store.sweep(referenced)
        return removed
