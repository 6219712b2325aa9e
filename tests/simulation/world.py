"""The invoke path as a whole, in virtual time: real rooms, fake workers, and an auditor."""

import asyncio
import random
from collections import Counter as Tally
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from fakes.invokes import FunctionTable, function_version, invoke_call
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from fakes.worker import FakeWorker, Habits
from hearth.base.jobs import Jobs
from hearth.control.allocation import Allocation
from hearth.counting.counter import Counter
from hearth.frontend.invoke import Invoker
from hearth.model.errors import ServiceError, TooManyRequests
from hearth.model.functions import ConfigurationId, FunctionVersion, Initialization
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.invocations import InvokeResult
from hearth.placement.placement import Placement
from hearth.worker_manager.manager import Kept, WorkerManager

Draw = tuple[str, Initialization]
"""A function, and the kind of sandbox that serves it."""


@dataclass
class Audit:
    """What nobody inside knows: how many invokes hold a sandbox, seen from the workers."""

    running: int = 0
    running_peak: int = 0
    outcomes: Tally[str] = field(default_factory=Tally)
    """`ok`, or the code of the error."""
    reasons: Tally[str] = field(default_factory=Tally)
    """Of the throttles among them."""
    running_by: Tally[Draw] = field(default_factory=Tally)
    peaks: dict[Draw, int] = field(default_factory=dict)
    unreserved_peak: int = 0
    """Of all functions in `unreserved`, added up, however they are served."""
    unreserved: set[str] = field(default_factory=set)

    def on_running(self, change: int) -> None:
        self.running += change
        self.running_peak = max(self.running_peak, self.running)

    def on_run(self, function: FunctionVersion, change: int) -> None:
        draw = (function.key.name, function.initialization)
        self.running_by[draw] += change
        self.peaks[draw] = max(self.peaks.get(draw, 0), self.running_by[draw])
        running = sum(n for (name, _), n in self.running_by.items() if name in self.unreserved)
        self.unreserved_peak = max(self.unreserved_peak, running)


class World:
    """Everything wired, and loops running; see `world`."""

    def __init__(
        self,
        jobs: Jobs,
        *,
        seed: int = 1,
        workers: int = 1,
        limit: int = 1_000,
        keepalive_s: float = 600.0,
        habits: Habits | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.audit = Audit()
        self.functions = FunctionTable(seed=seed)
        numbers = count(1)
        self.placement = Placement(
            self.clock, lambda: SandboxId(f"s{next(numbers)}"), random.Random(seed + 1).random
        )
        self.counter = Counter(limit)
        self.manager = WorkerManager(self.placement, self.clock, jobs, keepalive_s, self.counter)
        self.workers: dict[WorkerId, FakeWorker] = {}
        self.lost: list[FakeWorker] = []
        self.invoker = Invoker(
            self.functions,
            self.counter,
            self.manager,
            self.workers,
            self.clock,
            lambda: "Root=1-0-0;Parent=0;Sampled=0",
        )
        for number in range(workers):
            self.add_worker(f"w{number}", habits or Habits())
        self.deploy(function_version())

    def add_worker(self, name: str, habits: Habits) -> FakeWorker:
        worker = FakeWorker(name, habits, random.Random(self.rng.random()))
        worker.on_running = self.audit.on_running
        worker.on_run = self.audit.on_run
        worker.on_lost = self.manager.condemn
        self.workers[worker.id] = worker
        self.placement.register(worker)
        return worker

    def lose(self, worker: FakeWorker) -> None:
        """What a fleet's health check does about a worker that vanished."""
        self.placement.deregister(worker.id)
        del self.workers[worker.id]
        self.lost.append(worker)

    @property
    def worker(self) -> FakeWorker:
        """The only one."""
        (worker,) = self.workers.values()
        return worker

    def deploy(self, function: FunctionVersion) -> None:
        self.functions[function.key] = function

    def provision(self, function: FunctionVersion, number: int) -> Allocation:
        """What control does about one version, without what is stored."""
        allocation = Allocation()

        def kept(configuration: ConfigurationId, now: Kept) -> None:
            if (configuration.key, configuration.version) != (function.key, function.version):
                return
            allocation.kept(now.initialised, now.failures)
            self.counter.provision(
                function.key,
                function.version,
                requested=number,
                available=allocation.available,
            )

        self.functions.publish(function)
        self.manager.on_kept(kept)
        allocation.want(number)
        self.manager.provision(function, number)
        return allocation

    async def invoke(self, name: str = "f") -> InvokeResult:
        try:
            result = await self.invoker.invoke(invoke_call(name))
        except ServiceError as error:
            self.audit.outcomes[error.code] += 1
            if isinstance(error, TooManyRequests):
                self.audit.reasons[error.reason] += 1
            raise
        self.audit.outcomes["ok"] += 1
        return result

    async def attempt(self, name: str = "f") -> InvokeResult | None:
        """invoke(), where an error is one of the outcomes to count."""
        try:
            return await self.invoke(name)
        except ServiceError:
            return None

    def sandboxes(self) -> int:
        return sum(len(worker.sandboxes) for worker in self.workers.values())

    def check_quiet(self) -> None:
        """Nothing runs, so nothing may be held by anybody."""
        assert self.audit.running == 0
        assert self.counter.in_use == 0, "concurrency leaked"
        assert self.placement.queued == 0
        states = {row.state for row in self.manager.sandboxes()}
        assert states <= {"idle"}, states
        known = {row.sandbox for row in self.manager.sandboxes()}
        alive = {sandbox for worker in self.workers.values() for sandbox in worker.sandboxes}
        assert alive == known, "a sandbox was lost from sight"
        self.check_violations()

    def check_violations(self) -> None:
        workers = [*self.workers.values(), *self.lost]
        assert [violation for worker in workers for violation in worker.violations] == []
        peak, limit = self.audit.running_peak, self.counter.account_limit
        assert peak <= limit, f"{peak} invokes at a time, the limit is {limit}"


def play(scenario: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    """Run `scenario` in a world made with `settings`, in virtual time; audited at the end."""

    async def run() -> None:
        async with world(**settings) as w:
            await scenario(w)

    run_in_virtual_time(run())


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    """A World with its loops running. Leaving it audits that nothing went wrong unseen."""
    async with Jobs() as jobs, asyncio.TaskGroup() as loops:
        made = World(jobs, **settings)
        running = [loops.create_task(made.manager.run()), loops.create_task(made.placement.run())]
        yield made
        await asyncio.sleep(120.0)  # whatever is under way comes to its end
        made.check_quiet()
        for loop in running:
            loop.cancel()
