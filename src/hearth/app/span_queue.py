"""How do spans leave this process without being in anybody's way? A bounded queue and a thread.

Whoever adds pays for an append. What does not fit is dropped and counted; what an exporter cannot
get rid of, too. Nothing here can fail an invoke.

What functions send to the X-Ray daemon is theirs to decide, so it has room of its own: half of the
queue for all of them, and an eighth of that for each.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey
from hearth.model.traces import Span

QUEUE_MAX: Final = 8_192
DOCUMENTS_MAX: Final = 16 << 20
"""Bytes of what functions sent that wait, all together: one alone may send 64 KB each time."""
FUNCTIONS_SHARE: Final = 8
"""One function has this part, at most, of the room for what functions sent."""
BATCH_MAX: Final = 512
COLLECT_S: Final = 1.0
FLUSH_S: Final = 3.0
WARN_EVERY_S: Final = 60.0

log = Log("traces")


@dataclass(frozen=True, slots=True)
class Segment:
    """What a function sent to the X-Ray daemon; nothing of it was looked at."""

    document: bytes
    function: FunctionVersion


Item = Span | Segment


class NotAllTaken(Exception):
    """Some of what was to be exported went, some did not."""

    def __init__(self, lost: int, why: Exception | str) -> None:
        super().__init__(str(why))
        self.lost = lost


class _Room:
    """For what functions sent, and waits: who adds takes it, our thread gives it back."""

    def __init__(self, items_max: int, bytes_max: int) -> None:
        self._max = (items_max, bytes_max)
        self._each_max = (items_max // FUNCTIONS_SHARE, bytes_max // FUNCTIONS_SHARE)
        self._all = (0, 0)
        self._of: dict[FunctionKey, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def take(self, segment: Segment) -> bool:
        key = segment.function.key
        with self._lock:
            everybodys = _plus(self._all, segment, 1)
            its = _plus(self._of.get(key, (0, 0)), segment, 1)
            if not (_fits(everybodys, self._max) and _fits(its, self._each_max)):
                return False
            self._all, self._of[key] = everybodys, its
            return True

    def give_back(self, segments: Iterable[Segment]) -> None:
        with self._lock:
            for segment in segments:
                key = segment.function.key
                self._all = _plus(self._all, segment, -1)
                self._of[key] = _plus(self._of[key], segment, -1)
                if not self._of[key][0]:
                    del self._of[key]


def _plus(used: tuple[int, int], segment: Segment, sign: int) -> tuple[int, int]:
    return used[0] + sign, used[1] + sign * len(segment.document)


def _fits(used: tuple[int, int], most: tuple[int, int]) -> bool:
    return used[0] <= most[0] and used[1] <= most[1]


class Exporter(Protocol):
    """Called in a thread of its own."""

    @property
    def name(self) -> str: ...

    def export(self, items: Sequence[Item]) -> None:
        """Raises NotAllTaken if some could not be handed over, anything if none could."""
        ...

    def close(self) -> None:
        """No more tries. May be called while `export` runs."""
        ...


class SpanQueue:
    """Implements Spans. `add` is for the event loop's thread."""

    def __init__(
        self,
        exporter: Exporter,
        clock: Clock,
        *,
        queue_max: int = QUEUE_MAX,
        documents_max: int = DOCUMENTS_MAX,
        collect_s: float = COLLECT_S,
    ) -> None:
        self.name = exporter.name
        self.exported = 0
        self.dropped = 0
        self.failed = 0
        self._exporter = exporter
        self._clock = clock
        self._queue_max = queue_max
        self._room = _Room(max(FUNCTIONS_SHARE, queue_max // 2), documents_max)
        self._collect_s = collect_s
        self._items: deque[Item] = deque()
        self._there_are = threading.Event()
        self._ending = threading.Event()
        self._warned_s = -WARN_EVERY_S
        self._thread = threading.Thread(target=self._run, name=f"traces-{self.name}", daemon=True)
        self._thread.start()

    def add(self, item: Item) -> None:
        is_full = len(self._items) >= self._queue_max or self._ending.is_set()
        if is_full or (isinstance(item, Segment) and not self._room.take(item)):
            self.dropped += 1
            return
        self._items.append(item)
        if not self._there_are.is_set():
            self._there_are.set()

    def close(self, flush_s: float = FLUSH_S) -> None:
        """Hand over what is there, for so long at most. Blocks."""
        self._ending.set()
        self._there_are.set()
        self._thread.join(flush_s)
        self._exporter.close()

    def _run(self) -> None:
        while True:
            self._there_are.wait()
            self._ending.wait(self._collect_s)  # others join the batch meanwhile
            self._there_are.clear()
            while self._items:
                self._export([self._items.popleft() for _ in range(self._batch())])
            if self._ending.is_set():
                return

    def _batch(self) -> int:
        return min(BATCH_MAX, len(self._items))

    def _export(self, items: list[Item]) -> None:
        lost = 0
        try:
            self._exporter.export(items)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it must not end the thread
            lost = error.lost if isinstance(error, NotAllTaken) else len(items)
            self._warn(lost, error)
        self._room.give_back(item for item in items if isinstance(item, Segment))
        self.failed += lost
        self.exported += len(items) - lost

    def _warn(self, lost: int, error: Exception) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            log.warning("spans could not be exported", to=self.name, spans=lost, why=error)
