"""Where in the cgroup tree is this process, and where may it make groups of its own?

Reads /proc/self/cgroup (which group) and /proc/self/mountinfo (where each hierarchy is mounted).
A machine is v2 (one hierarchy), v1 (one for each controller), or hybrid.

Our groups are `hearth-INSTANCE-PID-STARTED/SANDBOX`. PID and STARTED are the worker's, so that a
later worker of the same instance can tell a dead one's leftovers from a living one's groups.
"""

import contextlib
import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.worker.limits import freezing

V2: Final = "v2"
PROC: Final = Path("/proc")
_REMOVE_TRIES: Final = 400
_REMOVE_PAUSE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Own group in each hierarchy, as a directory. Keys: v1 controllers, and V2."""

    own: dict[str, Path]

    @property
    def v2(self) -> Path | None:
        return self.own.get(V2)


def own_groups(proc: Path = PROC) -> Hierarchies:
    """Raises OSError if /proc cannot be read."""
    groups = _groups((proc / "self/cgroup").read_text(encoding="utf-8"))
    mounts = _mounts((proc / "self/mountinfo").read_text(encoding="utf-8"))
    own: dict[str, Path] = {}
    for key, group in groups.items():
        if key not in mounts:
            continue
        root, mount_point = mounts[key]
        # In a container the mounted part may start below the hierarchy's root.
        below = "/" + group.removeprefix(root.rstrip("/")).lstrip("/")
        own[key] = Path(mount_point + below.rstrip("/"))
    return Hierarchies(own)


def _groups(text: str) -> dict[str, str]:
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(",") if controllers else [V2]:
            groups[controller] = path
    return groups


def _mounts(text: str) -> dict[str, tuple[str, str]]:
    """controller -> (root of the mount inside its hierarchy, mount point)"""
    mounts: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind == "cgroup2":
            mounts.setdefault(V2, (fields[3], fields[4]))
        elif kind == "cgroup":
            for controller in options.split(","):
                mounts.setdefault(controller, (fields[3], fields[4]))
    return mounts


def started(pid: int, proc: Path = PROC) -> int | None:
    """When the process started, in ticks since boot; None if there is no such process."""
    try:
        stat = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def group_name(instance: str, pid: int, proc: Path = PROC) -> str:
    """The name under which the worker `pid` makes its groups."""
    return f"hearth-{instance}-{pid}-{started(pid, proc)}"


def remove_leftovers(parent: Path, instance: str, proc: Path = PROC) -> list[str]:
    """Remove the groups that dead workers of this instance left in `parent`; return their names.

    What still runs in them, frozen or not, is killed: a worker whose sandboxes' other guardians
    were killed with it could do that no more. A group that we may not remove is left alone.
    """
    removed: list[str] = []
    for group in parent.glob(f"hearth-{instance}-*-*"):
        pid, _, since = group.name.removeprefix(f"hearth-{instance}-").partition("-")
        if not (pid.isdigit() and since.isdigit()) or started(int(pid), proc) == int(since):
            continue
        with contextlib.suppress(OSError):
            for cell in [entry for entry in group.iterdir() if entry.is_dir()]:
                _empty(cell)
                _remove(cell)
            _remove(group)
            removed.append(group.name)
    return removed


def _empty(cell: Path) -> None:
    """Kill what is in it. Raises OSError."""
    for state in (freezing.v1_freezer(cell), freezing.v2_freezer(cell)):
        with contextlib.suppress(FileNotFoundError):
            state.thaw()
    with contextlib.suppress(FileNotFoundError):  # what is no cgroup, as in tests
        pids = (cell / "cgroup.procs").read_text(encoding="ascii").split()
        for pid in pids:
            if pid != "0":  # a process that our pid namespace does not know
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def _remove(directory: Path) -> None:
    """The kernel calls it busy while what was killed dies. Raises OSError."""
    for attempt in range(_REMOVE_TRIES):
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == _REMOVE_TRIES - 1:
                raise
        else:
            return
        time.sleep(_REMOVE_PAUSE_S)
