"""Where does a chunked body end, and what is in it? RFC 9112 section 7.1, trailers included."""

import re
from enum import Enum, auto
from typing import Final

from hearth.base.http1_fields import HttpRefusal, parse_fields, split_lines

SIZE_LINE_BYTES_MAX: Final = 4_096
EXTENSION_BYTES_MAX: Final = 65_536
"""For a whole body: extensions are ignored, so they must not carry traffic."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?")


class _Part(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()


class ChunkedBody:
    """One body in the making. The caller owns the buffer; this class only says how far it got."""

    __slots__ = (
        "_body",
        "_body_bytes_max",
        "_extension_bytes",
        "_left",
        "_part",
        "_scanned",
        "_trailer_bytes_max",
        "_trailers",
        "_whole",
    )

    def __init__(self, body_bytes_max: int, trailer_bytes_max: int) -> None:
        self._body = bytearray()
        self._whole = 0  # bytes of data so far, those that were taken out included
        self._body_bytes_max = body_bytes_max
        self._trailer_bytes_max = trailer_bytes_max
        self._trailers: dict[str, str] = {}
        self._part = _Part.SIZE
        self._left = 0  # bytes of the current chunk's data still to come
        self._scanned = 0  # bytes that cannot begin the line end that is being looked for
        self._extension_bytes = 0

    def take(self, buffer: bytes | bytearray, pos: int) -> tuple[int, bool]:
        """Read on from `pos`. Returns the position up to which bytes are used, and: is this all?

        Unused bytes must be the first of the next call's buffer. Raises HttpRefusal (400, 413).
        """
        while True:
            match self._part:
                case _Part.SIZE:
                    after = self._size(buffer, pos)
                case _Part.DATA:
                    after = self._data(buffer, pos)
                case _Part.DATA_END:
                    after = self._data_end(buffer, pos)
                case _Part.TRAILERS:
                    after = self._read_trailers(buffer, pos)
                    if after != pos:
                        return after, True
            if after == pos:
                return pos, False
            pos = after

    def taken(self) -> bytes:
        """The data since the last call, for whoever does not wait for the whole."""
        data, self._body = bytes(self._body), bytearray()
        return data

    def result(self) -> tuple[bytes, dict[str, str]]:
        """Body and trailers, once `take` has said that this is all."""
        return bytes(self._body), self._trailers

    def _size(self, buffer: bytes | bytearray, pos: int) -> int:
        end = buffer.find(b"\r\n", pos + self._scanned)
        length = (end if end >= 0 else len(buffer) - 1) - pos
        if length > SIZE_LINE_BYTES_MAX:
            raise HttpRefusal(400, "Malformed chunk.")
        if end < 0:
            self._scanned = max(0, length)
            return pos
        self._scanned = 0
        line = _SIZE_LINE.fullmatch(buffer, pos, end)
        if line is None:
            raise HttpRefusal(400, "Malformed chunk.")
        if line[2] is not None:
            self._extension_bytes += len(line[2])
            if self._extension_bytes > EXTENSION_BYTES_MAX:
                raise HttpRefusal(400, "Chunk extensions are too large.")
        self._left = int(line[1], 16)
        if self._whole + self._left > self._body_bytes_max:
            raise HttpRefusal(413, "Request body is too large.")
        self._part = _Part.DATA if self._left else _Part.TRAILERS
        return end + 2

    def _data(self, buffer: bytes | bytearray, pos: int) -> int:
        end = min(pos + self._left, len(buffer))
        self._body += buffer[pos:end] if pos or end != len(buffer) else buffer
        self._whole += end - pos
        self._left -= end - pos
        if not self._left:
            self._part = _Part.DATA_END
        return end

    def _data_end(self, buffer: bytes | bytearray, pos: int) -> int:
        if len(buffer) - pos < 2:
            return pos
        if buffer[pos : pos + 2] != b"\r\n":
            raise HttpRefusal(400, "Malformed chunk.")
        self._part = _Part.SIZE
        return pos + 2

    def _read_trailers(self, buffer: bytes | bytearray, pos: int) -> int:
        if len(buffer) - pos < 2:
            return pos
        if buffer[pos : pos + 2] == b"\r\n":
            return pos + 2
        end = buffer.find(b"\r\n\r\n", pos + self._scanned)
        length = (end if end >= 0 else len(buffer) - 3) - pos
        if length > self._trailer_bytes_max:
            raise HttpRefusal(431, "Trailers are too large.")
        if end < 0:
            self._scanned = max(0, length)
            return pos
        self._trailers = parse_fields(split_lines(buffer[pos:end]))
        return end + 4
