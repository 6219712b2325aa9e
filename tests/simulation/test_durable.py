"""Durable executions in virtual time, against what their programs come to where nothing fails.

Whatever crashes, whatever answer is lost: the result is the same, no step that was acknowledged
runs again, and no execution is ever run by two invocations at a time.
"""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.durable import DurableWorld, naive
from fakes.virtual_time import run_in_virtual_time
from hearth.durable import rules
from hearth.durable.execution import Execution
from hearth.durable.facts import Kind
from hearth.durable.shelf import Shelf
from hearth.durable.store import BUCKET
from hearth.engine.contract import CaughtUp, Entry
from hearth.engine.memory import Outage
from hearth.model.durable import ExecutionStatus
from hearth.model.errors import (
    DurableExecutionAlreadyStarted,
    ResourceConflict,
    ResourceNotFound,
)

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
            check_facts(await life.state(await life.attach()))
        return world

    world = run_in_virtual_time(story())
    assert world.repeated == []
    assert world.most_running == 1
    return world


def check_facts(execution: Execution) -> None:
    """Nothing was written down twice, whatever was repeated."""
    ends = Counter(f.operation for f in execution.facts if f.kind in ENDS and not f.due_ms)
    assert set(ends.values()) <= {1}
    starts = Counter(f.operation for f in execution.facts if f.kind in STARTS)
    assert set(starts.values()) <= {1}
    assert set(ends) <= set(execution.operations)


STARTS = {Kind.WAIT_STARTED, Kind.CALLBACK_STARTED, Kind.CHAIN_STARTED}
ENDS = {
    *(Kind.STEP_SUCCEEDED, Kind.STEP_FAILED, Kind.WAIT_SUCCEEDED),
    *(Kind.CALLBACK_SUCCEEDED, Kind.CHAIN_SUCCEEDED),
}


@given(programs)
@settings(max_examples=25, deadline=None)
def test_a_program_comes_to_what_it_would_without_sleeping(program: list[tuple[Any, ...]]) -> None:
    world = check(program, seed=0, faults=0)
    assert set(world.effects.values()) <= {1}


@given(programs, st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_faults_change_nothing_of_it(
    program: list[tuple[Any, ...]], seed: int, faults: int
) -> None:
    check(program, seed, faults)


# --- what is kept, and for how long


async def stored(world: DurableWorld) -> tuple[int, int]:
    """Records, and messages of facts."""
    bucket = await world.engine.bucket(BUCKET)
    records = 0
    async with bucket.watch() as changes:
        async for change in changes:
            if isinstance(change, CaughtUp):
                break
            records += isinstance(change, Entry)
    queues = [await world.engine.queue(f"{BUCKET}_{n}") for n in range(4)]
    return records, sum([(await queue.size()).messages for queue in queues])


def test_an_execution_is_forgotten_after_its_retention() -> None:
    async def story() -> None:
        world = DurableWorld([("step",)])
        async with world.living() as life:
            await life.invoke("order", b"{}")
            await asyncio.sleep(86_400 - 120)
            with pytest.raises(DurableExecutionAlreadyStarted):
                await life.attach("order", b'{"other": 1}')
            await asyncio.sleep(240)
            assert await stored(world) == (0, 0)
            await life.invoke("order", b'{"other": 1}')  # the name is free again

    run_in_virtual_time(story())


def test_deleting_goes_on_after_a_crash_and_needs_an_end() -> None:
    async def story() -> None:
        world = DurableWorld([("callback", 1e9)])
        async with world.living() as life:
            case = await life.attach()
            await asyncio.sleep(1)
            with pytest.raises(ResourceConflict):
                await life.upkeep.delete(case)
            await life.executions.change(case, lambda e: rules.stop(e, None, 5), lambda _e: None)
            await life.upkeep.delete(case)
            assert case.record.status is ExecutionStatus.DELETING
        # It is killed before anything is deleted.
        assert (await stored(world))[0] == 1
        async with world.living() as life:
            await asyncio.sleep(1)
            assert await stored(world) == (0, 0)
            with pytest.raises(ResourceNotFound):
                await life.executions.find(case.record.arn)

    run_in_virtual_time(story())


def test_facts_that_no_record_owns_are_removed() -> None:
    async def story() -> None:
        world = DurableWorld([("step",)])
        queue = await world.engine.queue(f"{BUCKET}_0")
        await queue.publish("x.nobody", b"", "id")
        async with world.living() as life:
            await life.invoke("order", b"{}")
            assert await queue.counts("x.nobody") == {}

    run_in_virtual_time(story())


def test_what_sleeps_may_be_dropped_from_memory() -> None:
    async def story() -> None:
        world = DurableWorld([("step",), ("wait", 100), ("step",), ("callback", 5.0)])
        async with world.living() as life:
            life.executions.shelf = Shelf(held_bytes_max=1)
            names = [f"order-{n}" for n in range(20)]
            cases = [await life.attach(name) for name in names]
            await asyncio.sleep(50)
            assert sum(case.execution is not None for case in cases) <= 1
            for name in names:
                answer = await life.invoke(name, b"{}")
                assert json.loads(answer.payload) == naive(world.program)

    run_in_virtual_time(story())


def test_two_starts_of_one_name_are_one_execution() -> None:
    async def story() -> None:
        world = DurableWorld([("step",), ("wait", 5), ("step",)])
        async with world.living() as life:
            answers = await asyncio.gather(*(life.invoke("order", b"{}") for _ in range(8)))
        assert len({answer.execution_arn for answer in answers}) == 1
        assert world.effects == {"op-0": 1, "op-2": 1}

    run_in_virtual_time(story())


class OneLostAnswer(random.Random):
    """The first checkpoint is stored, and nobody hears of it for a moment."""

    def random(self) -> float:
        return 0.0

    def choice(self, seq: Any) -> Any:
        return "lost" if "lost" in seq else seq[0]


def test_a_checkpoint_whose_answer_was_lost_is_answered_again() -> None:
    async def story() -> None:
        world = DurableWorld([("step",), ("wait", 3), ("step",)], faults=1)
        world.chance = OneLostAnswer()
        async with world.living() as life:
            answer = await life.invoke("order", b"{}")
            assert json.loads(answer.payload) == naive(world.program)
            execution = await life.state(await life.attach())
        assert world.invocations == 2  # before the wait and after it: none had to be repeated
        kinds = Counter(fact.kind for fact in execution.facts)
        assert kinds[Kind.STEP_STARTED] == kinds[Kind.STEP_SUCCEEDED] == 2

    run_in_virtual_time(story())


def test_throttled_invocations_are_repeated() -> None:
    async def story() -> None:
        world = DurableWorld([("step",)])
        world.throttles = 5
        async with world.living() as life:
            answer = await life.invoke("order", b"{}")
        assert json.loads(answer.payload) == ["done"]
        assert world.invocations == 1

    run_in_virtual_time(story())


def test_an_engine_that_is_away_at_the_start_is_waited_for() -> None:
    async def story() -> None:
        world = DurableWorld([("step",)])
        async with world.living() as life:
            world.engine.outage = Outage.UNREACHABLE
            asking = asyncio.ensure_future(life.invoke("order", b"{}"))
            await asyncio.sleep(10)
            assert not asking.done()
            world.engine.outage = Outage.NONE
            assert json.loads((await asking).payload) == ["done"]

    run_in_virtual_time(story())
