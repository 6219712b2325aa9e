"""Does the window of a lane find out how many events may run?"""

from hypothesis import given
from hypothesis import strategies as st

from hearth.events.flow import (
    SHARED_RUNNING_MAX,
    SHARED_WAITING_MAX,
    WINDOW_FIRST,
    WINDOW_MAX,
    Flow,
    LaneWindow,
)


def test_a_function_with_little_to_do_stays_in_its_partition() -> None:
    flow = Flow()
    assert (flow.may_run_shared, flow.is_idle) == (True, True)
    flow.running_shared = SHARED_RUNNING_MAX
    flow.waiting_shared = SHARED_WAITING_MAX - 1
    assert (flow.may_run_shared, flow.is_flooded) == (False, False)
    flow.waiting_shared += 1
    assert (flow.is_flooded, flow.is_idle) == (True, False)


def test_a_function_that_is_aside_runs_nothing_from_its_partition() -> None:
    flow = Flow()
    flow.aside = LaneWindow()
    assert not flow.may_run_shared
    assert not flow.is_idle


def test_a_window_doubles_until_something_is_refused_and_then_grows_by_one() -> None:
    window = LaneWindow()
    for _ in range(WINDOW_FIRST):
        window.started()
    assert not window.may_start(0.0)
    for _ in range(WINDOW_FIRST):
        window.ended()
    assert window.window == 2 * WINDOW_FIRST
    for _ in range(5):
        window.started()
    window.refused(10.0, 1.0)
    assert window.window == 4
    assert window.running == 4
    for _ in range(4):
        window.ended()
    assert window.window == 5


def test_after_a_refusal_nothing_begins_until_the_pause_is_over_or_a_run_ends() -> None:
    window = LaneWindow()
    window.started()
    window.refused(10.0, 4.0)
    assert not window.may_start(13.9)
    assert window.may_start(14.0)
    window.started()
    window.started()
    window.refused(20.0, 300.0)
    assert not window.may_start(21.0)
    window.ended()
    assert window.may_start(21.0)


def test_a_refusal_that_comes_after_the_end_of_a_run_is_no_reason_to_pause() -> None:
    window = LaneWindow()
    window.started()
    window.started()
    window.ended()
    window.refused(10.0, 8.0, began_after=0)
    assert window.running == 0
    assert window.may_start(10.0)
    window.started()
    window.refused(11.0, 8.0, began_after=1)
    assert not window.may_start(11.0)
    assert window.refusals == 1


@given(st.lists(st.sampled_from(["start", "end", "refuse", "wait"]), max_size=200))
def test_a_window_never_closes_for_good_and_never_runs_more_than_it_may(steps: list[str]) -> None:
    window, now_s = LaneWindow(), 0.0
    for step in steps:
        now_s += 0.1
        if step == "start" and window.may_start(now_s):
            window.started()
        elif step == "end" and window.running:
            window.ended()
        elif step == "refuse" and window.running:
            window.refused(now_s, 5.0)
        elif step == "wait":
            now_s += 10.0
        assert 1 <= window.window <= WINDOW_MAX
        assert window.running >= 0
    while window.running:
        window.ended()
    assert window.may_start(now_s + 301.0)
