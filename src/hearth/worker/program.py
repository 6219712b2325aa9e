"""What is a running program? The processes in a sandbox, the APIs they speak, their output, as one.

A sandbox may run several, one after another: after a failure the environment is reset and the
next invoke starts a new one. Without external extensions the runtime is the sandbox's only
process; with them a supervisor starts them first, and the runtime when they have registered.
"""

import asyncio
import errno
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from hearth.base.clock import Clock
from hearth.base.http1 import HttpLimits, HttpRefusal, HttpRequest, HttpServer, Responder
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model import limits
from hearth.model.functions import FunctionVersion
from hearth.model.log_settings import LogFormat
from hearth.worker import metadata_api
from hearth.worker.extension_api import EXTENSION_ROOT, ExtensionApi, shutdown_event
from hearth.worker.extension_states import Step
from hearth.worker.inside_errors import refuse_path
from hearth.worker.output import Output
from hearth.worker.report import (
    Failure,
    exit_failure,
    extension_failure,
    never_executed_failure,
    timeout_failure,
)
from hearth.worker.runtime_api import Event, RuntimeApi, RuntimeEvents, is_streamed
from hearth.worker.sandboxes.contract import Exit, ExitKind, Program, Sandbox, SandboxFailed
from hearth.worker.segment_listener import SegmentListener
from hearth.worker.supervision import RUNTIME, ExtensionProgram, Supervision
from hearth.worker.telemetry.hub import Telemetry
from hearth.worker.variables import METADATA_KEY

log = Log("program")

_FOREVER_S = 1e9
DURABLE_ROOT: Final = "/2025-12-01/durable-executions/"
DurableApi = Callable[[FunctionVersion, HttpRequest, Responder], None]
"""What a durable function may ask of Lambda itself, whatever network it has: about its own
executions, and nothing else."""
API_LIMITS = HttpLimits(
    head_bytes_max=64 * 1024,
    # A little more than is allowed, so that the refusal is the Runtime API's own.
    body_bytes_max=limits.PAYLOAD_BYTES_MAX + 1024 * 1024,
    connections_max=64,
    closes_idle_for_new=False,  # the runtime's is, while the function's code runs
    # It is our memory. A runtime sends one answer at a time; what else comes is small.
    held_bytes_max=2 * limits.PAYLOAD_BYTES_MAX,
    # The runtime keeps its connection through the longest invoke, and waits in `next` for ever.
    head_timeout_s=_FOREVER_S,
    body_timeout_s=_FOREVER_S,
    idle_timeout_s=_FOREVER_S,
)
INTERNAL_BUDGET_S: Final = 0.5
EXTERNAL_BUDGET_S: Final = 2.0
FLUSH_S: Final = 0.2
"""Of the budget, at most: for telemetry that subscribers have not got yet."""
RUNTIME_SHARE: Final = 0.3
"""Of the budget: how long the runtime may take after SIGTERM, before the extensions' turn."""
MEMORY_VERDICT_S: Final = 0.25
"""A process that was killed may have been killed for memory; then the sandbox says so by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the runtime of this environment is started, or why it cannot be."""

    program: Program | None
    refusal: Failure | None = None
    """The function's own fault, told at invoke: no bootstrap, not executable, ..."""
    init_line: str = ""
    log_stream: str = ""
    extensions: tuple[ExtensionProgram, ...] = ()
    segments: Callable[[bytes], None] | None = None
    """Who takes what the program tells the X-Ray daemon; None: there is none."""
    is_fork: bool = False
    """Of a template, which has run the init."""


class ProgramEvents(RuntimeEvents, Protocol):
    """What the environment is told about its program."""

    def extension_ready(self) -> None:
        """An extension asked for its next event."""
        ...

    def extension_wrote(self, lines: list[bytes]) -> None: ...

    def telemetry_subscribed(self, api: str, name: str, types: Sequence[str]) -> None:
        """An extension did, to the API `telemetry` or `logs`."""
        ...

    def program_wrote(self, lines: list[bytes]) -> None: ...

    def program_exited(self, program: Any, failure: Failure) -> None:
        """`program` is the one that told; an earlier one may still have something to say."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a program runs."""

    sandbox: Sandbox
    function: FunctionVersion
    clock: Clock
    jobs: Jobs
    is_frozen: Callable[[], bool] = lambda: False
    durable: "DurableApi | None" = None


