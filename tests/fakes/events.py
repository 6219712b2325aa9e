"""The asynchronous path in virtual time: its real parts on an engine in memory, with functions
whose answers a test decides, and with targets that remember what they were told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from fakes.invokes import invoke_call
from fakes.tally import Tally
from fakes.virtual_time import VirtualClock
from hearth.engine.memory import MemoryEngine
from hearth.events.contract import DeliveryFailed, function_of
from hearth.events.path import EventPath, Needs, open_path
from hearth.model.errors import TooManyRequests
from hearth.model.events import Condition, Delivery, EventSettings
from hearth.model.ids import FunctionKey, RequestId
from hearth.model.invocations import InvokeCall, InvokeResult

SUCCESS = InvokeResult(payload=b'"done"', executed_version="$LATEST")
FAILURE = InvokeResult(
    payload=b'{"errorMessage": "no"}', executed_version="$LATEST", function_error="Unhandled"
)


def throttle() -> TooManyRequests:
    return TooManyRequests("ConcurrentInvocationLimitExceeded")


@dataclass
class Run:
    """One attempt, as the function saw it."""

    request: RequestId
    name: str
    at_s: float


Answer = InvokeResult | Exception
Behaviour = Callable[[InvokeCall], Answer]


def _succeed(call: InvokeCall) -> Answer:
    return SUCCESS


class Functions:
    """The front end of a test: each function answers as its behaviour says, after `duration_s`,
    with a limit of its own."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.duration_s = 0.0
        self.limits: dict[str, int] = {}
        self.running: Counter[str] = Counter()
        self.runs: list[Run] = []
        self.throttled: Counter[str] = Counter()

    def accept(self, call: InvokeCall) -> FunctionKey:
        return function_of(call)

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        name = call.reference.name
        if self.running[name] >= self.limits.get(name, 1_000):
            self.throttled[name] += 1
            raise throttle()
        self.running[name] += 1
        try:
            loop = asyncio.get_running_loop()
            self.runs.append(Run(call.request, name, loop.time()))
            await asyncio.sleep(self.duration_s)
            answer = self.behaviours.get(name, _succeed)(call)
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.running[name] -= 1

    def runs_of(self, request: RequestId) -> list[float]:
        return [run.at_s for run in self.runs if run.request == request]


@dataclass
class Owners:
    """What the functions' owners have set. Settings and Reservations at once."""

    by_name: dict[str, EventSettings] = field(default_factory=dict)
    reservations: dict[str, int] = field(default_factory=dict)

    def find(self, key: FunctionKey, qualifier: str | None) -> EventSettings:
        return self.by_name.get(key.name, EventSettings())

    def reserved(self, key: FunctionKey) -> int | None:
        return self.reservations.get(key.name)


class Told:
    """Targets that can be down."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.at_s: list[float] = []
        """When each of them was told."""
        self.tries: list[float] = []
        self.error: DeliveryFailed | None = None

    async def deliver(self, delivery: Delivery) -> None:
        self.tries.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.deliveries.append(delivery)
        self.at_s.append(asyncio.get_running_loop().time())

    def conditions(self, request: RequestId) -> list[Condition]:
        return [
            told.settlement.condition
            for told in self.deliveries
            if told.settlement.event.call.request == request
        ]


class AsyncWorld:
    """Everything that survives a crash of the platform, and the platform that runs now."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.engine = MemoryEngine(self.clock)
        self.functions = Functions()
        self.owners = Owners()
        self.told = Told()
        self.tally = Tally()
        self.path: EventPath
        self._numbers = count(1)

    @asynccontextmanager
    async def running(self, queue_bytes_max: int = 1 << 30) -> AsyncIterator[EventPath]:
        """The platform, from a start to a kill -9."""
        self.path = await open_path(
            self.engine,
            Needs(
                invoker=self.functions,
                settings=self.owners,
                reservations=self.owners,
                targets=self.told,
                meter=self.tally,
                clock=self.clock,
                new_id=lambda: f"n{next(self._numbers)}",
            ),
            queue_bytes_max,
        )
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.path.run())
            try:
                yield self.path
            finally:
                task.cancel()

    async def accept(self, name: str = "f", payload: bytes = b"{}") -> RequestId:
        call = invoke_call(name, payload=payload, request=RequestId(f"r{next(self._numbers)}"))
        await self.path.intake.accept(call)
        return call.request

    async def left(self) -> int:
        """Events and deliveries that are not settled."""
        backlogs = await self.path.desk.backlogs()
        return sum(some.waiting + some.delayed + some.deliveries for some in backlogs)

    async def until_settled(self, poll_s: float = 1.0) -> None:
        while await self.left():  # noqa: ASYNC110 -- the queues tell nobody
            await asyncio.sleep(poll_s)
