"""Where in the cgroup tree is this process, and where may it make groups of its own?

Reads /proc/self/cgroup (which group) and /proc/self/mountinfo (where each hierarchy is mounted).
A machine is v2 (one hierarchy), v1 (one for each controller), or hybrid.

Our groups are `hearth-INSTANCE-PID-STARTED/SANDBOX`. PID and STARTED are the worker's, so that a
later worker of the same instance can tell a dead one's leftovers from a living one's groups.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

V2: Final = "v2"
PROC: Final = Path("/proc")


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

    A group that still holds a process, or that we may not remove, is left alone.
    """
    removed: list[str] = []
    for group in parent.glob(f"hearth-{instance}-*-*"):
        pid, _, since = group.name.removeprefix(f"hearth-{instance}-").partition("-")
        if not (pid.isdigit() and since.isdigit()) or started(int(pid), proc) == int(since):
            continue
        with contextlib.suppress(OSError):
            for cell in group.iterdir():
                if cell.is_dir():
                    cell.rmdir()
            group.rmdir()
            removed.append(group.name)
    return removed
