"""What happens in one execution environment? Init, invokes one after another, resets, the end.

    start()      the Init phase, within its limit. A failed one is tried again by the first invoke.
    run(i)       START, the event, the answer, END and REPORT
    stop()       the sandbox is gone

Each phase is a file of `phases/`; here is who calls which, and what a program's news mean when.

The environment is free only when the runtime asks for its next event, and then `released(True)`
is called. The caller is answered at that moment too, or ANSWER_WITHIN_S after the runtime's answer
if that comes first: a runtime takes some 50 µs to ask again, and a caller who was told before would
send the next invoke to an environment that is not free yet, which takes a longer way.

A failure (crash, exit, timeout, out of memory, init error, oversized response) answers the caller,
ends the process and leaves the environment RESET: the next invoke initialises it again, inside its
own timeout.
Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

import asyncio
from collections.abc import Callable, Sequence

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.model.errors import InternalFailure
from hearth.model.functions import FunctionVersion, Initialization
from hearth.model.invocations import Invocation, InvokeResult, ResponseSource, StartMarks
from hearth.worker import report
from hearth.worker.journal import Journal, LogSink
from hearth.worker.lifecycle import Event, Lifecycle, State
from hearth.worker.phases.core import Core
from hearth.worker.phases.init import InitPhase
from hearth.worker.phases.invoke import UNHANDLED, InvokePhase
from hearth.worker.phases.reset import ResetPhase
from hearth.worker.phases.shutdown import STOPPED, shut_down
from hearth.worker.phases.stillness import Stillness
from hearth.worker.phases.streaming import StreamPhase
from hearth.worker.program import DurableApi, Launch, NewProgram, RunningProgram, StartedProgram
from hearth.worker.report import Failure
from hearth.worker.run import Run
from hearth.worker.runtime_api import RuntimeState
from hearth.worker.sandboxes.contract import Forkable, Sandbox
from hearth.worker.system_lines import lines_of

__all__ = ["ExecutionEnvironment", "Launch", "LogSink"]

_WAITS = frozenset({RuntimeState.READY, RuntimeState.RESTORE_READY})


class ExecutionEnvironment:
    """One environment: one sandbox, one function version, one invoke at a time."""

    def __init__(
        self,
        sandbox: Sandbox,
        function: FunctionVersion,
        launch: Launch,
        sink: LogSink,
        clock: Clock,
        jobs: Jobs,
        new_program: NewProgram = RunningProgram,
        durable: DurableApi | None = None,
        marks: StartMarks | None = None,
    ) -> None:
        self.marks = marks or StartMarks(clock.monotonic_s())
        self.function = function
        self.invokes = 0
        self.lifecycle = Lifecycle(sandbox.id, clock.monotonic_s())
        lines = lines_of(function, clock, launch.log_stream)
        self._core = core = Core(
            sandbox=sandbox,
            function=function,
            launch=launch,
            clock=clock,
            jobs=jobs,
            new_program=new_program,
            events=self,
            lifecycle=self.lifecycle,
            journal=Journal(sink, clock, lines.line_end),
            lines=lines,
            durable=durable,
            marks=self.marks,
        )
        self._invokes = InvokePhase(core, self._start_reset)
        self._streams = StreamPhase(core, self._invokes)
        self._init = InitPhase(core, self._invokes)
        self._reset = ResetPhase(core)
        self._stillness = Stillness(core)

    @property
    def sandbox(self) -> Sandbox:
        return self._core.sandbox

    @property
    def is_frozen(self) -> bool:
        return self._core.is_frozen

    async def start(self) -> None:
        """The Init phase. Raises SandboxFailed if the sandbox itself could not be started; a
        function whose init fails is no error here, but told to its first invoke."""
        await self._init.first()
        await self._init.restore()

    async def take_snapshot(self) -> None:
        """start() without its end: the runtime waits before it is restored, if it can."""
        await self._init.first()

    async def restore(self) -> None:
        """The end of start(), after take_snapshot()."""
        await self._init.restore()

    async def become_template(self) -> str:
        """After take_snapshot(): have others forked from it, and never use it itself. Returns why
        that cannot be; then it waits as before. Raises SandboxFailed."""
        sandbox, program = self._core.sandbox, self._core.program
        if not isinstance(sandbox, Forkable) or program is None or not self._init.waits:
            return "its sandbox or its runtime cannot be forked"
        return await sandbox.become_template(program.api.let_fork)

    @property
    def is_waiting(self) -> bool:
        """Whether it was initialised and has not been used: what restore() is for."""
        return self.invokes == 0 and (self._init.waits or self.lifecycle.state is State.READY)

    async def run(self, invocation: Invocation, released: Callable[[bool], None]) -> InvokeResult:
        """Run one invoke; the environment must be idle.

        `released` is called once: True when it can take the next one, False when it is gone.
        Cancelling the caller does not stop the function. Raises InternalFailure if it is gone.
        """
        core = self._core
        if self.lifecycle.state is State.RESETTING:
            await self._reset.wait(released)
        if core.is_frozen:
            self._stillness.end()
        if core.is_lost or not self.lifecycle.may(Event.INVOKE):
            released(False)
            raise InternalFailure("The execution environment is gone.")
        was = self.lifecycle.state
        core.fire(Event.INVOKE)
        outcome: asyncio.Future[InvokeResult] = core.loop.create_future()
        core.run = run = Run(invocation, released, core.clock.monotonic_s(), outcome)
        self.invokes += 1
        if was is State.RESET:
            core.jobs.spawn(self._init.again(run), name=f"init-{core.sandbox.id}")
        else:
            self._invokes.begin(run, self.function.timeout_s)
        return await outcome

    def freeze_if_idle(self, since_s: float) -> bool:
        """Whether it was, since then or longer, and has now been frozen until the next invoke."""
        return self._stillness.begin_if_idle(since_s)

    async def stop(self) -> None:
        """End it now, whatever it does. An invoke that runs is answered with an error."""
        if self.lifecycle.state is State.STOPPED:
            return
        self._core.fire(Event.KILL)
        self._init.conclude(STOPPED)
        await shut_down(self._core, self._invokes)

    def flush(self) -> None:
        """Hand the lines so far to the log."""
        self._core.journal.flush()

    def _start_reset(self, failure: Failure) -> None:
        self._reset.start(failure, self._invokes.finish)

    # -- what the program tells (ProgramEvents) --------------------------------------------------

    def runtime_ready(self) -> None:
        program = self._core.program
        if program is None:
            return
        if self._init.is_going_on:
            program.extensions.close_registration()
            self._init.runtime_is_ready()
            if program.extensions.are_ready:
                self._init.conclude(None)
        elif self.lifecycle.state is State.FINISHING:
            if program.telemetry.is_on:
                self._invokes.runtime_is_done()
            if not program.extensions.busy:
                self._invokes.finish(None)

    def extension_ready(self) -> None:
        program = self._core.program
        if program is None or program.api.state not in _WAITS:
            return
        if self._init.is_going_on:
            if program.extensions.are_ready:
                self._init.conclude(None)
        elif self.lifecycle.state is State.FINISHING and not program.extensions.busy:
            self._invokes.finish(None)

    def runtime_init_failed(self, payload: bytes, error_type: str) -> None:
        self._init.conclude(Failure("error", error_type, "", posted=payload))

    def runtime_may_wait(self) -> bool:
        return self.function.initialization is Initialization.SNAP_START

    def runtime_waits(self) -> None:
        program = self._core.program
        if program is None or not self._init.is_going_on:
            return
        program.extensions.close_registration()
        self._init.runtime_is_ready()
        if program.extensions.are_ready:
            self._init.conclude(None)

    def runtime_restore_failed(self, payload: bytes, error_type: str) -> None:
        self._init.conclude(Failure("error", error_type, "", posted=payload))

    def runtime_responded(self, payload: bytes) -> None:
        self._invokes.answer(self._streams.collected(payload), None)

    def runtime_failed(self, payload: bytes, error_type: str) -> None:  # noqa: ARG002
        self._invokes.answer(payload, UNHANDLED)

    def runtime_response_too_large(self) -> None:
        if self.lifecycle.may(Event.FAIL):
            self._invokes.fail(report.oversize_failure())

    def runtime_streams(self, source: ResponseSource, content_type: str | None) -> None:
        self._streams.begin(source, content_type)

    def runtime_streamed(self, data: bytes) -> None:
        self._streams.take(data)

    def runtime_stream_broken(self) -> None:
        self._streams.broke()

    def telemetry_subscribed(self, api: str, name: str, types: Sequence[str]) -> None:
        self._core.journal.write(self._core.run, self._core.lines.subscribed(api, name, types))

    def program_wrote(self, lines: list[bytes]) -> None:
        self._core.journal.take(self._core.lines.admitted(lines), self._core.run)
        self._core.journal.flush()

    def extension_wrote(self, lines: list[bytes]) -> None:
        self._core.journal.take(lines, self._core.run)
        self._core.journal.flush()

    def program_exited(self, program: StartedProgram, failure: Failure) -> None:
        if program is not self._core.program:
            return
        if self._init.is_going_on:
            self._init.conclude(failure)
        elif self.lifecycle.may(Event.FAIL):
            self._invokes.fail(failure)
