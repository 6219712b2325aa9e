from hypothesis import given
from hypothesis import strategies as st

from hearth.model.limits import TIMEOUT_S_MAX
from hearth.placement.leases import (
    LONGEST_INVOKE_S,
    REUSE_S_MIN,
    grant,
    is_placing,
    reuse_until_s,
)

DRAWS = st.floats(0.0, 1.0, exclude_max=True)
HOUR_S = 3600.0


def test_the_longest_invoke_is_the_longest_timeout() -> None:
    assert LONGEST_INVOKE_S >= TIMEOUT_S_MAX


@given(draw=DRAWS, now_s=st.floats(0.0, 1e7))
def test_a_lease_lasts_six_to_eight_hours(draw: float, now_s: float) -> None:
    lease = grant(now_s, draw)
    lasts_s = lease.ends_s - now_s  # rounded, where now_s is large
    assert 6 * HOUR_S - 1e-6 <= lasts_s <= 8 * HOUR_S + 1e-6
    assert is_placing(lease, now_s)


@given(lease_draw=DRAWS, draw=DRAWS)
def test_every_sandbox_can_live_a_while_and_its_last_invoke_can_end_in_time(
    lease_draw: float, draw: float
) -> None:
    lease = grant(0.0, lease_draw)
    last_placed_s = lease.placing_until_s
    assert not is_placing(lease, last_placed_s)
    until_s = reuse_until_s(lease, draw)
    assert until_s - last_placed_s >= REUSE_S_MIN - 1e-6
    assert until_s + LONGEST_INVOKE_S <= lease.ends_s + 1e-6


def test_the_sandboxes_of_a_lease_do_not_all_end_at_once() -> None:
    lease = grant(0.0, 0.5)
    assert reuse_until_s(lease, 0.0) - reuse_until_s(lease, 0.999) > 1700


def test_a_worker_that_must_be_empty_earlier_has_a_shorter_lease() -> None:
    assert grant(0.0, 0.5, ends_s_max=3 * HOUR_S).ends_s == 3 * HOUR_S
    assert grant(0.0, 0.5, ends_s_max=30 * HOUR_S).ends_s == 7 * HOUR_S
    assert not is_placing(grant(0.0, 0.5, ends_s_max=HOUR_S), 0.0)
