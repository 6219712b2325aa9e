"""Nothing is lost silently, and nothing grows without end."""

from hypothesis import given
from hypothesis import strategies as st

from hearth.worker.telemetry.buffer import PORTIONS_MAX, Buffer, Dropped


def small() -> Buffer:
    return Buffer(items_max=3, bytes_max=100, timeout_s=1.0)


def test_a_portion_is_due_by_items_by_bytes_or_by_time() -> None:
    buffer = small()
    assert buffer.due_in_s(0.0) is None
    buffer.add(b"a", 10.0)
    assert buffer.due_in_s(10.25) == 0.75
    assert buffer.due_in_s(11.5) == 0.0
    buffer.add(b"b", 10.5)
    buffer.add(b"c", 10.5)
    assert buffer.due_in_s(10.5) == 0.0
    assert buffer.take(10.5) == [b"a", b"b", b"c"]
    buffer.add(b"x" * 100, 10.5)
    assert buffer.due_in_s(10.5) == 0.0


def test_an_event_larger_than_a_portion_is_a_portion() -> None:
    buffer = small()
    buffer.add(b"x" * 150, 0.0)
    buffer.add(b"y", 0.0)
    assert buffer.take(0.0) == [b"x" * 150]
    assert buffer.take(0.0) == [b"y"]


def test_what_was_not_taken_comes_first_again() -> None:
    buffer = small()
    for event in (b"a", b"b", b"c", b"d"):
        buffer.add(event, 0.0)
    buffer.put_back(buffer.take(0.0))
    assert buffer.take(0.0) == [b"a", b"b", b"c"]


def test_what_does_not_fit_is_counted_and_told_once() -> None:
    buffer = small()
    for _ in range(PORTIONS_MAX * 3 + 2):
        buffer.add(b"12345", 0.0)
    assert len(buffer) == PORTIONS_MAX * 3
    assert buffer.take_dropped() == Dropped(2, 10)
    assert buffer.take_dropped() is None


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=60), st.data())
def test_every_event_comes_out_in_order_or_is_counted(
    events: list[bytes], data: st.DataObject
) -> None:
    buffer = small()
    out: list[bytes] = []
    for event in events:
        buffer.add(event, 0.0)
        if data.draw(st.booleans()):
            portion = buffer.take(0.0)
            if data.draw(st.booleans()):
                buffer.put_back(portion)
            else:
                out += portion
    while portion := buffer.take(0.0):
        out += portion
    dropped = buffer.take_dropped() or Dropped(0, 0)
    assert len(out) + dropped.records == len(events)
    assert sum(map(len, out)) + dropped.size == sum(map(len, events))
    rest = iter(events)
    assert all(event in rest for event in out), "in order"
