"""Does every sandbox get a uid of its own?"""

import pytest

from hearth.worker.sandboxes.contract import SandboxFailed
from hearth.worker.sandboxes.uids import Uids


def test_all_uids_are_handed_out_once_wherever_the_first_one_is() -> None:
    for instance in ("a", "b", "another"):
        uids = Uids(200_000, 7, instance)
        assert sorted(uids.take() for _ in range(7)) == list(range(200_000, 200_007))
        with pytest.raises(SandboxFailed):
            uids.take()


def test_a_uid_that_was_given_back_is_used_again() -> None:
    uids = Uids(10, 2, "x")
    first, second = uids.take(), uids.take()
    uids.give(first)
    assert uids.take() == first
    uids.give(second)
    assert uids.take() == second


def test_two_instances_start_at_different_places() -> None:
    assert Uids(0, 50_000, "one").take() != Uids(0, 50_000, "two").take()
