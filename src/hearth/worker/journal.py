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
    `run` is the invoke that they belong to.

    The platform's own lines end with `line_end`: AWS has a newline in text, and none in JSON. The
    function's are as it wrote them, so that an unfinished one stands before END without a newline,
    as it does in AWS's tails. A tail of JSON has a newline between its lines, and none at its end.
    """

    __slots__ = ("_clock", "_early", "_is_early", "_line_end", "_portions", "_sink")

    def __init__(self, sink: LogSink, clock: Clock, line_end: str = "\n") -> None:
        self._line_end = line_end
        self._sink = sink
        self._clock = clock
        self._portions: list[tuple[int, list[bytes]]] = []
        self._early = bytearray()
        self._is_early = True

    def note(self, line: str) -> None:
        """A line of the platform's that is part of a tail only in JSON; "" is none."""
        if not line:
            return
        if self._line_end:
            self._add([f"{line}{self._line_end}".encode()])
        else:
            self.write(None, line)

    def write(self, run: Run | None, *lines: str) -> None:
        """Lines of the platform's; "" is none."""
        ended = [f"{line}{self._line_end}".encode() for line in lines if line]
        if not ended:
            return
        self._add(ended)
        if run is None or run.invocation.log_tail:
            self._add_to_tail(ended, run)

    def take(self, lines: list[bytes], run: Run | None) -> None:
        """Lines of the function's, with what ends them."""
        if lines:
            self._add(lines)
        self._add_to_tail(lines, run)

    def _add_to_tail(self, lines: list[bytes], run: Run | None) -> None:
        if run is None:
            if self._is_early:
                self._extend(self._early, lines)
        elif run.invocation.log_tail:
            self._extend(run.tail, lines)

    def invoked(self, run: Run) -> None:
        """What init printed belongs to the tail of the first invoke, if that wants one."""
        self._is_early = False
        if run.invocation.log_tail:
            tail, run.tail[:] = bytes(run.tail), self._early
            if tail:
                self._extend(run.tail, [tail])
        self._early.clear()

    def _extend(self, tail: bytearray, lines: list[bytes]) -> None:
        for line in lines:
            if not self._line_end and tail and not tail.endswith(b"\n"):
                tail += b"\n"
            tail += line
        excess = len(tail) - _TAIL_BYTES_MAX
        if excess > 0:
            del tail[:excess]

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
