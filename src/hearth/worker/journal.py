"""Which lines has an environment for its log, and which of them are an invoke's tail?"""

from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.model import limits
from hearth.worker.run import Run

_TAIL_BYTES_MAX: Final = limits.LOG_RESULT_BYTES_MAX


class LogSink(Protocol):
    """Where an environment's lines go. Must not block and must not raise."""

    def append(self, at_ms: int, lines: list[bytes]) -> None:
        """Lines of one moment, in milliseconds since the epoch."""
        ...


class Journal:
    """Collects lines and hands them on in portions, each line with the moment at which it came.
    `run` is the invoke that they belong to."""

    __slots__ = ("_clock", "_early", "_is_early", "_portions", "_sink")

    def __init__(self, sink: LogSink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._portions: list[tuple[int, list[bytes]]] = []
        self._early = bytearray()
        self._is_early = True

    def note(self, line: str) -> None:
        """A line that is never part of a tail; "" is none."""
        if line:
            self._add([line.encode()])

    def write(self, line: str, run: Run | None) -> None:
        if line:
            self.take([line.encode()], run)

    def take(self, lines: list[bytes], run: Run | None) -> None:
        if lines:
            self._add(lines)
        if run is None:
            if self._is_early:
                _add(self._early, lines)
        elif run.invocation.log_tail:
            _add(run.tail, lines)

    def invoked(self, run: Run) -> None:
        """What init printed belongs to the tail of the first invoke, if that wants one."""
        self._is_early = False
        if run.invocation.log_tail:
            run.tail[:0] = self._early
        self._early.clear()

    def flush(self) -> None:
        """Hand the lines so far to the log."""
        if self._portions:
            portions, self._portions = self._portions, []
            for at_ms, lines in portions:
                self._sink.append(at_ms, lines)

    def _add(self, lines: list[bytes]) -> None:
        at_ms = self._clock.epoch_ms()
        if self._portions and self._portions[-1][0] == at_ms:
            self._portions[-1][1].extend(lines)
        else:
            self._portions.append((at_ms, list(lines)))


def _add(tail: bytearray, lines: list[bytes]) -> None:
    for line in lines:
        tail += line + b"\n"
    excess = len(tail) - _TAIL_BYTES_MAX
    if excess > 0:
        del tail[:excess]
