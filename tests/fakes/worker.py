"""A worker without processes: sandboxes take time, fail and crash as its Habits say.

It watches whoever uses it: an invoke on a sandbox that is busy, unknown or of another
configuration, a stop under a running invoke, or more starts at a time than it takes are
AssertionErrors, kept in `violations`, because a background job may be what raises them.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from hearth.model.errors import InternalFailure, ServiceError
from hearth.model.functions import ConfigurationId, FunctionVersion, configuration_id
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.invocations import Invocation, InvokeResult
from hearth.model.workers import WorkerLoad


class StartBroke(ServiceError):
    """What a failing start of this fake raises."""

    code = "InvalidRuntimeException"
    status = 502


@dataclass(kw_only=True)
class Habits:
    """Ranges are seconds, drawn evenly; chances are 0 to 1."""

    start_s: tuple[float, float] = (0.1, 0.1)
    run_s: tuple[float, float] = (0.01, 0.01)
    finish_s: tuple[float, float] = (0.0001, 0.0001)
    """From the answer to the release; 0: released before the answer is returned."""
    stop_s: tuple[float, float] = (0.01, 0.01)
    start_fails: float = 0.0
    run_raises: float = 0.0
    """The sandbox dies under the invoke."""
    dies_finishing: float = 0.0
    """After its answer, before its release."""
    memory_mb: int = 16_384
    starting_max: int = 4
    footprint_mb: int = 40


@dataclass(eq=False)
class FakeSandbox:
    function: FunctionVersion
    """As it was started: with its initialisation."""
    configuration: ConfigurationId
    is_busy: bool = False
    is_dead: bool = False
    served: list[str] = field(default_factory=list)


class FakeWorker:
    """Implements what placement and the front end ask of a worker."""

    def __init__(self, name: str, habits: Habits, rng: random.Random) -> None:
        self.id = WorkerId(name)
        self.habits = habits
        self.sandboxes: dict[SandboxId, FakeSandbox] = {}
        self.starting = 0
        self.started: list[SandboxId] = []
        self.stopped: list[SandboxId] = []
        self.violations: list[str] = []
        self.on_running: Callable[[int], None] = lambda _change: None
        """Called with +1 when an invoke begins and -1 when its sandbox is released."""
        self.on_run: Callable[[FunctionVersion, int], None] = lambda _function, _change: None
        """The same, with the function of the sandbox."""
        self.on_lost: Callable[[SandboxId], None] = lambda _sandbox: None
        self._rng = rng
        self._is_gone = asyncio.Event()
        self._committed_mb: dict[SandboxId, int] = {}

    async def start_sandbox(self, sandbox: SandboxId, function: FunctionVersion) -> None:
        self._check(sandbox not in self._committed_mb, f"{sandbox} started twice")
        self._check(self.starting < self.habits.starting_max, "too many starts at a time")
        self._committed_mb[sandbox] = function.memory_mb
        self.starting += 1
        try:
            await self._take_time(self._draw(self.habits.start_s))
            self._maybe(self.habits.start_fails, StartBroke(f"{sandbox} broke while it started"))
        except BaseException:
            del self._committed_mb[sandbox]
            raise
        finally:
            self.starting -= 1
        self.started.append(sandbox)
        self.sandboxes[sandbox] = FakeSandbox(function, configuration_id(function))

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        found = self.sandboxes.get(sandbox)
        if found is not None:
            self._check(not found.is_busy, f"{sandbox} stopped under an invoke")
            del self.sandboxes[sandbox]
        self.stopped.append(sandbox)
        await asyncio.sleep(self._draw(self.habits.stop_s))
        self._committed_mb.pop(sandbox, None)

    async def run(
        self, sandbox: SandboxId, invocation: Invocation, released: Callable[[bool], None]
    ) -> InvokeResult:
        found = self.sandboxes.get(sandbox)
        if found is None or found.is_dead:
            released(False)
            raise InternalFailure(f"sandbox {sandbox} is gone")
        self._check(not found.is_busy, f"{sandbox} serves two invokes")
        wanted = configuration_id(invocation.function)
        self._check(found.configuration == wanted, f"{sandbox} is of another configuration")
        found.is_busy = True
        found.served.append(invocation.request)
        self.on_running(+1)
        self.on_run(found.function, +1)
        release = _Release(self, found, released)
        try:
            await self._take_time(self._draw(self.habits.run_s))
            self._maybe(self.habits.run_raises, InternalFailure(f"{sandbox} died"))
        except BaseException:
            release(False)
            raise
        is_good = self._rng.random() >= self.habits.dies_finishing
        finish_s = self._draw(self.habits.finish_s)
        if finish_s:
            asyncio.get_running_loop().call_later(finish_s, release, is_good)
        else:
            release(is_good)
        return InvokeResult(payload=sandbox.encode(), executed_version=invocation.function.version)

    def load(self) -> WorkerLoad:
        habits = self.habits
        return WorkerLoad(
            memory_mb=habits.memory_mb,
            available_mb=habits.memory_mb - habits.footprint_mb * len(self._committed_mb),
            committed_mb=sum(self._committed_mb.values()),
            sandboxes=len(self.sandboxes),
            starting=self.starting,
            starting_max=habits.starting_max,
            cpu_count=2,
        )

    def crash(self, sandbox: SandboxId) -> None:
        """The sandbox's process dies while it is idle, and the worker says so."""
        found = self.sandboxes[sandbox]
        assert not found.is_busy, "only idle ones; see Habits for the others"
        found.is_dead = True
        self.on_lost(sandbox)

    def vanish(self) -> None:
        """The machine is lost, with all that runs on it. Whoever watches it must deregister it."""
        self._is_gone.set()
        self.sandboxes.clear()

    async def _take_time(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._is_gone.wait()
        except TimeoutError:
            return
        raise InternalFailure(f"worker {self.id} is gone")

    def _draw(self, seconds: tuple[float, float]) -> float:
        return self._rng.uniform(*seconds)

    def _maybe(self, chance: float, error: ServiceError) -> None:
        if self._rng.random() < chance:
            raise error

    def _check(self, holds: bool, violation: str) -> None:
        if not holds:
            self.violations.append(violation)
            raise AssertionError(violation)


class _Release:
    def __init__(
        self, worker: FakeWorker, sandbox: FakeSandbox, released: Callable[[bool], None]
    ) -> None:
        self._worker = worker
        self._sandbox = sandbox
        self._released = released

    def __call__(self, is_good: bool) -> None:
        self._sandbox.is_busy = False
        self._sandbox.is_dead = not is_good
        self._worker.on_running(-1)
        self._worker.on_run(self._sandbox.function, -1)
        self._released(is_good)
