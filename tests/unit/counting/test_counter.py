import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.invokes import function_key
from hearth.counting.counter import (
    FINISHING_GRACE_S,
    POOLS_KEPT_MAX,
    Counter,
    Lease,
    LeaseState,
)
from hearth.model.errors import TooManyRequests
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, AccountId, FunctionKey, FunctionName

F = function_key("f")


def in_account(number: int) -> FunctionKey:
    return FunctionKey(AccountId(f"{number:012}"), DEFAULT_REGION, FunctionName("f"))


def test_the_account_limit_is_shared_by_all_functions_of_the_account() -> None:
    counter = Counter(2)
    counter.acquire(F, 0.0)
    counter.acquire(function_key("g"), 0.0)
    with pytest.raises(TooManyRequests) as caught:
        counter.acquire(function_key("h"), 0.0)
    assert caught.value.status == 429
    assert caught.value.message == "Rate Exceeded."
    assert caught.value.fields == {"Reason": "ConcurrentInvocationLimitExceeded"}


def test_accounts_and_regions_do_not_share() -> None:
    counter = Counter(1)
    counter.acquire(in_account(1), 0.0)
    counter.acquire(in_account(2), 0.0)
    assert counter.in_use == 2


def test_a_released_lease_makes_room() -> None:
    counter = Counter(1)
    assert counter.acquire(F, 0.0).release() is None
    assert counter.acquire(F, 0.0).is_held


def test_a_finishing_lease_still_counts_but_may_be_waited_for() -> None:
    counter = Counter(1)
    first = counter.acquire(F, 0.0)
    first.finish(1.0)
    second = counter.acquire(F, 1.01)
    assert second.is_waiting
    assert first.release() is second
    assert second.is_held
    assert counter.in_use == 1


def test_no_more_wait_than_leases_are_finishing() -> None:
    counter = Counter(2)
    counter.acquire(F, 0.0)
    counter.acquire(F, 0.0).finish(1.0)
    assert counter.acquire(F, 1.0).is_waiting
    with pytest.raises(TooManyRequests):
        counter.acquire(F, 1.0)


def test_nobody_waits_for_a_lease_that_has_been_finishing_for_long() -> None:
    counter = Counter(1)
    counter.acquire(F, 0.0).finish(1.0)
    with pytest.raises(TooManyRequests):
        counter.acquire(F, 1.0 + FINISHING_GRACE_S)


def test_of_several_finishing_leases_only_the_young_ones_are_waited_for() -> None:
    counter = Counter(3)
    for finished_s in (1.0, 1.02, 1.04):
        counter.acquire(F, 0.0).finish(finished_s)
    assert counter.acquire(F, 1.06).is_waiting
    assert counter.acquire(F, 1.06).is_waiting
    with pytest.raises(TooManyRequests):
        counter.acquire(F, 1.06)


def test_whoever_gives_up_is_passed_over() -> None:
    counter = Counter(2)
    first, other = counter.acquire(F, 0.0), counter.acquire(F, 0.0)
    first.finish(1.0)
    other.finish(1.0)
    impatient, patient = counter.acquire(F, 1.0), counter.acquire(F, 1.0)
    assert isinstance(impatient.give_up(), TooManyRequests)
    assert first.release() is patient


def test_a_lease_is_released_only_once() -> None:
    lease = Counter(1).acquire(F, 0.0)
    lease.release()
    with pytest.raises(AssertionError):
        lease.release()


def test_usage_has_the_numbers_for_the_account_settings() -> None:
    counter = Counter(3)
    counter.acquire(F, 0.0)
    counter.acquire(F, 0.0).finish(0.5)
    usage = counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION)
    assert (usage.limit, usage.unreserved, usage.in_use, usage.finishing) == (3, 3, 2, 1)
    nobody = counter.usage(AccountId("1" * 12), DEFAULT_REGION)
    assert (nobody.limit, nobody.in_use, nobody.throttled) == (3, 0, 0)


def test_throttled_invokes_are_counted() -> None:
    counter = Counter(0)
    for _ in range(3):
        with pytest.raises(TooManyRequests):
            counter.acquire(F, 0.0)
    assert counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION).throttled == 3


def test_accounts_that_come_and_go_leave_nothing_behind() -> None:
    counter = Counter(10)
    kept = counter.acquire(in_account(0), 0.0)
    for number in range(1, 5 * POOLS_KEPT_MAX):
        counter.acquire(in_account(number), 0.0).release()
    assert len(counter._pools) <= POOLS_KEPT_MAX
    kept.release()
    assert counter.in_use == 0


class CounterMachine(RuleBasedStateMachine):
    """The model: four lists of leases, and the time at which each began to finish."""

    LIMIT = 3

    def __init__(self) -> None:
        super().__init__()
        self.counter = Counter(self.LIMIT)
        self.now_s = 0.0
        self.held: list[Lease] = []
        self.finishing: list[tuple[Lease, float]] = []
        self.waiting: list[Lease] = []

    @rule()
    def acquire(self) -> None:
        young = [since for _, since in self.finishing if since + FINISHING_GRACE_S > self.now_s]
        full = len(self.held) + len(self.finishing) >= self.LIMIT
        try:
            lease = self.counter.acquire(F, self.now_s)
        except TooManyRequests:
            assert full
            assert len(young) <= len(self.waiting)
            return
        if full:
            assert lease.is_waiting
            assert len(young) > len(self.waiting)
            self.waiting.append(lease)
        else:
            assert lease.is_held
            self.held.append(lease)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        lease = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        lease.finish(self.now_s)
        self.finishing.append((lease, self.now_s))

    @precondition(lambda self: self.held or self.finishing)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.held) + len(self.finishing) - 1))
        if number < len(self.held):
            lease = self.held.pop(number)
        else:
            lease, _ = self.finishing.pop(number - len(self.held))
        heir = lease.release()
        if self.waiting:
            assert heir is self.waiting.pop(0)
            self.held.append(heir)
        else:
            assert heir is None

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        lease = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        lease.give_up()
        assert lease.state is LeaseState.RELEASED

    @rule(seconds=st.sampled_from([0.0, 0.01, FINISHING_GRACE_S]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def the_limit_holds_and_nothing_leaks(self) -> None:
        in_use = len(self.held) + len(self.finishing)
        assert self.counter.in_use == in_use <= self.LIMIT
        usage = self.counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION)
        assert (usage.finishing, usage.waiting) == (len(self.finishing), len(self.waiting))


TestCounter = CounterMachine.TestCase
