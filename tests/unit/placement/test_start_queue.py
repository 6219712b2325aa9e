from hypothesis import given
from hypothesis import strategies as st

from fakes.invokes import function_version
from hearth.model.workers import StartId
from hearth.placement.start_queue import QueuedStart, StartQueue

FUNCTIONS = {name: function_version(name) for name in "abc"}


def queued(start: int, function: str = "a") -> QueuedStart:
    return QueuedStart(start=StartId(start), function=FUNCTIONS[function], since_s=0.0)


def queue_of(*names: str) -> StartQueue:
    queue = StartQueue()
    for number, name in enumerate(names, 1):
        queue.add(queued(number, name))
    return queue


def drain(queue: StartQueue) -> list[int]:
    order: list[int] = []
    while heads := queue.heads():
        queue.begin(heads[0])
        order.append(heads[0].start)
    return order


def test_functions_take_turns() -> None:
    assert drain(queue_of("a", "a", "a", "b", "c", "b")) == [1, 4, 5, 2, 6, 3]


def test_within_a_function_the_first_to_come_is_the_first_to_go() -> None:
    assert drain(queue_of("a", "a", "a")) == [1, 2, 3]


def test_what_is_withdrawn_is_gone_and_can_not_be_withdrawn_again() -> None:
    queue = queue_of("a", "b")
    assert queue.withdraw(StartId(1))
    assert not queue.withdraw(StartId(1))
    assert StartId(1) not in queue
    assert [head.start for head in queue.heads()] == [2]


def test_what_has_begun_can_not_be_withdrawn() -> None:
    queue = queue_of("a")
    queue.begin(queue.heads()[0])
    assert not queue.withdraw(StartId(1))
    assert len(queue) == 0


@given(st.lists(st.sampled_from("abc")), st.data())
def test_no_start_is_lost_and_none_is_overtaken_by_its_own_function(
    names: list[str], data: st.DataObject
) -> None:
    queue = queue_of(*names)
    numbers = list(range(1, len(names) + 1))
    gone = set(data.draw(st.lists(st.sampled_from(numbers), unique=True))) if numbers else set()
    for number in gone:
        assert queue.withdraw(StartId(number))
    assert [each.start for each in queue] == [n for n in numbers if n not in gone]
    order = drain(queue)
    assert sorted(order) == [n for n in numbers if n not in gone]
    for name in "abc":
        own = [n for n in order if names[n - 1] == name]
        assert own == sorted(own)
