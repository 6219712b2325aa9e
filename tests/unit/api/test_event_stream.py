"""The event-stream encoding, read by botocore's own decoder."""

from typing import Any

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from hearth.api.protocols.event_stream import BINARY, JSON, message


def decoded(data: bytes) -> list[tuple[Any, bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(event.headers, event.payload) for event in buffer]


@given(st.lists(st.tuples(st.sampled_from(["PayloadChunk", "X"]), st.binary(max_size=300))))
def test_botocore_reads_what_was_written(events: list[tuple[str, bytes]]) -> None:
    wire = b"".join(message(event, BINARY, payload) for event, payload in events)
    assert decoded(wire) == [
        ({":message-type": "event", ":event-type": event, ":content-type": BINARY}, payload)
        for event, payload in events
    ]


def test_a_large_payload_is_one_message() -> None:
    payload = bytes(range(256)) * 30_000
    assert decoded(message("PayloadChunk", BINARY, payload))[0][1] == payload


@pytest.mark.parametrize("at", [0, 9, 30, -6, -1])
def test_every_byte_is_covered_by_a_checksum(at: int) -> None:
    wire = bytearray(message("InvokeComplete", JSON, b"{}"))
    wire[at] ^= 1
    with pytest.raises(ChecksumMismatch):
        decoded(bytes(wire))
