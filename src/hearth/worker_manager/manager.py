"""Which sandbox serves this invoke? Carries out what the pools decide: all waiting is here.

One pool for each configuration of a function. The warm path is `take`, which neither waits nor
asks anybody else, so it goes on working while placement is away. When it has nothing, `wait` does:
for a finishing sandbox, or for a new one from placement.

A configuration with provisioned concurrency has a second pool, of sandboxes that are kept
initialised. Only invokes that count as provisioned take from it, and none waits for it.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, Protocol, assert_never

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.model.errors import InternalFailure, ServiceError
from hearth.model.functions import (
    ConfigurationId,
    FunctionVersion,
    Initialization,
    configuration_id,
)
from hearth.model.ids import FunctionKey, SandboxId
from hearth.model.workers import Placed, SandboxStatus, StartId
from hearth.worker_manager.pool import Pool
from hearth.worker_manager.pool_events import (
    Assign,
    CancelStart,
    Condemned,
    Event,
    Evicted,
    Instruction,
    Refuse,
    Released,
    Responded,
    Retired,
    Started,
    StartFailed,
    StartSandbox,
    StartWithdrawn,
    StopSandbox,
    Tick,
    Ticket,
    Unwanted,
    WakeAt,
    Wanted,
)
from hearth.worker_manager.provisioned_pool import ProvisionedPool
from hearth.worker_manager.slot import Slot

TICK_S: Final = 1.0

WAKE_S_MIN: Final = 0.001
"""Loops whose clock counts milliseconds would else wake too early, again and again."""


class Placement(Protocol):
    """What this room needs of placement; app.py supplies it."""

    async def start_sandbox(self, start: StartId, function: FunctionVersion) -> Placed | None:
        """None if it was withdrawn. Raises ServiceError."""
        ...

    def withdraw(self, start: StartId) -> bool:
        """False if it has begun already and goes on."""
        ...

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        """Also for one that is gone already."""
        ...

    def attach(self, tenant: "WorkerManager") -> None:
        """Tell `tenant` from now on when its sandboxes are lost or stand in the way."""
        ...


class ScalingRates(Protocol):
    """How many sandboxes of a function may start; counting supplies it."""

    def allow_start(self, function: FunctionKey, now_s: float) -> ServiceError | None: ...

    def refund_start(self, function: FunctionKey) -> None: ...


@dataclass(frozen=True, slots=True)
class _Rate:
    """The scaling rate of one function."""

    rates: ScalingRates
    function: FunctionKey

    def allow_start(self, now_s: float) -> ServiceError | None:
        return self.rates.allow_start(self.function, now_s)

    def refund_start(self) -> None:
        self.rates.refund_start(self.function)


@dataclass(frozen=True, slots=True)
class Kept:
    """How it stands with the sandboxes that are kept initialised for one configuration."""

    initialised: int
    failures: int
    """Starts that failed one after the other."""
    error: ServiceError | None
    """Of the last of them."""


KeptListener = Callable[[ConfigurationId, Kept], None]


@dataclass(slots=True, eq=False)
class _Home:
    """A pool and what its shell must remember."""

    pool: Pool
    function: FunctionVersion
    configuration: ConfigurationId
    wake: asyncio.TimerHandle | None = None
    told: Kept | None = None
    """What the listeners heard last; of kept sandboxes only."""


class WorkerManager:
    """Implements what the front end needs of sandboxes, and what placement needs of their user."""

    def __init__(
        self,
        placement: Placement,
        clock: Clock,
        jobs: Jobs,
        keepalive_s: float,
        rates: ScalingRates,
    ) -> None:
        self._placement = placement
        self._clock = clock
        self._jobs = jobs
        self._keepalive_s = keepalive_s
        self._rates = rates
        self._homes: dict[ConfigurationId, _Home] = {}
        self._kept: dict[ConfigurationId, _Home] = {}
        """Of provisioned concurrency; their pools are ProvisionedPools."""
        self._kept_listeners: list[KeptListener] = []
        self._home_of: dict[SandboxId, _Home] = {}
        self._waiting: dict[Ticket, asyncio.Future[Slot | ServiceError]] = {}
        self._tickets = count(1)
        self._starts = count(1)
        self._closing = False
        placement.attach(self)

    def take(self, function: FunctionVersion, *, provisioned: bool = False) -> Slot | None:
        """The most recently used idle sandbox, now busy; None if there is none: then `wait`.

        If `provisioned`, one that is kept initialised; where none is free, one on demand does.
        """
        configuration = configuration_id(function)
        now_s = self._clock.monotonic_s()
        if provisioned and (kept := self._kept.get(configuration)) is not None:
            slot = kept.pool.take(now_s)
            if slot is not None:
                return slot
        home = self._homes.get(configuration)
        return None if home is None else home.pool.take(now_s)

    async def wait(self, function: FunctionVersion) -> Slot:
        """A sandbox on demand, as soon as one is free or started. Raises the ServiceError of the
        start."""
        ticket = Ticket(next(self._tickets))
        assigned: asyncio.Future[Slot | ServiceError]
        assigned = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        home = self._home(function)
        self._feed(home, Wanted(ticket))
        try:
            outcome = await assigned
        except asyncio.CancelledError:
            if self._waiting.pop(ticket, None) is not None:
                self._feed(home, Unwanted(ticket))
            elif not assigned.cancelled() and isinstance(slot := assigned.result(), Slot):
                # Assigned in the very turn of the loop in which the caller gave up.
                self._feed(home, Released(slot.sandbox, sandbox_is_good=True))
            raise
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    def responded(self, sandbox: SandboxId) -> None:
        """Its invoke was answered, but it is not released yet."""
        self._feed(self._home_of[sandbox], Responded(sandbox))

    def released(self, sandbox: SandboxId, sandbox_is_good: bool) -> None:
        """It can take the next invoke, or never will. Once for each take or wait."""
        self._feed(self._home_of[sandbox], Released(sandbox, sandbox_is_good))

    def condemn(self, sandbox: SandboxId) -> None:
        """It was lost, or must go: no other invoke for it. Running ones are left to end."""
        if (home := self._home_of.get(sandbox)) is not None:
            self._feed(home, Condemned(sandbox))

    def retire(self, function: FunctionKey, keep: Collection[ConfigurationId] = ()) -> None:
        """Let go of the sandboxes of all configurations of `function` but those in `keep`.

        What runs finishes first, and who waits for an old configuration is still served by it.
        """
        for home in self._all_homes():
            configuration = home.configuration
            if configuration.key == function and configuration.of_all_tenants not in keep:
                self._feed(home, Retired())

    def renew(self, function: FunctionKey) -> None:
        """Let go of the sandboxes that `function` has now; what runs finishes first. Others take
        their place when they are needed, or at once where they are to be kept."""
        for home in self._all_homes():
            if home.configuration.key == function:
                for sandbox in list(home.pool.slots):
                    self._feed(home, Condemned(sandbox))

    def provision(self, function: FunctionVersion, target: int) -> None:
        """Keep so many sandboxes of this configuration initialised; 0: let them go."""
        configuration = configuration_id(function)
        home = self._kept.get(configuration)
        if home is None:
            if not target:
                return
            kept = replace(function, initialization=Initialization.PROVISIONED)
            home = _Home(ProvisionedPool(lambda: StartId(next(self._starts))), kept, configuration)
            self._kept[configuration] = home
        assert isinstance(home.pool, ProvisionedPool)
        self._obey(home, home.pool.provision(target, self._clock.monotonic_s()))

    def on_kept(self, listener: KeptListener) -> None:
        """Call `listener` when the sandboxes that are kept for a configuration have become more
        or fewer, or one has failed to start. It must not raise."""
        self._kept_listeners.append(listener)

    def idle_sandboxes(self) -> list[SandboxId]:
        """Those on demand, longest idle first: the order in which they may be evicted."""
        idle = [slot for home in self._homes.values() for slot in home.pool.idle.values()]
        return [slot.sandbox for slot in sorted(idle, key=lambda slot: slot.since_s)]

    def evict(self, sandbox: SandboxId) -> None:
        """Stop it if it is (still) idle."""
        if (home := self._home_of.get(sandbox)) is not None:
            self._feed(home, Evicted(sandbox))

    def sandboxes(self) -> list[SandboxStatus]:
        """What there is now, for `hearth ps`."""
        now_s = self._clock.monotonic_s()
        return [row for home in self._all_homes() for row in _status(home, now_s)]

    async def run(self) -> None:
        """Retire old idle sandboxes, once a tick, until cancelled; nothing is started after."""
        try:
            while True:
                await asyncio.sleep(TICK_S)
                self.tick()
        finally:
            self._closing = True

    def tick(self) -> None:
        for home in self._all_homes():
            self._feed(home, Tick())

    def _all_homes(self) -> list[_Home]:
        return [*self._homes.values(), *self._kept.values()]

    def _home(self, function: FunctionVersion) -> _Home:
        configuration = configuration_id(function)
        home = self._homes.get(configuration)
        if home is None:
            rate = _Rate(self._rates, function.key)
            pool = Pool(self._keepalive_s, lambda: StartId(next(self._starts)), rate)
            home = self._homes[configuration] = _Home(pool, function, configuration)
        return home

    def _feed(self, home: _Home, event: Event) -> None:
        """Tell the pool, and do what it says; then tell it what came of that."""
        self._obey(home, home.pool.handle(event, self._clock.monotonic_s()))

    def _obey(self, home: _Home, instructions: Sequence[Instruction]) -> None:
        outcomes: list[Event] = []
        for instruction in instructions:
            outcome = self._carry_out(home, instruction)
            if outcome is not None:
                outcomes.append(outcome)
        for outcome in outcomes:
            self._feed(home, outcome)
        pool = home.pool
        if isinstance(pool, ProvisionedPool):
            self._tell(home, pool)
        if not pool.slots and pool.is_empty:
            self._forget(home)

    def _tell(self, home: _Home, pool: ProvisionedPool) -> None:
        now = Kept(pool.initialised, pool.failures, pool.error)
        if now != home.told:
            home.told = now
            for listener in self._kept_listeners:
                listener(home.configuration, now)

    def _carry_out(self, home: _Home, instruction: Instruction) -> Event | None:
        match instruction:
            case Assign(ticket, slot):
                if not self._settle(ticket, slot):
                    return Released(slot.sandbox, sandbox_is_good=True)
            case Refuse(ticket, error):
                self._settle(ticket, error)
            case StartSandbox(start):
                if self._closing:
                    return StartFailed(start, InternalFailure("The service is shutting down."))
                self._jobs.spawn(self._start(home, start), name=f"start-sandbox-{start}")
            case CancelStart(start):
                return StartWithdrawn(start) if self._placement.withdraw(start) else None
            case StopSandbox(sandbox):
                del self._home_of[sandbox]
                if not self._closing:  # else the worker stops all of its own
                    stop = self._placement.stop_sandbox(sandbox)
                    self._jobs.spawn(stop, name=f"stop-sandbox-{sandbox}")
            case WakeAt(at_s):
                self._wake_at(home, at_s)
            case _:
                assert_never(instruction)
        return None

    def _settle(self, ticket: Ticket, outcome: Slot | ServiceError) -> bool:
        """Tell who waits. False if that one was cancelled in this very turn of the loop."""
        assigned = self._waiting.pop(ticket)
        if assigned.done():
            return False
        assigned.set_result(outcome)
        return True

    async def _start(self, home: _Home, start: StartId) -> None:
        event: Event | None = StartFailed(start, InternalFailure("The sandbox did not start."))
        try:
            placed = await self._placement.start_sandbox(start, home.function)
            event = None  # withdrawn: the pool knows
            if placed is not None:
                self._home_of[placed.sandbox] = home
                event = Started(start, placed)
        except ServiceError as error:
            event = StartFailed(start, error)
        finally:  # whatever happened, the pool must hear of it; Jobs logs what was not foreseen
            if event is not None:
                self._feed(home, event)

    def _wake_at(self, home: _Home, at_s: float) -> None:
        if home.wake is not None:
            home.wake.cancel()
        delay_s = max(at_s - self._clock.monotonic_s(), WAKE_S_MIN)
        home.wake = asyncio.get_running_loop().call_later(delay_s, self._feed, home, Tick())

    def _forget(self, home: _Home) -> None:
        if home.wake is not None:
            home.wake.cancel()
        for homes in (self._homes, self._kept):
            if homes.get(home.configuration) is home:
                del homes[home.configuration]


def _status(home: _Home, now_s: float) -> list[SandboxStatus]:
    key, version = home.function.key, home.function.version
    starting = [
        SandboxStatus(
            function=key,
            version=version,
            tenant=home.function.tenant,
            sandbox=None,
            worker=None,
            state="starting",
            age_s=now_s - since_s,
            state_s=now_s - since_s,
            invokes=0,
        )
        for since_s in home.pool.starting.values()
    ]
    running = [
        SandboxStatus(
            function=key,
            version=version,
            tenant=home.function.tenant,
            sandbox=slot.sandbox,
            worker=slot.worker,
            state=slot.state.value,
            age_s=now_s - slot.started_s,
            state_s=now_s - slot.since_s,
            invokes=slot.invokes,
        )
        for slot in home.pool.slots.values()
    ]
    return starting + running
