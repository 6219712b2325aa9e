"""What happens in one invoke? START, the event, the answer, END and REPORT.

Nothing on the way of a warm invoke makes a task, touches a disk or waits for another process than
the runtime.
"""

from collections.abc import Callable
from typing import Final

from hearth.base.log import Log
from hearth.model.traces import parse
from hearth.worker import report
from hearth.worker.extension_api import invoke_event
from hearth.worker.lifecycle import Event, State
from hearth.worker.phases import telling
from hearth.worker.phases.core import Core
from hearth.worker.report import Failure
from hearth.worker.run import Figures, Run
from hearth.worker.runtime_api import Event as RuntimeEvent
from hearth.worker.runtime_api import event_headers

log = Log("environment")

UNHANDLED: Final = "Unhandled"
MIB: Final = 1024 * 1024
ANSWER_WITHIN_S: Final = 0.001
MEASURE_EVERY_S: Final = 0.1
"""Memory is measured after an invoke unless it was so short a while ago: reading the kernel's
counters costs as much as the rest of a warm invoke together, and the peak only grows."""


class InvokePhase:
    """One invoke at a time, `core.run`, from the event to the report."""

    __slots__ = ("_core", "_measured_s", "_memory_used_mb", "_reset")

    def __init__(self, core: Core, reset: Callable[[Failure], None]) -> None:
        """`reset` is called when the runtime is lost; it calls `finish` in the end."""
        self._core = core
        self._reset = reset
        self._measured_s = -MEASURE_EVERY_S
        self._memory_used_mb = 0

    def begin(self, run: Run, timeout_s: float) -> None:
        """Give the event to the waiting runtime."""
        core = self._core
        invocation = run.invocation
        core.journal.invoked(run)
        core.journal.write(run, core.lines.start(invocation.request, invocation.invoked_arn))
        deadline_ms = core.clock.epoch_ms() + int(timeout_s * 1000)
        headers = event_headers(
            invocation.request,
            deadline_ms,
            invocation.invoked_arn,
            invocation.trace_id,
            invocation.client_context,
            core.function.tenant,
        )
        run.timer = core.loop.call_later(timeout_s, self._timed_out, run)
        program = core.program
        assert program is not None
        if program.extensions.serves_invokes:
            program.extensions.invoke(
                invoke_event(
                    invocation.request, deadline_ms, invocation.invoked_arn, invocation.trace_id
                )
            )
        if program.telemetry.is_on:
            telling.invoke_started(core, program.telemetry, run)
        program.deliver(RuntimeEvent(invocation.request, invocation.payload, headers))

    def _timed_out(self, run: Run) -> None:
        if self._core.run is run:
            self.fail(report.timeout_failure(float(self._core.function.timeout_s)))

    def answer(self, payload: bytes, function_error: str | None) -> None:
        """The runtime has answered; the caller is told soon, unless it wants the log too."""
        core = self._core
        run = core.run
        if run is None or core.lifecycle.state is not State.BUSY:
            return
        core.fire(Event.RESPOND)
        run.payload, run.function_error, run.answered = payload, function_error, True
        if core.telemetry is not None:
            run.response_ended_s = core.clock.monotonic_s()
            run.response_began_s = run.response_began_s or run.response_ended_s
            run.produced_bytes = run.produced_bytes or len(payload)
        program = core.program
        ends_now = program is not None and program.api.asks_next and not program.extensions.busy
        if not (ends_now or run.invocation.log_tail):
            run.answer_timer = core.loop.call_later(ANSWER_WITHIN_S, run.answer)

    def runtime_is_done(self) -> None:
        """It asked for its next event; extensions may go on. Only where somebody listens."""
        core = self._core
        if core.run is not None and core.telemetry is not None:
            telling.runtime_done(core, core.telemetry, core.run, None)

    def fail(self, failure: Failure) -> None:
        """The runtime is lost: answer the caller if nobody has, then reset the environment."""
        core = self._core
        core.fire(Event.FAIL)
        run = core.run
        if run is not None:
            run.stop_timers()
            run.failed_s = core.clock.monotonic_s()
            if failure.status == "timeout":  # AWS says 3000.00 ms, not a little more
                run.failed_s = min(run.failed_s, run.began_s + core.function.timeout_s)
            if not run.answered:
                run.payload = failure.payload(run.invocation.request)
                run.function_error, run.answered = UNHANDLED, True
            if not run.invocation.log_tail:
                run.answer()
            self._tell_failure(run, failure)
        self._reset(failure)

    def _tell_failure(self, run: Run, failure: Failure) -> None:
        """Before the program ends, and its subscribers with it."""
        telemetry = self._core.telemetry
        if telemetry is not None:
            if run.runtime_done_s is None:
                telling.runtime_done(self._core, telemetry, run, failure)
            run.figures = self._figures(run)
            telling.invoke_reported(self._core, telemetry, run, run.figures, failure)

    def finish(self, failure: Failure | None) -> None:
        """END and REPORT, then the environment is free."""
        core = self._core
        if core.program is not None:
            core.program.drain_output()
        run, core.run = core.run, None
        if core.lifecycle.state is State.FINISHING:
            core.fire(Event.RELEASE)
        if run is None:
            core.journal.flush()
            return
        run.stop_timers()
        self.close(run, failure)
        core.journal.flush()
        run.answer()
        run.released(not core.is_lost)

    def close(self, run: Run, failure: Failure | None) -> None:
        """Write END and REPORT."""
        core, request = self._core, run.invocation.request
        figures = run.figures or self._figures(run)
        done = None
        if core.lines.tells_all or (failure is not None and not core.lines.line_end):
            done = telling.done(run, figures, failure)
        ended = core.lines.end(request, failure, done)
        reported = core.lines.report(
            request,
            duration_s=figures.duration_s,
            memory_used_mb=figures.memory_used_mb,
            init_s=figures.init_s,
            failure=failure,
            restore_s=figures.restore_s,
            trace=parse(run.invocation.trace_id) if self._is_told_of(run) else None,
        )
        core.journal.write(run, ended, reported)
        if failure is None and (telemetry := core.telemetry) is not None:
            telling.invoke_reported(core, telemetry, run, figures, None)

    def _is_told_of(self, run: Run) -> bool:
        return self._core.function.is_traced and run.invocation.span is not None

    def _figures(self, run: Run) -> Figures:
        core = self._core
        init_s, core.init_s = core.init_s, None
        restore_s, core.restore_s = core.restore_s, None
        now_s = core.clock.monotonic_s()
        if now_s - self._measured_s >= MEASURE_EVERY_S:
            self._measured_s = now_s
            self._measure()
        duration_s = (run.failed_s or now_s) - run.began_s
        return Figures(duration_s, self._memory_used_mb, init_s, restore_s)

    def _measure(self) -> None:
        core = self._core
        try:
            peak = core.sandbox.peak_bytes()
        except OSError as error:  # no descriptor left, say: the invoke must end all the same
            log.warning("cannot tell a sandbox's memory", sandbox=core.sandbox.id, error=error)
        else:
            self._memory_used_mb = min(-(-peak // MIB), core.function.memory_mb)
