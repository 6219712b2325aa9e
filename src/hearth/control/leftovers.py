"""Which versions' records does no function name, and has not for a while? Throws them away.

They are what a kill leaves between the two writes of a publication, and of deletions whose second
part did not happen. See store.py.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from hearth.base.clock import Clock
from hearth.base.grace import Grace
from hearth.base.log import Log
from hearth.control.replica import Replica
from hearth.control.store import FunctionStore
from hearth.engine.contract import KeyValue
from hearth.model.errors import InternalFailure
from hearth.model.ids import FunctionKey

log = Log("control")

UNNAMED_S: Final = 1_200.0
"""Longer than any publication takes from its first write to its second."""


class Leftovers:
    """One of the stores that the Sweeper sweeps."""

    def __init__(self, kv: KeyValue, replica: Replica, clock: Clock) -> None:
        self._store = FunctionStore(kv, replica)
        self._replica = replica
        self._clock = clock
        self._grace: Grace[tuple[FunctionKey, str]] = Grace(UNNAMED_S)

    async def sweep(self, _referenced: AbstractSet[str], /) -> int:
        """Throw away what was unnamed for UNNAMED_S; returns how many."""
        due = self._grace.due(self._replica.leftovers(), self._clock.monotonic_s())
        gone = 0
        for key, record in due:
            try:
                await self._store.discard_version(key, record)
            except InternalFailure as error:
                log.warning("leftover was not thrown away", function=key.arn(), error=error)
                break
            gone += 1
        return gone
