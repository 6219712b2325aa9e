"""Who holds a stream back, and for how long? In virtual time."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.http import FakeResponder
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.flow import Bucket, Flow, Rate

RATE = Rate(bytes_per_s=100.0, burst_bytes=1_000.0)


class Source:
    def __init__(self) -> None:
        self.is_paused = False

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


class Scene:
    def __init__(self, rate: Rate | None = RATE) -> None:
        self.source = Source()
        self.responder = FakeResponder()
        self.stream = self.responder.begin(200)
        self.flow = Flow(self.source, self.stream, rate, VirtualClock().monotonic_s)

    def is_held(self) -> bool:
        return self.source.is_paused


def run(scenario: Coroutine[Any, Any, None]) -> None:
    run_in_virtual_time(scenario)


def test_the_burst_is_free_and_the_rest_has_its_pace() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.flow.passed(1_000)
        assert not scene.is_held()
        scene.flow.passed(50)
        assert scene.is_held()
        await asyncio.sleep(0.4)
        assert scene.is_held()
        await asyncio.sleep(0.2)
        assert not scene.is_held()

    run(scenario())


def test_without_a_rate_only_the_client_holds_back() -> None:
    async def scenario() -> None:
        scene = Scene(None)
        scene.flow.passed(10**9)
        assert not scene.is_held()
        scene.stream.is_full = True
        scene.flow.passed(1)
        assert scene.is_held()
        scene.stream.make_room()
        assert not scene.is_held()

    run(scenario())


def test_room_at_the_client_does_not_pay_the_debt() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.stream.is_full = True
        scene.flow.passed(1_100)
        scene.stream.make_room()
        assert scene.is_held()
        await asyncio.sleep(1.1)
        assert not scene.is_held()

    run(scenario())


def test_a_paid_debt_does_not_make_room_at_the_client() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.stream.is_full = True
        scene.flow.passed(1_100)
        await asyncio.sleep(1.1)
        assert scene.is_held()
        scene.stream.make_room()
        assert not scene.is_held()

    run(scenario())


def test_a_source_whose_client_left_runs_on_unheard() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.flow.passed(5_000)
        assert scene.is_held()
        scene.responder.leave()
        assert not scene.is_held()
        scene.flow.passed(10**9)
        assert not scene.is_held()

    run(scenario())


def test_a_closed_flow_leaves_no_timer() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.flow.passed(5_000)
        scene.flow.close()
        await asyncio.sleep(100)
        assert scene.is_held()

    run(scenario())


@given(st.lists(st.integers(1, 500), min_size=1, max_size=50))
def test_whoever_waits_as_told_is_never_faster_than_the_rate(sizes: list[int]) -> None:
    bucket, now_s, sent = Bucket(RATE, 0.0), 0.0, 0
    for size in sizes:
        now_s += bucket.take(size, now_s)
        sent += size
        assert sent <= RATE.burst_bytes + RATE.bytes_per_s * now_s + 1e-6
    least_s = max(0.0, (sent - RATE.burst_bytes) / RATE.bytes_per_s)
    assert now_s == pytest.approx(least_s, abs=1e-6)
