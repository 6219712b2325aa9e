"""Lines out of bytes, and the pipes they come from."""

import asyncio
import os

from hypothesis import given
from hypothesis import strategies as st

from hearth.worker.output import (
    FRAME_BYTES_MAX,
    LINE_BYTES_MAX,
    LineSplitter,
    Output,
    RecordSplitter,
)


@given(st.lists(st.binary(max_size=12)))
def test_any_split_of_the_bytes_gives_the_same_lines(pieces: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.flush()
    whole = b"".join(pieces)
    assert b"".join(lines) == whole
    assert all(line.index(b"\n") == len(line) - 1 for line in lines if b"\n" in line)
    assert all(line.endswith(b"\n") for line in lines[:-1])


def test_a_line_without_an_end_is_cut_before_it_grows_without_bound() -> None:
    splitter = LineSplitter()
    lines = splitter.feed(b"x" * (LINE_BYTES_MAX * 2 + 5))
    assert [len(line) for line in lines] == [LINE_BYTES_MAX, LINE_BYTES_MAX]
    assert splitter.flush() == [b"xxxxx"]


def test_closing_takes_in_the_last_words_and_frees_the_descriptors() -> None:
    async def scenario() -> list[bytes]:
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        lines: list[bytes] = []
        output = Output((read_end,), lines.extend)
        os.write(write_end, b"one\ntwo\nlast words")
        os.close(write_end)
        output.close()
        output.close()
        return lines

    assert asyncio.run(scenario()) == [b"one\n", b"two\n", b"last words"]


def test_draining_does_not_wait_for_a_silent_writer() -> None:
    async def scenario() -> list[bytes]:
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        lines: list[bytes] = []
        output = Output((read_end,), lines.extend)
        output.drain()
        os.write(write_end, b"hello\n")
        output.drain()
        os.close(write_end)
        output.close()
        return lines

    assert asyncio.run(scenario()) == [b"hello\n"]


def test_a_line_that_has_not_ended_is_one_at_the_end_of_an_invoke() -> None:
    async def scenario() -> list[bytes]:
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        lines: list[bytes] = []
        output = Output((read_end,), lines.extend)
        for written in (b"first\nof this invoke", b"of the next\n"):
            os.write(write_end, written)
            output.drain()
        os.close(write_end)
        output.close()
        return lines

    assert asyncio.run(scenario()) == [b"first\n", b"of this invoke", b"of the next\n"]


def frame(message: bytes, kind: int = 0xA55A0003) -> bytes:
    time = (1).to_bytes(8, "big") if kind & 2 else b""
    return kind.to_bytes(4, "big") + len(message).to_bytes(4, "big") + time + message


def records(*pieces: bytes) -> list[bytes]:
    splitter = RecordSplitter()
    return [record for piece in pieces for record in splitter.feed(piece)] + splitter.flush()


def test_a_frame_is_one_record_whatever_it_holds() -> None:
    assert records(b"before\n" + frame(b"two\nlines\n") + b"after\n") == [
        b"before\n",
        b"two\nlines\n",
        b"after\n",
    ]
    assert records(frame(b"", 0xA55A0002) + frame(b"old", 0xA55A0001)) == [b"", b"old"]


def test_a_line_that_a_frame_breaks_off_comes_before_it() -> None:
    assert records(b"begun" + frame(b"framed") + b" and ended\n") == [
        b"begun",
        b"framed",
        b" and ended\n",
    ]


def test_what_only_looks_like_a_frame_is_text() -> None:
    fakes = (
        b"\xa5\x5a\x00\xff12345678\n",
        b"\xa5\x5a\x00\x03" + (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"\n",
        b"\xa5\x5a\n",
        b"\xa5\x5a\x00\x03\x00",
        "\u00a5\n".encode(),
    )
    for fake in fakes:
        assert records(fake) == [fake]


def test_a_long_record_is_cut_as_lines_are() -> None:
    found = records(frame(b"x" * (LINE_BYTES_MAX + 5)))
    assert list(map(len, found)) == [LINE_BYTES_MAX, 5]


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=20))), st.data())
def test_any_split_of_the_bytes_gives_the_same_records(
    parts: list[tuple[bool, bytes]], data: st.DataObject
) -> None:
    plain = [part.replace(b"\xa5", b"") for _, part in parts]
    stream = b"".join(
        frame(part) if framed else text + b"\n"
        for (framed, part), text in zip(parts, plain, strict=True)
    )
    expected: list[bytes] = []
    for (framed, part), text in zip(parts, plain, strict=True):
        expected += [part] if framed else [line + b"\n" for line in text.split(b"\n")]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert records(*pieces) == expected
