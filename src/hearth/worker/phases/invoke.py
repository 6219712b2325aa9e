"""What happens in one invoke? START, the event, the answer, END and REPORT.

Nothing on the way of a warm invoke makes a task, touches a disk or waits for another process than
the runtime.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from hearth.base.log import Log
from hearth.worker import report
from hearth.worker.extension_api import invoke_event
from hearth.worker.lifecycle import Event, State
from hearth.worker.phases.core import Core
from hearth.worker.report import Failure
from hearth.worker.run import Run
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
        core.journal.write(core.lines.start(invocation.request), run)
        deadline_ms = core.clock.epoch_ms() + int(timeout_s * 1000)
        headers = event_headers(
            invocation.request,
            deadline_ms,
            invocation.invoked_arn,
            invocation.trace_id,
            invocation.client_context,
        )
        run.timer = asyncio.get_running_loop().call_later(timeout_s, self._timed_out, run)
        program = core.program
        assert program is not None
        if program.extensions.serves_invokes:
            program.extensions.invoke(
                invoke_event(
                    invocation.request, deadline_ms, invocation.invoked_arn, invocation.trace_id
                )
            )
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
        if not run.invocation.log_tail:
            loop = asyncio.get_running_loop()
            run.answer_timer = loop.call_later(ANSWER_WITHIN_S, run.answer)

    def fail(self, failure: Failure) -> None:
        """The runtime is lost: answer the caller if nobody has, then reset the environment."""
        core = self._core
        core.fire(Event.FAIL)
        run = core.run
        if run is not None:
            run.stop_timers()
            run.failed_s = core.clock.monotonic_s()
            if not run.answered:
                run.payload = failure.payload(run.invocation.request)
                run.function_error, run.answered = UNHANDLED, True
            if not run.invocation.log_tail:
                run.answer()
        self._reset(failure)

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
        self._core.journal.write(self._core.lines.end(run.invocation.request, failure), run)
        self._core.journal.write(self._report(run, failure), run)

    def _report(self, run: Run, failure: Failure | None) -> str:
        core = self._core
        init_s, core.init_s = core.init_s, None
        now_s = core.clock.monotonic_s()
        if now_s - self._measured_s >= MEASURE_EVERY_S:
            self._measured_s = now_s
            self._measure()
        return core.lines.report(
            run.invocation.request,
            duration_s=(run.failed_s or now_s) - run.began_s,
            memory_used_mb=self._memory_used_mb,
            init_s=init_s,
            failure=failure,
        )

    def _measure(self) -> None:
        core = self._core
        try:
            peak = core.sandbox.usage().memory_peak_bytes
        except OSError as error:  # no descriptor left, say: the invoke must end all the same
            log.warning("cannot tell a sandbox's memory", sandbox=core.sandbox.id, error=error)
        else:
            self._memory_used_mb = min(-(-peak // MIB), core.function.memory_mb)
