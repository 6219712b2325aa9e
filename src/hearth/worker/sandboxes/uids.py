"""Which uid of the host does a sandbox get? The lowest that no other has."""

import heapq

from hearth.worker.sandboxes.contract import SandboxFailed


class Uids:
    """Hands out `count` uids from `first` on, each to one at a time."""

    def __init__(self, first: int, count: int) -> None:
        self._next = first
        self._end = first + count
        self._returned: list[int] = []

    def take(self) -> int:
        """Raises SandboxFailed if all are taken."""
        if self._returned:
            return heapq.heappop(self._returned)
        if self._next == self._end:
            raise SandboxFailed("every uid for sandboxes is taken")
        self._next += 1
        return self._next - 1

    def give(self, uid: int) -> None:
        """Back, once nothing of the sandbox is left that could own anything."""
        heapq.heappush(self._returned, uid)
