"""The whole asynchronous path in virtual time: six hours of retries in milliseconds."""

import asyncio
import random
from collections import Counter
from itertools import pairwise

import pytest

from fakes.events import FAILURE, SUCCESS, Answer, AsyncWorld, throttle
from fakes.invokes import function_key
from fakes.virtual_time import run_in_virtual_time
from hearth.engine.memory import Outage
from hearth.events.contract import DeliveryFailed
from hearth.events.intake import NotAccepted
from hearth.model.errors import NoCapacity, ResourceNotFound
from hearth.model.events import Condition, EventSettings, EventState, TargetKind
from hearth.model.ids import RequestId
from hearth.model.invocations import InvokeCall

QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
DEAD = "arn:aws:sqs:us-east-1:000000000000:dead"
BOTH = EventSettings(on_success=QUEUE, on_failure=QUEUE)
F = function_key("f")


def gaps(times: list[float]) -> list[int]:
    return [round(after - before) for before, after in pairwise(times)]


# One event


def test_an_accepted_event_runs_and_its_destination_is_told() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = BOTH
        async with world.running():
            request = await world.accept(payload=b'{"n": 1}')
            await world.until_settled()
        assert len(world.functions.runs_of(request)) == 1
        (told,) = world.told.deliveries
        assert told.target == QUEUE
        settlement = told.settlement
        assert settlement.condition is Condition.SUCCESS
        assert settlement.invoke_count == 1
        assert settlement.function_arn == F.arn("$LATEST")
        assert settlement.event.call.payload == b'{"n": 1}'
        assert settlement.response is not None
        assert settlement.response.payload == SUCCESS.payload

    run_in_virtual_time(story())


def test_a_failing_function_is_tried_again_after_one_and_two_minutes() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = BOTH
        world.functions.behaviours["f"] = lambda call: FAILURE
        async with world.running():
            request = await world.accept()
            await world.until_settled()
        assert gaps(world.functions.runs_of(request)) == [60, 120]
        (told,) = world.told.deliveries
        assert told.settlement.condition is Condition.RETRIES_EXHAUSTED
        assert told.settlement.invoke_count == 3
        assert told.settlement.response is not None
        assert told.settlement.response.function_error == "Unhandled"

    run_in_virtual_time(story())


