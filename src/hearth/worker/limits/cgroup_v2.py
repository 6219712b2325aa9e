"""Limits by cgroup v2: one directory, whose controllers were delegated to us.

The kernel allows no processes in a group whose children use controllers. So when our own group
holds only this worker and its children, they first move into a leaf of it; a group that holds
anybody else's process is not ours to rearrange, and v2 is not used.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from hearth.worker.limits import files
from hearth.worker.limits.contract import (
    CPU_PERIOD_US,
    FULL_LOOK_EVERY,
    Bounds,
    Entry,
    Usage,
    cpu_quota_us,
)
from hearth.worker.limits.freezing import v2_freezer
from hearth.worker.limits.hierarchy import Hierarchies, group_name, remove_leftovers, started

_WANTED: Final = ("memory", "pids", "cpu")
_NEEDED: Final = "memory"
_LEAF: Final = "hearth-itself"
_OWN_PROCESSES: Final = 4
_WEIGHT: Final = 100  # the kernel's default
_GIVES_WAY: Final = 16


class CgroupV2:
    """The Limits of a machine whose memory controller is v2's, and delegated."""

    memory = "cgroup v2"
    freezer = "cgroup v2"

    def __init__(self, group: Path, controllers: set[str]) -> None:
        self._group = group
        self._controllers = controllers
        self.cpu = "cgroup v2" if "cpu" in controllers else ""

    @classmethod
    def open(cls, hierarchies: Hierarchies, instance: str) -> Self:
        """Make our group. Raises OSError if the memory controller is not ours to use."""
        parent = hierarchies.v2
        if parent is None:
            raise FileNotFoundError(2, "no cgroup v2")
        if parent.name == _LEAF:  # an earlier `open` of this process, or of one that started it
            parent = parent.parent
        remove_leftovers(parent, instance)
        available = set((parent / "cgroup.controllers").read_text(encoding="ascii").split())
        controllers = available & set(_WANTED)
        if _NEEDED not in controllers:
            raise PermissionError(errno.EPERM, "the memory controller was not delegated")
        _hand_down(parent, controllers)
        group = parent / group_name(instance, os.getpid())
        group.mkdir(exist_ok=True)
        files.write(group / "cgroup.subtree_control", _enable(controllers))
        return cls(group, controllers)

    def create(self, name: str, bounds: Bounds, tmp_used: Callable[[], int]) -> "CgroupV2Cell":
        """Raises OSError."""
        directory = self._group / name
        directory.mkdir()
        try:
            return CgroupV2Cell(directory, self._controllers, bounds, tmp_used)
        except OSError:
            directory.rmdir()
            raise

    @property
    def directories(self) -> tuple[str, ...]:
        return (str(self._group),)

    def close(self) -> None:
        self._group.rmdir()


