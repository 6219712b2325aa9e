"""Is this a sandbox? Looked at, not tried.

What could hurt the host, if nothing held this program, is tried only if it is.
"""

# ruff: noqa: PTH115, PTH208

import os

from integration.escape.inside.common import TARGETS, text

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
PROCESSES_MAX = 20


def missing() -> list[str]:
    """What of a sandbox is not there; nothing, if this is one."""
    return [*_of_status(), *_of_namespaces(), *_of_surroundings()]


def _of_status() -> list[str]:
    rows = [line.split(":\t", 1) for line in text("/proc/self/status").splitlines()]
    status = {row[0]: row[1] for row in rows if len(row) == 2}
    wrong = [name for name in ("CapPrm", "CapEff", "CapBnd") if int(status[name], 16)]
    if TARGETS["own kernel"]:  # what that shows of itself is its own affair
        return wrong + (["kernel"] if os.uname().release == TARGETS["release"] else [])
    if status["NoNewPrivs"] != "1":
        wrong.append("NoNewPrivs")
    if status["Seccomp"] != "2":
        wrong.append("Seccomp")
    return wrong


def _of_namespaces() -> list[str]:
    """Each is another one than whoever started this is in."""
    hosts = {} if TARGETS["own kernel"] else TARGETS["namespaces"]
    return [f"{n} namespace" for n in hosts if n in NAMESPACES and _own(n) == hosts[n]]


def _own(name: str) -> str:
    return os.readlink(f"/proc/self/ns/{name}")


def _of_surroundings() -> list[str]:
    wrong = []
    maps = [line.split() for line in text("/proc/self/uid_map").splitlines()]
    # Root inside is nobody outside where one uid, not 0, is all that is mapped.
    if not TARGETS["own kernel"] and any(int(row[1]) == 0 or int(row[2]) != 1 for row in maps):
        wrong.append("uid map")
    if len([name for name in os.listdir("/proc") if name.isdigit()]) > PROCESSES_MAX:
        wrong.append("processes")
    if os.path.exists(TARGETS["directory"]):  # noqa: PTH110
        wrong.append("root")
    return wrong