def test_throttles_are_tried_from_one_second_to_five_minutes_for_six_hours() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = BOTH
        tries: list[float] = []

        def refuse(call: InvokeCall) -> Answer:
            tries.append(asyncio.get_running_loop().time())
            return throttle()

        world.functions.behaviours["f"] = refuse
        async with world.running():
            await world.accept()
            await world.until_settled(poll_s=60)
        assert gaps(tries)[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
        assert set(gaps(tries)[10:]) == {300}
        (told,) = world.told.deliveries
        assert told.settlement.condition is Condition.EVENT_AGE_EXCEEDED
        assert told.settlement.invoke_count == 0
        age_s = (told.settlement.settled_ms - told.settlement.event.accepted_ms) / 1000
        assert 21_600 <= age_s < 21_602

    run_in_virtual_time(story())


@pytest.mark.parametrize("error", [NoCapacity("no room"), throttle(), RuntimeError("a defect")])
def test_what_the_system_cannot_run_now_costs_no_attempt(error: Exception) -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = BOTH
        answers: list[Answer] = [SUCCESS, FAILURE, error, FAILURE, error, error]
        world.functions.behaviours["f"] = lambda call: answers.pop()
        async with world.running():
            request = await world.accept()
            await world.until_settled()
        assert len(world.functions.runs_of(request)) == 6
        (told,) = world.told.deliveries
        assert told.settlement.condition is Condition.SUCCESS
        assert told.settlement.invoke_count == 3

    run_in_virtual_time(story())


def test_an_event_too_old_for_its_next_retry_is_settled_after_the_failed_try() -> None:
    async def story(age_s: int, invokes: int) -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = EventSettings(age_max_s=age_s, on_failure=QUEUE)
        world.functions.behaviours["f"] = lambda call: FAILURE
        async with world.running():
            await world.accept()
            await world.until_settled()
        (told,) = world.told.deliveries
        assert told.settlement.condition is Condition.EVENT_AGE_EXCEEDED
        assert told.settlement.invoke_count == invokes

    run_in_virtual_time(story(60, 1))
    run_in_virtual_time(story(100, 2))


def test_reserved_concurrency_zero_sends_events_straight_to_failure() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = EventSettings(on_failure=QUEUE, dead_letter=DEAD)
        world.owners.reservations["f"] = 0
        async with world.running():
            request = await world.accept()
            await world.until_settled()
        assert not world.functions.runs
        assert world.told.conditions(request) == [Condition.ZERO_RESERVED_CONCURRENCY] * 2
        assert {(told.target, told.kind) for told in world.told.deliveries} == {
            (QUEUE, TargetKind.DESTINATION),
            (DEAD, TargetKind.DEAD_LETTER),
        }
        assert {told.settlement.invoke_count for told in world.told.deliveries} == {0}

    run_in_virtual_time(story())


def test_an_event_that_no_attempt_can_run_ends_at_once() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.behaviours["f"] = lambda call: ResourceNotFound("Function not found: f")
        async with world.running() as path:
            request = await world.accept()
            await world.until_settled()
            row = await path.desk.find(F, request)
            assert row is not None
            assert row.state is EventState.DEAD
            assert row.condition is Condition.RETRIES_EXHAUSTED
            assert row.response is not None
            assert row.response.function_error == "ResourceNotFoundException"
        assert len(world.functions.runs_of(request)) == 1

    run_in_virtual_time(story())


def test_settings_are_those_that_hold_when_an_attempt_ends() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.behaviours["f"] = lambda call: FAILURE
        async with world.running():
            request = await world.accept()
            await asyncio.sleep(10)
            world.owners.by_name["f"] = EventSettings(retries_max=1, on_failure=QUEUE)
            await world.until_settled()
        assert gaps(world.functions.runs_of(request)) == [60]
        assert world.told.conditions(request) == [Condition.RETRIES_EXHAUSTED]

    run_in_virtual_time(story())


# Targets


def test_a_target_that_does_not_answer_is_told_until_it_does() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = BOTH
        world.told.error = DeliveryFailed("down")
        async with world.running():
            request = await world.accept()
            await asyncio.sleep(3_000)
            assert world.told.deliveries == []
            world.told.error = None
            await world.until_settled()
        assert gaps(world.told.tries)[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
        assert world.told.conditions(request) == [Condition.SUCCESS]
        assert world.told.deliveries[0].tries > 9

    run_in_virtual_time(story())


def test_a_delivery_that_is_given_up_is_counted_kept_and_can_be_redriven() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = BOTH
        world.told.error = DeliveryFailed("no such queue", is_final=True)
        async with world.running() as path:
            request = await world.accept()
            await world.until_settled(poll_s=100)
            assert len(world.told.tries) == 1
            assert world.tally.destination_delivery_failures[F] == 1
            (row,) = await path.desk.rows(F, EventState.DEAD)
            assert (row.target, row.condition) == (QUEUE, Condition.SUCCESS)
            assert await path.desk.redrive(F) == 1
            await world.until_settled(poll_s=100)
            (row,) = await path.desk.rows(F, EventState.DEAD)  # it failed again, and is kept again
            world.told.error = None
            assert await path.desk.redrive(F, request) == 1
            await world.until_settled()
            assert await path.desk.rows(F, EventState.DEAD) == ()
        assert world.told.conditions(request) == [Condition.SUCCESS]
        assert len(world.functions.runs) == 1

    run_in_virtual_time(story())


# What an operator does


def test_a_dead_event_that_is_redriven_runs_again_at_once_and_however_often() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = EventSettings(retries_max=0)
        world.functions.behaviours["f"] = lambda call: FAILURE
        async with world.running() as path:
            request = await world.accept()
            for times in range(1, 4):
                await world.until_settled()
                (row,) = await path.desk.rows(F, EventState.DEAD)
                assert row.event.call.request == request
                assert len(world.functions.runs_of(request)) == times
                assert world.tally.async_events_dropped[F, Condition.RETRIES_EXHAUSTED] == times
                assert await path.desk.redrive(F) == 1
            world.functions.behaviours["f"] = lambda call: SUCCESS
            await world.until_settled()
        assert len(world.functions.runs_of(request)) == 4

    run_in_virtual_time(story())


def test_waiting_and_delayed_events_are_listed_and_purged() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.behaviours["f"] = lambda call: FAILURE
        world.functions.limits["g"] = 0
        async with world.running() as path:
            requests = [await world.accept("f") for _ in range(3)]
            await asyncio.sleep(1)
            rows = await path.desk.rows(F, EventState.DELAYED)
            assert [row.event.call.request for row in rows] == requests
            assert [row.event.attempts for row in rows] == [1, 1, 1]
            for row in rows:
                assert row.due_ms is not None
                assert 60_000 <= row.due_ms - row.event.accepted_ms < 61_000
            for _ in range(5):
                await world.accept("g")
            await asyncio.sleep(10)
            backlogs = {some.key: some for some in await path.desk.backlogs()}
            assert backlogs[F].delayed == 3
            throttled = backlogs[function_key("g")]
            assert (throttled.waiting, throttled.has_own_lane) == (5, True)
            assert throttled.oldest_ms is not None
            assert await path.desk.purge(F, EventState.DELAYED, requests[0]) == 1
            assert await path.desk.purge(F, EventState.DELAYED) == 2
            assert await path.desk.purge(function_key("g"), EventState.WAITING) == 5
            world.functions.limits["g"] = 10
            await asyncio.sleep(1_000)
            assert await world.left() == 0
        assert len(world.functions.runs) == 3

    run_in_virtual_time(story())


# Neighbours


def test_a_flooded_function_with_one_sandbox_delays_nobody() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.limits["flooded"] = 1
        world.functions.duration_s = 0.1
        async with world.running():
            for _ in range(600):
                await world.accept("flooded")
            requests = []
            for number in range(40):
                accepted_s = world.clock.monotonic_s()
                requests.append((await world.accept(f"g{number}"), accepted_s))
                await asyncio.sleep(0.2)
            for request, accepted_s in requests:
                (began_s,) = world.functions.runs_of(request)
                assert began_s - accepted_s < 0.1
            await world.until_settled()
        floods = [run for run in world.functions.runs if run.name == "flooded"]
        assert len({run.request for run in floods}) == len(floods) == 600
        spent_s = floods[-1].at_s - floods[0].at_s
        assert spent_s < 1.2 * 60  # its one sandbox is hardly ever idle

    run_in_virtual_time(story())


def test_slow_functions_do_not_hold_up_others_of_their_partition() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.duration_s = 900.0
        async with world.running():
            for _ in range(60):
                await world.accept("slow")
            await asyncio.sleep(1)
            accepted_s = world.clock.monotonic_s()
            requests = [await world.accept(f"g{number}") for number in range(64)]
            await asyncio.sleep(1)
            assert {run.name for run in world.functions.runs} > {f"g{n}" for n in range(64)}
            assert all(
                world.functions.runs_of(request)[0] - accepted_s < 0.5 for request in requests
            )

    run_in_virtual_time(story())


def test_a_lane_closes_when_it_is_not_needed_and_opens_for_what_an_earlier_run_left() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.limits["f"] = 0
        async with world.running() as path:
            for _ in range(10):
                await world.accept()
            await asyncio.sleep(5)
            assert path.dispatcher.lanes == {F}
        world.functions.limits["f"] = 2
        async with world.running() as path:
            await world.until_settled()
            await asyncio.sleep(60)
            assert path.dispatcher.lanes == frozenset()
            await world.accept()
            await world.until_settled()
        assert len({run.request for run in world.functions.runs}) == 11

    run_in_virtual_time(story())


# Full, unwell, stopped


def test_a_full_queue_refuses_events_before_they_are_accepted() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.limits["f"] = 0
        async with world.running(queue_bytes_max=50_000):
            payload = b'"' + b"x" * 5_000 + b'"'
            accepted = 9
            for _ in range(accepted):
                await world.accept(payload=payload)
            with pytest.raises(NotAccepted) as refusal:
                await world.accept(payload=payload)
            assert refusal.value.status == 503
            world.functions.limits["f"] = 10
            await world.until_settled()
            await asyncio.sleep(5)
            await world.accept()
            await world.until_settled()
        assert len(world.functions.runs) == accepted + 1

    run_in_virtual_time(story())


def test_events_survive_an_outage_of_the_engine() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.owners.by_name["f"] = BOTH
        world.functions.duration_s = 5.0
        async with world.running():
            requests = [await world.accept() for _ in range(20)]
            await asyncio.sleep(1)
            world.engine.outage = Outage.UNREACHABLE
            with pytest.raises(NotAccepted):
                await world.accept()
            await asyncio.sleep(120)
            world.engine.outage = Outage.NONE
            await world.until_settled()
        assert [world.told.conditions(request) for request in requests] == [
            [Condition.SUCCESS]
        ] * 20

    run_in_virtual_time(story())


def test_a_clean_stop_lets_runs_end_and_begins_nothing_more() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.duration_s = 5.0
        world.functions.limits["f"] = 4
        async with world.running() as path:
            for _ in range(30):
                await world.accept()
            await asyncio.sleep(7)
            await path.drain(timeout_s=60)
            begun = len(world.functions.runs)
            await asyncio.sleep(30)
            assert len(world.functions.runs) == begun
            assert not any(world.functions.running.values())
        async with world.running():
            await world.until_settled()
        runs = Counter(run.request for run in world.functions.runs)
        assert len(runs) == 30
        assert set(runs.values()) == {1}

    run_in_virtual_time(story())


def test_nothing_of_a_stopped_platform_acts_later() -> None:
    async def story() -> None:
        world = AsyncWorld()
        world.functions.behaviours["f"] = lambda call: throttle()
        async with world.running() as path:
            await world.accept()
            await asyncio.sleep(10)
            await path.drain(timeout_s=1)
        tries = len(world.functions.runs)
        await asyncio.sleep(7_200)
        assert len(world.functions.runs) == tries

    run_in_virtual_time(story())


# Everything at once


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_whatever_is_killed(seed: int) -> None:
    """200 events, some of functions that fail or are throttled, and a kill every few seconds."""

    async def story() -> None:
        rng = random.Random(seed)
        world = AsyncWorld()
        names = ["a", "b", "c", "d"]
        for name in names:
            world.owners.by_name[name] = BOTH
        world.functions.limits = {"a": 1, "b": 2, "c": 50, "d": 50}
        world.functions.duration_s = 0.3
        answers: list[Answer] = [FAILURE, SUCCESS, throttle()]
        world.functions.behaviours["d"] = lambda call: rng.choice(answers)
        accepted: list[RequestId] = []
        for _ in range(8):
            async with world.running():
                accepted += [await world.accept(rng.choice(names)) for _ in range(25)]
                await asyncio.sleep(rng.uniform(0.0, 20.0))
        async with world.running():
            await world.until_settled()
            kept = {
                row.event.call.request
                for name in names
                for row in await world.path.desk.rows(function_key(name), EventState.DEAD)
            }
        assert not kept, "each has a target"
        for request in accepted:
            assert world.told.conditions(request), "its end was told, at least once"
        assert len(world.told.deliveries) < 1.3 * len(accepted)

    run_in_virtual_time(story())
