"""What can happen to a pool of sandboxes, and what it may ask for in return.

Events go in, instructions come out; `pool.py` decides, `manager.py` carries out.
"""

from dataclasses import dataclass
from typing import NewType

from hearth.model.errors import ServiceError
from hearth.model.ids import SandboxId
from hearth.model.values import value
from hearth.model.workers import Placed, StartId
from hearth.worker_manager.slot import Slot

Ticket = NewType("Ticket", int)
"""One invoke's place in the queue for a sandbox."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An invoke found no idle sandbox and waits."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Whoever waited has given up."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Started:
    start: StartId
    placed: Placed


@dataclass(frozen=True, slots=True)
class StartFailed:
    start: StartId
    error: ServiceError


@dataclass(frozen=True, slots=True)
class StartWithdrawn:
    """A CancelStart came early enough: nothing was started."""

    start: StartId


@value(frozen=True, slots=True)
class Responded:
    """The answer is there; the sandbox will be released when it asks for its next event."""

    sandbox: SandboxId


@value(frozen=True, slots=True)
class Released:
    sandbox: SandboxId
    sandbox_is_good: bool


@dataclass(frozen=True, slots=True)
class Condemned:
    """The sandbox was lost, or must go: it gets no other invoke."""

    sandbox: SandboxId


@dataclass(frozen=True, slots=True)
class Evicted:
    """Its memory is needed elsewhere: it goes if it is still idle."""

    sandbox: SandboxId


@dataclass(frozen=True, slots=True)
class Retired:
    """The configuration was replaced or deleted: no sandbox of it is kept any longer."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Assign:
    ticket: Ticket
    slot: Slot


@dataclass(frozen=True, slots=True)
class Refuse:
    ticket: Ticket
    error: ServiceError


@dataclass(frozen=True, slots=True)
class StartSandbox:
    start: StartId


@dataclass(frozen=True, slots=True)
class CancelStart:
    """Not needed any more. If it has really begun, let it go on: its sandbox will be idle."""

    start: StartId


@dataclass(frozen=True, slots=True)
class StopSandbox:
    sandbox: SandboxId


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a Tick at this time, because somebody's patience ends then."""

    at_s: float


Event = (
    Wanted
    | Unwanted
    | Started
    | StartFailed
    | StartWithdrawn
    | Responded
    | Released
    | Condemned
    | Evicted
    | Retired
    | Tick
)
Instruction = Assign | Refuse | StartSandbox | CancelStart | StopSandbox | WakeAt
