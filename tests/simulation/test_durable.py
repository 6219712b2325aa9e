"""Durable executions in virtual time, against what their programs come to where nothing fails.

Whatever crashes, whatever answer is lost: the result is the same, no step that was acknowledged
runs again, and no execution is ever run by two invocations at a time.
"""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.durable import DurableWorld, naive
from fakes.virtual_time import run_in_virtual_time

instructions = st.one_of(
    st.just(("step",)),
    st.tuples(st.just("retry"), st.integers(1, 3)),
    st.tuples(st.just("wait"), st.integers(1, 5_000)),
    st.tuples(st.just("callback"), st.sampled_from([0.0, 0.3, 1.0, 100.0])),
    st.tuples(st.just("both"), st.integers(1, 5), st.sampled_from([0.0, 0.5, 2.0, 9.0])),
    st.just(("chain",)),
)
programs = st.lists(instructions, min_size=1, max_size=6)


def check(program: list[tuple[Any, ...]], seed: int, faults: int) -> DurableWorld:
    async def story() -> DurableWorld:
        world = DurableWorld(program, seed, faults)
        answer = await world.result()
        assert answer.function_error is None, answer.payload
        assert json.loads(answer.payload) == naive(program)
        async with world.living() as life:  # the next process knows it too
            again = await life.invoke("order", b"{}")
            assert again.payload == answer.payload
        return world

    world = run_in_virtual_time(story())
    assert world.repeated == []
    assert world.most_running == 1
    return world


@given(programs)
@settings(max_examples=40, deadline=None)
def test_a_program_comes_to_what_it_would_without_sleeping(program: list[tuple[Any, ...]]) -> None:
    world = check(program, seed=0, faults=0)
    assert set(world.effects.values()) <= {1}


@given(programs, st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_faults_change_nothing_of_it(
    program: list[tuple[Any, ...]], seed: int, faults: int
) -> None:
    check(program, seed, faults)
