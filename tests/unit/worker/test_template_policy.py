"""Which templates stay, and how many of their forks wait?"""

from hypothesis import given
from hypothesis import strategies as st

from hearth.worker import template_policy
from hearth.worker.stem_policy import Demand
from hearth.worker.template_policy import Kept, forks_wanted, to_end


def kept(used_s: float, memory_mb: int = 10) -> Kept:
    return Kept(used_s=used_s, memory_mb=memory_mb)


def test_one_that_nobody_wanted_for_long_goes() -> None:
    now_s = 10 * template_policy.IDLE_S_MAX
    old = now_s - template_policy.IDLE_S_MAX
    assert to_end({"old": kept(old), "new": kept(old + 1)}, now_s) == ["old"]


def test_where_there_are_too_many_those_wanted_longest_ago_go() -> None:
    many = {number: kept(float(number)) for number in range(template_policy.TEMPLATES_MAX + 3)}
    assert sorted(to_end(many, 100.0)) == [0, 1, 2]


def test_memory_is_given_to_those_wanted_last() -> None:
    half = template_policy.MEMORY_MB_MAX // 2
    three = {"first": kept(1.0, half), "second": kept(2.0, half), "third": kept(3.0, half)}
    assert to_end(three, 4.0) == ["first"]
    assert sorted(to_end({"small": kept(1.0, 1), **three}, 4.0)) == ["first", "small"]


def test_the_one_wanted_last_stays_however_large_it_is() -> None:
    huge = {"huge": kept(2.0, 4 * template_policy.MEMORY_MB_MAX), "small": kept(1.0, 1)}
    assert to_end(huge, 3.0) == ["small"]


@given(
    st.dictionaries(st.integers(), st.tuples(st.floats(0, 5000), st.integers(1, 2000)), max_size=40)
)
def test_what_is_kept_is_within_its_bounds(seen: dict[int, tuple[float, int]]) -> None:
    templates = {version: kept(used_s, mb) for version, (used_s, mb) in seen.items()}
    ended = to_end(templates, 5000.0)
    left = [templates[version] for version in templates if version not in ended]
    assert len(set(ended)) == len(ended)
    assert len(left) <= template_policy.TEMPLATES_MAX
    assert len(left) <= 1 or sum(t.memory_mb for t in left) <= template_policy.MEMORY_MB_MAX


def test_one_fork_waits_at_least_and_more_where_bursts_come() -> None:
    demand = Demand()
    assert forks_wanted(demand, 0.05, 100.0) == template_policy.FORKS_FLOOR
    for _ in range(3):
        demand.note(100.0)
    assert forks_wanted(demand, 0.05, 100.0) == 5
    for _ in range(100):
        demand.note(101.0)
    assert forks_wanted(demand, 0.05, 101.0) == template_policy.FORKS_MAX
