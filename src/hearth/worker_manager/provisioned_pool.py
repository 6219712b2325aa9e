"""Which sandboxes are kept initialised, whether or not an invoke comes? No I/O, no clock.

A pool of its own beside the one for invokes on demand: nobody ever waits in it, none of its
sandboxes ages or is evicted, and what is lost, broken or about to expire is replaced. An invoke
that may use it takes an idle sandbox or goes elsewhere.

    provision(n) --> starts, until n last --> what is lost, or ends within REPLACE_AHEAD_S: a start
    a start fails --> the next one waits RETRY_S_MIN, twice as long each time, to RETRY_S_MAX
    provision(fewer) --> starts are withdrawn, idle ones stop; those at work stop after it
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from hearth.model.errors import ServiceError
from hearth.model.workers import StartId
from hearth.worker_manager.pool import Pool
from hearth.worker_manager.pool_events import (
    Instruction,
    Started,
    StartFailed,
    StartWithdrawn,
    WakeAt,
)
from hearth.worker_manager.slot import Slot

REPLACE_AHEAD_S: Final = 60.0
"""So long before a sandbox's last moment its successor is started."""

RETRY_S_MIN: Final = 0.25
RETRY_S_MAX: Final = 60.0


class _NoRate:
    """What is provisioned does not count against the scaling rate of invokes."""

    def allow_start(self, now_s: float) -> ServiceError | None:  # noqa: ARG002
        return None

    def refund_start(self) -> None: ...


class ProvisionedPool(Pool):
    """Invariant: with those that are starting, as many last as are wanted, or a retry is due."""

    def __init__(self, new_start: Callable[[], StartId]) -> None:
        super().__init__(0.0, new_start, _NoRate())
        self.target = 0
        self.failures = 0
        """Starts that failed one after the other."""
        self.error: ServiceError | None = None
        """Of the last of them."""
        self._retry_at_s = 0.0

    @property
    def is_empty(self) -> bool:
        return super().is_empty and (self.retired or not self.target)

    @property
    def initialised(self) -> int:
        """Those that invokes may use now or after the invoke that they run."""
        return sum(not slot.condemned for slot in self.slots.values())

    def provision(self, target: int, now_s: float) -> Sequence[Instruction]:
        """Keep so many from now on; what went wrong before is forgotten."""
        self.target = target
        self.failures, self.error, self._retry_at_s = 0, None, 0.0
        return self._balance(now_s)

    def _handle_starts(
        self, event: Started | StartFailed | StartWithdrawn, now_s: float
    ) -> Sequence[Instruction]:
        if isinstance(event, StartFailed):
            delay_s = min(RETRY_S_MIN * 2.0 ** min(self.failures, 16), RETRY_S_MAX)
            self._retry_at_s = now_s + delay_s
            self.failures += 1
            self.error = event.error
        elif isinstance(event, Started):
            self.failures, self.error = 0, None
        return super()._handle_starts(event, now_s)

    def _balance(self, now_s: float) -> list[Instruction]:
        target = 0 if self.retired else self.target
        lasting = sum(self._lasts(slot, now_s) for slot in self.slots.values())
        starting = len(self.starting) - len(self._withdrawing)
        lacking = target - lasting - starting
        if lacking > 0:
            if now_s < self._retry_at_s:
                return [WakeAt(self._retry_at_s)]
            if self.failures:  # one start has to succeed before the others follow
                return self._start(0 if starting else 1, now_s)
            return self._start(lacking, now_s)
        withdrawn = self._withdraw(len(self._withdrawing) + min(-lacking, starting))
        return [*withdrawn, *self._stop_idle(self._surplus(max(lasting - target, 0)))]

    def _surplus(self, count: int) -> list[Slot]:
        """The longest idle ones."""
        return list(islice(self.idle.values(), count))

    def _lasts(self, slot: Slot, now_s: float) -> bool:
        return not slot.condemned and slot.reuse_until_s > now_s + REPLACE_AHEAD_S

    def _is_old(self, slot: Slot, now_s: float) -> bool:
        return slot.reuse_until_s <= now_s
