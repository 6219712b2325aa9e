"""What does the launcher know of a process that others fork from, and of one that was forked?"""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearth.worker.sandboxes.messages import StartOrder, ZygoteOrder
from hearth.worker.sandboxes.stage import HOST


@dataclass(slots=True, kw_only=True)
class Zygote:
    key: int
    """Its number; of a template's nurse, the template's box, as less than 0."""
    order: ZygoteOrder | None
    number: int | None
    """The order's id, until it is answered."""
    pid: int
    """0 once it has been reaped."""
    control: socket.socket
    forking: "dict[int, Born]" = field(default_factory=dict)
    """Whose pid it has not told yet, by their orders' ids."""
    is_retired: bool = False


@dataclass(slots=True, kw_only=True)
class Born:
    """A run of a program in a sandbox that a zygote forked."""

    order: StartOrder
    number: int
    status: socket.socket
    theirs: socket.socket
    """The other end, until whoever is forked has it."""
    fds: list[int] = field(default_factory=list)
    """What init gets with its order."""
    pid: int | None = None
    hosts_pid: int = 0
    ended: int | None = None
    """Init's wait status."""
    said: dict[str, Any] | None = None
    """What init told of the program's end."""
    is_killed: bool = False
    waiting: list[int] = field(default_factory=list)
    namespace: int | None = None
    """The mount namespace of a stem that is not bound yet."""
    builder: int | None = None
    """Of a nest: who made it, until that has ended; `pid` is then that of its init."""
    program: int | None = None
    """Where that is no child of init's: of what a template forked."""

    @property
    def is_nest(self) -> bool:
        return self.order.zygote is not None and self.order.zygote < 0


def hosts_pid(pid: int) -> int:
    """What the host calls our child. Raises OSError."""
    fd = os.pidfd_open(pid)
    try:
        text = Path(f"{HOST}/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
    finally:
        os.close(fd)
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pid:"))
