"""Which events wait for one subscriber, which are due, and which are lost? No I/O, no clock.

A portion is due when it has the items or the bytes that were asked for, or when its oldest event
has waited for the time that was asked for. Who does not take what is due loses what comes on top
of PORTIONS_MAX portions; how much that was is told when there is room again.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

PORTIONS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Dropped:
    records: int
    size: int


class Buffer:
    """Encoded events, in order."""

    __slots__ = (
        "_bytes_max",
        "_dropped_bytes",
        "_dropped_records",
        "_items_max",
        "_oldest_s",
        "_size",
        "_timeout_s",
        "_waiting",
    )

    def __init__(self, *, items_max: int, bytes_max: int, timeout_s: float) -> None:
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._oldest_s = 0.0
        self._dropped_records = 0
        self._dropped_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, event: bytes, now_s: float) -> None:
        is_full = (
            len(self._waiting) >= PORTIONS_MAX * self._items_max
            or self._size + len(event) > PORTIONS_MAX * self._bytes_max
        )
        if is_full:
            self._dropped_records += 1
            self._dropped_bytes += len(event)
            return
        if not self._waiting:
            self._oldest_s = now_s
        self._waiting.append(event)
        self._size += len(event)

    def due_in_s(self, now_s: float) -> float | None:
        """0 if a portion is due; None if nothing waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self._items_max or self._size >= self._bytes_max:
            return 0.0
        return max(0.0, self._oldest_s + self._timeout_s - now_s)

    def take(self, now_s: float) -> list[bytes]:
        """The next portion, due or not; at least one event if any waits."""
        portion: list[bytes] = []
        size = 0
        while self._waiting and len(portion) < self._items_max:
            if portion and size + len(self._waiting[0]) > self._bytes_max:
                break
            event = self._waiting.popleft()
            portion.append(event)
            size += len(event)
        self._size -= size
        self._oldest_s = now_s
        return portion

    def put_back(self, portion: list[bytes]) -> None:
        """It was not taken: it goes first again."""
        self._waiting.extendleft(reversed(portion))
        self._size += sum(map(len, portion))

    def take_dropped(self) -> Dropped | None:
        """What was lost since the last time it was asked, if anything."""
        if not self._dropped_records:
            return None
        dropped = Dropped(self._dropped_records, self._dropped_bytes)
        self._dropped_records = self._dropped_bytes = 0
        return dropped
