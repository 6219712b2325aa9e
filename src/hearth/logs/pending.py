"""Which lines wait for the disk, and which are lost? A queue with a bound. No I/O, no clock.

Each group has a bound of its own below the bound of all, so that one that prints without end
loses its own lines and nobody else's. What is lost is counted, and the count is written where the
lines would have been.
"""

from dataclasses import dataclass, field
from typing import Final

from hearth.logs.records import Frame
from hearth.model.logs import LogGroup

LINE_BYTES: Final = 64
"""What a line costs in memory besides its own bytes, roughly."""
FRAME_BYTES: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    queue_bytes_max: int = 32 * 1024 * 1024
    """Of all groups together, with what is being written right now."""
    group_queue_bytes_max: int = 8 * 1024 * 1024


@dataclass(slots=True)
class Lost:
    """Lines that will never be written, and where they would have been."""

    stream: str
    at_ms: int
    lines: int = 0

    def and_then(self, later: "Lost | None") -> "Lost":
        return self if later is None else Lost(later.stream, later.at_ms, self.lines + later.lines)


@dataclass(slots=True)
class Waiting:
    """What one group is to write next."""

    frames: list[Frame] = field(default_factory=list)
    size: int = 0
    lost: Lost | None = None

    @property
    def lines(self) -> int:
        return sum(len(frame.lines) for frame in self.frames)


Batch = dict[LogGroup, Waiting]


class Queue:
    """Lines on their way to the disk."""

    def __init__(self, limits: QueueLimits) -> None:
        self.lines_lost = 0
        self._limits = limits
        self._waiting: Batch = {}
        self._owed: dict[LogGroup, Lost] = {}  # could not be written: told with the next batch
        self._size = 0  # of what waits and what was taken but is not done

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, group: LogGroup, frame: Frame) -> None:
        """Queue the frame, or count its lines as lost where there is no room."""
        waiting = self._waiting.get(group)
        if waiting is None:
            waiting = self._waiting[group] = Waiting()
        lines = frame.lines
        size = FRAME_BYTES + LINE_BYTES * len(lines) + sum(map(len, lines))
        if (
            self._size + size > self._limits.queue_bytes_max
            or waiting.size + size > self._limits.group_queue_bytes_max
        ):
            self._lose(waiting, frame)
            return
        waiting.frames.append(frame)
        waiting.size += size
        self._size += size

    def take(self) -> Batch:
        """All that waits. It counts as queued until it is `done`."""
        batch, self._waiting = self._waiting, {}
        for group in batch.keys() & self._owed.keys():
            batch[group].lost = self._owed.pop(group).and_then(batch[group].lost)
        return batch

    def done(self, batch: Batch) -> None:
        self._size -= sum(waiting.size for waiting in batch.values())

    def failed(self, group: LogGroup, waiting: Waiting) -> None:
        """The group's part of a batch was not written. To be called besides `done`."""
        if not waiting.frames and waiting.lost is None:
            return
        lost = waiting.lost or Lost(waiting.frames[-1].stream, waiting.frames[-1].at_ms)
        lost.lines += waiting.lines
        self.lines_lost += waiting.lines
        self._owed[group] = lost.and_then(self._owed.get(group))

    def forget(self, group: LogGroup) -> None:
        """The group is deleted."""
        self._owed.pop(group, None)
        if (waiting := self._waiting.pop(group, None)) is not None:
            self._size -= waiting.size

    def _lose(self, waiting: Waiting, frame: Frame) -> None:
        if waiting.lost is None:
            waiting.lost = Lost(frame.stream, frame.at_ms)
        waiting.lost.lines += len(frame.lines)
        waiting.lost.stream = frame.stream
        self.lines_lost += len(frame.lines)
