from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.invokes import function_key, function_version
from hearth.model.ids import SandboxId, WorkerId
from hearth.placement.policy import (
    CORRELATED_SHARE,
    FOOTPRINT_MB,
    OVERSUBSCRIPTION,
    RESERVE_SHARE,
    IdleSandbox,
    Verdict,
    WorkerSnapshot,
    has_room,
    has_slot,
    pick,
    victims,
)

F = function_version(memory_mb=128)


def worker(name: str = "w", **changes: Any) -> WorkerSnapshot:
    """1000 MB, so 8000 MB may be promised; empty."""
    empty = WorkerSnapshot(
        worker=WorkerId(name),
        memory_mb=1000,
        available_mb=1000,
        committed_mb=0,
        stopping_mb=0,
        stopping=0,
        starting=0,
        starting_max=4,
        takes_new=True,
        mb_by_function={},
        starting_by_function={},
    )
    return replace(empty, **changes)


def test_without_workers_there_is_no_room() -> None:
    assert pick(F, []) is Verdict.NO_ROOM


def test_the_most_loaded_worker_that_fits_is_picked() -> None:
    workers = [worker("a"), worker("b", committed_mb=4000), worker("c", committed_mb=7990)]
    assert pick(F, workers) == "b"


def test_a_worker_that_runs_the_function_already_beats_a_more_loaded_one() -> None:
    runs_it = worker("a", committed_mb=128, mb_by_function={F.key: 128})
    assert pick(F, [runs_it, worker("b", committed_mb=4000)]) == "a"


def test_one_function_does_not_take_more_than_its_share_where_others_have_room() -> None:
    share_mb = int(1000 * OVERSUBSCRIPTION * CORRELATED_SHARE)
    full = worker("a", committed_mb=share_mb, mb_by_function={F.key: share_mb})
    assert pick(F, [full, worker("b")]) == "b"
    assert pick(F, [full]) == "a"


def test_equal_workers_are_told_apart_by_their_ids() -> None:
    assert pick(F, [worker("a"), worker("b")]) == pick(F, [worker("b"), worker("a")]) == "b"


def test_a_drained_worker_takes_nothing() -> None:
    assert pick(F, [worker(takes_new=False)]) is Verdict.NO_ROOM


def test_when_all_are_starting_as_many_as_they_can_the_start_waits() -> None:
    assert pick(F, [worker(starting=4)]) is Verdict.NO_SLOT


def test_what_is_larger_than_any_worker_will_never_fit() -> None:
    huge = function_version(memory_mb=8001)
    assert pick(huge, [worker()]) is Verdict.NEVER
    assert pick(huge, [worker(), worker("b", memory_mb=2000, starting=4)]) is not Verdict.NEVER


def test_memory_may_be_promised_several_times_but_not_more() -> None:
    assert has_room(worker(committed_mb=8000 - 128), 128)
    assert not has_room(worker(committed_mb=8000 - 127), 128)


def test_measured_memory_is_the_guard_whatever_was_promised() -> None:
    needed_mb = 1000 * RESERVE_SHARE + FOOTPRINT_MB
    assert has_room(worker(available_mb=needed_mb), 128)
    assert not has_room(worker(available_mb=needed_mb - 1), 128)


def test_what_is_starting_has_still_to_touch_its_memory() -> None:
    needed_mb = 1000 * RESERVE_SHARE + 3 * FOOTPRINT_MB
    assert has_room(worker(available_mb=needed_mb, starting=2), 128)
    assert not has_room(worker(available_mb=needed_mb, starting=3), 128)


@pytest.mark.parametrize(
    ("starting", "of_function", "starting_max", "may_start"),
    [
        (0, 0, 4, True),
        (2, 2, 4, True),
        (3, 3, 4, False),
        (3, 0, 4, True),
        (4, 0, 4, False),
        (1, 1, 2, True),
        (0, 0, 1, True),
        (0, 0, 0, False),
    ],
)
def test_the_last_slot_is_kept_for_a_function_that_is_not_starting_there(
    starting: int, of_function: int, starting_max: int, may_start: bool
) -> None:
    there = worker(
        starting=starting, starting_max=starting_max, starting_by_function={F.key: of_function}
    )
    assert has_slot(there, F.key) is may_start


def idle(name: str, on: str = "w", memory_mb: int = 128) -> IdleSandbox:
    return IdleSandbox(sandbox=SandboxId(name), worker=WorkerId(on), memory_mb=memory_mb)


def test_the_longest_idle_go_first_and_no_more_than_must() -> None:
    full = worker(committed_mb=8000)
    sandboxes = [idle("oldest", memory_mb=100), idle("older", memory_mb=100), idle("newer")]
    assert victims(F, [full], sandboxes) == ["oldest", "older"]


def test_the_worker_that_loses_the_fewest_is_chosen() -> None:
    workers = [worker("a", committed_mb=8000), worker("b", committed_mb=8000)]
    small = [idle("a1", "a", 64), idle("a2", "a", 64)]
    assert victims(F, workers, [*small, idle("b1", "b")]) == ["b1"]


def test_nothing_is_evicted_where_it_would_not_help() -> None:
    assert victims(F, [worker(committed_mb=8000)], [idle("small", memory_mb=100)]) == []
    assert victims(F, [worker(committed_mb=8000, takes_new=False)], [idle("s")]) == []


def test_nothing_more_is_evicted_while_enough_is_stopping() -> None:
    relieved = worker(committed_mb=8000, stopping_mb=128, stopping=1)
    assert victims(F, [relieved], [idle("s")]) == []


def test_a_shortage_of_measured_memory_is_met_too() -> None:
    short = worker(available_mb=1000 * RESERVE_SHARE)
    assert victims(F, [short], [idle("a"), idle("b")]) == ["a"]


SIZES = st.integers(1, 80).map(lambda n: n * 128)
WORKERS = st.lists(
    st.builds(
        worker,
        name=st.uuids().map(str),
        committed_mb=st.integers(0, 9000),
        available_mb=st.integers(0, 1000),
        starting=st.integers(0, 5),
        starting_max=st.integers(0, 5),
        takes_new=st.booleans(),
        mb_by_function=st.one_of(st.just({}), st.integers(1, 8000).map(lambda mb: {F.key: mb})),
    ),
    max_size=6,
)


@given(size_mb=SIZES, workers=WORKERS)
def test_whatever_is_picked_fits_and_whatever_fits_is_picked(
    size_mb: int, workers: list[WorkerSnapshot]
) -> None:
    function = function_version(memory_mb=size_mb)
    fitting = {
        w.worker
        for w in workers
        if w.takes_new and has_room(w, size_mb) and has_slot(w, function.key)
    }
    choice = pick(function, workers)
    assert choice in fitting if fitting else isinstance(choice, Verdict)


def test_other_functions_do_not_count_towards_the_share() -> None:
    others = worker("a", committed_mb=4000, mb_by_function={function_key("g"): 4000})
    assert pick(F, [others, worker("b")]) == "a"
