"""How is a sandbox's time stopped, and how does it go on?

By the kernel's freezer where its cgroup has one: `cgroup.freeze` (v2) or `freezer.state` (v1).
Else by SIGSTOP to each process of its tree.

A frozen process of v1 does not even die: not when it is killed, and not when its pid namespace
is, whose end then waits for ever. So whoever kills a sandbox thaws it first; so does the launcher's
parent when the worker has been killed (stub.py), and the next worker of the same instance with
what that has left (hierarchy.py). v2's frozen and SIGSTOP's stopped processes can be killed.
"""

import contextlib
import os
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Final

from hearth.worker.limits.processes import Processes

V1_STATE: Final = "freezer.state"
V2_STATE: Final = "cgroup.freeze"
_ROUNDS_MAX: Final = 8


class GroupFreezer:
    """By one control file. Nobody waits for the last process to stop: it takes no CPU that a
    sandbox was not given, and whoever thaws need not know."""

    def __init__(self, state: Path, frozen: bytes, thawed: bytes) -> None:
        self._state = str(state)
        self._frozen = frozen
        self._thawed = thawed

    def freeze(self) -> None:
        _write(self._state, self._frozen)

    def thaw(self) -> None:
        _write(self._state, self._thawed)


def _write(path: str, value: bytes) -> None:
    """A thaw is part of an invoke, so without pathlib. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)


def v1_freezer(group: Path) -> GroupFreezer:
    return GroupFreezer(group / V1_STATE, b"FROZEN", b"THAWED")


def v2_freezer(group: Path) -> GroupFreezer:
    return GroupFreezer(group / V2_STATE, b"1", b"0")


class TreeFreezer:
    """By SIGSTOP to a process and all below it. A process that its own program has stopped is
    left alone, and stays stopped."""

    def __init__(self, proc: Path = Path("/proc"), roots: Collection[int] = ()) -> None:
        self._processes = Processes(proc, roots)
        self._stopped: dict[int, int] = {}
        """pid -> when it started: the number may be another's by the time of the thaw."""

    def freeze(self, root: int) -> None:
        """Whoever was forked while we looked is found by looking again."""
        for _ in range(_ROUNDS_MAX):
            new = [pid for pid in self._processes.tree(root) if pid not in self._stopped]
            if not [pid for pid in new if self._stop(pid)]:
                return

    def thaw(self) -> None:
        """Children first, so that no parent sees a child that stands still."""
        while self._stopped:
            pid, began = self._stopped.popitem()
            if self._processes.began(pid) == began:
                _send(pid, signal.SIGCONT)

    def _stop(self, pid: int) -> bool:
        began = self._processes.began(pid)
        if began is None or self._processes.is_stopped(pid):
            return False
        self._stopped[pid] = began
        _send(pid, signal.SIGSTOP)
        return True


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
