"""Which state of an execution environment may follow which? The only place that says so.

                    +--initialized--> READY <---release--- FINISHING
    STARTING -------+                   |  --invoke--> BUSY --respond--^  |
        |           +--fail--+          |                |                |
        |                    v          +------fail------+------fail------+
        |                RESETTING <--------------------------------------+
        |                    |--reset--> RESET --invoke--> BUSY
        +--kill--> STOPPING --gone--> STOPPED          (kill is legal everywhere before)

READY waits for an invoke with its runtime initialised. FINISHING has answered the caller, but its
runtime has not asked for the next event yet, so it is not free. An environment whose runtime
failed (crash, exit, timeout, out of memory, init error) is *reset* as Lambda resets it: the
process is gone, `/tmp` stays, and the next invoke initialises it again (a suppressed init).
Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final

from hearth.model.ids import SandboxId

HISTORY_LENGTH_MAX = 32


class State(StrEnum):
    STARTING = auto()
    READY = auto()
    BUSY = auto()
    FINISHING = auto()
    RESETTING = auto()
    RESET = auto()
    STOPPING = auto()
    STOPPED = auto()


class Event(StrEnum):
    INITIALIZED = auto()
    INVOKE = auto()
    RESPOND = auto()
    RELEASE = auto()
    FAIL = auto()
    RESET = auto()
    KILL = auto()
    GONE = auto()


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.STARTING, Event.INITIALIZED): State.READY,
    (State.STARTING, Event.FAIL): State.RESETTING,
    (State.STARTING, Event.KILL): State.STOPPING,
    (State.READY, Event.INVOKE): State.BUSY,
    (State.READY, Event.FAIL): State.RESETTING,  # its process died while idle
    (State.READY, Event.KILL): State.STOPPING,
    (State.BUSY, Event.RESPOND): State.FINISHING,
    (State.BUSY, Event.FAIL): State.RESETTING,
    (State.BUSY, Event.KILL): State.STOPPING,
    (State.FINISHING, Event.RELEASE): State.READY,
    (State.FINISHING, Event.FAIL): State.RESETTING,
    (State.FINISHING, Event.KILL): State.STOPPING,
    (State.RESETTING, Event.RESET): State.RESET,
    (State.RESETTING, Event.KILL): State.STOPPING,
    (State.RESET, Event.INVOKE): State.BUSY,
    (State.RESET, Event.KILL): State.STOPPING,
    (State.STOPPING, Event.KILL): State.STOPPING,  # asked twice: fine
    (State.STOPPING, Event.GONE): State.STOPPED,
    (State.STOPPED, Event.KILL): State.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Change:
    before: State
    event: Event
    after: State
    at_s: float  # monotonic seconds
    spent_s: float  # how long `before` lasted; feeds the time-in-state histogram


class IllegalTransition(Exception):
    """A bug in the caller, so not a ServiceError. Carries the history that led here."""

    def __init__(
        self, sandbox: SandboxId, state: State, event: Event, history: list[Change]
    ) -> None:
        super().__init__(f"sandbox {sandbox}: {event} is illegal in {state}")
        self.history = history


class Lifecycle:
    """One environment's state. `on_change` sees every change; metrics and logs hang there."""

    __slots__ = ("_changes", "_on_change", "_sandbox", "since_s", "state")

    def __init__(
        self, sandbox: SandboxId, now_s: float, on_change: Callable[[Change], None] | None = None
    ) -> None:
        self.state = State.STARTING
        self._changes: deque[tuple[State, Event, State, float, float]] = deque(
            maxlen=HISTORY_LENGTH_MAX
        )
        self._sandbox = sandbox
        self.since_s = now_s
        """When it came into its state."""
        self._on_change = on_change

    def fire(self, event: Event, now_s: float) -> State:
        """Apply `event`. Raises IllegalTransition and changes nothing if the table has no row."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            raise IllegalTransition(self._sandbox, self.state, event, self.history)
        change = (self.state, event, after, now_s, now_s - self.since_s)
        self.state, self.since_s = after, now_s
        self._changes.append(change)
        if self._on_change is not None:
            self._on_change(Change(*change))
        return after

    @property
    def history(self) -> list[Change]:
        """The last changes, oldest first."""
        return [Change(*change) for change in self._changes]

    def may(self, event: Event) -> bool:
        return (self.state, event) in TRANSITIONS
