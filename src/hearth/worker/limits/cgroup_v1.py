"""Limits by cgroup v1 (also the v1 half of a hybrid machine): one directory for each controller.

Needs `memory`; uses `cpu`, `cpuacct`, `pids` and `freezer` where they are.

To make and remove these directories is a tenth of what a start and an end cost the worker, and the
kernel's own part comes on top. So a few that are as good as new serve another sandbox: in which
nothing runs, no memory has run out, and next to nothing is charged any more.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from hearth.base.log import Log
from hearth.worker.limits import files
from hearth.worker.limits.contract import (
    CPU_PERIOD_US,
    FULL_LOOK_EVERY,
    Bounds,
    Entry,
    Usage,
    cpu_quota_us,
)
from hearth.worker.limits.freezing import TreeFreezer, v1_freezer
from hearth.worker.limits.hierarchy import Hierarchies, group_name, remove_leftovers

log = Log("limits")

# The freezer first: frozen leftovers in the others' groups could not be killed.
_CONTROLLERS: Final = ("freezer", "memory", "cpu", "cpuacct", "pids")
_SWAPPINESS: Final = "memory.swappiness"
_NO_LIMIT: Final = -1
_SHARES: Final = 1024  # the kernel's default
_GIVES_WAY: Final = 16
_OWN_PROCESSES: Final = 4  # bubblewrap's two, and one being forked
SPARES_MAX: Final = 8
_CLEAN_BYTES: Final = 1 << 20
"""What may still be charged to a group that serves again: the kernel counts in batches."""


@dataclass(frozen=True, slots=True)
class Spare:
    """Directories that have served a sandbox, by controller."""

    cells: dict[str, str]
    bounds: Bounds


class CgroupV1:
    """The Limits of a machine whose memory controller is v1's."""

    memory = "cgroup v1"

    def __init__(self, groups: dict[str, Path]) -> None:
        self._groups = groups
        self.cpu = "cgroup v1" if "cpu" in groups else ""
        self.freezer = "cgroup v1" if "freezer" in groups else "SIGSTOP"
        self._spares: list[Spare] = []

    @classmethod
    def open(cls, hierarchies: Hierarchies, instance: str) -> Self:
        """Make our groups. Raises OSError if the memory controller is not ours to use."""
        if "memory" not in hierarchies.own:
            raise FileNotFoundError(2, "no memory controller in cgroup v1")
        name = group_name(instance, os.getpid())
        groups: dict[str, Path] = {}
        for controller in _CONTROLLERS:
            parent = hierarchies.own.get(controller)
            if parent is None:
                continue
            remove_leftovers(parent, instance)
            group = parent / name
            try:
                group.mkdir(exist_ok=True)
            except OSError:
                if controller == "memory":
                    raise
            else:
                groups[controller] = group.resolve()
        files.write_if_there(groups["memory"] / _SWAPPINESS, 0)  # every cell inherits it
        return cls(groups)

    def create(self, name: str, bounds: Bounds, tmp_used: Callable[[], int]) -> "CgroupV1Cell":
        """Raises OSError."""
        while self._spares:
            spare = self._spares.pop()
            try:
                if not _is_populated(spare.cells):
                    was = spare.bounds
                    return CgroupV1Cell(spare.cells, bounds, tmp_used, self._take_back, was)
            except OSError as error:  # somebody has removed it, say
                log.warning("a cgroup cannot serve again", error=error)
            _discard(spare.cells)
        # cpu and cpuacct are often one hierarchy: the same directory under two names.
        cells = {controller: f"{group}/{name}" for controller, group in self._groups.items()}
        made: list[str] = []
        try:
            for directory in dict.fromkeys(cells.values()):
                os.mkdir(directory)  # noqa: PTH102 - a start waits for it
                made.append(directory)
            return CgroupV1Cell(cells, bounds, tmp_used, self._take_back)
        except OSError:
            for directory in made:
                os.rmdir(directory)  # noqa: PTH106
            raise

    def _take_back(self, spare: "Spare") -> bool:
        """Whether it is kept for another sandbox."""
        if len(self._spares) >= SPARES_MAX or not _is_as_new(spare.cells):
            return False
        self._spares.append(spare)
        return True

    @property
    def directories(self) -> tuple[str, ...]:
        return tuple(str(group) for group in dict.fromkeys(self._groups.values()))

    def close(self) -> None:
        while self._spares:
            for directory in dict.fromkeys(self._spares.pop().cells.values()):
                os.rmdir(directory)  # noqa: PTH106
        for group in dict.fromkeys(self._groups.values()):
            group.rmdir()


