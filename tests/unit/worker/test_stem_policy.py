"""How many stems are wanted, how is memory shared, when is making held back?"""

from hypothesis import given
from hypothesis import strategies as st

from hearth.worker import stem_policy
from hearth.worker.stem_policy import Demand, StemBounds, must_wait, share, stems_wanted

MAKE_S = 0.05


def demand(*times_s: float) -> Demand:
    noted = Demand()
    for at_s in times_s:
        noted.note(at_s)
    return noted


def test_a_kind_that_was_wanted_once_keeps_the_floor() -> None:
    assert stems_wanted(demand(100.0), MAKE_S, 3, 100.0) == 3
    assert stems_wanted(demand(100.0), MAKE_S, 0, 100.0) == 2, "it may come again, and a half more"


def test_a_kind_that_nobody_wants_any_more_has_none() -> None:
    assert stems_wanted(demand(100.0), MAKE_S, 3, 100.0 + stem_policy.IDLE_S) == 0
    assert stems_wanted(Demand(), MAKE_S, 3, 100.0) == 0


def test_a_burst_is_expected_to_come_again_and_to_be_larger() -> None:
    burst = demand(*(100.0 + n / 100 for n in range(20)))
    assert stems_wanted(burst, MAKE_S, 2, 101.0) == 31
    for later_s in (stem_policy.HISTORY_S / 2, stem_policy.HISTORY_S + 5):
        burst.note(100.0 + later_s)
        forgotten = later_s > stem_policy.HISTORY_S
        assert stems_wanted(burst, MAKE_S, 2, 101.0 + later_s) == (2 if forgotten else 31)


def test_a_burst_that_goes_over_a_second_counts_as_one() -> None:
    assert demand(99.7, 99.9, 100.1, 101.3).burst(102.0) == 4
    assert demand(99.7, 99.9, 102.1, 102.3).burst(103.0) == 2


def test_what_is_taken_while_one_is_made_is_added() -> None:
    steady = demand(*(float(second) for second in range(100, 160)))
    assert steady.rate(159.5) == 1.0
    slow_s = 10.0
    expected = 3 * stem_policy.HEADROOM + 1.0 * slow_s
    assert stems_wanted(steady, slow_s, 2, 159.5) == int(expected) + 1


def test_only_the_last_minutes_are_kept() -> None:
    long = demand(*(float(second) for second in range(5_000)))
    assert len(long.seconds) <= stem_policy.RATE_S + 2
    assert len(long.peaks) == 1


@given(st.lists(st.integers(0, 400), max_size=80))
def test_bursts_are_those_of_a_plain_count(tenths: list[int]) -> None:
    times = sorted(100 + tenth / 10 for tenth in tenths)
    now_s = 141.0
    seconds = [int(at_s) for at_s in times]
    plain = max(
        (sum(last - stem_policy.BURST_S < s <= last for s in seconds) for last in seconds),
        default=0,
    )
    assert demand(*times).burst(now_s) == plain


@given(
    st.dictionaries(st.text(max_size=3), st.integers(0, 60), max_size=8),
    st.integers(0, 120),
)
def test_shares_never_pass_the_cap_and_leave_nothing_that_is_wanted(
    wanted: dict[str, int], stems_max: int
) -> None:
    shares = share(wanted, stems_max)
    assert shares.keys() == wanted.keys()
    assert all(0 <= shares[kind] <= wanted[kind] for kind in wanted)
    assert sum(shares.values()) == min(stems_max, sum(wanted.values()))
    # Fair: who gets less than he wants gets no less than anybody else, but for the last turn.
    for kind in wanted:
        if shares[kind] < wanted[kind]:
            assert shares[kind] >= max(shares.values()) - 1


def test_what_costs_more_is_counted_for_more() -> None:
    costs = {"small": 1, "large": 8}
    assert share({"large": 3, "small": 4}, 12, costs.__getitem__) == {"large": 1, "small": 4}
    assert share({"large": 3, "small": 40}, 20, costs.__getitem__) == {"large": 2, "small": 4}
    assert share({"large": 3}, 7, costs.__getitem__) == {"large": 0}


def test_memory_is_what_bounds_them() -> None:
    assert StemBounds(memory_mb=256).stems_max == 256 // stem_policy.STEM_MB
    assert StemBounds(memory_mb=0).stems_max == 0


def test_nothing_is_made_while_functions_start_or_the_machine_is_crowded() -> None:
    assert must_wait(quiet_s=0.001, runnable=lambda: 0.5, waited_s=0.0)
    assert must_wait(quiet_s=60.0, runnable=lambda: 2.5, waited_s=0.0)
    assert not must_wait(quiet_s=60.0, runnable=lambda: 1.0, waited_s=0.0)


def test_a_machine_that_stays_busy_is_looked_at_less_and_less_often() -> None:
    waited_s, looks = 0.0, 0
    while must_wait(quiet_s=60.0, runnable=lambda: 9.0, waited_s=waited_s):
        waited_s += stem_policy.pause_s(waited_s)
        looks += 1
    assert looks < stem_policy.PAUSED_S_MAX / stem_policy.PAUSE_S / 2
    assert waited_s < stem_policy.PAUSED_S_MAX + 2 * stem_policy.PAUSE_S


def test_even_a_busy_machine_gets_one_now_and_then() -> None:
    assert not must_wait(quiet_s=0.0, runnable=lambda: 9.0, waited_s=stem_policy.PAUSED_S_MAX)
