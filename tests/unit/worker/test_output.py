"""Lines out of bytes, and the pipes they come from."""

import asyncio
import os

from hypothesis import given
from hypothesis import strategies as st

from hearth.worker.output import LINE_BYTES_MAX, LineSplitter, Output


@given(st.lists(st.binary(max_size=12)))
def test_any_split_of_the_bytes_gives_the_same_lines(pieces: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.flush()
    whole = b"".join(pieces)
    expected = whole.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert lines == expected


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

    assert asyncio.run(scenario()) == [b"one", b"two", b"last words"]


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

    assert asyncio.run(scenario()) == [b"hello"]
