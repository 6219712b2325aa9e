"""How do log events lie in a file? Frames: what one append brought, with length and checksum.

    frame := length (u32, little endian) | crc32 of the body (u32) | body
    body  := msgpack array [at_ms, ingested_ms, stream, [line, ...]]

A file that ends inside a frame, or whose frame does not match its checksum, was cut by a crash:
what stands before is good, the rest is not read.

A place in a group is (segment, offset of the frame, number of the line). Packed into one number
that grows with every event, it is also the event's id, so that an id is found without an index.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from hearth.model.logs import EventId

LINE_BYTES_MAX: Final = 1_048_550
"""CloudWatch's largest event, 1 MiB less 26 bytes."""
FRAME_LINES_MAX: Final = 4_096
FRAME_BYTES_MAX: Final = 2 * 1024 * 1024

_HEADER: Final = struct.Struct("<II")
_OFFSET_BITS: Final = 32
_LINE_BITS: Final = 16
_ID_DIGITS: Final = 56
_LINE_OVERHEAD: Final = 8


class Place(NamedTuple):
    """Where an event lies. Compares in the order in which events were written."""

    segment: int
    offset: int
    line: int

    @property
    def event_id(self) -> EventId:
        number = (self.segment << _OFFSET_BITS | self.offset) << _LINE_BITS | self.line
        return EventId(f"{number:0{_ID_DIGITS}d}")


def place_of(event_id: EventId) -> Place:
    """Raises ValueError if it is not an event id."""
    if len(event_id) != _ID_DIGITS or not event_id.isascii() or not event_id.isdecimal():
        raise ValueError(f"not an event id: {event_id!r}")
    rest, line = divmod(int(event_id), 1 << _LINE_BITS)
    segment, offset = divmod(rest, 1 << _OFFSET_BITS)
    return Place(segment, offset, line)


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The lines of one append: one stream, one moment."""

    at_ms: int
    ingested_ms: int
    stream: str
    lines: tuple[bytes, ...]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> Iterator[bytes]:
    """The frame's bytes; several frames where there are too many lines for one."""
    for lines in _portions(_cut(frame.lines)):
        body = _encoder.encode(msgspec.structs.replace(frame, lines=lines))
        yield _HEADER.pack(len(body), crc32(body)) + body


def decode(content: bytes, offset: int = 0) -> Iterator[tuple[int, Frame, int]]:
    """(offset, frame, offset of the next) for each whole frame from `offset` on."""
    while (found := _frame_at(content, offset)) is not None:
        frame, after = found
        yield offset, frame, after
        offset = after


def _frame_at(content: bytes, offset: int) -> tuple[Frame, int] | None:
    start = offset + _HEADER.size
    if start > len(content):
        return None
    length, checksum = _HEADER.unpack_from(content, offset)
    body = memoryview(content)[start : start + length]
    if length > FRAME_BYTES_MAX or len(body) < length or crc32(body) != checksum:
        return None
    try:
        return _decoder.decode(body), start + length
    except msgspec.MsgspecError:  # zeros are a frame of length 0 with a right checksum
        return None


def _cut(lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        for start in range(0, max(len(line), 1), LINE_BYTES_MAX):
            yield line[start : start + LINE_BYTES_MAX]


def _portions(lines: Iterator[bytes]) -> Iterator[tuple[bytes, ...]]:
    portion: list[bytes] = []
    size = 0
    for line in lines:
        cost = len(line) + _LINE_OVERHEAD
        if portion and (len(portion) == FRAME_LINES_MAX or size + cost > FRAME_BYTES_MAX // 2):
            yield tuple(portion)
            portion, size = [], 0
        portion.append(line)
        size += cost
    if portion:
        yield tuple(portion)
