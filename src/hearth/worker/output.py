"""Where do a function's lines go? From its pipes to the log store, and into the invoke's tail.

`LineSplitter` is pure: bytes in, lines out. `Output` reads the two pipes of one running program
whenever they are readable, without ever blocking and without letting a chatty function starve the
loop: one bounded read per turn.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final

LINE_BYTES_MAX: Final = 256 * 1024
"""CloudWatch Logs takes events of up to 256 KB; a longer line becomes several."""

READ_BYTES: Final = 64 * 1024
DRAIN_BYTES_MAX: Final = 8 * 1024 * 1024
"""What is read at most when an invoke ends, so that its last words stand before its END."""


class LineSplitter:
    """Cuts a stream of bytes into lines, without their line ends."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        rest = lines.pop()
        while len(rest) > LINE_BYTES_MAX:
            lines.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        self._rest = rest
        return [piece for line in lines for piece in _pieces(line)]

    def flush(self) -> list[bytes]:
        """The last line, if the stream ended without a line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= LINE_BYTES_MAX:
        return [line]
    return [line[at : at + LINE_BYTES_MAX] for at in range(0, len(line), LINE_BYTES_MAX)]


class Output:
    """Reads the pipes of one program. Owns the descriptors."""

    def __init__(self, descriptors: tuple[int, ...], on_lines: Callable[[list[bytes]], None]):
        self._loop = asyncio.get_running_loop()
        self._on_lines = on_lines
        self._open: dict[int, LineSplitter] = {}
        for descriptor in descriptors:
            self._open[descriptor] = LineSplitter()
            self._loop.add_reader(descriptor, self._read, descriptor)

    def drain(self) -> None:
        """Take in all that has been written so far."""
        for descriptor in list(self._open):
            taken = 0
            while taken < DRAIN_BYTES_MAX and (got := self._read(descriptor)):
                taken += got

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
        splitter = self._open.pop(descriptor)
        os.close(descriptor)
        if lines := splitter.flush():
            self._on_lines(lines)
