"""Which environments were initialised before anybody needed them? SnapStart's, one a version.

    taken:    a version is published; its runtime has run the function's init and the hooks before a
              snapshot, and waits in `restore/next`
    adopted:  an environment is needed; the one that waits is *restored*: it runs the hooks after a
              restore and asks for its first event. Another one is taken in its place.

What waits is one environment and is used by one: nothing is copied, so random state, time and
connections are its own. If none waits (a burst, a restart), the init is run then.
See docs/decisions/0025-snapstart.md.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.errors import InitFailed, InternalFailure, ServiceError
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey
from hearth.worker.environment import ExecutionEnvironment
from hearth.worker.sandboxes.contract import SandboxFailed

log = Log("worker")

WAITING_MAX: Final = 32
"""Of all versions together; the one that has waited longest goes first."""
WAITING_S_MAX: Final = 900.0

REFILL_AFTER_S: Final = 0.25
"""So that the init of the next one takes nothing from the invoke that used the last."""

Version = tuple[FunctionKey, str, str]
"""Key, instance and number, not the revision: that changes when the version settles."""

Make = Callable[[FunctionVersion], Awaitable[ExecutionEnvironment]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    environment: ExecutionEnvironment
    since_s: float


class Snapshots:
    """`make` makes an environment, not started."""

    def __init__(self, make: Make, clock: Clock, jobs: Jobs) -> None:
        self._make = make
        self._clock = clock
        self._jobs = jobs
        self._waiting: dict[Version, _Waiting] = {}  # in order, longest waiting first
        self._at_work: set[Version] = set()

    @property
    def committed_mb(self) -> int:
        return sum(w.environment.function.memory_mb for w in self._waiting.values())

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self, function: FunctionVersion) -> None:
        """Return when an environment of the version is initialised and waits.

        Raises InitFailed if its init fails, InvalidRuntime if this machine cannot run it,
        InternalFailure if the sandbox could not be made.
        """
        version = _version_of(function)
        try:
            environment = await self._make(function)
            try:
                await environment.take_snapshot()
                _check_waits(environment)
            except BaseException:
                await environment.stop()
                raise
        except SandboxFailed as error:
            log.error("sandbox failed to start", function=function.arn, error=error)
            raise InternalFailure("The execution environment could not be started.") from error
        before = self._waiting.pop(version, None)
        self._waiting[version] = _Waiting(environment, self._clock.monotonic_s())
        if before is not None:
            await before.environment.stop()
        while len(self._waiting) > WAITING_MAX:
            await self._drop(next(iter(self._waiting)))

    def adopt(self, function: FunctionVersion) -> ExecutionEnvironment | None:
        """The one that waits, if it is still alive; it is the caller's from now on."""
        waiting = self._waiting.pop(_version_of(function), None)
        if waiting is None:
            return None
        if waiting.environment.is_waiting:
            return waiting.environment
        self._jobs.spawn(waiting.environment.stop(), name="stop-snapshot")
        return None

    def take_another(self, function: FunctionVersion) -> None:
        """In the background; what goes wrong is the next start's to tell."""
        version = _version_of(function)
        if version in self._at_work or version in self._waiting:
            return
        self._at_work.add(version)
        self._jobs.spawn(self._take_another(function, version), name="take-snapshot")

    async def end_idle(self) -> None:
        """End those that have waited too long. Called now and then."""
        since_s = self._clock.monotonic_s() - WAITING_S_MAX
        for version in [c for c, w in self._waiting.items() if w.since_s < since_s]:
            await self._drop(version)

    async def stop_all(self) -> None:
        for version in list(self._waiting):
            await self._drop(version)

    async def _take_another(self, function: FunctionVersion, version: Version) -> None:
        try:
            await asyncio.sleep(REFILL_AFTER_S)
            await self.take(function)
        except ServiceError as error:
            log.warning("no environment waits", function=function.arn, error=error)
        finally:
            self._at_work.discard(version)

    async def _drop(self, version: Version) -> None:
        waiting = self._waiting.pop(version, None)
        if waiting is not None:
            await waiting.environment.stop()


def _check_waits(environment: ExecutionEnvironment) -> None:
    """Raises InitFailed."""
    if not environment.is_waiting:
        raise InitFailed("The function's initialisation failed.")


def _version_of(function: FunctionVersion) -> Version:
    return function.key, function.instance_id, function.version
