"""How does an environment become ready? A program is started, and asks for its first event.

A failed Init phase is no error of the environment's start: the first invoke tries again, in a
*suppressed init*, which is a part of that invoke, of its timeout and of its Duration.
"""

import asyncio

from hearth.base.log import Log
from hearth.model.functions import Initialization
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
        if core.launch.init_line:
            core.journal.note(core.lines.init_start(core.launch.init_line))
        core.sandbox.limit_cpu(None)  # Lambda gives init all the CPU it wants
        began_s = core.clock.monotonic_s()
        failure = await self._initialise("init", core.function.init_timeout_s)
        took_s = core.clock.monotonic_s() - began_s
        if core.lifecycle.state is not State.STARTING:
            return  # stopped meanwhile
        self._conclude("init", took_s, failure)
        if failure is None:
            core.init_s = took_s
            if core.function.initialization is Initialization.PROVISIONED:
                core.journal.note(core.lines.init_report(took_s, "init", None))
            core.sandbox.limit_cpu(core.function.memory_mb)
            core.fire(Event.INITIALIZED)
        else:
            core.journal.note(core.lines.init_report(took_s, "init", failure))
            core.fire(Event.FAIL)
            await core.end_program(failure)
            if core.lifecycle.may(Event.RESET):
                core.fire(Event.RESET)
        core.journal.flush()

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
        if failure is None and left_s > 0:
            self._invokes.begin(run, left_s)
            return
        failure = failure or report.timeout_failure(timeout_s)
        core.journal.write(core.lines.init_report(took_s, "invoke", failure), run)
        core.journal.write(core.lines.start(run.invocation.request), run)
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
            return await wait_ready(self._outcome, limit_s)
        except SandboxFailed:
            await core.end_program(None)
            raise
        finally:
            self._outcome = None

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
            core.journal.note(core.lines.extension(extension))
            telemetry.emit("platform.extension", extension.record)
        telling.init_reported(core, telemetry, phase, took_s, failure)
        telemetry.close_registration()
