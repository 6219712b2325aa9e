"""Which environments were initialised before anybody needed them? SnapStart's.

    taken:    a version is published; its runtime has run the function's init and the hooks before a
              snapshot, and waits in `restore/next`. If it can be forked it is the version's
              *template* (templates.py), and forks of it wait; if not, it waits itself
    adopted:  an environment is needed; one that waits is *restored*: it runs the hooks after a
              restore and asks for its first event. Others are made in its place

If none waits (a burst), one is forked then; without a template (after a restart, or the version
cannot be forked) the init is run then. See docs/decisions/0025-snapstart.md and 0030.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.errors import InitFailed, InternalFailure, ServiceError
from hearth.model.functions import FunctionVersion, State
from hearth.model.ids import FunctionKey
from hearth.worker.environment import ExecutionEnvironment
from hearth.worker.sandboxes.contract import SandboxFailed
from hearth.worker.template_policy import FORK_MB, TEMPLATES_MAX
from hearth.worker.templates import Make, Templates, TemplateStatus, Version, version_of

log = Log("worker")

WAITING_MAX: Final = 32
"""Of all versions together; the one that has waited longest goes first."""
WAITING_S_MAX: Final = 900.0

REFILL_AFTER_S: Final = 0.25
"""So that the making of the next one takes nothing from the invoke that used the last."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    environment: ExecutionEnvironment
    since_s: float
    is_fork: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotStatus:
    """Of one version, for `hearth ps`."""

    key: FunctionKey
    version: str
    waiting: int
    template: TemplateStatus | None
    why_not: str


