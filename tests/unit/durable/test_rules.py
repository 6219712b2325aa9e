"""What an execution comes to, decision by decision: tokens, quotas, time, callbacks, pauses."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.durable import rules
from hearth.durable.execution import Execution, Status, Type, operations_of
from hearth.durable.facts import Error, Fact, Kind, Origin
from hearth.durable.rules import Checkpointed, Ended
from hearth.durable.store import decode, encode
from hearth.durable.tokens import (
    callback_id,
    callback_place,
    checkpoint_token,
    marker,
    read_marker,
)
from hearth.durable.updates import Update
from hearth.model.durable import (
    EXECUTION_AGE_S_MAX,
    OPERATION_PAYLOAD_BYTES_MAX,
    OPERATIONS_MAX,
    DurableConfig,
    ExecutionStatus,
)
from hearth.model.errors import (
    CallbackTimeout,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
)

S = 1_000
MINUTE = 60 * S
REQUEST = "request-1"


def begun(*, timeout_s: int = 600, is_async: bool = False) -> Execution:
    """With an invocation that runs, at time 0."""
    origin = Origin(
        id="e",
        arn="arn",
        config=DurableConfig(timeout_s=timeout_s),
        is_async=is_async,
        secret="s",
    )
    execution = Execution(
        Fact(kind=Kind.EXECUTION_STARTED, at_ms=0, payload="{}", name="n", origin=origin)
    )
    execution.apply(rules.begin(execution, REQUEST, 0))
    assert execution.invoking == REQUEST
    return execution


def update(type_: Type, action: str, id_: str = "o", **more: Any) -> Update:
    return Update(id=id_, type=type_, action=action, **more)


def checkpoint(
    execution: Execution,
    *updates: Update,
    token: str | None = None,
    client: str | None = None,
    digest: str = "d",
    at: int = 0,
) -> Checkpointed:
    token = execution.token if token is None else token
    done = rules.checkpoint(execution, token, updates, client, digest, at)
    execution.apply(done.facts)
    return done


def complete(execution: Execution, status: str, at: int = 0, **more: Any) -> None:
    assert execution.invoking is not None
    ended = Ended(status, **more)
    execution.apply(rules.complete(execution, execution.invoking, ended, 0, at))


def tick(execution: Execution, at: int) -> None:
    execution.apply(rules.tick(execution, at))


# --- the chain of tokens


def test_each_checkpoint_takes_a_token_and_gives_the_next() -> None:
    execution = begun()
    first = execution.token
    checkpoint(execution, update(Type.STEP, "START"))
    assert execution.token != first
    with pytest.raises(InvalidParameterValue, match=r"^Invalid checkpoint token"):
        checkpoint(execution, token=first)
    checkpoint(execution)
    execution.apply(rules.complete(execution, REQUEST, Ended("BROKEN", at_once=True), 0, 1))
    last = execution.token
    execution.apply(rules.begin(execution, "request-2", 1))
    with pytest.raises(InvalidParameterValue):
        checkpoint(execution, token=last)  # of an invocation that was superseded


def test_a_repeated_checkpoint_gets_the_same_answer_for_a_while() -> None:
    execution = begun()
    token = execution.token
    one = checkpoint(execution, update(Type.STEP, "START"), client="c")
    again = checkpoint(execution, update(Type.STEP, "START"), token=token, client="c", at=MINUTE)
    assert again.facts == []
    assert (again.turn, again.since, again.is_last) == (one.turn, one.since, False)
    with pytest.raises(InvalidParameterValue, match="different"):
        checkpoint(execution, token=token, client="c", digest="other")
    with pytest.raises(InvalidParameterValue, match="Invalid checkpoint token"):
        checkpoint(execution, token=token, client="c", at=15 * MINUTE)


def test_nothing_of_a_refused_checkpoint_happens() -> None:
    execution = begun()
    good, bad = update(Type.STEP, "START"), update(Type.WAIT, "SUCCEED", "w")
    before, token = len(execution.facts), execution.token
    with pytest.raises(InvalidParameterValue):
        checkpoint(execution, good, bad)
    assert (len(execution.facts), execution.token) == (before, token)


@pytest.mark.parametrize(
    ("updates", "text"),
    [
        ([update(Type.STEP, "SUCCEED")], "has not been started"),
        ([update(Type.WAIT, "START"), update(Type.STEP, "START")], "is of type WAIT"),
        ([update(Type.CALLBACK, "SUCCEED")], "Invalid action"),
        ([update(Type.CHAINED_INVOKE, "START")], "must name a function"),
        ([update(Type.STEP, "START", parent="o")], "Invalid parent"),
        (
            [update(Type.STEP, "START", "p"), update(Type.STEP, "START", parent="p")],
            "Invalid parent",
        ),
        ([update(Type.EXECUTION, "FAIL"), update(Type.STEP, "START")], "No update may follow"),
        (
            [
                update(Type.STEP, "START"),
                update(Type.STEP, "SUCCEED"),
                update(Type.STEP, "FAIL"),
            ],
            "is SUCCEEDED",
        ),
        (
            [
                update(Type.STEP, "START"),
                update(Type.STEP, "SUCCEED", payload="x" * (OPERATION_PAYLOAD_BYTES_MAX + 1)),
            ],
            "STEP output payload size must be less than or equal to 1048576 bytes",
        ),
    ],
)
def test_updates_that_make_no_sense(updates: list[Update], text: str) -> None:
    with pytest.raises(InvalidParameterValue, match=text):
        checkpoint(begun(), *updates)


def test_a_start_of_what_has_begun_changes_nothing() -> None:
    execution = begun()
    for _ in range(2):
        checkpoint(execution, update(Type.WAIT, "START", wait_s=5))
    assert [f.kind for f in execution.facts].count(Kind.WAIT_STARTED) == 1


def test_the_last_checkpoint_ends_the_execution_and_gives_no_token() -> None:
    execution = begun()
    done = checkpoint(execution, update(Type.EXECUTION, "SUCCEED", payload='"big"'))
    assert done.is_last
    assert (execution.status, execution.result) == (ExecutionStatus.SUCCEEDED, '"big"')
    complete(execution, "SUCCEEDED", result="")
    assert execution.result == '"big"'


def test_too_many_operations_fail_the_execution() -> None:
    execution = begun()
    steps = [update(Type.STEP, "START", f"o{n}") for n in range(OPERATIONS_MAX)]
    assert not checkpoint(execution, *steps).is_last
    assert checkpoint(execution, update(Type.STEP, "START", "one more")).is_last
    assert execution.status is ExecutionStatus.FAILED
    assert len(execution.operations) == OPERATIONS_MAX


def test_too_much_data_fails_the_execution() -> None:
    execution = begun()
    payload = "x" * OPERATION_PAYLOAD_BYTES_MAX
    for n in range(99):
        id_ = f"o{n}"
        done = checkpoint(
            execution,
            update(Type.STEP, "START", id_),
            update(Type.STEP, "SUCCEED", id_, payload=payload),
        )
        assert not done.is_last
    two = [update(Type.STEP, action, "last", payload=payload) for action in ("START", "SUCCEED")]
    three = [update(Type.STEP, action, "over", payload=payload) for action in ("START", "SUCCEED")]
    assert checkpoint(execution, *two, *three).is_last
    assert execution.status is ExecutionStatus.FAILED


# --- invocations


def test_a_failed_invocation_is_repeated_ever_more_slowly() -> None:
    execution = begun()
    now, pauses = 0, []
    for _ in range(9):
        complete(execution, "BROKEN", now, error=Error(type="Runtime.ExitError"))
        assert execution.retry_due_ms is not None
        assert not execution.wants_invocation(execution.retry_due_ms - 1)
        pauses.append((execution.retry_due_ms - now) // S)
        now = execution.retry_due_ms
        execution.apply(rules.begin(execution, f"r{now}", now))
        assert execution.invoking is not None
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    complete(execution, "SUCCEEDED", now, result="1")
    assert execution.status is ExecutionStatus.SUCCEEDED


def test_pending_needs_something_that_is_pending() -> None:
    execution = begun()
    complete(execution, "PENDING")
    assert execution.status is ExecutionStatus.FAILED
    assert execution.error is not None
    assert "no pending operations" in (execution.error.message or "")


def test_what_happens_during_an_invocation_wakes_it_after_all() -> None:
    execution = begun()
    checkpoint(execution, update(Type.WAIT, "START", wait_s=1))
    tick(execution, S)
    complete(execution, "PENDING", S)  # it may have looked before
    assert execution.wants_invocation(S)


def test_an_async_result_may_be_a_megabyte() -> None:
    for is_async, status in ((True, ExecutionStatus.FAILED), (False, ExecutionStatus.SUCCEEDED)):
        execution = begun(is_async=is_async)
        complete(execution, "SUCCEEDED", result="x" * (OPERATION_PAYLOAD_BYTES_MAX + 1))
        assert execution.status is status


# --- time


def test_a_step_is_ready_again_when_its_delay_is_over() -> None:
    execution = begun()
    checkpoint(
        execution,
        update(Type.STEP, "START"),
        update(Type.STEP, "RETRY", retry_s=5, error=Error(message="no")),
    )
    step = execution.operations["o"]
    assert (step.status, step.attempt, step.due_ms) == (Status.PENDING, 1, 5 * S)
    complete(execution, "PENDING")
    assert execution.next_due_ms == 5 * S
    tick(execution, 5 * S - 1)
    assert not execution.wants_invocation(5 * S)
    tick(execution, 5 * S)
    assert execution.wants_invocation(5 * S)
    assert execution.operations["o"].status is Status.READY


def test_an_execution_times_out() -> None:
    execution = begun(timeout_s=10)
    assert execution.next_due_ms == 10 * S
    tick(execution, 10 * S)
    assert execution.status is ExecutionStatus.TIMED_OUT
    assert execution.next_due_ms is None


def test_callbacks_time_out_by_heartbeat_and_by_the_clock() -> None:
    execution = begun()
    start = update(Type.CALLBACK, "START", timeout_s=10, heartbeat_s=4)
    checkpoint(execution, start)
    callback = execution.operations["o"].callback
    assert callback is not None
    for at in (3 * S, 6 * S):
        execution.apply(rules.callback_heartbeat(execution, "o", callback, at))
    assert execution.next_due_ms == 10 * S  # not beyond its own end
    tick(execution, 10 * S)
    assert execution.operations["o"].status is Status.TIMED_OUT
    assert execution.operations["o"].error == Error(
        type="Callback.Timeout", message="Callback timed out"
    )
    with pytest.raises(CallbackTimeout):
        rules.callback_success(execution, "o", callback, "1", 11 * S)
    silent = begun()
    checkpoint(silent, start)
    tick(silent, 4 * S)
    assert silent.operations["o"].error == Error(
        type="Callback.Heartbeat", message="Callback timed out on heartbeat"
    )


def test_a_callback_must_be_the_operations_own() -> None:
    execution = begun()
    checkpoint(execution, update(Type.CALLBACK, "START"))
    with pytest.raises(ResourceNotFound):
        rules.callback_success(execution, "o", callback_id("other", "e", "o"), "1", 0)
    with pytest.raises(ResourceNotFound):
        rules.callback_success(execution, "p", "c", "1", 0)


# --- pauses and stops


def test_a_pause_takes_the_token_at_the_next_checkpoint() -> None:
    execution = begun(timeout_s=100)
    execution.apply(rules.pause(execution, "why", True, "c", 0))
    assert str(execution.status) == "PAUSING"
    assert rules.pause(execution, "why", True, "c", S) == []  # the same request again
    with pytest.raises(ResourceConflict):
        rules.pause(execution, None, True, "d", S)
    assert checkpoint(execution, update(Type.WAIT, "START", wait_s=5), at=2 * S).is_last
    assert execution.status is ExecutionStatus.PAUSED
    with pytest.raises(InvalidParameterValue):
        checkpoint(execution)
    complete(execution, "SUCCEEDED", result='"unheard"', at=3 * S)  # it cannot end while paused
    assert execution.status is ExecutionStatus.PAUSED
    tick(execution, 7 * S)
    assert execution.operations["o"].status is Status.SUCCEEDED
    assert not execution.wants_invocation(7 * S)
    assert execution.ends_ms == EXECUTION_AGE_S_MAX * S
    execution.apply(rules.resume(execution, None, None, 12 * S))
    assert execution.wants_invocation(12 * S)
    assert execution.ends_ms == (100 + 10) * S  # it was paused for ten seconds


def test_a_pause_may_let_the_clock_run() -> None:
    execution = begun(timeout_s=10)
    checkpoint(execution, update(Type.CALLBACK, "START"))
    complete(execution, "PENDING")
    execution.apply(rules.pause(execution, None, False, None, S))
    assert execution.paused_ms == S
    tick(execution, 10 * S)
    assert execution.status is ExecutionStatus.TIMED_OUT
    with pytest.raises(ResourceConflict):
        rules.resume(execution, None, None, 11 * S)


def test_a_pause_that_is_taken_back_is_none() -> None:
    execution = begun()
    execution.apply(rules.pause(execution, None, True, None, 0))
    execution.apply(rules.resume(execution, None, None, S))
    assert execution.status is ExecutionStatus.RUNNING
    assert not checkpoint(execution, update(Type.STEP, "START")).is_last


def test_a_pause_again_while_the_interrupted_invocation_still_runs() -> None:
    execution = begun()
    execution.apply(rules.pause(execution, None, True, None, 0))
    checkpoint(execution, update(Type.CALLBACK, "START"))
    execution.apply(rules.resume(execution, None, None, S))
    execution.apply(rules.pause(execution, None, True, None, 2 * S))
    complete(execution, "PENDING", at=3 * S)
    assert execution.status is ExecutionStatus.PAUSED
    execution.apply(rules.resume(execution, None, None, 4 * S))
    assert execution.wants_invocation(4 * S)


def test_a_stop_is_final() -> None:
    execution = begun()
    execution.apply(rules.stop(execution, Error(message="enough"), 5))
    assert (execution.status, execution.ended_ms) == (ExecutionStatus.STOPPED, 5)
    assert rules.stop(execution, None, 6) == []
    with pytest.raises(InvalidParameterValue):
        checkpoint(execution)
    complete(execution, "SUCCEEDED", result="1")
    assert execution.status is ExecutionStatus.STOPPED


# --- what a replay is told


def test_children_of_what_is_over_are_left_out_unless_they_are_wanted() -> None:
    for is_wanted in (False, True):
        execution = begun()
        checkpoint(
            execution,
            update(Type.CONTEXT, "START", "c"),
            update(Type.CONTEXT, "START", "d", parent="c"),
            update(Type.STEP, "START", "s", parent="d"),
        )
        assert [o.id for o in operations_of(execution)] == ["c", "d", "s"]
        checkpoint(execution, update(Type.CONTEXT, "SUCCEED", "c", replay_children=is_wanted))
        kept = ["c", "d", "s"] if is_wanted else ["c"]
        assert [o.id for o in operations_of(execution)] == kept


# --- what is stored

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
errors = st.builds(
    Error,
    message=st.none() | texts,
    type=st.none() | texts,
    trace=st.none() | st.lists(texts, max_size=2).map(tuple),
)
facts = st.builds(
    Fact,
    kind=st.sampled_from(Kind),
    at_ms=st.integers(0, 2**53),
    operation=st.none() | texts,
    payload=st.none() | texts,
    error=st.none() | errors,
    seconds=st.none() | st.integers(0, 2**31),
    due_ms=st.none() | st.integers(0, 2**53),
    attempt=st.integers(0, 5),
    replay_children=st.booleans(),
    client_token=st.none() | texts,
    since=st.integers(0, 9),
    stops_time=st.booleans(),
)


@given(st.lists(facts, max_size=5))
def test_facts_survive_being_stored(some: list[Fact]) -> None:
    assert decode(encode(some)) == some


def test_an_execution_is_the_sum_of_its_facts() -> None:
    execution = begun()
    checkpoint(
        execution,
        update(Type.STEP, "START", "s"),
        update(Type.STEP, "SUCCEED", "s", payload="1"),
        update(Type.WAIT, "START", "w", wait_s=5),
        client="c",
    )
    complete(execution, "PENDING")
    tick(execution, 5 * S)
    stored = decode(encode(execution.facts))
    read = Execution(stored[0])
    read.apply(stored[1:])
    assert vars(read) == vars(execution)
    assert read.origin == replace(execution.origin)


def test_tokens_ids_and_markers() -> None:
    assert checkpoint_token("s", "e", 1) != checkpoint_token("t", "e", 1)
    assert callback_place(callback_id("s", "e", "o")) == ("e", "o")
    assert callback_place("bm9uZQ==") is None
    assert callback_place("?") is None
    assert read_marker(marker(3, 7)) == (3, 7)
    assert read_marker("bm9uZQ==") is None
