"""Where do a function's lines go? From its pipes to the log store, and into the invoke's tail.

`LineSplitter` is pure: bytes in, lines out, each with the line end that it came with, as CloudWatch
has them. `Output` reads the two pipes of one running program
whenever they are readable, without ever blocking and without letting a chatty function starve the
loop: one bounded read per turn.
"""

import asyncio
import os
import select
from collections.abc import Callable
from typing import Final

LINE_BYTES_MAX: Final = 256 * 1024
"""CloudWatch Logs takes events of up to 256 KB; a longer line becomes several."""

READ_BYTES: Final = 64 * 1024
FRAME_BYTES_MAX: Final = 1024 * 1024
_MAGIC: Final = b"\xa5\x5a\x00"
_TYPE_MAX: Final = 0x3F
_HAS_TIME: Final = 2

DRAIN_BYTES_MAX: Final = 8 * 1024 * 1024
"""What is read at most when an invoke ends, so that its last words stand before its END."""


class LineSplitter:
    """Cuts a stream of bytes into lines, with their line ends."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def is_inside(self) -> bool:
        """A line has begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        rest = lines.pop()
        lines = [line + b"\n" for line in lines]
        while len(rest) > LINE_BYTES_MAX:
            lines.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        self._rest = rest
        return [piece for line in lines for piece in _pieces(line)]

    def flush(self) -> list[bytes]:
        """The last line, if it has no line end yet."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= LINE_BYTES_MAX:
        return [line]
    return [line[at : at + LINE_BYTES_MAX] for at in range(0, len(line), LINE_BYTES_MAX)]


class RecordSplitter:
    """Cuts a stream of lines with frames between them into records; a frame is one, whatever line
    ends it holds.

        type (4 bytes, 0xa55a00xx) | length (4) | microseconds (8), if type & 2 | message

    AWS's runtime clients write these into the descriptor that _LAMBDA_TELEMETRY_LOG_FD names. Ours
    is a duplicate of stderr, as stdout is, so that what a function logs and prints stays in order.
    """

    __slots__ = ("_frame", "_lines")

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._frame = b""
        """The beginning of what may be a frame."""

    @property
    def is_inside(self) -> bool:
        """A line has begun and not ended; a frame will."""
        return self._lines.is_inside

    def feed(self, data: bytes) -> list[bytes]:
        if not self._frame and _MAGIC[:1] not in data:
            return self._lines.feed(data)
        records: list[bytes] = []
        rest = self._frame + data
        self._frame = b""
        while rest:
            at = _frame_at(rest)
            if at < 0:
                records += self._lines.feed(rest)
                break
            if at > 0:
                records += self._lines.feed(rest[:at])
                rest = rest[at:]
            end = _end_of_frame(rest)
            if end is None:
                self._frame = rest
                break
            if end == 0:  # it only looked like one
                records += self._lines.feed(rest[:1])
                rest = rest[1:]
                continue
            records += self._lines.flush()
            records += _pieces(rest[_head_bytes(rest) : end])
            rest = rest[end:]
        return records

    def flush_line(self) -> list[bytes]:
        """The last line, if it has no line end yet; a frame will end."""
        return self._lines.flush()

    def flush(self) -> list[bytes]:
        """What is left if the stream ended in the middle."""
        frame, self._frame = self._frame, b""
        return [*(self._lines.feed(frame) if frame else ()), *self._lines.flush()]


def _frame_at(data: bytes) -> int:
    """Where a frame begins, or may begin at the end of the data; -1 if nowhere."""
    at = data.find(_MAGIC)
    if at >= 0:
        return at
    for length in (2, 1):
        if data.endswith(_MAGIC[:length]):
            return len(data) - length
    return -1


def _head_bytes(frame: bytes) -> int:
    return 16 if frame[3] & _HAS_TIME else 8


def _end_of_frame(data: bytes) -> int | None:
    """None if it is not all there yet, 0 if it is no frame."""
    if len(data) < 8:
        return None
    length = int.from_bytes(data[4:8], "big")
    if data[3] > _TYPE_MAX or length > FRAME_BYTES_MAX:
        return 0
    end = _head_bytes(data) + length
    return end if len(data) >= end else None


class Output:
    """Reads the two pipes of one program. Owns the descriptors."""

    def __init__(
        self, descriptors: tuple[int, ...], on_lines: Callable[[list[bytes]], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lines = on_lines
        self._open: dict[int, RecordSplitter] = {}
        self._poll = select.poll()
        for descriptor in descriptors:
            self._open[descriptor] = RecordSplitter()
            self._loop.add_reader(descriptor, self._read, descriptor)
            self._poll.register(descriptor, select.POLLIN)

    def drain(self) -> None:
        """Take in all that has been written so far; a line without an end is one by now. After
        each invoke, and most print nothing: one look at both costs less than a read of each that
        fails."""
        for descriptor, _ in self._poll.poll(0):
            taken = 0
            while taken < DRAIN_BYTES_MAX and (got := self._read(descriptor)):
                taken += got
        for splitter in self._open.values():
            if splitter.is_inside:
                self._on_lines(splitter.flush_line())

    def close(self) -> None:
        """Take in what is left, give the last unfinished lines out and close."""
        self.drain()
        for descriptor in list(self._open):
            self._end(descriptor)

    def _read(self, descriptor: int) -> int:
        """One bounded read; returns how many bytes came."""
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._end(descriptor)
            return 0
        lines = self._open[descriptor].feed(data)
        if lines:
            self._on_lines(lines)
        return len(data)

    def _end(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        self._poll.unregister(descriptor)
        splitter = self._open.pop(descriptor)
        os.close(descriptor)
        if lines := splitter.flush():
            self._on_lines(lines)
