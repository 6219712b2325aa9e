"""What does one host do? Makes, feeds and ends the execution environments on this machine.

Placement asks it to start and stop sandboxes; the front end sends it payloads directly.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model import debugging
from hearth.model.errors import InitFailed, InternalFailure, InvalidRuntime
from hearth.model.functions import FunctionVersion, Initialization
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.invocations import Invocation, InvokeResult, StartMarks
from hearth.model.isolation import Network
from hearth.model.launch import EntryPointInvalid, RuntimePlan
from hearth.model.layers import without_covered
from hearth.model.logs import LogGroup, stream_name
from hearth.model.workers import WorkerLoad
from hearth.worker.environment import ExecutionEnvironment, Launch
from hearth.worker.lifecycle import State
from hearth.worker.program import DurableApi
from hearth.worker.programs import Kinds, Trees, laid, program_of, wishes_of
from hearth.worker.report import Failure
from hearth.worker.sandboxes.contract import (
    Forkable,
    SandboxBackend,
    SandboxFailed,
    SandboxRefused,
    SandboxSpec,
)
from hearth.worker.snapshots import Snapshots
from hearth.worker.supervision import find_extensions, have_extensions
from hearth.worker.variables import extension_variables

log = Log("worker")


class Runtimes(Protocol):
    async def plan(
        self, function: FunctionVersion, code: Path, layers: Sequence[Path]
    ) -> RuntimePlan: ...


class Code(Protocol):
    async def prepare(self, sha256: str, runtime: str | None = None) -> Path: ...

    async def merged(self, digests: Sequence[str]) -> Path: ...


class Logs(Protocol):
    def append(self, group: LogGroup, stream: str, at_ms: int, lines: Sequence[bytes]) -> None: ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one sandbox: bytes in use, MB allowed, whether its time stands still."""

    used_bytes: int
    limit_mb: int
    is_frozen: bool


class StreamSink:
    """One environment's log stream."""

    def __init__(self, logs: Logs, group: LogGroup, stream: str) -> None:
        self._logs = logs
        self._group = group
        self._stream = stream

    def append(self, at_ms: int, lines: list[bytes]) -> None:
        self._logs.append(self._group, self._stream, at_ms, lines)


