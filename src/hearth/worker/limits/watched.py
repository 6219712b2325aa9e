"""Limits where no cgroup is ours to use: look at the processes, every 50 ms.

What counts is the memory that only the sandbox holds: anonymous and shared-memory pages of all
its processes. A page shared by a forked pair counts twice in the cheap sum, so before anyone is
killed the exact figure is taken (PSS, which the kernel gets by walking the page tables).

Behind it stand rlimits: RLIMIT_DATA bounds what one process can take between two looks, and
RLIMIT_NPROC, inside the sandbox's user namespace, the number of processes. There is no CPU limit,
and memory that no process has mapped (memfd, detached System V segments) goes unseen.
"""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hearth.worker.limits.contract import MB, Bounds, Entry, Usage
from hearth.worker.limits.freezing import TreeFreezer
from hearth.worker.limits.processes import Processes, Seen

# Room for thread stacks and for what runtimes reserve but never touch.
DATA_RESERVE_BYTES: Final = 1024 * MB
_OWN_PROCESSES: Final = 4


class Watched:
    """The Limits of last resort; works everywhere."""

    memory = "watched (no cgroup delegated)"
    cpu = ""
    freezer = "SIGSTOP"
    directories: tuple[str, ...] = ()

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._roots: set[int] = set()
        """Of all cells: the first process of each."""

    def create(self, name: str, bounds: Bounds, tmp_used: Callable[[], int]) -> "WatchedCell":
        del name, tmp_used  # nothing to make; and /tmp is not in any process's own memory
        return WatchedCell(self._proc, bounds, self._roots)

    def close(self) -> None: ...


class WatchedCell:
    def __init__(self, proc: Path, bounds: Bounds, roots: set[int]) -> None:
        self._processes = Processes(proc, roots)
        self._freezer = TreeFreezer(proc, roots)
        self._roots = roots
        self._pid: int | None = None
        self._peak = 0
        self._cpu_before_s = 0.0
        self._cpu_s = 0.0
        self.rebound(bounds)

    def rebound(self, bounds: Bounds) -> None:
        self._bounds = bounds
        data = bounds.memory_bytes + DATA_RESERVE_BYTES
        self.entry = Entry(
            rlimits=((resource.RLIMIT_DATA, data),),
            processes_in_namespace=bounds.processes_max + _OWN_PROCESSES,
        )

    def give_way(self, *, gives_way: bool) -> None: ...

    def began(self, pid: int) -> None:
        self._pid = pid
        self._roots.add(pid)

    def ended(self) -> None:
        if self._pid is not None:
            self._roots.discard(self._pid)
        self._pid = None
        self._cpu_before_s += self._cpu_s
        self._cpu_s = 0.0

    def freeze(self) -> None:
        if self._pid is not None:
            self._freezer.freeze(self._pid)

    def thaw(self) -> None:
        self._freezer.thaw()

    def limit_cpu(self, memory_mb: int | None) -> None: ...

    def usage(self) -> Usage:
        seen = self._look()
        return Usage(
            memory_bytes=seen.memory_bytes,
            memory_peak_bytes=self._peak,
            cpu_s=self._cpu_before_s + self._cpu_s,
        )

    def peak_bytes(self) -> int:
        self._look()
        return self._peak

    def reset_peak(self) -> None:
        self._peak = 0

    def oom_kills(self) -> int:
        return 0

    def is_exceeded(self) -> bool:
        seen = self._look()
        if seen.memory_bytes <= self._bounds.memory_bytes:
            return False
        return self._processes.proportional_bytes(seen.pids) > self._bounds.memory_bytes

    async def remove(self) -> None: ...

    def _look(self) -> Seen:
        if self._pid is None:
            return Seen()
        seen = self._processes.look(self._pid)
        self._peak = max(self._peak, seen.memory_bytes)
        # A process that has ended takes its share along; what was counted stays counted.
        self._cpu_s = max(self._cpu_s, seen.cpu_s)
        return seen
