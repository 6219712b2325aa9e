"""One pool: what is held, what is about to come back, and who waits for it."""

import pytest

from fakes.invokes import function_key
from hearth.counting.counter import FUNCTIONS_KEPT_MAX, Counter
from hearth.counting.pool import FINISHING_GRACE_S
from hearth.model.errors import TooManyRequests
from hearth.model.ids import (
    DEFAULT_ACCOUNT,
    DEFAULT_REGION,
    LATEST,
    AccountId,
    FunctionKey,
    FunctionName,
)

F = function_key("f")


def in_account(number: int) -> FunctionKey:
    return FunctionKey(AccountId(f"{number:012}"), DEFAULT_REGION, FunctionName("f"))


def test_the_account_limit_is_shared_by_all_functions_of_the_account() -> None:
    counter = Counter(2)
    counter.acquire(F, LATEST, 0.0)
    counter.acquire(function_key("g"), LATEST, 0.0)
    with pytest.raises(TooManyRequests) as caught:
        counter.acquire(function_key("h"), LATEST, 0.0)
    assert caught.value.status == 429
    assert caught.value.message == "Rate Exceeded."
    assert caught.value.fields == {"Reason": "ConcurrentInvocationLimitExceeded"}


def test_accounts_and_regions_do_not_share() -> None:
    counter = Counter(1)
    counter.acquire(in_account(1), LATEST, 0.0)
    counter.acquire(in_account(2), LATEST, 0.0)
    assert counter.in_use == 2


def test_a_released_lease_makes_room() -> None:
    counter = Counter(1)
    assert counter.acquire(F, LATEST, 0.0).release() is None
    assert counter.acquire(F, LATEST, 0.0).is_held


def test_a_finishing_lease_still_counts_but_may_be_waited_for() -> None:
    counter = Counter(1)
    first = counter.acquire(F, LATEST, 0.0)
    first.finish(1.0)
    second = counter.acquire(F, LATEST, 1.01)
    assert second.is_waiting
    assert first.release() is second
    assert second.is_held
    assert counter.in_use == 1


def test_no_more_wait_than_leases_are_finishing() -> None:
    counter = Counter(2)
    counter.acquire(F, LATEST, 0.0)
    counter.acquire(F, LATEST, 0.0).finish(1.0)
    assert counter.acquire(F, LATEST, 1.0).is_waiting
    with pytest.raises(TooManyRequests):
        counter.acquire(F, LATEST, 1.0)


def test_nobody_waits_for_a_lease_that_has_been_finishing_for_long() -> None:
    counter = Counter(1)
    counter.acquire(F, LATEST, 0.0).finish(1.0)
    with pytest.raises(TooManyRequests):
        counter.acquire(F, LATEST, 1.0 + FINISHING_GRACE_S)


def test_of_several_finishing_leases_only_the_young_ones_are_waited_for() -> None:
    counter = Counter(3)
    for finished_s in (1.0, 1.2, 1.4):
        counter.acquire(F, LATEST, 0.0).finish(finished_s)
    assert counter.acquire(F, LATEST, 1.6).is_waiting
    assert counter.acquire(F, LATEST, 1.6).is_waiting
    with pytest.raises(TooManyRequests):
        counter.acquire(F, LATEST, 1.6)


def test_whoever_gives_up_is_passed_over() -> None:
    counter = Counter(2)
    first, other = counter.acquire(F, LATEST, 0.0), counter.acquire(F, LATEST, 0.0)
    first.finish(1.0)
    other.finish(1.0)
    impatient, patient = counter.acquire(F, LATEST, 1.0), counter.acquire(F, LATEST, 1.0)
    assert isinstance(impatient.give_up(9.0), TooManyRequests)
    assert first.release() is patient


def test_a_lease_is_released_only_once() -> None:
    lease = Counter(1).acquire(F, LATEST, 0.0)
    lease.release()
    with pytest.raises(AssertionError):
        lease.release()


def test_usage_has_the_numbers_for_the_account_settings() -> None:
    counter = Counter(3)
    counter.acquire(F, LATEST, 0.0)
    counter.acquire(F, LATEST, 0.0).finish(0.5)
    usage = counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION)
    assert (usage.limit, usage.unreserved, usage.in_use, usage.finishing) == (3, 3, 2, 1)
    nobody = counter.usage(AccountId("1" * 12), DEFAULT_REGION)
    assert (nobody.limit, nobody.in_use, nobody.throttled) == (3, 0, 0)


def test_throttled_invokes_are_counted() -> None:
    counter = Counter(0)
    for _ in range(3):
        with pytest.raises(TooManyRequests):
            counter.acquire(F, LATEST, 0.0)
    assert counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION).throttled == 3


def test_accounts_that_come_and_go_leave_nothing_behind() -> None:
    counter = Counter(10)
    kept = counter.acquire(in_account(0), LATEST, 0.0)
    for number in range(1, 5 * FUNCTIONS_KEPT_MAX):
        counter.acquire(in_account(number), LATEST, 0.0).release()
    assert len(counter._functions) <= FUNCTIONS_KEPT_MAX
    assert len(counter._accounts) <= FUNCTIONS_KEPT_MAX
    kept.release()
    assert counter.in_use == 0
