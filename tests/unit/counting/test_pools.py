"""Several pools: reserved, provisioned, unreserved; and what a change of settings does."""

import pytest

from fakes.invokes import function_key
from hearth.counting.account import STARTS_BURST
from hearth.counting.counter import Counter, Usage
from hearth.counting.pool import Lease
from hearth.model.errors import TooManyRequests
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, LATEST, FunctionKey

F, G = function_key("f"), function_key("g")
V1, V2 = "1", "2"


def take(
    counter: Counter,
    function: FunctionKey,
    number: int = 1,
    version: str = LATEST,
    now_s: float = 0.0,
) -> list[Lease]:
    return [counter.acquire(function, version, now_s) for _ in range(number)]


def refusal(counter: Counter, function: FunctionKey, now_s: float = 0.0) -> str:
    with pytest.raises(TooManyRequests) as caught:
        counter.acquire(function, LATEST, now_s)
    return caught.value.reason


def usage(counter: Counter) -> Usage:
    return counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION)


def test_a_reservation_is_a_ceiling_with_its_own_reason() -> None:
    counter = Counter(10)
    counter.reserve(F, 2)
    take(counter, F, 2)
    assert refusal(counter, F) == "ReservedFunctionConcurrentInvocationLimitExceeded"
    take(counter, G, 8)


def test_a_reservation_is_a_guarantee() -> None:
    counter = Counter(10)
    counter.reserve(F, 3)
    take(counter, G, 7)
    assert refusal(counter, G) == "ConcurrentInvocationLimitExceeded"
    take(counter, F, 3)


def test_a_reservation_of_zero_blocks() -> None:
    counter = Counter(10)
    counter.reserve(F, 0)
    assert refusal(counter, F) == "ReservedFunctionConcurrentInvocationLimitExceeded"
    counter.reserve(F, None)
    take(counter, F)


def test_lowering_a_reservation_takes_nothing_back() -> None:
    counter = Counter(10)
    counter.reserve(F, 4)
    running = take(counter, F, 4)
    counter.reserve(F, 1)
    refusal(counter, F)
    for lease in running[:3]:
        assert lease.release() is None
        refusal(counter, F)
    running[3].release()
    take(counter, F)


def test_what_runs_moves_into_a_new_reservation_and_makes_room_for_others() -> None:
    counter = Counter(10)
    running = take(counter, F, 6)
    counter.reserve(F, 6)
    assert refusal(counter, F) == "ReservedFunctionConcurrentInvocationLimitExceeded"
    take(counter, G, 4)
    refusal(counter, G)
    running.pop().release()
    take(counter, F)
    counter.reserve(F, None)
    assert refusal(counter, G) == "ConcurrentInvocationLimitExceeded"
    assert usage(counter).in_use == 10


def test_the_account_is_never_above_its_limit_while_a_change_settles() -> None:
    counter = Counter(10)
    running = take(counter, F, 10)
    counter.reserve(F, 5)  # 10 run in a pool of 5; the others may now use 5
    assert refusal(counter, G) == "ConcurrentInvocationLimitExceeded"
    running.pop().release()
    take(counter, G)
    assert refusal(counter, G) == "ConcurrentInvocationLimitExceeded"
    for lease in running[:4]:
        lease.release()
    take(counter, G, 4)
    assert usage(counter).in_use == 10
    assert refusal(counter, F) == "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_a_finishing_lease_is_waited_for_in_the_pool_that_it_moved_to() -> None:
    counter = Counter(10)
    (first,) = take(counter, F)
    first.finish(0.0)
    counter.reserve(F, 1)
    (second,) = take(counter, F, now_s=0.01)
    assert second.is_waiting
    assert first.release() is second
    assert usage(counter).in_use == 1


