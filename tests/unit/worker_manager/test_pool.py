from collections.abc import Iterable
from itertools import count

import pytest

from fakes.rates import AnyRate
from hearth.model.errors import NoCapacity, TooManyRequests
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.workers import Placed, StartId
from hearth.worker_manager.pool import FINISHING_GRACE_S, Pool
from hearth.worker_manager.pool_events import (
    Assign,
    CancelStart,
    Condemned,
    Event,
    Evicted,
    Instruction,
    Refuse,
    Released,
    Responded,
    Retired,
    Started,
    StartFailed,
    StartSandbox,
    StartWithdrawn,
    StopSandbox,
    Tick,
    Ticket,
    Unwanted,
    WakeAt,
    Wanted,
)

KEEPALIVE_S = 10.0
S1, S2, S3 = SandboxId("s1"), SandboxId("s2"), SandboxId("s3")
T1, T2, T3 = Ticket(1), Ticket(2), Ticket(3)
A, B, C = StartId(1), StartId(2), StartId(3)
ERROR = NoCapacity("no room")


def placed(sandbox: SandboxId, reuse_until_s: float = 1e9) -> Placed:
    return Placed(sandbox=sandbox, worker=WorkerId("w"), reuse_until_s=reuse_until_s, start_s=0.1)


def pool_after(*events: Event, now_s: float = 0.0) -> Pool:
    starts = count(1)
    pool = Pool(KEEPALIVE_S, lambda: StartId(next(starts)), AnyRate())
    for event in events:
        pool.handle(event, now_s)
    return pool


def with_idle(*sandboxes: SandboxId) -> Pool:
    """A pool whose sandboxes became idle in this order, at seconds 1, 2, ..."""
    pool = pool_after(*(Wanted(Ticket(100 + n)) for n, _ in enumerate(sandboxes)))
    for number, sandbox in enumerate(sandboxes, 1):
        pool.handle(Started(StartId(number), placed(sandbox)), 0.0)
    for number, sandbox in enumerate(sandboxes, 1):
        pool.handle(Released(sandbox, sandbox_is_good=True), float(number))
    return pool


def seen(instructions: Iterable[Instruction]) -> list[object]:
    """Slots by the name of their sandbox."""
    return [
        (each.ticket, each.slot.sandbox) if isinstance(each, Assign) else each
        for each in instructions
    ]


def test_nothing_is_taken_from_an_empty_pool() -> None:
    assert pool_after().take(0.0) is None


def test_whoever_comes_first_gets_a_start() -> None:
    assert pool_after().handle(Wanted(T1), 0.0) == [StartSandbox(A)]


def test_the_most_recently_used_is_taken_first() -> None:
    pool = with_idle(S1, S2)
    first, second = pool.take(3.0), pool.take(3.0)
    assert first is not None
    assert second is not None
    assert (first.sandbox, second.sandbox) == (S2, S1)
    assert pool.take(3.0) is None


def test_a_new_sandbox_goes_to_who_has_waited_longest() -> None:
    pool = pool_after(Wanted(T1), Wanted(T2))
    assert seen(pool.handle(Started(B, placed(S1)), 1.0)) == [(T1, S1)]


def test_a_reuse_makes_a_start_superfluous() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    assert pool.handle(Wanted(T1), 2.0) == [StartSandbox(B)]
    todo = pool.handle(Released(S1, sandbox_is_good=True), 3.0)
    assert seen(todo) == [(T1, S1), CancelStart(B)]


def test_of_two_superfluous_starts_the_youngest_is_withdrawn_first_and_each_only_once() -> None:
    pool = pool_after(Wanted(T1), Wanted(T2))
    assert pool.handle(Unwanted(T1), 1.0) == [CancelStart(B)]
    assert pool.handle(Tick(), 1.0) == []
    assert pool.handle(Unwanted(T2), 1.0) == [CancelStart(A)]
    assert pool.handle(StartWithdrawn(B), 1.0) == []
    assert pool.handle(StartWithdrawn(A), 1.0) == []
    assert pool.is_empty


