"""Has nobody wanted this for long enough? For what is thrown away only after a while."""

from collections.abc import Hashable
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Grace(Generic[T]):
    """Remembers since when each thing has been unwanted."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._unwanted_since_s: dict[T, float] = {}

    def due(self, unwanted: AbstractSet[T], now_s: float) -> list[T]:
        """Which of these were unwanted at every call since `grace_s` ago."""
        known = self._unwanted_since_s
        self._unwanted_since_s = {thing: known.get(thing, now_s) for thing in unwanted}
        return [
            thing
            for thing, since_s in self._unwanted_since_s.items()
            if now_s - since_s >= self._grace_s
        ]

    def keep(self, thing: T) -> None:
        """It is wanted now: its time begins anew."""
        self._unwanted_since_s.pop(thing, None)
