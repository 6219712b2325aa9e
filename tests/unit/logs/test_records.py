from hypothesis import given
from hypothesis import strategies as st

from hearth.logs import records
from hearth.logs.records import Frame, Place

STREAM = "2026/01/01/[$LATEST]0123"


def frame(*lines: bytes) -> Frame:
    return Frame(1_000, 1_001, STREAM, lines)


def written(*frames: Frame) -> bytes:
    return b"".join(content for one in frames for content in records.encode(one))


def lines_of(content: bytes) -> list[bytes]:
    return [line for _, found, _ in records.decode(content) for line in found.lines]


def test_control_characters_and_broken_text_come_back_as_they_went() -> None:
    lines = (b"\x1b[31mred\x07", b"\x00\r", b"\xff\xfe", b"")
    assert lines_of(written(frame(*lines))) == list(lines)


def test_a_frame_says_when_and_where() -> None:
    [(offset, found, after)] = records.decode(written(frame(b"a")))
    assert (offset, found.at_ms, found.ingested_ms, found.stream) == (0, 1_000, 1_001, STREAM)
    assert after == len(written(frame(b"a")))


def test_reading_may_begin_at_any_frame() -> None:
    first, second = written(frame(b"one")), written(frame(b"two"))
    assert [(at, f.lines) for at, f, _ in records.decode(first + second, len(first))] == [
        (len(first), (b"two",))
    ]


def test_a_file_cut_anywhere_loses_its_last_frame_only() -> None:
    first, second = written(frame(b"one")), written(frame(b"two", b"three"))
    for length in range(len(first), len(first + second)):
        assert lines_of((first + second)[:length]) == [b"one"]


def test_nothing_is_read_after_a_damaged_byte() -> None:
    first, second, third = (written(frame(line)) for line in (b"one", b"two", b"three"))
    for place in range(len(second)):
        damaged = bytearray(second)
        damaged[place] ^= 0x40
        assert lines_of(first + damaged + third) == [b"one"]


def test_zeros_that_a_power_cut_left_are_no_frames() -> None:
    assert lines_of(written(frame(b"one")) + bytes(4_096)) == [b"one"]


def test_a_line_longer_than_cloudwatch_takes_is_cut_into_several() -> None:
    line = b"x" * (2 * records.LINE_BYTES_MAX + 1)
    cut = lines_of(written(frame(line)))
    assert [len(part) for part in cut] == [records.LINE_BYTES_MAX, records.LINE_BYTES_MAX, 1]


def test_many_lines_become_several_frames_none_too_large_to_read() -> None:
    lines = [b"x" * 100_000] * 50 + [b""] * 10_000
    frames = list(records.encode(frame(*lines)))
    assert len(frames) > 2
    assert max(map(len, frames)) <= records.FRAME_BYTES_MAX
    assert lines_of(b"".join(frames)) == lines


def test_no_lines_are_no_frame() -> None:
    assert written(frame()) == b""


@given(
    places=st.lists(
        st.builds(
            Place,
            st.integers(0, 2**45),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**16 - 1),
        )
    )
)
def test_event_ids_sort_as_places_do_and_lead_back_to_them(places: list[Place]) -> None:
    ids = [place.event_id for place in places]
    assert sorted(ids) == [place.event_id for place in sorted(places)]
    assert [records.place_of(event_id) for event_id in ids] == places
    assert all(len(event_id) == 56 for event_id in ids)