def test_who_waits_moves_with_its_function() -> None:
    counter = Counter(1)
    (first,) = take(counter, F)
    first.finish(0.0)
    (second,) = take(counter, F, now_s=0.01)
    counter.reserve(F, 1)
    assert usage(counter).waiting == 1
    assert first.release() is second
    second.release()
    assert usage(counter).in_use == 0


def test_provisioned_comes_first_and_spills_over_to_what_is_unreserved() -> None:
    counter = Counter(10)
    counter.provision(F, V1, requested=2, available=2)
    provisioned = take(counter, F, 2, V1)
    assert all(lease.is_provisioned for lease in provisioned)
    spilled = take(counter, F, 8, V1)
    assert not any(lease.is_provisioned for lease in spilled)
    assert refusal(counter, F) == "ConcurrentInvocationLimitExceeded"
    provisioned[0].release()
    assert take(counter, F, 1, V1)[0].is_provisioned


def test_provisioned_is_of_one_version_only() -> None:
    counter = Counter(10)
    counter.provision(F, V1, requested=2, available=2)
    assert not take(counter, F, 1, V2)[0].is_provisioned
    take(counter, F, 7)
    refusal(counter, F)
    take(counter, F, 2, V1)


def test_nothing_is_taken_from_others_before_all_of_it_is_available() -> None:
    counter = Counter(10)
    counter.provision(F, V1, requested=6, available=0)
    assert usage(counter).unreserved == 4
    assert not take(counter, F, 1, V1)[0].is_provisioned
    take(counter, G, 9)


def test_provisioned_is_part_of_the_reservation() -> None:
    counter = Counter(10)
    counter.reserve(F, 3)
    counter.provision(F, V1, requested=2, available=2)
    assert usage(counter).unreserved == 7
    take(counter, F)
    assert refusal(counter, F) == "ReservedFunctionConcurrentInvocationLimitExceeded"
    take(counter, F, 2, V1)
    take(counter, G, 7)
    assert usage(counter).in_use == 10


def test_a_function_that_is_provisioned_whole_leaves_nothing_to_latest() -> None:
    counter = Counter(10)
    counter.reserve(F, 2)
    counter.provision(F, V1, requested=2, available=2)
    assert refusal(counter, F) == "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_a_lost_environment_is_made_up_for_on_demand() -> None:
    counter = Counter(10)
    counter.reserve(F, 2)
    counter.provision(F, V1, requested=2, available=2)
    counter.provision(F, V1, requested=2, available=1)
    leases = take(counter, F, 2, V1)
    assert [lease.is_provisioned for lease in leases] == [True, False]
    refusal(counter, F)


def test_what_is_available_again_waits_for_what_took_its_place() -> None:
    counter = Counter(10)
    counter.reserve(G, 5)
    counter.provision(F, V1, requested=2, available=1)
    provisioned, *spilled = take(counter, F, 5, V1)
    assert provisioned.is_provisioned
    counter.provision(F, V1, requested=2, available=2)
    with pytest.raises(TooManyRequests):  # else it would take from what is reserved for g
        counter.acquire(F, V1, 0.0)
    spilled[0].release()
    assert take(counter, F, 1, V1)[0].is_provisioned
    take(counter, G, 5)


def test_a_sequential_client_waits_for_its_provisioned_environment() -> None:
    counter = Counter(10)
    counter.provision(F, V1, requested=1, available=1)
    (first,) = take(counter, F, 1, V1)
    first.finish(0.0)
    (second,) = take(counter, F, 1, V1, now_s=0.001)
    assert second.is_waiting
    assert first.release() is second
    assert second.is_provisioned


def test_who_waited_for_a_provisioned_environment_in_vain_spills_over() -> None:
    counter = Counter(10)
    counter.provision(F, V1, requested=1, available=1)
    (first,) = take(counter, F, 1, V1)
    first.finish(0.0)
    (second,) = take(counter, F, 1, V1, now_s=0.001)
    assert second.give_up(0.05) is None
    assert second.is_held
    assert not second.is_provisioned
    first.release()
    second.release()
    assert usage(counter).in_use == 0


