"""Whatever happens, in whatever order: no event is lost, and none runs after it was settled."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.events import FAILURE, SUCCESS, Answer, AsyncWorld, throttle
from fakes.invokes import function_key
from fakes.virtual_time import run_in_virtual_time
from hearth.engine.memory import Outage
from hearth.events.contract import DeliveryFailed
from hearth.events.intake import NotAccepted
from hearth.model.events import EventSettings, EventState
from hearth.model.ids import RequestId
from hearth.model.invocations import InvokeCall

NAMES = ("a", "b", "c")
TARGET = "arn:aws:sqs:us-east-1:000000000000:q"

names = st.sampled_from(NAMES)
STEPS = st.one_of(
    st.tuples(st.just("publish"), names, st.integers(1, 30)),
    st.tuples(st.just("answers"), names, st.sampled_from(["good", "bad", "throttled"])),
    st.tuples(st.just("limit"), names, st.integers(0, 3)),
    st.tuples(st.just("reserve"), names, st.integers(0, 1)),
    st.tuples(st.just("retries"), names, st.integers(0, 2)),
    st.tuples(st.just("age"), names, st.sampled_from([60, 200, 21_600])),
    st.tuples(st.just("targets"), st.just(""), st.sampled_from([0, 1])),
    st.tuples(st.just("takes"), st.just(""), st.sampled_from([0, 1, 40])),
    st.tuples(st.just("wait"), st.just(""), st.sampled_from([0, 1, 7, 70, 400])),
    st.tuples(st.just("outage"), st.just(""), st.sampled_from([1, 35])),
    st.tuples(st.just("crash"), st.just(""), st.just(0)),
)
Step = tuple[str, str, int | str]


@dataclass
class Model:
    """What nobody inside knows."""

    accepted: dict[RequestId, str] = field(default_factory=dict)
    disturbed_at_s: list[float] = field(default_factory=list)
    """Crashes, and both ends of outages."""


class Player:
    def __init__(self) -> None:
        self.world = AsyncWorld()
        self.model = Model()
        for name in NAMES:
            self.world.owners.by_name[name] = EventSettings(on_success=TARGET, on_failure=TARGET)

    async def play(self, steps: list[Step]) -> None:
        """Each crash ends one run of the platform and begins the next."""
        rest = list(steps)
        while rest:
            async with self.world.running():
                while rest:
                    step = rest.pop(0)
                    if step[0] == "crash":
                        self._disturb()
                        break
                    await self._do(*step)
        self._heal()
        async with self.world.running():
            await self.world.until_settled(poll_s=5)
            await self._check()

    async def _do(self, what: str, name: str, value: int | str) -> None:
        world = self.world
        if isinstance(value, str):
            answer: Answer = {"good": SUCCESS, "bad": FAILURE}.get(value, throttle())
            world.functions.behaviours[name] = Answering(answer)
            return
        match what:
            case "publish":
                await self._publish(name, value)
            case "limit":
                world.functions.limits[name] = value
            case "reserve":
                world.owners.reservations[name] = value
            case "retries" | "age":
                self._set(name, what, value)
            case "targets":
                world.told.error = DeliveryFailed("down") if value else None
            case "takes":
                world.functions.duration_s = float(value)
            case "wait":
                await asyncio.sleep(value)
            case "outage":
                self._disturb()
                world.engine.outage = Outage.UNREACHABLE
                await asyncio.sleep(value)
                world.engine.outage = Outage.NONE
                self._disturb()

    async def _publish(self, name: str, number: int) -> None:
        for _ in range(number):
            try:
                self.model.accepted[await self.world.accept(name)] = name
            except NotAccepted:
                return

    def _set(self, name: str, what: str, value: int) -> None:
        before = self.world.owners.by_name[name]
        self.world.owners.by_name[name] = EventSettings(
            retries_max=value if what == "retries" else before.retries_max,
            age_max_s=value if what == "age" else before.age_max_s,
            on_success=TARGET,
            on_failure=TARGET,
        )

    def _disturb(self) -> None:
        self.model.disturbed_at_s.append(asyncio.get_running_loop().time())

    def _heal(self) -> None:
        self.world.functions.behaviours.clear()
        self.world.functions.limits.clear()
        self.world.owners.reservations.clear()
        self.world.told.error = None
        self.world.functions.duration_s = 0.1

    async def _check(self) -> None:
        told: dict[RequestId, list[float]] = {}
        for delivery, at_s in zip(self.world.told.deliveries, self.world.told.at_s, strict=True):
            told.setdefault(delivery.settlement.event.call.request, []).append(at_s)
        for request in self.model.accepted:
            assert request in told, "nothing is lost"
            first_s = told[request][0]
            if not self.model.disturbed_at_s:
                assert len(told[request]) == 1, "nothing is settled twice"
            for ran_s in self.world.functions.runs_of(request):
                was_disturbed = any(at_s <= ran_s for at_s in self.model.disturbed_at_s)
                assert ran_s <= first_s or was_disturbed, "nothing runs after it was settled"
        for name in NAMES:
            assert not await self.world.path.desk.rows(function_key(name), EventState.DEAD)
        assert self.world.path.dispatcher.in_hand == 0


@dataclass(frozen=True)
class Answering:
    answer: Answer

    def __call__(self, call: InvokeCall) -> Answer:
        return self.answer


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(STEPS, max_size=25))
def test_nothing_is_lost_and_nothing_runs_after_it_was_settled(steps: list[Step]) -> None:
    run_in_virtual_time(Player().play(steps))
