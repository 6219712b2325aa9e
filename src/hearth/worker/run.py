"""What is known of the invoke that an environment runs?"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hearth.model.errors import InternalFailure
from hearth.model.invocations import Invocation, InvokeResult


class Figures(NamedTuple):
    """What is reported of an invoke."""

    duration_s: float
    memory_used_mb: int
    init_s: float | None
    restore_s: float | None = None


@dataclass(slots=True)
class Run:
    """The invoke that is going on."""

    invocation: Invocation
    released: Callable[[bool], None]
    began_s: float
    outcome: asyncio.Future[InvokeResult]
    failed_s: float | None = None
    """When the platform ended it; what the clean-up takes after that is not its Duration."""
    timer: asyncio.TimerHandle | None = None
    answer_timer: asyncio.TimerHandle | None = None
    broken_timer: asyncio.TimerHandle | None = None
    """Its response broke off; soon it will be known why."""
    payload: bytes = b""
    function_error: str | None = None
    content_type: str | None = None
    answered: bool = False
    response_began_s: float | None = None
    response_ended_s: float | None = None
    runtime_done_s: float | None = None
    produced_bytes: int = 0
    """These four are known only where somebody listens; see telling.py."""
    figures: Figures | None = None
    """Its figures, where they were needed before its end."""
    tail: bytearray = field(default_factory=bytearray)

    def stop_timers(self) -> None:
        for timer in (self.timer, self.answer_timer, self.broken_timer):
            if timer is not None:
                timer.cancel()
        self.timer = self.answer_timer = self.broken_timer = None

    def answer(self) -> None:
        """Tell the caller, unless that was done before or the caller has given up."""
        if not self.outcome.done():
            self.outcome.set_result(
                InvokeResult(
                    payload=self.payload,
                    executed_version=self.invocation.function.version,
                    function_error=self.function_error,
                    log_tail=bytes(self.tail) if self.invocation.log_tail else None,
                    content_type=self.content_type,
                )
            )

    def lose(self) -> None:
        """Its environment was stopped."""
        if self.answered:
            self.answer()
        elif not self.outcome.done():
            self.outcome.set_exception(InternalFailure("The execution environment was stopped."))
        self.released(False)