class Snapshots:
    """`make` makes an environment, not started; `exists` tells whether the version still does."""

    def __init__(
        self,
        make: Make,
        clock: Clock,
        jobs: Jobs,
        exists: Callable[[FunctionVersion], bool] = lambda _function: True,
    ) -> None:
        self._make = make
        self._exists = exists
        self._clock = clock
        self._jobs = jobs
        self.templates = Templates(make, clock, jobs)
        self._waiting: dict[Version, deque[_Waiting]] = {}
        self._at_work: set[Version] = set()
        self._forgotten: set[Version] = set()
        """Of those at work: what comes of it is to go."""

    @property
    def committed_mb(self) -> int:
        own = sum(FORK_MB if w.is_fork else w.environment.function.memory_mb for w in self._all())
        return own + self.templates.committed_mb

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self.templates)

    async def take(self, function: FunctionVersion) -> None:
        """Return when an environment of the version is initialised and waits.

        Raises InitFailed if its init fails, InvalidRuntime if this machine cannot run it,
        InternalFailure if the sandbox could not be made.
        """
        version = version_of(function)
        self._at_work.add(version)
        try:
            await self._take(function)
        finally:
            await self._done(version)

    async def _take(self, function: FunctionVersion) -> None:
        """Raises as take()."""
        try:
            if self.templates.why_not(function) or not await self._take_template(function):
                await self._take_plain(function)
        except SandboxFailed as error:
            log.error("sandbox failed to start", function=function.arn, error=error)
            raise InternalFailure("The execution environment could not be started.") from error

    async def _take_template(self, function: FunctionVersion) -> bool:
        """False if something of ours went wrong. Raises InitFailed, SandboxFailed."""
        environment = await self._initialised(function, is_template=True)
        try:
            is_template = await self.templates.try_to_add(environment)
        except SandboxFailed as error:
            log.warning("no template could be made", function=function.arn, error=error)
            await environment.stop()
            return False
        except BaseException:
            await environment.stop()
            raise
        if not is_template:
            await self._let_wait(environment, is_fork=False)
            return True
        await self._drop(version_of(function))  # what was of the template before
        fork = await self.templates.fork(environment.function)
        if fork is None:
            return False
        await self._let_wait(fork, is_fork=True)
        return True

    async def _take_plain(self, function: FunctionVersion) -> None:
        environment = await self._initialised(function, is_template=False)
        await self._drop(version_of(function))
        await self._let_wait(environment, is_fork=False)

    async def _initialised(
        self, function: FunctionVersion, *, is_template: bool
    ) -> ExecutionEnvironment:
        """Raises InitFailed, SandboxFailed."""
        environment = await self._make(function, fork_of=None, is_template=is_template)
        try:
            await environment.take_snapshot()
            _check_waits(environment)
        except BaseException:
            await environment.stop()
            raise
        return environment

    async def adopt(self, function: FunctionVersion) -> ExecutionEnvironment | None:
        """One that waits, or is forked now; it is the caller's from now on."""
        self.templates.note_start(function)
        waiting = self._waiting.get(version_of(function))
        while waiting:
            environment = waiting.popleft().environment
            if environment.is_waiting:
                return environment
            self._jobs.spawn(environment.stop(), name="stop-snapshot")
        return await self.templates.fork(function)

    def take_another(self, function: FunctionVersion) -> None:
        """In the background; what goes wrong is the next start's to tell. Of a version that was
        deleted while it started there are to be no more: nobody would forget them again."""
        version = version_of(function)
        if version in self._at_work or self._lacks(function) == 0 or not self._exists(function):
            return
        self._at_work.add(version)
        self._jobs.spawn(self._take_others(function, version), name="take-snapshot")

    def resume(self, functions: Iterable[FunctionVersion]) -> None:
        """After a start of Hearth: have templates again, one after another, of those versions that
        were changed last."""
        mine = [f for f in functions if f.has_snapshot and f.state is State.ACTIVE]
        latest = sorted(mine, key=lambda f: f.last_modified, reverse=True)[:TEMPLATES_MAX]
        if latest:
            self._jobs.spawn(self._resume(latest), name="resume-snapshots")

    def forget(self, key: FunctionKey, alive: Iterable[FunctionVersion]) -> None:
        """What is of versions that have gone goes too."""
        kept = {version_of(function) for function in alive}

        def has_gone(version: Version) -> bool:
            return version[0] == key and version not in kept

        self._forgotten.update(version for version in self._at_work if has_gone(version))
        self.templates.drop(has_gone)
        for version in [version for version in self._waiting if has_gone(version)]:
            self._jobs.spawn(self._drop(version), name="drop-snapshot")

    async def end_idle(self) -> None:
        """End those that have waited too long. Called now and then."""
        self.templates.look()
        since_s = self._clock.monotonic_s() - WAITING_S_MAX
        for waiting in list(self._waiting.values()):
            while waiting and waiting[0].since_s < since_s:
                await waiting.popleft().environment.stop()

    async def stop_waiting(self) -> None:
        for version in list(self._waiting):
            await self._drop(version)

    def status(self) -> list[SnapshotStatus]:
        templates, refusals = self.templates.status(), self.templates.refusals()
        versions = dict.fromkeys([*templates, *refusals, *self._waiting])
        return [
            SnapshotStatus(
                key=key,
                version=number,
                waiting=len(self._waiting.get((key, instance, number), ())),
                template=templates.get((key, instance, number)),
                why_not=refusals.get((key, instance, number), ""),
            )
            for key, instance, number in versions
        ]

    async def _resume(self, functions: list[FunctionVersion]) -> None:
        for function in functions:
            version = version_of(function)
            if version not in self._at_work and self._lacks(function):
                self._at_work.add(version)
                await self._take_others(function, version)

    def _lacks(self, function: FunctionVersion) -> int:
        waiting = len(self._waiting.get(version_of(function), ()))
        return max(0, max(1, self.templates.forks_wanted(function)) - waiting)

    async def _take_others(self, function: FunctionVersion, version: Version) -> None:
        try:
            await asyncio.sleep(REFILL_AFTER_S)
            while self.templates.has(function) and self._lacks(function):
                fork = await self.templates.fork(function)
                if fork is None:
                    break
                await self._let_wait(fork, is_fork=True)
            if self._lacks(function) and version not in self._forgotten:
                await self._take(function)
        except ServiceError as error:
            log.warning("no environment waits", function=function.arn, error=error)
        finally:
            await self._done(version)

    async def _done(self, version: Version) -> None:
        self._at_work.discard(version)
        if version in self._forgotten:
            self._forgotten.discard(version)
            self.templates.drop(lambda one: one == version)
            await self._drop(version)

    async def _let_wait(self, environment: ExecutionEnvironment, *, is_fork: bool) -> None:
        since_s = self._clock.monotonic_s()
        version = version_of(environment.function)
        waiting = self._waiting.setdefault(version, deque())
        waiting.append(_Waiting(environment, since_s, is_fork))
        while sum(map(len, self._waiting.values())) > WAITING_MAX:
            oldest = min((w for w in self._waiting.values() if w), key=lambda w: w[0].since_s)
            await oldest.popleft().environment.stop()

    async def _drop(self, version: Version) -> None:
        waiting = self._waiting.pop(version, deque())
        while waiting:
            await waiting.popleft().environment.stop()

    def _all(self) -> list[_Waiting]:
        return [one for waiting in self._waiting.values() for one in waiting]


def _check_waits(environment: ExecutionEnvironment) -> None:
    """Raises InitFailed."""
    if not environment.is_waiting:
        raise InitFailed("The function's initialisation failed.")