def _memory(bounds: Bounds) -> int:
    return bounds.memory_bytes + bounds.tmp_bytes


def _is_populated(cells: Mapping[str, str]) -> bool:
    """Raises OSError."""
    if "pids" in cells and files.read_int(f"{cells['pids']}/pids.current"):
        return True
    return files.has_members(f"{cells['memory']}/cgroup.procs")


def _is_as_new(cells: Mapping[str, str]) -> bool:
    """And made so, where that can be."""
    memory = f"{cells['memory']}/memory"
    try:
        if _is_populated(cells) or files.read_table(f"{memory}.oom_control")["oom_kill"]:
            return False
        if files.read_int(f"{memory}.usage_in_bytes") > _CLEAN_BYTES:
            return False
        files.write(f"{memory}.max_usage_in_bytes", 0)
        if "cpu" in cells:
            files.write(f"{cells['cpu']}/cpu.cfs_quota_us", _NO_LIMIT)
        if "cpuacct" in cells:
            files.write(f"{cells['cpuacct']}/cpuacct.usage", 0)
    except (OSError, KeyError):  # an older kernel counts no kills
        return False
    return True


def _discard(cells: Mapping[str, str]) -> None:
    """Something has moved in since; the next start of this instance finds what is left."""
    for directory in dict.fromkeys(cells.values()):
        with contextlib.suppress(OSError):
            os.rmdir(directory)  # noqa: PTH106


