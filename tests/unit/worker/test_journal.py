"""Lines of an environment: each is logged with the moment at which it came, not was handed on."""

from datetime import UTC, datetime

from hearth.worker.journal import Journal


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ms = 1_000

    def monotonic_s(self) -> float:
        return self.now_ms / 1000

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def epoch_ms(self) -> int:
        return self.now_ms


class Kept:
    def __init__(self) -> None:
        self.portions: list[tuple[int, list[bytes]]] = []

    def append(self, at_ms: int, lines: list[bytes]) -> None:
        self.portions.append((at_ms, lines))


def test_a_line_has_the_moment_at_which_it_came() -> None:
    clock, kept = Hand(), Kept()
    journal = Journal(kept, clock)
    journal.note("INIT_START")
    journal.write(None, "START")
    clock.now_ms = 1_250
    journal.take([b"printed", b"twice"], None)
    journal.write(None, "")
    clock.now_ms = 4_000
    journal.write(None, "END")
    assert kept.portions == [], "nothing is handed on before flush()"
    journal.flush()
    assert kept.portions == [
        (1_000, [b"INIT_START\n", b"START\n"]),
        (1_250, [b"printed", b"twice"]),
        (4_000, [b"END\n"]),
    ]
    journal.flush()
    assert len(kept.portions) == 3


def test_lines_of_json_have_no_end_in_the_log() -> None:
    kept = Kept()
    journal = Journal(kept, Hand(), "")
    journal.note("{}")
    journal.take([b"printed\n", b"framed"], None)
    journal.write(None, "", "[]")
    journal.flush()
    assert [line for _, lines in kept.portions for line in lines] == [
        b"{}",
        b"printed\n",
        b"framed",
        b"[]",
    ]
