"""How does an environment become ready? A program is started, and asks for its first event.

A failed Init phase is no error of the environment's start: the first invoke tries again, in a
*suppressed init*, which is a part of that invoke, of its timeout and of its Duration.
"""

import asyncio
from typing import Final

from hearth.base.log import Log
from hearth.worker import report
from hearth.worker.extension_api import EXTENSIONS_MAX
from hearth.worker.lifecycle import Event, State
from hearth.worker.phases import telling
from hearth.worker.phases.core import Core
from hearth.worker.phases.invoke import InvokePhase
from hearth.worker.program import wait_ready
from hearth.worker.report import Failure
from hearth.worker.run import Run
from hearth.worker.runtime_api import RuntimeState
from hearth.worker.sandboxes.contract import SandboxFailed

log = Log("environment")

RESTORE_S_MAX: Final = 10.0
"""https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html"""


class InitPhase:
    """At most one init at a time; `is_going_on` says whether there is one."""

    __slots__ = ("_core", "_invokes", "_outcome", "_phase")

    def __init__(self, core: Core, invokes: InvokePhase) -> None:
        self._core = core
        self._invokes = invokes
        self._phase = "init"
        self._outcome: asyncio.Future[Failure | None] | None = None

    @property
    def is_going_on(self) -> bool:
        return self._outcome is not None

    def conclude(self, failure: Failure | None) -> None:
        """The runtime is ready, or will not be. Only the first word counts."""
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(failure)

    async def first(self) -> None:
        """The Init phase. Raises SandboxFailed if the sandbox itself could not be started."""
        core = self._core
        if core.launch.init_line and not core.launch.is_fork:
            core.journal.note(core.lines.init_start(core.launch.init_line))
        core.sandbox.limit_cpu(None)  # Lambda gives init all the CPU it wants
        began_s = core.clock.monotonic_s()
        failure = await self._initialise("init", core.function.init_timeout_s)
        core.marks.initialised_s = core.clock.monotonic_s()
        took_s = core.marks.initialised_s - began_s
        if core.lifecycle.state is not State.STARTING:
            return  # stopped meanwhile
        self._conclude("init", took_s, failure)
        if failure is None and self.waits:
            if not core.launch.is_fork:
                self._log_init(None, took_s, "init", None)
            core.journal.flush()
        elif failure is None:
            core.init_s = took_s
            self._log_init(None, took_s, "init", None)
            core.sandbox.limit_cpu(core.cpu_mb)
            core.fire(Event.INITIALIZED)
        else:
            self._log_init(None, took_s, "init", failure)
            core.fire(Event.FAIL)
            await core.end_program(failure)
            if core.lifecycle.may(Event.RESET):
                core.fire(Event.RESET)
        core.journal.flush()

    @property
    def waits(self) -> bool:
        """Whether the runtime waits to be restored."""
        return self._core.lifecycle.state is State.STARTING and self._is_restore_ready

    @property
    def _is_restore_ready(self) -> bool:
        program = self._core.program
        return program is not None and program.api.state is RuntimeState.RESTORE_READY

    async def restore(self) -> None:
        """Let a runtime that waits go on, until it asks for its first event. Else do nothing."""
        if not self.waits:
            return
        core = self._core
        began_s = core.clock.monotonic_s()
        failure = await self._restored()
        took_s = core.clock.monotonic_s() - began_s
        if core.lifecycle.state is not State.STARTING:
            return  # stopped meanwhile
        if failure is None:
            core.restore_s = took_s
            core.sandbox.limit_cpu(core.cpu_mb)
            core.fire(Event.INITIALIZED)
        else:
            core.fire(Event.FAIL)
            await core.end_program(failure)
            if core.lifecycle.may(Event.RESET):
                core.fire(Event.RESET)
        core.journal.flush()

    async def _restored(self) -> Failure | None:
        """Run the hooks after a restore; they have RESTORE_S_MAX."""
        core = self._core
        assert core.program is not None
        telemetry = core.program.telemetry
        if core.launch.init_line:
            core.journal.note(core.lines.restore_start(core.launch.init_line))
        telling.restore_started(core, telemetry)
        began_s = core.clock.monotonic_s()
        self._outcome = asyncio.get_running_loop().create_future()
        try:
            core.program.api.restore()
            failure = await wait_ready(self._outcome, RESTORE_S_MAX)
        finally:
            self._outcome = None
        took_s = core.clock.monotonic_s() - began_s
        core.journal.note(core.lines.restore_done(failure))
        core.journal.note(core.lines.restore_report(took_s, failure))
        telling.restore_reported(telemetry, took_s, failure)
        return failure

    async def again(self, run: Run) -> None:
        """A suppressed init, and then the invoke that it is a part of."""
        core = self._core
        timeout_s = float(core.function.timeout_s)
        try:
            core.sandbox.reset_peak()  # that of the program before is no longer used
        except OSError as error:
            log.warning("a peak of memory stays", sandbox=core.sandbox.id, error=error)
        try:
            failure = await self._initialise("invoke", timeout_s)
        except SandboxFailed as error:
            log.error("a reset sandbox did not start", sandbox=core.sandbox.id, error=error)
            failure = Failure("error", "Sandbox.Failure", "The sandbox could not be started")
            core.is_lost = True
        if core.lifecycle.state is not State.BUSY:
            return  # stopped meanwhile; whoever stopped it has answered
        left_s = timeout_s - (core.clock.monotonic_s() - run.began_s)
        took_s = core.clock.monotonic_s() - run.began_s
        self._conclude("invoke", took_s, failure)
        core.journal.invoked(run)
        if failure is None and left_s > 0:
            self._log_init(run, took_s, "invoke", None)
            self._invokes.begin(run, left_s)
            return
        failure = failure or report.timeout_failure(timeout_s)
        self._log_init(run, took_s, "invoke", failure)
        started = core.lines.start(run.invocation.request, run.invocation.invoked_arn)
        core.journal.write(run, started)
        self._invokes.fail(failure)

    async def _initialise(self, phase: str, limit_s: float) -> Failure | None:
        """Start the runtime, and wait until it and all extensions ask for their first event. What
        was started is left running, also if that failed."""
        core = self._core
        if core.launch.program is None:
            return core.launch.refusal
        if len(core.launch.extensions) > EXTENSIONS_MAX:
            return report.too_many_extensions_failure(EXTENSIONS_MAX)
        self._outcome = asyncio.get_running_loop().create_future()
        self._phase = phase
        program = core.make_program()
        telling.init_started(core, program.telemetry, phase)
        try:
            await program.start(core.launch)
            if phase == "init":
                core.marks.launched_s = core.clock.monotonic_s()
            failure = await wait_ready(self._outcome, limit_s)
            if phase != "init" and failure is None and self._is_restore_ready:
                failure = await self._restored()  # nobody else would let it go on
        except SandboxFailed:
            await core.end_program(None)
            raise
        finally:
            self._outcome = None
        return failure

    def _log_init(
        self, run: Run | None, took_s: float, phase: str, failure: Failure | None
    ) -> None:
        lines = self._core.lines
        ended = lines.init_done(phase, failure), lines.init_report(took_s, phase, failure)
        self._core.journal.write(run, *ended)

    def runtime_is_ready(self) -> None:
        """The runtime, but perhaps not all extensions."""
        if (telemetry := self._core.telemetry) is not None:
            telling.init_runtime_done(self._core, telemetry, self._phase, None)

    def _conclude(self, phase: str, took_s: float, failure: Failure | None) -> None:
        """It is over, one way or the other: say so to all who want to know."""
        core = self._core
        program = core.program
        if program is None:
            return
        telemetry = program.telemetry
        if failure is not None and program.api.state is not RuntimeState.READY:
            telling.init_runtime_done(core, telemetry, phase, failure)
        for extension in program.extensions.all:
            core.journal.write(core.run, core.lines.extension(extension))
            telemetry.emit("platform.extension", extension.record)
        telling.init_reported(core, telemetry, phase, took_s, failure)
        telemetry.close_registration()
