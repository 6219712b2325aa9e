"""Which start is next? Fair across functions, in order within one. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey
from hearth.model.workers import StartId


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedStart:
    start: StartId
    function: FunctionVersion
    since_s: float


class StartQueue:
    """Functions take turns: a function with 200 starts waits as often as one with a single one."""

    def __init__(self) -> None:
        self._lines: dict[FunctionKey, dict[StartId, QueuedStart]] = {}  # in order of turns
        self._by_start: dict[StartId, QueuedStart] = {}

    def __len__(self) -> int:
        return len(self._by_start)

    def __contains__(self, start: StartId) -> bool:
        return start in self._by_start

    def __iter__(self) -> Iterator[QueuedStart]:
        """All of them, in the order in which they came; the queue may change meanwhile."""
        return iter(list(self._by_start.values()))

    def add(self, queued: QueuedStart) -> None:
        self._by_start[queued.start] = queued
        self._lines.setdefault(queued.function.key, {})[queued.start] = queued

    def heads(self) -> list[QueuedStart]:
        """The next start of each function, in the order of their turns."""
        return [next(iter(line.values())) for line in self._lines.values()]

    def begin(self, queued: QueuedStart) -> None:
        """`queued` leaves because its turn has come: its function goes to the end of the round."""
        line = self._lines.pop(queued.function.key)
        del line[queued.start], self._by_start[queued.start]
        if line:
            self._lines[queued.function.key] = line

    def withdraw(self, start: StartId) -> bool:
        """False if it is not queued (any more)."""
        queued = self._by_start.pop(start, None)
        if queued is None:
            return False
        line = self._lines[queued.function.key]
        del line[start]
        if not line:
            del self._lines[queued.function.key]
        return True
