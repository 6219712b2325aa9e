from hearth.control.allocation import FAILURES_MAX, INIT_FAILURE, Allocation, Status


def wanting(requested: int) -> Allocation:
    allocation = Allocation()
    allocation.want(requested)
    return allocation


def numbers(allocation: Allocation) -> tuple[Status, int, int, int]:
    """Status, target, allocated, available."""
    return allocation.status, allocation.target, allocation.allocated, allocation.available


def test_nothing_is_available_before_all_are_initialised() -> None:
    allocation = wanting(3)
    assert numbers(allocation) == (Status.IN_PROGRESS, 3, 0, 0)
    allocation.kept(2, 0)
    assert numbers(allocation) == (Status.IN_PROGRESS, 3, 2, 0)
    allocation.kept(3, 0)
    assert numbers(allocation) == (Status.READY, 3, 3, 3)


def test_what_is_lost_is_not_available_but_the_rest_is() -> None:
    allocation = wanting(3)
    allocation.kept(3, 0)
    allocation.kept(2, 0)
    assert numbers(allocation) == (Status.READY, 3, 2, 2)
    allocation.kept(2, 100)
    assert allocation.status is Status.READY, "what is lost is replaced, however often that fails"


def test_it_fails_when_init_fails_again_and_again() -> None:
    allocation = wanting(2)
    allocation.kept(1, FAILURES_MAX - 1)
    assert allocation.status is Status.IN_PROGRESS
    allocation.kept(1, FAILURES_MAX)
    assert numbers(allocation) == (Status.FAILED, 0, 0, 0)
    assert allocation.reason == INIT_FAILURE


def test_what_failed_may_be_wanted_again() -> None:
    allocation = wanting(1)
    allocation.kept(0, FAILURES_MAX)
    allocation.want(1)
    assert numbers(allocation) == (Status.IN_PROGRESS, 1, 0, 0)
    assert allocation.reason is None
    allocation.kept(1, 0)
    assert numbers(allocation) == (Status.READY, 1, 1, 1)


def test_while_it_grows_what_was_available_stays_so() -> None:
    allocation = wanting(2)
    allocation.kept(2, 0)
    allocation.want(5)
    assert numbers(allocation) == (Status.IN_PROGRESS, 5, 2, 2)
    allocation.kept(4, 0)
    assert allocation.available == 2
    allocation.kept(4, FAILURES_MAX)
    assert numbers(allocation) == (Status.FAILED, 2, 2, 2)


def test_when_it_shrinks_or_stays_it_is_ready_at_once() -> None:
    allocation = wanting(3)
    allocation.kept(3, 0)
    allocation.want(3)
    assert numbers(allocation) == (Status.READY, 3, 3, 3)
    allocation.want(1)
    assert numbers(allocation) == (Status.READY, 1, 1, 1)