def test_a_start_that_could_not_be_withdrawn_serves_the_next_to_come() -> None:
    pool = pool_after(Wanted(T1), Unwanted(T1))
    assert pool.handle(Wanted(T2), 1.0) == []
    assert seen(pool.handle(Started(A, placed(S1)), 2.0)) == [(T2, S1)]


def test_a_start_that_nobody_waits_for_any_more_leaves_an_idle_sandbox() -> None:
    pool = pool_after(Wanted(T1), Unwanted(T1))
    assert pool.handle(Started(A, placed(S1)), 1.0) == []
    assert pool.take(2.0) is not None


def test_a_failed_start_refuses_one_invoke_with_its_error() -> None:
    pool = pool_after(Wanted(T1), Wanted(T2))
    assert pool.handle(StartFailed(B, ERROR), 1.0) == [Refuse(T1, ERROR)]
    assert list(pool.waiting) == [T2]


def test_a_failed_start_refuses_nobody_if_nobody_waits_for_it() -> None:
    pool = pool_after(Wanted(T1), Unwanted(T1))
    assert pool.handle(StartFailed(A, ERROR), 1.0) == []
    assert pool.is_empty


def test_whoever_comes_while_a_sandbox_is_finishing_waits_for_it() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    pool.handle(Responded(S1), 3.0)
    assert pool.handle(Wanted(T1), 3.01) == [WakeAt(3.0 + FINISHING_GRACE_S)]
    assert seen(pool.handle(Released(S1, sandbox_is_good=True), 3.02)) == [(T1, S1)]


def test_when_the_grace_is_over_a_new_sandbox_is_started() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    pool.handle(Responded(S1), 3.0)
    pool.handle(Wanted(T1), 3.01)
    assert pool.handle(Tick(), 3.0 + FINISHING_GRACE_S) == [StartSandbox(B)]


def test_one_finishing_sandbox_is_hope_for_one_only() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    pool.handle(Responded(S1), 3.0)
    pool.handle(Wanted(T1), 3.01)
    todo = pool.handle(Wanted(T2), 3.01)
    assert todo == [StartSandbox(B), WakeAt(3.0 + FINISHING_GRACE_S)]


def test_a_finishing_sandbox_that_breaks_is_replaced_at_once() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    pool.handle(Responded(S1), 3.0)
    pool.handle(Wanted(T1), 3.01)
    todo = pool.handle(Released(S1, sandbox_is_good=False), 3.02)
    assert todo == [StopSandbox(S1), StartSandbox(B)]


def test_a_condemned_finishing_sandbox_is_no_hope() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    pool.handle(Responded(S1), 3.0)
    pool.handle(Condemned(S1), 3.0)
    assert pool.handle(Wanted(T1), 3.01) == [StartSandbox(B)]


def test_a_sandbox_whose_invoke_broke_is_not_reused() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    assert pool.handle(Released(S1, sandbox_is_good=False), 3.0) == [StopSandbox(S1)]
    assert pool.is_empty


def test_the_keepalive_ends_on_the_second() -> None:
    pool = with_idle(S1, S2)
    assert pool.handle(Tick(), 10.9) == []
    assert pool.handle(Tick(), 11.0) == [StopSandbox(S1)]
    assert pool.handle(Tick(), 12.0) == [StopSandbox(S2)]
    assert pool.is_empty


def test_a_busy_sandbox_is_not_retired_by_the_keepalive() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    assert pool.handle(Tick(), 1e6) == []


def old_idle(reuse_until_s: float) -> Pool:
    pool = pool_after(Wanted(T1))
    pool.handle(Started(A, placed(S1, reuse_until_s)), 0.0)
    pool.handle(Released(S1, sandbox_is_good=True), 1.0)
    return pool


def test_a_sandbox_at_the_end_of_its_lease_is_not_taken() -> None:
    pool = old_idle(reuse_until_s=5.0)
    assert pool.take(5.0) is None
    assert pool.handle(Wanted(T2), 5.0) == [StopSandbox(S1), StartSandbox(B)]


def test_a_sandbox_before_the_end_of_its_lease_is_taken() -> None:
    assert old_idle(reuse_until_s=5.0).take(4.9) is not None


