"""Ids are UUIDs of version 4, and no digit is given out twice."""

import uuid

from hearth.app.choices import RANDOM_BYTES, Randomness, new_id


def test_a_request_id_is_a_random_uuid() -> None:
    ids = [new_id() for _ in range(5000)]
    assert len(set(ids)) == 5000
    for text in ids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


def test_no_digit_is_given_out_twice() -> None:
    numbers = iter(range(256))
    source = Randomness(lambda count: bytes([next(numbers)]) * count)
    taken = [source.digits(40) for _ in range(RANDOM_BYTES * 2 // 40 + 1)]
    assert set(taken[:-1]) == {"00" * 20}
    assert taken[-1] == "01" * 20, "what is left over is thrown away, not mixed"
