import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.counting.pace import Pace


def allowed(pace: Pace, now_s: float, tries: int) -> int:
    return sum(pace.allow(now_s) for _ in range(tries))


@pytest.mark.parametrize("now_s", [0.0, 0.1, 12_345.678, 4e7])
@pytest.mark.parametrize(("per_s", "burst"), [(10, 10), (100, 1_000), (30, 30), (10_000, 10_000)])
def test_the_burst_is_exact_whatever_the_time(per_s: int, burst: int, now_s: float) -> None:
    assert allowed(Pace(per_s, burst), now_s, 2 * burst) == burst


def test_what_was_used_is_refilled_continuously() -> None:
    pace = Pace(100, 1_000)
    assert allowed(pace, 5.0, 1_000) == 1_000
    assert allowed(pace, 5.009, 10) == 0
    assert allowed(pace, 5.01, 10) == 1
    assert allowed(pace, 6.01, 200) == 100


def test_what_is_not_used_does_not_accrue_beyond_the_burst() -> None:
    pace = Pace(100, 1_000)
    assert allowed(pace, 0.0, 1) == 1
    assert allowed(pace, 3_600.0, 5_000) == 1_000


def test_a_refusal_costs_nothing() -> None:
    pace = Pace(1, 1)
    assert allowed(pace, 0.0, 100) == 1
    assert allowed(pace, 1.0, 1) == 1


def test_what_did_not_happen_is_given_back() -> None:
    pace = Pace(1, 2)
    assert allowed(pace, 0.0, 3) == 2
    pace.refund()
    assert allowed(pace, 0.0, 3) == 1


def test_a_pace_of_nothing_allows_nothing_and_never_will() -> None:
    pace = Pace(0, 0)
    assert not pace.allow(1.0)
    assert pace.wait_s(1.0) == float("inf")


def test_who_is_refused_can_be_told_how_long() -> None:
    pace = Pace(10, 10)
    assert pace.wait_s(0.0) == 0.0
    allowed(pace, 0.0, 10)
    assert pace.wait_s(0.0) == pytest.approx(0.1)
    assert pace.wait_s(0.04) == pytest.approx(0.06, abs=1e-6)
    assert pace.allow(0.1)


@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 40)), max_size=40),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_it_is_a_bucket_of_tokens(steps: list[tuple[float, int]], per_s: int, burst: int) -> None:
    """The naive model: tokens, refilled as time passes."""
    pace, tokens, now_s = Pace(per_s, burst), float(burst), 0.0
    for pause_s, tries in steps:
        now_s += pause_s
        tokens = min(tokens + pause_s * per_s, burst)
        got = allowed(pace, now_s, tries)
        assert min(tries, tokens - 1.0 - 1e-4) <= got <= tokens + 1e-4
        tokens -= got