class CgroupV1Cell:
    def __init__(
        self,
        cells: dict[str, str],
        bounds: Bounds,
        tmp_used: Callable[[], int],
        take_back: Callable[[Spare], bool] = lambda _spare: False,
        was: Bounds | None = None,
    ) -> None:
        """`take_back` is asked in the end whether it keeps the directories; `was`: what they were
        bound to, if they are not new."""
        self._cells = cells
        self._take_back = take_back
        self._is_removed = False
        self._is_frozen = False
        self._looks: tuple[int, ...] | None = None
        """Descriptors of usage and kills, while somebody looks again and again."""
        # As texts, and ready: a start reads and writes a dozen, and joining paths costs as much.
        self._memory = f"{cells['memory']}/memory"
        self._usage = f"{self._memory}.usage_in_bytes"
        self._stat = f"{self._memory}.stat"
        self._peak = f"{self._memory}.max_usage_in_bytes"
        self._oom = f"{self._memory}.oom_control"
        self._cpu = f"{cells['cpu']}/cpu" if "cpu" in cells else None
        self._cpu_used = f"{cells['cpuacct']}/cpuacct.usage" if "cpuacct" in cells else None
        self._bounds = bounds
        self._tmp_used = tmp_used
        self._peak_seen = 0
        self._highest = -1
        """What the kernel called the peak when it was last looked at in full."""
        self._looks_saved = 0
        self._kills_before = 0
        self._has_begun = False
        self._pid: int | None = None
        self._freezer = v1_freezer(Path(cells["freezer"])) if "freezer" in cells else None
        self._stopper = TreeFreezer()
        if was is None:
            self._limit_memory(bounds, is_less=True)
            if self._cpu is not None:
                files.write(f"{self._cpu}.cfs_period_us", CPU_PERIOD_US)
        elif was != bounds:
            self._limit_memory(bounds, is_less=_memory(bounds) < _memory(was))
        if "pids" in cells and (was is None or was.processes_max != bounds.processes_max):
            files.write(f"{cells['pids']}/pids.max", bounds.processes_max + _OWN_PROCESSES)
        directories = dict.fromkeys(cells.values())
        self.entry = Entry(
            cgroup_tasks=tuple(f"{cell}/tasks" for cell in directories),
            processes_in_namespace=None if "pids" in cells else bounds.processes_max,
        )

    def _limit_memory(self, bounds: Bounds, *, is_less: bool) -> None:
        """The kernel wants memory + swap never to be less than memory."""
        limit = _memory(bounds)
        if is_less:
            files.write(f"{self._memory}.limit_in_bytes", limit)
        files.write_if_there(f"{self._memory}.memsw.limit_in_bytes", limit)  # no swap
        if not is_less:
            files.write(f"{self._memory}.limit_in_bytes", limit)

    def rebound(self, bounds: Bounds) -> None:
        self._limit_memory(bounds, is_less=_memory(bounds) < _memory(self._bounds))
        self._bounds = bounds

    def give_way(self, *, gives_way: bool) -> None:
        if self._cpu is not None:
            shares = _SHARES // _GIVES_WAY if gives_way else _SHARES
            files.write(f"{self._cpu}.shares", shares)

    def began(self, pid: int) -> None:
        self._pid = pid
        if self._has_begun:  # a new group has counted none
            self._kills_before = self.oom_kills()
        self._has_begun = True

    def ended(self) -> None:
        self._pid = None
        self._look_away()

    def freeze(self) -> None:
        if self._pid is None:
            return
        self._look_away()
        self._is_frozen = True
        if self._freezer is not None:
            self._freezer.freeze()
        else:
            self._stopper.freeze(self._pid)

    def thaw(self) -> None:
        if self._freezer is not None:
            self._freezer.thaw()
        else:
            self._stopper.thaw()
        self._is_frozen = False

    def limit_cpu(self, memory_mb: int | None) -> None:
        if self._cpu is not None:
            quota_us = _NO_LIMIT if memory_mb is None else cpu_quota_us(memory_mb)
            files.write(f"{self._cpu}.cfs_quota_us", quota_us)

    def usage(self) -> Usage:
        counted = self._look(files.read_int(self._peak))
        cpu_ns = 0
        if self._cpu_used is not None:
            cpu_ns = files.read_int(self._cpu_used)
        return Usage(memory_bytes=counted, memory_peak_bytes=self._peak_seen, cpu_s=cpu_ns / 1e9)

    def peak_bytes(self) -> int:
        highest = files.read_int(self._peak)
        if highest == self._highest and self._looks_saved < FULL_LOOK_EVERY - 1:
            self._looks_saved += 1
        else:
            self._look(highest)
        return self._peak_seen

    def _look(self, highest: int) -> int:
        """What is counted now; the peak is noted."""
        uncounted = self._uncounted()
        counted = max(0, self._used() - uncounted)
        self._peak_seen = max(self._peak_seen, counted, highest - uncounted)
        self._highest, self._looks_saved = highest, 0
        return counted

    def reset_peak(self) -> None:
        self._peak_seen, self._highest = 0, -1
        files.write(self._peak, 0)

    def oom_kills(self) -> int:
        return files.row(files.read(self._oom), b"oom_kill")

    def is_exceeded(self) -> bool:
        # v1 kills one process and lets the rest go on; v2 ends all of them, and so do we.
        if self._looks is None:
            self._looks = files.open_together(self._usage, self._oom)
        usage, oom = self._looks
        if files.row(files.again(oom), b"oom_kill") > self._kills_before:
            return True
        used = int(files.again(usage))
        if used <= self._bounds.memory_bytes:
            return False
        counted = used - self._uncounted()
        self._peak_seen = max(self._peak_seen, counted)
        return counted > self._bounds.memory_bytes

    async def remove(self) -> None:
        self._look_away()
        if self._is_removed:
            return
        self._is_removed = True
        if not self._is_frozen and self._take_back(Spare(self._cells, self._bounds)):
            return
        for cell in dict.fromkeys(self._cells.values()):
            await files.remove_directory(Path(cell))

    def _used(self) -> int:
        return files.read_int(self._usage)

    def _uncounted(self) -> int:
        """/tmp, and cached files: of `cache`, what is not `shmem` is on a disk as well."""
        stat = files.read(self._stat)
        cached = files.row(stat, b"cache") - files.row(stat, b"shmem")
        return self._tmp_used() + max(0, cached)

    def _look_away(self) -> None:
        looks, self._looks = self._looks, None
        for fd in looks or ():
            os.close(fd)
