"""Which uid of the host does a sandbox get? One that no other sandbox of this worker has."""

import heapq
import zlib

from hearth.worker.sandboxes.contract import SandboxFailed


class Uids:
    """Hands out `count` uids from `first` on, each to one sandbox at a time.

    Starts at a place that depends on the instance, so that two instances on one machine, which
    know nothing of each other, hardly ever use the same ones.
    """

    def __init__(self, first: int, count: int, instance: str) -> None:
        self._first = first
        self._count = count
        self._start = zlib.crc32(instance.encode()) % count
        self._used = 0
        self._returned: list[int] = []

    def take(self) -> int:
        """Raises SandboxFailed if all are taken."""
        if self._returned:
            return heapq.heappop(self._returned)
        if self._used == self._count:
            raise SandboxFailed("every uid for sandboxes is taken")
        self._used += 1
        return self._first + (self._start + self._used - 1) % self._count

    def give(self, uid: int) -> None:
        """Back, once nothing of the sandbox is left that could own anything."""
        heapq.heappush(self._returned, uid)
