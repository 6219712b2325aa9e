"""What does the kernel say of a template and of its forks? Read from /proc, by the launcher.

What runs a function's code is asked nothing.
"""

import os
from pathlib import Path
from typing import Final

from hearth.worker.sandboxes.messages import StartOrder
from hearth.worker.sandboxes.stage import HOST

_NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
_NO_CAPABILITIES: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_FILTERS_MIN: Final = 2
"""A template's, and that which takes its exception back."""
_DEPTH: Final = 3
"""Of pid namespaces, from ours: the template's is one of ours, the fork's one of that."""


def children(pid: int) -> list[int]:
    """In the order of their births. Raises OSError."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def is_still(init: int, program: int, known: set[int | None]) -> bool:
    """Whether the program is stopped, has one thread, and no process is beside or below it but
    these. Raises OSError."""
    if _state(program) != "T" or len(os.listdir(f"/proc/{program}/task")) != 1:  # noqa: PTH208
        return False
    beside = set(children(init)) - {program} - known
    return all(_is_dead(pid) for pid in (*beside, *children(program)))


def _is_dead(pid: int) -> bool:
    try:
        return _state(pid) in {"Z", "X"}
    except OSError:
        return True


def _state(pid: int) -> str:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return text.rpartition(")")[2].split()[0]


def check_fork(pid: int, init: int, template: int) -> int:
    """Its pid inside the template's pid namespace. Raises OSError if it is not where init is, or
    may do more than init may."""
    if pid <= 0:
        raise OSError(0, "nobody knows who it is")
    status = _status(pid)
    pids = status["NSpid"].split()
    if len(pids) != _DEPTH or pids[-1] == _status(template)["NSpid"].split()[-1]:
        raise OSError(0, "it has not entered its own pid namespace")
    if any(int(status[name], 16) for name in _NO_CAPABILITIES):
        raise OSError(0, "it has capabilities")
    if status["NoNewPrivs"] != "1" or int(status.get("Seccomp_filters", "2")) < _FILTERS_MIN:
        raise OSError(0, "it has no filter for its system calls")
    for name in _NAMESPACES:
        if _namespace(pid, name) != _namespace(init, name):
            raise OSError(0, f"it is in another {name} namespace")
    if _cgroups(pid) != _cgroups(init):
        raise OSError(0, "it is in another cgroup")
    return int(pids[1])


def _status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in lines}


def _namespace(pid: int, name: str) -> tuple[int, int]:
    seen = os.stat(f"/proc/{pid}/ns/{name}")  # noqa: PTH116
    return seen.st_dev, seen.st_ino


def _cgroups(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii", errors="replace")


def open_tasks(order: StartOrder) -> list[int]:
    """Files into which a process writes itself, to be in its cgroups. Raises OSError."""
    tasks = list(order.cgroup_tasks)
    if order.cgroup_directory is not None:
        tasks.append(f"{order.cgroup_directory}/cgroup.procs")
    return [os.open(HOST + path, os.O_WRONLY | os.O_CLOEXEC) for path in tasks]
