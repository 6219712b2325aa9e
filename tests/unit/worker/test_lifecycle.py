"""The table of an environment's states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.model.ids import SandboxId
from hearth.worker.lifecycle import (
    HISTORY_LENGTH_MAX,
    TRANSITIONS,
    Change,
    Event,
    IllegalTransition,
    Lifecycle,
    State,
)

SANDBOX = SandboxId("s1")


def test_a_cold_start_and_two_invokes_pass_through_the_table() -> None:
    seen: list[Change] = []
    lifecycle = Lifecycle(SANDBOX, 0.0, seen.append)
    for at_s, event in enumerate(
        [
            Event.INITIALIZED,
            *(Event.INVOKE, Event.RESPOND, Event.RELEASE),
            *(Event.INVOKE, Event.RESPOND, Event.RELEASE),
            *(Event.KILL, Event.GONE),
        ],
        start=1,
    ):
        lifecycle.fire(event, float(at_s))
    assert lifecycle.state is State.STOPPED
    assert [change.spent_s for change in seen] == [1.0] * 9


def test_a_failed_environment_is_reset_and_serves_again() -> None:
    lifecycle = Lifecycle(SANDBOX, 0.0)
    for event in (Event.INITIALIZED, Event.INVOKE, Event.FAIL, Event.RESET, Event.INVOKE):
        lifecycle.fire(event, 0.0)
    assert lifecycle.state is State.BUSY


def test_an_environment_that_has_not_released_takes_no_invoke() -> None:
    lifecycle = Lifecycle(SANDBOX, 0.0)
    for event in (Event.INITIALIZED, Event.INVOKE, Event.RESPOND):
        lifecycle.fire(event, 0.0)
    with pytest.raises(IllegalTransition, match="invoke is illegal in finishing") as caught:
        lifecycle.fire(Event.INVOKE, 1.0)
    assert lifecycle.state is State.FINISHING, "an illegal event changes nothing"
    assert [change.event for change in caught.value.history][-1] is Event.RESPOND


def test_every_state_but_the_last_can_be_killed() -> None:
    assert {state for state in State if (state, Event.KILL) in TRANSITIONS} == set(State)


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_nothing_leads_out_of_stopped_and_history_is_bounded(events: list[Event]) -> None:
    lifecycle = Lifecycle(SANDBOX, 0.0)
    stopped = False
    for event in events:
        if lifecycle.may(event):
            lifecycle.fire(event, 0.0)
        assert not stopped or lifecycle.state is State.STOPPED
        stopped = lifecycle.state is State.STOPPED
    assert len(lifecycle.history) <= HISTORY_LENGTH_MAX
