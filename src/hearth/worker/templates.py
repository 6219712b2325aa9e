"""Which versions have a template, and who is forked from it?

A *template* is an environment that has been initialised, was found fit to be forked, and is never
used itself. How many there are, and which ones go, is template_policy's to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.errors import ServiceError
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey
from hearth.worker import template_policy
from hearth.worker.environment import ExecutionEnvironment
from hearth.worker.sandboxes.contract import Forkable, SandboxFailed
from hearth.worker.stem_policy import Demand
from hearth.worker.template_policy import Kept

log = Log("templates")

MB: Final = 1 << 20
NOT_AGAIN_MAX: Final = 1024

Version = tuple[FunctionKey, str, str]
"""Key, instance and number, not the revision: that changes when the version settles."""


class Make(Protocol):
    async def __call__(
        self, function: FunctionVersion, *, fork_of: Forkable | None, is_template: bool
    ) -> ExecutionEnvironment:
        """Not started. Raises SandboxFailed."""
        ...


@dataclass(slots=True, kw_only=True)
class _Template:
    environment: ExecutionEnvironment
    sandbox: Forkable
    used_s: float
    memory_mb: int
    demand: Demand = field(default_factory=Demand)
    forks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateStatus:
    memory_bytes: int
    forks: int


class Templates:
    """Those of one worker."""

    def __init__(self, make: Make, clock: Clock, jobs: Jobs) -> None:
        self._make = make
        self._clock = clock
        self._jobs = jobs
        self._templates: dict[Version, _Template] = {}
        self._refused: dict[Version, str] = {}
        self._make_s = 0.05

    def __len__(self) -> int:
        return len(self._templates)

    @property
    def committed_mb(self) -> int:
        return sum(template.memory_mb for template in self._templates.values())

    def has(self, function: FunctionVersion) -> bool:
        return version_of(function) in self._templates

    def why_not(self, function: FunctionVersion) -> str:
        """Why the version cannot be forked; empty if it can, or was not tried."""
        return self._refused.get(version_of(function), "")

    def refusals(self) -> Mapping[Version, str]:
        return self._refused

    async def try_to_add(self, environment: ExecutionEnvironment) -> bool:
        """Make a template of it, which waits to be restored. If it cannot be, it waits as before.
        Raises SandboxFailed."""
        function, sandbox = environment.function, environment.sandbox
        version = version_of(function)
        why = await environment.become_template()
        if why or not isinstance(sandbox, Forkable):
            log.info("a version cannot be forked", function=function.arn, why=why)
            while len(self._refused) >= NOT_AGAIN_MAX:
                del self._refused[next(iter(self._refused))]
            self._refused[version] = why
            return False
        self._refused.pop(version, None)
        before = self._templates.pop(version, None)
        if before is not None:
            self._leave_soon(before)
        self._templates[version] = _Template(
            environment=environment,
            sandbox=sandbox,
            used_s=self._clock.monotonic_s(),
            memory_mb=max(1, environment.sandbox.usage().memory_bytes // MB),
        )
        self.look()
        return True

    def note_start(self, function: FunctionVersion) -> None:
        """An environment of the version is wanted."""
        template = self._templates.get(version_of(function))
        if template is not None:
            template.used_s = self._clock.monotonic_s()
            template.demand.note(template.used_s)

    def forks_wanted(self, function: FunctionVersion) -> int:
        """How many should wait; 0 without a template."""
        template = self._templates.get(version_of(function))
        if template is None:
            return 0
        now_s = self._clock.monotonic_s()
        return template_policy.forks_wanted(template.demand, self._make_s, now_s)

    async def fork(self, function: FunctionVersion) -> ExecutionEnvironment | None:
        """One that waits to be restored; None if there is no template, or no more."""
        version = version_of(function)
        template = self._templates.get(version)
        if template is None:
            return None
        began_s = self._clock.monotonic_s()
        try:
            environment = await self._forked(function, template)
        except (ServiceError, SandboxFailed) as error:
            log.warning("a template is of no more use", function=function.arn, error=error)
            if self._templates.get(version) is template:
                self._leave_soon(self._templates.pop(version))
            return None
        template.forks += 1
        self._make_s += (self._clock.monotonic_s() - began_s - self._make_s) / 8
        return environment

    async def _forked(self, function: FunctionVersion, template: _Template) -> ExecutionEnvironment:
        environment = await self._make(function, fork_of=template.sandbox, is_template=False)
        try:
            await environment.take_snapshot()
            _check_waits(environment)
        except BaseException:
            await environment.stop()
            raise
        return environment

    def look(self) -> None:
        """End those that are not to stay."""
        kept = {
            version: Kept(used_s=template.used_s, memory_mb=template.memory_mb)
            for version, template in self._templates.items()
        }
        for version in template_policy.to_end(kept, self._clock.monotonic_s()):
            self._leave_soon(self._templates.pop(version))

    def drop(self, has_gone: Callable[[Version], bool]) -> None:
        """End those of versions that have gone."""
        for version in [version for version in self._templates if has_gone(version)]:
            self._leave_soon(self._templates.pop(version))
        for version in [version for version in self._refused if has_gone(version)]:
            del self._refused[version]

    async def stop_all(self) -> None:
        """And with them all that they have forked."""
        while self._templates:
            _, template = self._templates.popitem()
            await template.environment.stop()

    def status(self) -> dict[Version, TemplateStatus]:
        return {
            version: TemplateStatus(
                memory_bytes=template.environment.sandbox.usage().memory_bytes,
                forks=template.forks,
            )
            for version, template in self._templates.items()
        }

    def _leave_soon(self, template: _Template) -> None:
        self._jobs.spawn(self._leave(template), name="end-template")

    async def _leave(self, template: _Template) -> None:
        """What it has forked lives on, under its uid and below its pid namespace: so those are
        given back when the last of them has gone."""
        try:
            await template.sandbox.leave()
        except SandboxFailed as error:
            log.error("a template did not leave", error=error)
        await template.environment.stop()


def _check_waits(environment: ExecutionEnvironment) -> None:
    """Raises SandboxFailed."""
    if not environment.is_waiting:
        raise SandboxFailed("what was forked does not wait to be restored")


def version_of(function: FunctionVersion) -> Version:
    return function.key, function.instance_id, function.version
