"""What is a worker to the rest? What it can take, where a sandbox was put, how sandboxes fare."""

from dataclasses import dataclass
from typing import NewType

from hearth.model.ids import FunctionKey, SandboxId, WorkerId

StartId = NewType("StartId", int)
"""One attempt to start a sandbox, from the decision to its outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoad:
    """What a worker says about itself, at one moment."""

    memory_mb: int
    """Of the machine, or of the part of it that functions may use."""
    available_mb: int
    """Measured: what could be used now without swapping."""
    committed_mb: int
    """The memory sizes of its sandboxes, added up; may exceed memory_mb."""
    sandboxes: int
    starting: int
    starting_max: int
    """How many sandboxes it starts at a time without one slowing the next: about 2 a core."""
    cpu_count: int
    lease_ends_s: float | None = None
    """Monotonic seconds at which the worker itself must be empty; None: whenever it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A sandbox that was started: its init phase is over."""

    sandbox: SandboxId
    worker: WorkerId
    reuse_until_s: float
    """Monotonic seconds after which it must not be given another invoke."""
    start_s: float
    """How long the worker took to make and initialise it; without the time in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatus:
    """One line of `hearth ps`, as far as the worker manager knows it."""

    function: FunctionKey
    version: str
    tenant: str | None = None
    """Whom alone it serves, if its function keeps tenants apart."""
    sandbox: SandboxId | None
    """None while it is still starting."""
    worker: WorkerId | None
    state: str
    """starting, idle, busy, or finishing (answered, but not yet ready for the next invoke)."""
    age_s: float
    state_s: float
    """How long it has been in this state."""
    invokes: int