class RunningProgram:
    """Made by `start`; ended by `end`, after which the sandbox may run another."""

    def __init__(
        self,
        around: Surroundings,
        events: ProgramEvents,
        *,
        internal_budget_s: float = INTERNAL_BUDGET_S,
        external_budget_s: float = EXTERNAL_BUDGET_S,
    ) -> None:
        """A gentle end may take that long, with internal extensions only or with external ones."""
        self._around = around
        self._internal_budget_s = internal_budget_s
        self._external_budget_s = external_budget_s
        self._sandbox = around.sandbox
        self._events = events
        self.extensions = ExtensionApi(around.function, self)
        self.telemetry = Telemetry(
            around.sandbox, around.clock, around.jobs, is_paused=around.is_frozen
        )
        self.telemetry.has_json_lines = around.function.logging.format is LogFormat.JSON
        self.api = RuntimeApi(events, self._handle_other)
        self._server = HttpServer(
            self.api.handle, API_LIMITS, on_error=self._refused, streams=is_streamed
        )
        self._output: Output | None = None
        self._segments: SegmentListener | None = None
        self._watch: asyncio.Task[None] | None = None
        self._supervision: Supervision | None = None
        self._runtime: Program | None = None
        """Still to be started, when all external extensions have registered."""
        self._entry_points: dict[str, str] = {}
        self._metadata_token = ""
        self._is_ending = False
        self._change: asyncio.Future[None] | None = None

    async def start(self, launch: Launch) -> None:
        """Raises SandboxFailed."""
        program = launch.program
        assert program is not None
        self._entry_points[RUNTIME] = program.argv[0]
        self._metadata_token = program.environment.get(METADATA_KEY, "")
        if launch.extensions:
            program = self._supervised(program, launch.extensions)
        channels = await self._sandbox.start(program)
        self._output = Output((channels.stdout, channels.stderr), self._wrote)
        self._watch = self._around.jobs.spawn(self._wait(), name=f"watch-{self._sandbox.id}")
        await self._server.start(channels.api)
        if launch.segments is not None:
            self._segments = SegmentListener(launch.segments)
            await self._segments.open(self._sandbox)

    def _supervised(self, runtime: Program, extensions: tuple[ExtensionProgram, ...]) -> Program:
        self._supervision = supervision = Supervision(self)
        self._runtime = runtime
        self.extensions.expect(extension.name for extension in extensions)
        for extension in extensions:
            self._entry_points[extension.name] = extension.path
            supervision.start_extension(extension)
        return supervision.program(self._sandbox, runtime)

    def _wrote(self, lines: list[bytes]) -> None:
        if self.telemetry.is_on:
            self.telemetry.lines("function", lines)
        self._events.program_wrote(lines)

    def deliver(self, event: Event) -> None:
        self.api.deliver(event)

    def drain_output(self) -> None:
        if self._output is not None:
            self._output.drain()

    async def end(self, reason: str, *, for_good: bool = False) -> None:
        """End what runs, take in its last words, close its APIs. Safe to call twice.

        `reason` is what extensions are told: spindown, timeout or failure. `for_good`: and the
        sandbox with it.
        """
        self._is_ending = True
        if self._watch is not None and self.extensions.all:
            try:
                await self._end_gently(reason)
            except SandboxFailed as error:  # then at once
                log.warning("no gentle end", sandbox=self._sandbox.id, error=error)
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
        await (self._sandbox.destroy() if for_good else self._sandbox.kill())
        output, self._output = self._output, None
        if output is not None:
            output.close()
        self.telemetry.close()
        if self._segments is not None:
            self._segments.close()
        await self._server.close()

    # -- a gentle end: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html

    async def _end_gently(self, reason: str) -> None:
        """The runtime gets SIGTERM, then extensions SHUTDOWN; what is left is killed later."""
        self._sandbox.thaw()
        began_s = self._around.clock.monotonic_s()
        supervision = self._supervision
        if supervision is None:
            await self.telemetry.flush(FLUSH_S)
            await self._sandbox.terminate()
            await self._until(lambda: False, began_s + self._internal_budget_s)
            return
        deadline_s = began_s + self._external_budget_s
        if RUNTIME in supervision.alive:
            supervision.signal(RUNTIME, signal.SIGTERM)
            await self._until(
                lambda: RUNTIME not in supervision.alive,
                began_s + self._external_budget_s * RUNTIME_SHARE,
            )
            supervision.signal(RUNTIME, signal.SIGKILL)
        await self.telemetry.flush(FLUSH_S)
        left_s = deadline_s - self._around.clock.monotonic_s()
        deadline_ms = self._around.clock.epoch_ms() + int(left_s * 1000)
        told = self.extensions.shut_down(shutdown_event(reason, deadline_ms))
        for name in supervision.alive - told - {RUNTIME}:
            supervision.signal(name, signal.SIGKILL)
        await self._until(lambda: not supervision.alive, deadline_s)

    async def _until(self, holds: Any, deadline_s: float) -> None:
        """Until it holds, all processes are gone, or time is up."""
        assert self._watch is not None
        loop = asyncio.get_running_loop()
        while not holds() and not self._watch.done():
            left_s = deadline_s - self._around.clock.monotonic_s()
            if left_s <= 0:
                return
            self._change = loop.create_future()
            await asyncio.wait(
                [self._change, self._watch], timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )

    def _changed(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    # -- what extensions and the supervisor tell -------------------------------------------------

    def extension_registered(self) -> None:
        runtime = self._runtime
        if self._is_ending:
            return  # it registered on its way out: a runtime started now would be told of no end
        if runtime is not None and self.extensions.external_are_registered:
            self._runtime = None
            assert self._supervision is not None
            self._supervision.start_runtime(runtime)

    def extension_ready(self) -> None:
        self._events.extension_ready()

    def supervised_wrote(self, name: str, lines: list[bytes]) -> None:  # noqa: ARG002
        if self.telemetry.is_on:
            self.telemetry.lines("extension", lines)
        self._events.extension_wrote(lines)

    def supervised_failed(self, name: str, errno_: int) -> None:
        error_type = "Runtime.InvalidEntrypoint"
        if name != RUNTIME:
            error_type = "Extension.LaunchError"
            extension = self.extensions.find(name)
            if extension is not None and extension.may(Step.LAUNCH_ERROR):
                extension.take(Step.LAUNCH_ERROR)
                denied = errno_ in {errno.EACCES, errno.EPERM}
                extension.error_type = "PermissionDenied" if denied else "UnknownError"
        path, why = self._entry_points[name], os.strerror(errno_).lower()
        self._lost(Failure("error", error_type, f"fork/exec {path}: {why}"))

    def supervised_exited(self, name: str, exit_: Exit) -> None:
        if name != RUNTIME:
            extension = self.extensions.find(name)
            if extension is not None and extension.may(Step.EXIT):
                extension.take(Step.EXIT)
            failure = extension_failure(exit_, self.extensions.fatal_type)
        else:
            failure = exit_failure(exit_, self.extensions.fatal_type)
        if exit_ == Exit(ExitKind.SIGNALED, signal.SIGKILL) and not self._is_ending:
            asyncio.get_running_loop().call_later(MEMORY_VERDICT_S, self._lost, failure)
        else:
            self._lost(failure)

    def _lost(self, failure: Failure) -> None:
        self._changed()
        if not self._is_ending:
            self._events.program_exited(self, failure)

    async def _wait(self) -> None:
        exit_ = await self._sandbox.wait()
        if self._is_ending:
            return
        if exit_.executed:
            failure = exit_failure(exit_, self.extensions.fatal_type)
        else:
            failure = never_executed_failure(self._entry_points[RUNTIME])
        self._events.program_exited(self, failure)

    # -- what comes in on the Runtime API's socket and is not the Runtime API's --------------------

    def _handle_other(self, request: HttpRequest, responder: Responder) -> None:
        around = self._around
        if request.target.startswith(EXTENSION_ROOT):
            self.extensions.handle(request, responder)
        elif request.target.startswith(metadata_api.METADATA_ROOT):
            region = around.function.key.region
            metadata_api.handle(request, responder, self._metadata_token, region)
        elif request.target.startswith(DURABLE_ROOT) and around.function.durable is not None:
            if around.durable is None:
                refuse_path(responder)
            else:
                around.durable(around.function, request, responder)
        elif self.telemetry.handle(
            request, responder, self.extensions, self._events.telemetry_subscribed
        ):
            return
        elif self._supervision is None or not self._supervision.handle(request, responder):
            refuse_path(responder)

    def _refused(self, refusal: HttpRefusal) -> tuple[int, list[tuple[str, str]], bytes]:
        if refusal.status == 413:
            self.api.refuse_oversize()
        body = b'{"errorMessage":"%s","errorType":"%s"}\n' % (
            refusal.reason.encode("ascii", "replace").replace(b'"', b"'"),
            b"RequestEntityTooLarge" if refusal.status == 413 else b"InvalidRequest",
        )
        return refusal.status, [("Content-Type", "application/json")], body


class StartedProgram(Protocol):
    """What the environment needs of a program: RunningProgram, or a test's."""

    @property
    def api(self) -> RuntimeApi: ...

    @property
    def extensions(self) -> ExtensionApi: ...

    @property
    def telemetry(self) -> Telemetry: ...

    async def start(self, launch: Launch) -> None: ...

    def deliver(self, event: Event) -> None: ...

    def drain_output(self) -> None: ...

    async def end(self, reason: str, *, for_good: bool = False) -> None: ...


class NewProgram(Protocol):
    def __call__(self, around: Surroundings, events: ProgramEvents) -> StartedProgram: ...


async def wait_ready(ready: "asyncio.Future[Failure | None]", limit_s: float) -> Failure | None:
    """What the init came to: None if the runtime is ready, else why not; at most `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            return await ready
    except TimeoutError:
        return timeout_failure(limit_s)