def test_who_can_neither_wait_nor_spill_over_is_told_why() -> None:
    counter = Counter(1)
    counter.provision(F, V1, requested=1, available=1)
    (first,) = take(counter, F, 1, V1)
    first.finish(0.0)
    (second,) = take(counter, F, 1, V1, now_s=0.001)
    error = second.give_up(0.05)
    assert error is not None
    assert error.reason == "ConcurrentInvocationLimitExceeded"


def test_provisioned_that_is_taken_away_runs_to_its_end() -> None:
    counter = Counter(10)
    counter.provision(F, V1, requested=3, available=3)
    running = take(counter, F, 3, V1)
    counter.provision(F, V1, requested=0, available=0)
    take(counter, G, 7)
    assert refusal(counter, G) == "ConcurrentInvocationLimitExceeded"
    for lease in running:
        assert lease.release() is None
    assert not take(counter, F, 1, V1)[0].is_provisioned
    take(counter, G, 2)
    assert usage(counter).in_use == 10


def test_ten_requests_a_second_for_each_unit_of_an_account() -> None:
    counter = Counter(3)
    for _ in range(30):
        counter.acquire(F, LATEST, 5.0).release()
    with pytest.raises(TooManyRequests) as caught:
        counter.acquire(G, LATEST, 5.0)
    assert caught.value.reason == "FunctionInvocationRateLimitExceeded"
    assert caught.value.headers == {"Retry-After": "1"}
    for _ in range(3):
        counter.acquire(F, LATEST, 5.1).release()
    refusal(counter, F, 5.1)


def test_ten_requests_a_second_for_each_unit_of_a_reservation() -> None:
    counter = Counter(10)
    counter.reserve(F, 1)
    for _ in range(10):
        counter.acquire(F, LATEST, 0.0).release()
    assert refusal(counter, F) == "ReservedFunctionInvocationRateLimitExceeded"
    counter.acquire(G, LATEST, 0.0)


def test_an_invoke_too_many_a_second_for_provisioned_spills_over() -> None:
    counter = Counter(10)
    counter.provision(F, V1, requested=1, available=1)
    provisioned = 0
    for _ in range(15):
        (lease,) = take(counter, F, 1, V1)
        provisioned += lease.is_provisioned
        lease.release()
    assert provisioned == 10


def test_a_refusal_for_concurrency_has_no_retry_after() -> None:
    with pytest.raises(TooManyRequests) as caught:
        Counter(0).acquire(F, LATEST, 0.0)
    assert caught.value.headers == {}


def test_a_thousand_environments_of_a_function_may_start_in_ten_seconds() -> None:
    counter = Counter(10_000)
    assert all(counter.allow_start(F, 0.0) is None for _ in range(STARTS_BURST))
    error = counter.allow_start(F, 0.0)
    assert error is not None
    assert error.reason == "FunctionInvocationRateLimitExceeded"
    assert counter.allow_start(G, 0.0) is None
    assert sum(counter.allow_start(F, 1.0) is None for _ in range(200)) == 100
    counter.refund_start(F)
    assert counter.allow_start(F, 1.0) is None
    counter.reserve(F, 5_000)
    error = counter.allow_start(F, 1.0)
    assert error is not None
    assert error.reason == "ReservedFunctionInvocationRateLimitExceeded"


def test_settings_of_a_function_that_never_ran_are_not_forgotten() -> None:
    counter = Counter(10_000)
    counter.reserve(F, 0)
    for number in range(3_000):
        counter.acquire(function_key(f"other-{number}"), LATEST, float(number)).release()
    refusal(counter, F, 4_000.0)


def test_taking_settings_away_that_were_never_there_remembers_nothing() -> None:
    counter = Counter(10)
    counter.reserve(F, None)
    counter.provision(F, V1, requested=0, available=0)
    assert counter._functions == {}
