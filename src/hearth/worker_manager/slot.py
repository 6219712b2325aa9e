"""What does the worker manager know of one sandbox?"""

from enum import StrEnum

from hearth.model.ids import SandboxId, WorkerId
from hearth.model.workers import Placed


class SlotState(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    FINISHING = "finishing"
    """The answer is there, but the runtime or an extension is still at work."""


class Slot:
    """One sandbox, for its whole life. Only its Pool changes it."""

    __slots__ = (
        "condemned",
        "invokes",
        "reuse_until_s",
        "sandbox",
        "since_s",
        "start_s",
        "started_s",
        "state",
        "worker",
    )

    def __init__(self, placed: Placed, now_s: float) -> None:
        self.sandbox: SandboxId = placed.sandbox
        self.worker: WorkerId = placed.worker
        self.reuse_until_s = placed.reuse_until_s
        self.start_s = placed.start_s
        self.started_s = now_s
        self.state = SlotState.IDLE
        self.since_s = now_s
        self.invokes = 0
        self.condemned = False
