"""How is a message of `application/vnd.amazon.eventstream` written?

    lengths: all, headers | CRC-32 of those 8 bytes | headers | payload | CRC-32 of all before

Numbers have four bytes. A header is the length of its name in one byte, the name, 7 for a text, the
length of the text in two bytes, and the text.
Source: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html (event stream
encoding) and botocore's decoder, which the tests compare this with.
"""

from functools import lru_cache
from struct import pack
from typing import Final
from zlib import crc32

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
BINARY: Final = "application/octet-stream"
JSON: Final = "application/json"
PAYLOAD_BYTES_MAX: Final = 16_777_216
"""What the format allows in one message."""

_TEXT: Final = 7
_AROUND_BYTES: Final = 16
"""Two lengths and two checksums."""


def _frame(event: str, content_type: str, length: int) -> tuple[bytes, int]:
    """What stands before a payload of that length, and the CRC-32 of that."""
    headers = _headers(event, content_type)
    lengths = pack(">II", _AROUND_BYTES + len(headers) + length, len(headers))
    before = lengths + pack(">I", crc32(lengths)) + headers
    return before, crc32(before)


def message(event: str, content_type: str, payload: bytes) -> bytes:
    """One event, whole. The payload must not be longer than PAYLOAD_BYTES_MAX."""
    assert len(payload) <= PAYLOAD_BYTES_MAX, len(payload)
    before, crc = _frame(event, content_type, len(payload))
    return b"".join((before, payload, pack(">I", crc32(payload, crc))))


def exception_message(code: str, payload: bytes) -> bytes:
    """The end of a stream that failed; the payload is JSON."""
    texts = {":message-type": "exception", ":exception-type": code, ":content-type": JSON}
    headers = b"".join(_header(name, text) for name, text in texts.items())
    lengths = pack(">II", _AROUND_BYTES + len(headers) + len(payload), len(headers))
    before = lengths + pack(">I", crc32(lengths)) + headers + payload
    return before + pack(">I", crc32(before))


@lru_cache(maxsize=64)
def _headers(event: str, content_type: str) -> bytes:
    texts = {":message-type": "event", ":event-type": event, ":content-type": content_type}
    return b"".join(_header(name, text) for name, text in texts.items())


def _header(name: str, text: str) -> bytes:
    value = text.encode()
    return pack(f">B{len(name)}sBH", len(name), name.encode(), _TEXT, len(value)) + value