class Worker:
    """All environments of this machine. One object per machine."""

    def __init__(
        self,
        id_: WorkerId,
        backend: SandboxBackend,
        runtimes: Runtimes,
        code: Code,
        logs: Logs,
        *,
        capacity: "Capacity",
        clock: Clock,
        jobs: Jobs,
        tags_of: Callable[[FunctionVersion], Mapping[str, str]] = lambda function: function.tags,
        network: Network = Network.NONE,
        exists: Callable[[FunctionVersion], bool] = lambda _function: True,
    ) -> None:
        """`tags_of` tells those of a version's function, as they are now; `network` is what
        functions reach whose tags say nothing of it; `exists`: whether a version was not deleted
        yet."""
        self.id = id_
        self._backend = backend
        self._runtimes = runtimes
        self._code = code
        self._logs = logs
        self._capacity = capacity
        self._tags_of = tags_of
        self._network = network
        self._clock = clock
        self._jobs = jobs
        self.invokes = 0
        self.segments: Callable[[FunctionVersion, bytes], None] | None = None
        """Who takes what functions tell the X-Ray daemon; None: nobody."""
        self._environments: dict[SandboxId, ExecutionEnvironment] = {}
        self._starting: dict[SandboxId, int] = {}
        self._kinds = Kinds()
        self._committed_mb = 0
        """By both: asked for at each start, however many there are."""
        self.snapshots = Snapshots(self._snapshot, clock, jobs, exists)
        self.neighbours: Mapping[str, str] = {}
        """Variables of functions in the host's network, if they do not say otherwise."""
        self.durable: DurableApi | None = None
        """Who answers what durable functions ask of Lambda."""

    async def start_sandbox(self, sandbox: SandboxId, function: FunctionVersion) -> None:
        """Make an environment and run its Init phase. A function whose init fails has an
        environment all the same: its first invoke tries again and is told.

        Raises InvalidRuntime if this machine cannot run the function so, InternalFailure if the
        sandbox could not be made, InitFailed if it was to be kept initialised and is not.
        """
        self._starting[sandbox] = function.memory_mb
        self._committed_mb += function.memory_mb
        try:
            environment = await self._made(sandbox, function)
            try:
                await environment.restore()
                if environment.function.initialization is Initialization.SNAP_START:
                    self.snapshots.take_another(environment.function)
                if function.initialization is Initialization.PROVISIONED:
                    _check_initialised(environment)
            except BaseException:
                await environment.stop()
                raise
            self._environments[sandbox] = environment
            self._committed_mb += environment.function.memory_mb
        except SandboxRefused as error:
            raise InvalidRuntime(f"{function.arn} cannot run on this machine: {error}") from error
        except SandboxFailed as error:
            log.error("sandbox failed to start", sandbox=sandbox, error=error)
            raise InternalFailure("The execution environment could not be started.") from error
        finally:
            self._committed_mb -= self._starting.pop(sandbox)

    async def _made(self, sandbox: SandboxId, function: FunctionVersion) -> ExecutionEnvironment:
        """An environment whose init is over, unless it only waits to be restored."""
        if function.has_snapshot and function.initialization is Initialization.ON_DEMAND:
            function = replace(function, initialization=Initialization.SNAP_START)
            waiting = await self.snapshots.adopt(function)
            if waiting is not None:
                return waiting
        environment = await self._make(sandbox, function)
        try:
            await environment.take_snapshot()
        except BaseException:
            await environment.stop()
            raise
        return environment

    async def _snapshot(
        self, function: FunctionVersion, *, fork_of: Forkable | None, is_template: bool
    ) -> ExecutionEnvironment:
        """See templates.Make."""
        function = replace(function, initialization=Initialization.SNAP_START)
        sandbox = SandboxId(secrets.token_hex(8))
        return await self._make(sandbox, function, fork_of=fork_of, is_template=is_template)

    async def make_debugged(self, function: FunctionVersion) -> ExecutionEnvironment:
        """One that nobody else gets; whoever asked for it starts, runs and stops it.

        Raises InvalidRuntime, InternalFailure."""
        try:
            return await self._make(SandboxId(secrets.token_hex(8)), function)
        except SandboxRefused as error:
            raise InvalidRuntime(f"{function.arn} cannot run on this machine: {error}") from error
        except SandboxFailed as error:
            log.error("sandbox failed to start", function=function.arn, error=error)
            raise InternalFailure("The execution environment could not be started.") from error

    async def _make(
        self,
        sandbox: SandboxId,
        function: FunctionVersion,
        *,
        fork_of: Forkable | None = None,
        is_template: bool = False,
    ) -> ExecutionEnvironment:
        marks = StartMarks(self._clock.monotonic_s())
        code = await self._code.prepare(function.code.sha256, function.runtime)
        layers = await self._layers(function)
        refusal: Failure | None = None
        plan: RuntimePlan | None = None
        try:
            plan = await self._runtimes.plan(function, code, layers)
        except EntryPointInvalid as error:
            refusal = Failure("error", "Runtime.InvalidEntrypoint", str(error))
        asked = wishes_of(self._tags_of(function))
        # With extensions the first program is the one that starts them, and that is executed.
        is_supervised = await asyncio.to_thread(have_extensions, layers) if layers else False
        is_executed = is_supervised or function.is_debugged
        kind = None if is_executed else self._kinds.of(function, plan, asked)
        spec = SandboxSpec(
            sandbox=sandbox,
            memory_mb=function.memory_mb + (debugging.MEMORY_MB if function.is_debugged else 0),
            tmp_mb=function.tmp_mb,
            kind=kind,
            network=asked.network or self._network,
            tier=asked.tier,
            is_template=is_template,
            fork_of=fork_of,
        )
        marks.prepared_s = self._clock.monotonic_s()
        made = await self._backend.create(spec)
        marks.created_s = self._clock.monotonic_s()
        group, stream = self._log_place(function)
        if plan is None:
            launch = Launch(program=None, refusal=refusal, log_stream=stream)
        else:
            trees = Trees(code, laid(layers))
            if spec.network is Network.HOST and "AWS_ENDPOINT_URL" not in function.environment:
                variables = {**self.neighbours, **plan.variables}
                plan = replace(plan, variables=variables)
            program = program_of(made, function, plan, trees, stream)
            program = replace(program, zygote=kind, is_template=is_template)
            environment = extension_variables(function, program.environment)
            is_fork = fork_of is not None
            launch = Launch(
                program=program, init_line=plan.init_line, log_stream=stream, is_fork=is_fork
            )
            if function.is_traced and self.segments is not None:
                launch = replace(launch, segments=partial(self.segments, function))
            if trees.opt is not None:  # else there can be none, and a thread is dear
                found = await asyncio.to_thread(find_extensions, made, program.mounts, environment)
                launch = replace(launch, extensions=found)
        sink = StreamSink(self._logs, group, stream)
        return ExecutionEnvironment(
            made, function, launch, sink, self._clock, self._jobs, durable=self.durable, marks=marks
        )

    def _log_place(self, function: FunctionVersion) -> tuple[LogGroup, str]:
        """The group, and the name of a new stream: with the function's in a group of many."""
        own = LogGroup.of_function(function.key)
        group = LogGroup(own.account, own.region, function.logging.group_of(function.key.name))
        shared_by = "" if group == own else function.key.name
        unique = secrets.token_hex(16)
        return group, stream_name(self._clock.utc(), function.version, unique, shared_by)

    async def _layers(self, function: FunctionVersion) -> list[Path]:
        """The trees to be laid over one another, the lowest first."""
        digests = without_covered([layer.sha256 for layer in function.layers])
        trees = [await self._code.prepare(digest, function.runtime) for digest in digests]
        if len(trees) > 1 and not self._backend.can_merge:
            return [await self._code.merged(digests)]
        return trees

    async def run(
        self, sandbox: SandboxId, invocation: Invocation, released: Callable[[bool], None]
    ) -> InvokeResult:
        """Run one invoke in one sandbox; see ExecutionEnvironment.run."""
        environment = self._environments.get(sandbox)
        if environment is None:
            released(False)
            raise InternalFailure("The execution environment is gone.")
        self.invokes += 1
        if environment.invokes:
            return await environment.run(invocation, released)
        result = await environment.run(invocation, released)
        result.phases.start = environment.marks
        return result

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        """End it, whatever it does; nothing is left of it. Unknown ones are none of our worry."""
        environment = self._environments.pop(sandbox, None)
        if environment is not None:
            self._committed_mb -= environment.function.memory_mb
            await environment.stop()

    async def stop_all(self) -> None:
        """All at once: each may take two seconds, if it has extensions that do."""
        await self.snapshots.stop_waiting()
        sandboxes = list(self._environments)
        ends = await asyncio.gather(
            *(self.stop_sandbox(sandbox) for sandbox in sandboxes), return_exceptions=True
        )
        for sandbox, end in zip(sandboxes, ends, strict=True):
            if end is not None:
                log.error("sandbox not stopped", sandbox=sandbox, error=end)
        await self.snapshots.templates.stop_all()

    def flush_logs(self) -> None:
        """Hand on the lines of invokes that run long without printing. Called now and then."""
        for environment in self._environments.values():
            environment.flush()

    async def freeze_idle(self, idle_s: float) -> None:
        """Freeze those that have been idle for so long. Called now and then; others have their turn
        between any two, since the kernel takes up to half a millisecond for each."""
        await self.snapshots.end_idle()
        since_s = self._clock.monotonic_s() - idle_s
        for environment in list(self._environments.values()):
            if environment.freeze_if_idle(since_s):
                await asyncio.sleep(0)

    def load(self) -> WorkerLoad:
        return WorkerLoad(
            memory_mb=self._capacity.memory_mb,
            available_mb=self._capacity.available_mb(),
            committed_mb=self._committed_mb + self.snapshots.committed_mb,
            sandboxes=len(self._environments) + len(self._starting) + len(self.snapshots),
            starting=len(self._starting),
            starting_max=self._capacity.starting_max,
            cpu_count=self._capacity.cpu_count,
        )

    def memory(self) -> Mapping[SandboxId, Memory]:
        """What each sandbox uses, measured now."""
        return {
            id_: Memory(
                environment.sandbox.usage().memory_bytes,
                environment.function.memory_mb,
                environment.is_frozen,
            )
            for id_, environment in self._environments.items()
        }


def _check_initialised(environment: ExecutionEnvironment) -> None:
    """Raises InitFailed."""
    if environment.lifecycle.state is not State.READY:
        raise InitFailed("The function's initialisation failed.")


class Capacity(Protocol):
    """What this machine has for functions."""

    @property
    def memory_mb(self) -> int: ...

    @property
    def cpu_count(self) -> int: ...

    @property
    def starting_max(self) -> int: ...

    def available_mb(self) -> int: ...
