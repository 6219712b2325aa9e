from hypothesis import given
from hypothesis import strategies as st

from hearth.logs.pending import FRAME_BYTES, LINE_BYTES, Batch, Lost, Queue, QueueLimits
from hearth.logs.records import Frame
from hearth.model.ids import AccountId, Region
from hearth.model.logs import LogGroup

COST = FRAME_BYTES + LINE_BYTES + 10


def group(name: str) -> LogGroup:
    return LogGroup(AccountId("000000000000"), Region("us-east-1"), f"/aws/lambda/{name}")


LOUD, QUIET = group("loud"), group("quiet")


def frame(text: bytes = b"0123456789") -> Frame:
    return Frame(7, 8, "stream", (text,))


def queue(*, total: int = 10, each: int = 3) -> Queue:
    """Room for so many frames of one line, in all and for each group."""
    return Queue(QueueLimits(queue_bytes_max=total * COST, group_queue_bytes_max=each * COST))


def test_a_loud_group_loses_its_own_lines_and_nobody_elses() -> None:
    waiting = queue()
    for _ in range(100):
        waiting.put(LOUD, frame())
    waiting.put(QUIET, frame())
    batch = waiting.take()
    assert (batch[LOUD].lines, batch[LOUD].lost) == (3, Lost("stream", 7, 97))
    assert (batch[QUIET].lines, batch[QUIET].lost) == (1, None)
    assert waiting.lines_lost == 97


def test_what_is_being_written_counts_until_it_is_done() -> None:
    waiting = queue(total=3)
    for _ in range(3):
        waiting.put(LOUD, frame())
    batch = waiting.take()
    waiting.put(QUIET, frame())
    assert waiting.lines_lost == 1
    waiting.done(batch)
    waiting.put(QUIET, frame())
    assert waiting.take()[QUIET].lines == 1


def test_what_could_not_be_written_is_told_with_the_groups_next_lines() -> None:
    waiting = queue()
    for _ in range(2):
        waiting.put(LOUD, frame())
        batch = waiting.take()
        waiting.done(batch)
        waiting.failed(LOUD, batch[LOUD])
    assert not waiting
    waiting.put(LOUD, frame())
    assert waiting.take()[LOUD].lost == Lost("stream", 7, 2)
    assert waiting.lines_lost == 2


def test_a_deleted_group_owes_nothing_and_holds_nothing() -> None:
    waiting = queue(total=1)
    waiting.put(LOUD, frame())
    waiting.forget(LOUD)
    assert not waiting
    waiting.put(QUIET, frame())
    assert waiting.lines_lost == 0


@given(
    moves=st.lists(
        st.one_of(
            st.tuples(st.sampled_from([LOUD, QUIET]), st.integers(0, 2_000)),
            st.sampled_from(["take", "written", "failed"]),
        )
    )
)
def test_every_line_is_taken_or_told_as_lost(
    moves: list[tuple[LogGroup, int] | str],
) -> None:
    waiting = queue()
    put = good = told = 0
    taken: list[Batch] = []

    def finish(move: str) -> None:
        nonlocal good, told
        batch = taken.pop()
        waiting.done(batch)
        for name, part in batch.items():
            if move == "failed":
                waiting.failed(name, part)
            else:
                good += part.lines
                told += part.lost.lines if part.lost else 0

    for move in [*moves, "written"]:
        if isinstance(move, tuple):
            put += 1
            waiting.put(move[0], frame(b"x" * move[1]))
        elif move == "take" and not taken:
            taken.append(waiting.take())
        elif taken:
            finish(move)
    for name in (LOUD, QUIET):  # nothing lost stays untold once the group speaks again
        waiting.put(name, frame())
    taken.append(waiting.take())
    finish("written")
    assert good + told == put + 2