class CgroupV2Cell:
    def __init__(
        self, directory: Path, controllers: set[str], bounds: Bounds, tmp_used: Callable[[], int]
    ) -> None:
        self._directory = directory
        self._has_cpu = "cpu" in controllers
        self._bounds = bounds
        self._tmp_used = tmp_used
        self._peak_seen = 0
        self._most_used = -1
        """Of all that was charged, the most at a full look."""
        self._looks_saved = 0
        self._freezer = v2_freezer(directory)  # part of every group, whatever was delegated
        self.rebound(bounds)
        files.write_if_there(directory / "memory.swap.max", 0)
        # The first process to be killed takes the others along: half a function is of no use.
        files.write_if_there(directory / "memory.oom.group", 1)
        if "pids" in controllers:
            files.write(directory / "pids.max", bounds.processes_max + _OWN_PROCESSES)
        self.entry = Entry(
            cgroup_directory=str(directory),
            processes_in_namespace=None if "pids" in controllers else bounds.processes_max,
        )

    def rebound(self, bounds: Bounds) -> None:
        files.write(self._directory / "memory.max", bounds.memory_bytes + bounds.tmp_bytes)
        self._bounds = bounds

    def give_way(self, *, gives_way: bool) -> None:
        if self._has_cpu:
            weight = _WEIGHT // _GIVES_WAY if gives_way else _WEIGHT
            files.write(self._directory / "cpu.weight", weight)

    def began(self, pid: int) -> None: ...

    def ended(self) -> None: ...

    def freeze(self) -> None:
        self._freezer.freeze()

    def thaw(self) -> None:
        self._freezer.thaw()

    def limit_cpu(self, memory_mb: int | None) -> None:
        if self._has_cpu:
            quota_us = "max" if memory_mb is None else cpu_quota_us(memory_mb)
            files.write(self._directory / "cpu.max", f"{quota_us} {CPU_PERIOD_US}")

    def usage(self) -> Usage:
        counted = self._look(self._used())
        cpu = files.read_table(self._directory / "cpu.stat")
        return Usage(
            memory_bytes=counted,
            memory_peak_bytes=self._peak_seen,
            cpu_s=cpu.get("usage_usec", 0) / 1e6,
        )

    def peak_bytes(self) -> int:
        # Not memory.peak: it counts cached files, and before Linux 6.12 it cannot be reset.
        used = self._used()
        if used <= self._most_used and self._looks_saved < FULL_LOOK_EVERY - 1:
            self._looks_saved += 1
        else:
            self._look(used)
        return self._peak_seen

    def _look(self, used: int) -> int:
        """What is counted of `used`; the peak is noted."""
        counted = max(0, used - self._uncounted())
        self._peak_seen = max(self._peak_seen, counted)
        self._most_used, self._looks_saved = max(self._most_used, used), 0
        return counted

    def reset_peak(self) -> None:
        self._peak_seen, self._most_used = 0, -1

    def oom_kills(self) -> int:
        return files.read_table(self._directory / "memory.events").get("oom_kill", 0)

    def is_exceeded(self) -> bool:
        used = self._used()
        if used <= min(self._bounds.memory_bytes, self._peak_seen):
            return False
        counted = used - self._uncounted()
        self._peak_seen = max(self._peak_seen, counted)
        return counted > self._bounds.memory_bytes

    async def remove(self) -> None:
        await files.remove_directory(self._directory)

    def _used(self) -> int:
        return files.read_int(self._directory / "memory.current")

    def _uncounted(self) -> int:
        """/tmp, and cached files: of `file`, what is not `shmem` is on a disk as well."""
        stat = files.read_table(self._directory / "memory.stat")
        return self._tmp_used() + max(0, stat.get("file", 0) - stat.get("shmem", 0))


def _enable(controllers: set[str]) -> str:
    return " ".join(f"+{controller}" for controller in sorted(controllers))


def _hand_down(parent: Path, controllers: set[str]) -> None:
    """Let children of `parent` use the controllers. Raises OSError if we may not."""
    control = parent / "cgroup.subtree_control"
    enabled = set(control.read_text(encoding="ascii").split())
    if controllers <= enabled:
        return
    try:
        files.write(control, _enable(controllers))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
    else:
        return
    _move_into_leaf(parent)
    files.write(control, _enable(controllers))


def _move_into_leaf(parent: Path) -> None:
    """Raises OSError; PermissionError if there is a process here that is not ours to move."""
    pids = [int(pid) for pid in (parent / "cgroup.procs").read_text(encoding="ascii").split()]
    ours = {os.getpid()}
    for pid in sorted(pids, key=lambda p: started(p) or 0):  # parents before children
        if pid in ours or _parent(pid) in ours:
            ours.add(pid)
        else:
            raise PermissionError(
                errno.EPERM, f"the cgroup of this process is shared with process {pid}"
            )
    leaf = parent / _LEAF
    leaf.mkdir(exist_ok=True)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            files.write(leaf / "cgroup.procs", pid)


def _parent(pid: int) -> int | None:
    try:
        stat = Path("/proc", str(pid), "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
