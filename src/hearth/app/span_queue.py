"""How do spans leave this process without being in anybody's way? A bounded queue and a thread.

Whoever adds pays for an append. What does not fit is dropped and counted; what an exporter cannot
get rid of, too. Nothing here can fail an invoke.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.model.functions import FunctionVersion
from hearth.model.traces import Span

QUEUE_MAX: Final = 8_192
DOCUMENTS_MAX: Final = 16 << 20
"""Bytes of what functions sent that wait, all together: one alone may send 64 KB each time."""
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


class Exporter(Protocol):
    """Called in a thread of its own."""

    @property
    def name(self) -> str: ...

    def export(self, items: Sequence[Item]) -> None:
        """Raises anything if they could not be handed over."""
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
        self._documents_max = documents_max
        self._bytes_in = 0
        """Of documents; written by who adds only, as the next is by our thread only."""
        self._bytes_out = 0
        self._collect_s = collect_s
        self._items: deque[Item] = deque()
        self._there_are = threading.Event()
        self._ending = threading.Event()
        self._warned_s = -WARN_EVERY_S
        self._thread = threading.Thread(target=self._run, name=f"traces-{self.name}", daemon=True)
        self._thread.start()

    def add(self, item: Item) -> None:
        size = len(item.document) if isinstance(item, Segment) else 0
        is_full = len(self._items) >= self._queue_max or (
            size and self._bytes_in - self._bytes_out + size > self._documents_max
        )
        if is_full or self._ending.is_set():
            self.dropped += 1
            return
        self._bytes_in += size
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
        try:
            self._exporter.export(items)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it must not end the thread
            self.failed += len(items)
            now_s = self._clock.monotonic_s()
            if now_s - self._warned_s >= WARN_EVERY_S:
                self._warned_s = now_s
                log.warning(
                    "spans could not be exported", to=self.name, spans=len(items), why=error
                )
        else:
            self.exported += len(items)
        self._bytes_out += sum(len(one.document) for one in items if isinstance(one, Segment))
