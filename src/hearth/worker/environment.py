"""What happens in one execution environment? Init, invokes one after another, resets, the end.

    start()      the Init phase, within its limit. A failed one is tried again by the first invoke.
    run(i)       START, the event, the answer, END and REPORT
    stop()       the sandbox is gone

The environment is free only when the runtime asks for its next event, and then `released(True)`
is called. The caller is answered at that moment too, or ANSWER_WITHIN_S after the runtime's answer
if that comes first: a runtime takes some 50 µs to ask again, and a caller who was told before would
send the next invoke to an environment that is not free yet, which takes a longer way.

A failure (crash, exit, timeout, out of memory, init error, oversized response) answers the caller,
ends the process and leaves the environment RESET: the next invoke initialises it again, inside its
own timeout.
Nothing on the way of a warm invoke makes a task, touches a disk or waits for another process than
the runtime. Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model import limits
from hearth.model.errors import InternalFailure
from hearth.model.functions import FunctionVersion
from hearth.model.invocations import Invocation, InvokeResult
from hearth.worker import report
from hearth.worker.lifecycle import Event, Lifecycle, State
from hearth.worker.program import NewProgram, RunningProgram, StartedProgram, wait_ready
from hearth.worker.report import Failure
from hearth.worker.run import Run
from hearth.worker.runtime_api import Event as RuntimeEvent
from hearth.worker.runtime_api import event_headers
from hearth.worker.sandboxes.contract import Program, Sandbox, SandboxFailed

log = Log("environment")

UNHANDLED = "Unhandled"
MIB = 1024 * 1024
STOPPED = Failure("error", "Sandbox.Failure", "The execution environment was stopped")
ANSWER_WITHIN_S = 0.001
MEASURE_EVERY_S = 0.1
"""Memory is measured after an invoke unless it was so short a while ago: reading the kernel's
counters costs as much as the rest of a warm invoke together, and the peak only grows."""


class LogSink(Protocol):
    """Where an environment's lines go. Must not block and must not raise."""

    def append(self, lines: list[bytes]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the runtime of this environment is started, or why it cannot be."""

    program: Program | None
    refusal: Failure | None = None
    """The function's own fault, told at invoke: no bootstrap, not executable, ..."""
    init_line: str = ""


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
    ) -> None:
        self.function = function
        self.invokes = 0
        self.lifecycle = Lifecycle(sandbox.id, clock.monotonic_s())
        self._sandbox = sandbox
        self._launch = launch
        self._sink = sink
        self._clock = clock
        self._jobs = jobs
        self._new_program = new_program
        self._program: StartedProgram | None = None
        self._ready: asyncio.Future[Failure | None] | None = None
        self._resetting: asyncio.Task[None] | None = None
        self._run: Run | None = None
        self._is_lost = False  # its sandbox can neither run nor end a program any more
        self._init_s: float | None = None
        self._lines: list[bytes] = []
        self._early = bytearray()
        self._measured_s = -MEASURE_EVERY_S
        self._memory_used_mb = 0

    @property
    def sandbox(self) -> Sandbox:
        return self._sandbox

    # -- init ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """The Init phase. Raises SandboxFailed if the sandbox itself could not be started; a
        function whose init fails is no error here, but told to its first invoke."""
        if self._launch.init_line:
            self._lines.append(self._launch.init_line.encode())  # never part of a tail
        self._sandbox.limit_cpu(None)  # Lambda gives init all the CPU it wants
        began_s = self._clock.monotonic_s()
        failure = await self._initialise(self.function.init_timeout_s)
        took_s = self._clock.monotonic_s() - began_s
        if self.lifecycle.state is not State.STARTING:
            return  # stopped meanwhile
        if failure is None:
            self._init_s = took_s
            self._sandbox.limit_cpu(self.function.memory_mb)
            self._fire(Event.INITIALIZED)
        else:
            self._lines.append(report.init_report_line(took_s, "init", failure).encode())
            self._fire(Event.FAIL)
            self._fire(Event.RESET)
        self.flush()

    async def _initialise(self, limit_s: float) -> Failure | None:
        """Start the runtime and wait until it asks for its first event."""
        if self._launch.program is None:
            return self._launch.refusal
        self._ready = asyncio.get_running_loop().create_future()
        self._program = program = self._new_program(self._sandbox, self, self._jobs)
        failure: Failure | None = None
        try:
            await program.start(self._launch.program)
            failure = await wait_ready(self._ready, limit_s)
        except SandboxFailed:
            await self._end_program()
            raise
        finally:
            self._ready = None
        if failure is not None:
            await self._end_program()
        return failure

    async def _end_program(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            await program.end()

    # -- invoke --------------------------------------------------------------------------------

    async def run(self, invocation: Invocation, released: Callable[[bool], None]) -> InvokeResult:
        """Run one invoke; the environment must be idle.

        `released` is called once: True when it can take the next one, False when it is gone.
        Cancelling the caller does not stop the function. Raises InternalFailure if it is gone.
        """
        if self.lifecycle.state is State.RESETTING:
            await self._wait_reset(released)
        if self._is_lost or not self.lifecycle.may(Event.INVOKE):
            released(False)
            raise InternalFailure("The execution environment is gone.")
        was = self.lifecycle.state
        self._fire(Event.INVOKE)
        outcome: asyncio.Future[InvokeResult] = asyncio.get_running_loop().create_future()
        run = Run(invocation, released, self._clock.monotonic_s(), outcome)
        self._run = run
        self.invokes += 1
        if was is State.RESET:
            self._jobs.spawn(self._initialise_again(run), name=f"init-{self._sandbox.id}")
        else:
            self._begin(run, self.function.timeout_s)
        return await outcome

    async def _wait_reset(self, released: Callable[[bool], None]) -> None:
        """It died a moment ago, idle: its next program can start when the last one is gone."""
        assert self._resetting is not None
        try:
            await asyncio.wait([self._resetting])
        except asyncio.CancelledError:
            released(True)
            raise

    async def _initialise_again(self, run: Run) -> None:
        """A suppressed init: part of the invoke, and of its timeout and its Duration."""
        timeout_s = float(self.function.timeout_s)
        try:
            failure = await self._initialise(timeout_s)
        except SandboxFailed as error:
            log.error("a reset sandbox did not start", sandbox=self._sandbox.id, error=error)
            failure = Failure("error", "Sandbox.Failure", "The sandbox could not be started")
            self._is_lost = True
        if self.lifecycle.state is not State.BUSY:
            return  # stopped meanwhile; stop() has answered
        left_s = timeout_s - (self._clock.monotonic_s() - run.began_s)
        if failure is None and left_s > 0:
            self._begin(run, left_s)
            return
        failure = failure or report.timeout_failure(timeout_s)
        took_s = self._clock.monotonic_s() - run.began_s
        self._write(report.init_report_line(took_s, "invoke", failure))
        self._write(report.start_line(run.invocation.request, self.function.version))
        self._fail(failure)

    def _begin(self, run: Run, timeout_s: float) -> None:
        """Give the event to the waiting runtime."""
        invocation = run.invocation
        if invocation.log_tail:
            run.tail[:0], self._early = self._early, bytearray()
        self._write(report.start_line(invocation.request, self.function.version))
        deadline_ms = self._clock.epoch_ms() + int(timeout_s * 1000)
        headers = event_headers(
            invocation.request,
            deadline_ms,
            invocation.invoked_arn,
            invocation.trace_id,
            invocation.client_context,
        )
        run.timer = asyncio.get_running_loop().call_later(timeout_s, self._timed_out, run)
        assert self._program is not None
        self._program.deliver(RuntimeEvent(invocation.request, invocation.payload, headers))

    def _timed_out(self, run: Run) -> None:
        if self._run is run:
            self._fail(report.timeout_failure(float(self.function.timeout_s)))

    # -- what the program tells (ProgramEvents) --------------------------------------------------

    def runtime_ready(self) -> None:
        if self._ready is not None:
            if not self._ready.done():
                self._ready.set_result(None)
        elif self.lifecycle.state is State.FINISHING:
            self._finish(None)

    def runtime_init_failed(self, payload: bytes, error_type: str) -> None:
        if self._ready is not None and not self._ready.done():
            failure = Failure("error", error_type, "", posted=payload)
            self._ready.set_result(failure)

    def runtime_responded(self, payload: bytes) -> None:
        self._answer(payload, None)

    def runtime_failed(self, payload: bytes, error_type: str) -> None:  # noqa: ARG002
        self._answer(payload, UNHANDLED)

    def runtime_response_too_large(self) -> None:
        self._fail(report.oversize_failure())

    def program_wrote(self, lines: list[bytes]) -> None:
        self._take(lines)
        self.flush()

    def program_exited(self, program: StartedProgram, failure: Failure) -> None:
        if program is not self._program:
            return
        if self._ready is not None:
            if not self._ready.done():
                self._ready.set_result(failure)
        elif self.lifecycle.may(Event.FAIL):
            self._fail(failure)

    # -- the end of an invoke --------------------------------------------------------------------

    def _answer(self, payload: bytes, function_error: str | None) -> None:
        """The runtime has answered; the caller is told soon, unless it wants the log too."""
        run = self._run
        if run is None or self.lifecycle.state is not State.BUSY:
            return
        self._fire(Event.RESPOND)
        run.payload, run.function_error, run.answered = payload, function_error, True
        if not run.invocation.log_tail:
            loop = asyncio.get_running_loop()
            run.answer_timer = loop.call_later(ANSWER_WITHIN_S, run.answer)

    def _fail(self, failure: Failure) -> None:
        """The runtime is lost: answer the caller if nobody has, then reset the environment."""
        self._fire(Event.FAIL)
        run = self._run
        if run is not None:
            run.stop_timers()
            run.failed_s = self._clock.monotonic_s()
            if not run.answered:
                run.payload = failure.payload(run.invocation.request)
                run.function_error, run.answered = UNHANDLED, True
            if not run.invocation.log_tail:
                run.answer()
        name = f"reset-{self._sandbox.id}"
        self._resetting = self._jobs.spawn(self._reset(failure), name=name)

    async def _reset(self, failure: Failure) -> None:
        try:
            await self._end_program()
        except SandboxFailed as error:
            log.error("a program could not be ended", sandbox=self._sandbox.id, error=error)
            self._is_lost = True
        if self.lifecycle.state is State.RESETTING:
            self._fire(Event.RESET)
            self._finish(failure)

    def _finish(self, failure: Failure | None) -> None:
        """END and REPORT, then the environment is free."""
        run, self._run = self._run, None
        if self._program is not None:
            self._program.drain_output()
        if self.lifecycle.state is State.FINISHING:
            self._fire(Event.RELEASE)
        if run is None:
            self.flush()
            return
        run.stop_timers()
        self._write(report.end_line(run.invocation.request), run)
        self._write(self._report(run, failure), run)
        self.flush()
        run.answer()
        run.released(not self._is_lost)

    def _report(self, run: Run, failure: Failure | None) -> str:
        init_s, self._init_s = self._init_s, None
        now_s = self._clock.monotonic_s()
        if now_s - self._measured_s >= MEASURE_EVERY_S:
            self._measured_s = now_s
            self._measure()
        return report.report_line(
            run.invocation.request,
            duration_s=(run.failed_s or now_s) - run.began_s,
            memory_mb=self.function.memory_mb,
            memory_used_mb=self._memory_used_mb,
            init_s=init_s,
            failure=failure,
        )

    def _measure(self) -> None:
        try:
            peak = self._sandbox.usage().memory_peak_bytes
        except OSError as error:  # no descriptor left, say: the invoke must end all the same
            log.warning("cannot tell a sandbox's memory", sandbox=self._sandbox.id, error=error)
        else:
            self._memory_used_mb = min(-(-peak // MIB), self.function.memory_mb)

    # -- the end of the environment --------------------------------------------------------------

    async def stop(self) -> None:
        """End it now, whatever it does. An invoke that runs is answered with an error."""
        if self.lifecycle.state is State.STOPPED:
            return
        self._fire(Event.KILL)
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(STOPPED)
        run, self._run = self._run, None
        if run is not None:
            run.stop_timers()
        try:
            await self._end_program()
            if run is not None:
                self._write(report.end_line(run.invocation.request), run)
                self._write(self._report(run, None if run.answered else STOPPED), run)
            self.flush()
            await self._sandbox.destroy()
        finally:
            if self.lifecycle.may(Event.GONE):
                self._fire(Event.GONE)
            if run is not None:
                run.lose()

    # -- the log -----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand the lines so far to the log."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._sink.append(lines)

    def _write(self, line: str, run: Run | None = None) -> None:
        self._take([line.encode()], run)

    def _take(self, lines: list[bytes], run: Run | None = None) -> None:
        self._lines.extend(lines)
        run = run or self._run
        if run is not None and run.invocation.log_tail:
            tail = run.tail
        elif run is None and self.invokes == 0:
            tail = self._early  # what init prints belongs to the tail of the first invoke
        else:
            return
        for line in lines:
            tail += line + b"\n"
        excess = len(tail) - limits.LOG_RESULT_BYTES_MAX
        if excess > 0:
            del tail[:excess]

    def _fire(self, event: Event) -> None:
        self.lifecycle.fire(event, self._clock.monotonic_s())