def test_an_idle_sandbox_goes_at_the_end_of_its_lease() -> None:
    assert old_idle(reuse_until_s=5.0).handle(Tick(), 5.0) == [StopSandbox(S1)]


def test_a_sandbox_busy_at_the_end_of_its_lease_goes_when_it_is_released() -> None:
    pool = old_idle(reuse_until_s=5.0)
    pool.take(4.0)
    assert pool.handle(Tick(), 6.0) == []
    assert pool.handle(Released(S1, sandbox_is_good=True), 7.0) == [StopSandbox(S1)]


def test_a_sandbox_lost_while_idle_is_gone() -> None:
    pool = with_idle(S1)
    assert pool.handle(Condemned(S1), 2.0) == [StopSandbox(S1)]
    assert pool.is_empty


def test_a_sandbox_condemned_while_busy_goes_when_it_is_released() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    assert pool.handle(Condemned(S1), 2.5) == []
    assert pool.handle(Released(S1, sandbox_is_good=True), 3.0) == [StopSandbox(S1)]


def test_only_an_idle_sandbox_can_be_evicted() -> None:
    pool = with_idle(S1, S2)
    pool.take(3.0)
    assert pool.handle(Evicted(S2), 3.0) == []
    assert pool.handle(Evicted(S1), 3.0) == [StopSandbox(S1)]
    assert pool.handle(Released(S2, sandbox_is_good=True), 4.0) == ()


def test_retiring_stops_the_idle_and_lets_the_busy_finish() -> None:
    pool = with_idle(S1, S2)
    pool.take(3.0)
    assert pool.handle(Retired(), 3.0) == [StopSandbox(S1)]
    assert pool.handle(Released(S2, sandbox_is_good=True), 4.0) == [StopSandbox(S2)]
    assert pool.is_empty


def test_who_waits_for_a_retired_configuration_is_served_before_its_sandbox_goes() -> None:
    pool = pool_after(Wanted(T1), Wanted(T2), Retired())
    assert seen(pool.handle(Started(A, placed(S1)), 1.0)) == [(T1, S1)]
    todo = pool.handle(Released(S1, sandbox_is_good=True), 2.0)
    assert seen(todo) == [(T2, S1), CancelStart(B)]
    assert pool.handle(Released(S1, sandbox_is_good=True), 3.0) == [StopSandbox(S1)]
    assert pool.handle(Started(B, placed(S2)), 4.0) == [StopSandbox(S2)]
    assert pool.is_empty


def test_a_sandbox_released_before_its_answer_was_seen_is_idle() -> None:
    pool = with_idle(S1)
    pool.take(2.0)
    assert pool.handle(Released(S1, sandbox_is_good=True), 3.0) == ()
    assert pool.take(3.0) is not None


def test_releasing_twice_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        with_idle(S1).handle(Released(S1, sandbox_is_good=True), 2.0)


def test_invokes_are_counted() -> None:
    pool = with_idle(S1)
    slot = pool.take(2.0)
    assert slot is not None
    assert slot.invokes == 2


def test_what_the_scaling_rate_does_not_allow_refuses_who_came_last() -> None:
    starts, rate = count(1), AnyRate(left=1)
    pool = Pool(KEEPALIVE_S, lambda: StartId(next(starts)), rate)
    assert list(pool.handle(Wanted(T1), 0.0)) == [StartSandbox(A)]
    (refuse,) = pool.handle(Wanted(T2), 0.0)
    assert isinstance(refuse, Refuse)
    assert refuse.ticket == T2
    assert isinstance(refuse.error, TooManyRequests)
    assert list(pool.waiting) == [T1]


def test_a_start_that_was_withdrawn_does_not_count_against_the_scaling_rate() -> None:
    starts, rate = count(1), AnyRate(left=1)
    pool = Pool(KEEPALIVE_S, lambda: StartId(next(starts)), rate)
    pool.handle(Wanted(T1), 0.0)
    assert list(pool.handle(Unwanted(T1), 0.0)) == [CancelStart(A)]
    pool.handle(StartWithdrawn(A), 0.0)
    assert list(pool.handle(Wanted(T2), 0.0)) == [StartSandbox(B)]
