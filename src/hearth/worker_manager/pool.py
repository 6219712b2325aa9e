"""Which sandbox serves which invoke, for one configuration? No I/O, no clock, no awaits.

`take` is the warm path: the most recently used idle sandbox, or None. Everything else is told to
`handle`, which returns what to do about it; `manager.py` does it. So every race can be written
down, replayed and shrunk as a plain list of events.

    Started --> IDLE --take, Assign--> BUSY --Responded--> FINISHING
                 ^                       |                      |
                 +------- Released ------+------- Released -----+

- Most recently used first: the others go on ageing, so a pool shrinks after a burst.
- A sandbox that is finishing will usually be free in 50-100 us. Whoever comes then waits for it,
  at most until FINISHING_GRACE_S after its answer, and only then is a new one started.
- One start for each invoke that waits and has no finishing sandbox to hope for. A start whose
  invoke was served by a reuse is withdrawn; if it has already begun it goes on, and counts.
- A start that failed refuses one invoke with its error instead of trying again, or a broken
  function would be started for ever.
- A start that the function's scaling rate does not allow refuses who came last, at once.
- Every sandbox leaves through exactly one StopSandbox, whatever ended it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, Protocol, assert_never

from hearth.model.errors import ServiceError
from hearth.model.ids import SandboxId
from hearth.model.workers import Placed, StartId
from hearth.worker_manager.pool_events import (
    Assign,
    CancelStart,
    Condemned,
    Event,
    Evicted,
    Instruction,
    Refuse,
    Released,
    Responded,
    Retired,
    Started,
    StartFailed,
    StartSandbox,
    StartWithdrawn,
    StopSandbox,
    Tick,
    Ticket,
    Unwanted,
    WakeAt,
    Wanted,
)
from hearth.worker_manager.slot import Slot, SlotState

FINISHING_GRACE_S: Final = 0.05

NOTHING: Final[Sequence[Instruction]] = ()


class ScalingRate(Protocol):
    """How many sandboxes of the function may start; the counter supplies it."""

    def allow_start(self, now_s: float) -> ServiceError | None:
        """Count one; answers what to refuse an invoke with if there may be none now."""
        ...

    def refund_start(self) -> None:
        """One that was counted was not started after all."""
        ...


class Pool:
    """Invariant: nobody waits while a sandbox is idle."""

    def __init__(
        self, keepalive_s: float, new_start: Callable[[], StartId], rate: ScalingRate
    ) -> None:
        self.slots: dict[SandboxId, Slot] = {}
        self.idle: dict[SandboxId, Slot] = {}  # in order, longest idle first
        self.finishing: dict[SandboxId, Slot] = {}  # in order, longest finishing first
        self.waiting: deque[Ticket] = deque()
        self.starting: dict[StartId, float] = {}  # since when; in order of age
        self.retired = False
        self._withdrawing: set[StartId] = set()
        self._keepalive_s = keepalive_s
        self._new_start = new_start
        self._rate = rate

    @property
    def is_empty(self) -> bool:
        """Nothing would be lost if this pool were forgotten."""
        return not (self.slots or self.waiting or self.starting)

    def take(self, now_s: float) -> Slot | None:
        """An idle sandbox, now busy; None if the invoke must be `Wanted` instead."""
        if not self.idle:
            return None
        sandbox, slot = self.idle.popitem()
        if slot.reuse_until_s <= now_s:
            self.idle[sandbox] = slot
            return None
        _occupy(slot, now_s)
        return slot

    def handle(self, event: Event, now_s: float) -> Sequence[Instruction]:
        """What to do about `event`."""
        match event:
            case Released(sandbox, sandbox_is_good):
                return self._release(sandbox, sandbox_is_good, now_s)
            case Responded(sandbox):
                self._respond(sandbox, now_s)
                return NOTHING
            case Wanted(ticket):
                self.waiting.append(ticket)
                return self._balance(now_s)
            case Unwanted(ticket):
                self.waiting.remove(ticket)
                return self._balance(now_s)
            case Condemned() | Evicted() | Retired() | Tick():
                return self._handle_endings(event, now_s)
            case Started() | StartFailed() | StartWithdrawn():
                return self._handle_starts(event, now_s)
            case _:
                assert_never(event)

    def _handle_starts(
        self, event: Started | StartFailed | StartWithdrawn, now_s: float
    ) -> Sequence[Instruction]:
        del self.starting[event.start]
        self._withdrawing.discard(event.start)
        match event:
            case Started(_, placed):
                return self._settle(placed, now_s)
            case StartFailed(_, error):
                uncovered = len(self.waiting) > len(self.starting) + self._returning(now_s)
                refused = [Refuse(self.waiting.popleft(), error)] if uncovered else []
                return [*refused, *self._balance(now_s)]
            case StartWithdrawn():
                self._rate.refund_start()
                return self._balance(now_s)
            case _:
                assert_never(event)

    def _handle_endings(
        self, event: Condemned | Evicted | Retired | Tick, now_s: float
    ) -> Sequence[Instruction]:
        match event:
            case Condemned(sandbox):
                slot = self.slots[sandbox]
                slot.condemned = True
                stops = self._stop_idle([slot])
                return [*stops, *self._balance(now_s)]
            case Evicted(sandbox):
                return self._stop_idle([self.slots[sandbox]])
            case Retired():
                self.retired = True
                return self._stop_idle(list(self.idle.values()))
            case Tick():
                old = [slot for slot in self.idle.values() if self._is_old(slot, now_s)]
                return [*self._stop_idle(old), *self._balance(now_s)]
            case _:
                assert_never(event)

    def _settle(self, placed: Placed, now_s: float) -> Sequence[Instruction]:
        """A new sandbox: for whoever waits, or else to wait itself."""
        slot = self.slots[placed.sandbox] = Slot(placed, now_s)
        self.idle[placed.sandbox] = slot
        todo = self._balance(now_s)
        if self.retired:
            return [*todo, *self._stop_idle([slot])]
        return todo

    def _respond(self, sandbox: SandboxId, now_s: float) -> None:
        slot = self.slots[sandbox]
        assert slot.state is SlotState.BUSY, slot.state
        slot.state = SlotState.FINISHING
        slot.since_s = now_s
        self.finishing[sandbox] = slot

    def _release(
        self, sandbox: SandboxId, sandbox_is_good: bool, now_s: float
    ) -> Sequence[Instruction]:
        slot = self.slots[sandbox]
        assert slot.state is not SlotState.IDLE, "released twice"
        self.finishing.pop(sandbox, None)
        slot.state = SlotState.IDLE
        slot.since_s = now_s
        self.idle[sandbox] = slot
        reusable = sandbox_is_good and not slot.condemned and slot.reuse_until_s > now_s
        if reusable and not (self.waiting or self.retired):
            return NOTHING
        stops = [] if reusable else self._stop_idle([slot])
        todo = [*stops, *self._balance(now_s)]
        if self.retired:
            todo += self._stop_idle([slot])
        return todo

    def _balance(self, now_s: float) -> list[Instruction]:
        """Pair who waits with what is idle; then as many starts as are still needed."""
        todo: list[Instruction] = []
        while self.waiting and self.idle:
            sandbox, slot = self.idle.popitem()
            if slot.reuse_until_s <= now_s:
                self.idle[sandbox] = slot
                todo += self._stop_idle([slot])
                continue
            _occupy(slot, now_s)
            todo.append(Assign(self.waiting.popleft(), slot))
        short = len(self.waiting) - len(self.starting)
        if short > 0:
            todo += self._start(short - self._returning(now_s), now_s)
            todo += self._wake(now_s)
        elif short < 0:
            todo += self._withdraw(-short)
        return todo

    def _start(self, count: int, now_s: float) -> list[Instruction]:
        todo: list[Instruction] = []
        for _ in range(count):
            error = self._rate.allow_start(now_s)
            if error is not None:
                todo.append(Refuse(self.waiting.pop(), error))
                continue
            start = self._new_start()
            self.starting[start] = now_s
            todo.append(StartSandbox(start))
        return todo

    def _wake(self, now_s: float) -> list[Instruction]:
        """If somebody relies on a finishing sandbox: look again when its time is over."""
        if len(self.waiting) > len(self.starting):
            for slot in self.finishing.values():
                if slot.since_s + FINISHING_GRACE_S > now_s:
                    return [WakeAt(slot.since_s + FINISHING_GRACE_S)]
        return []

    def _withdraw(self, surplus: int) -> list[Instruction]:
        """The youngest starts, because those have most likely not begun yet."""
        missing = surplus - len(self._withdrawing)
        if missing <= 0:
            return []
        candidates = (start for start in reversed(self.starting) if start not in self._withdrawing)
        chosen = list(islice(candidates, missing))
        self._withdrawing.update(chosen)
        return [CancelStart(start) for start in chosen]

    def _returning(self, now_s: float) -> int:
        """Finishing sandboxes that may be back, and good, at any moment."""
        return sum(
            slot.since_s + FINISHING_GRACE_S > now_s
            and slot.reuse_until_s > now_s
            and not slot.condemned
            for slot in self.finishing.values()
        )

    def _is_old(self, slot: Slot, now_s: float) -> bool:
        return now_s - slot.since_s >= self._keepalive_s or slot.reuse_until_s <= now_s

    def _stop_idle(self, slots: list[Slot]) -> list[Instruction]:
        """Let go of those of `slots` that are idle."""
        todo: list[Instruction] = []
        for slot in slots:
            if self.idle.pop(slot.sandbox, None) is not None:
                del self.slots[slot.sandbox]
                todo.append(StopSandbox(slot.sandbox))
        return todo


def _occupy(slot: Slot, now_s: float) -> None:
    slot.state = SlotState.BUSY
    slot.since_s = now_s
    slot.invokes += 1
