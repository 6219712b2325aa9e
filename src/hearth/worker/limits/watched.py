"""Limits where no cgroup is ours to use: look at the processes, every 50 ms.

What counts is the memory that only the sandbox holds: anonymous and shared-memory pages of all
its processes. A page shared by a forked pair counts twice in the cheap sum, so before anyone is
killed the exact figure is taken (PSS, which the kernel gets by walking the page tables).

Behind it stand rlimits: RLIMIT_DATA bounds what one process can take between two looks, and
RLIMIT_NPROC, inside the sandbox's user namespace, the number of processes. There is no CPU limit,
and memory that no process has mapped (memfd, detached System V segments) goes unseen.
"""

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hearth.worker.limits.contract import MB, Bounds, Entry, Usage

# Room for thread stacks and for what runtimes reserve but never touch.
DATA_RESERVE_BYTES: Final = 1024 * MB
_OWN_PROCESSES: Final = 4
_TICKS_PER_S: Final = 100  # USER_HZ, part of the kernel's interface to programs


class Watched:
    """The Limits of last resort; works everywhere."""

    memory = "watched (no cgroup delegated)"
    cpu = ""
    directories: tuple[str, ...] = ()

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def create(self, name: str, bounds: Bounds, tmp_used: Callable[[], int]) -> "WatchedCell":
        del name, tmp_used  # nothing to make; and /tmp is not in any process's own memory
        return WatchedCell(self._proc, bounds)

    def close(self) -> None: ...


class WatchedCell:
    def __init__(self, proc: Path, bounds: Bounds) -> None:
        self._processes = Processes(proc)
        self._bounds = bounds
        self._pid: int | None = None
        self._peak = 0
        self._cpu_before_s = 0.0
        self._cpu_s = 0.0
        data = bounds.memory_bytes + DATA_RESERVE_BYTES
        self.entry = Entry(
            rlimits=((resource.RLIMIT_DATA, data),),
            processes_in_namespace=bounds.processes_max + _OWN_PROCESSES,
        )

    def began(self, pid: int) -> None:
        self._pid = pid

    def ended(self) -> None:
        self._pid = None
        self._cpu_before_s += self._cpu_s
        self._cpu_s = 0.0

    def limit_cpu(self, memory_mb: int | None) -> None: ...

    def usage(self) -> Usage:
        seen = self._look()
        return Usage(
            memory_bytes=seen.memory_bytes,
            memory_peak_bytes=self._peak,
            cpu_s=self._cpu_before_s + self._cpu_s,
        )

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

    def _look(self) -> "Seen":
        if self._pid is None:
            return Seen()
        seen = self._processes.look(self._pid)
        self._peak = max(self._peak, seen.memory_bytes)
        # A process that has ended takes its share along; what was counted stays counted.
        self._cpu_s = max(self._cpu_s, seen.cpu_s)
        return seen


@dataclass(slots=True)
class Seen:
    """Of a process and all its descendants."""

    pids: list[int] = field(default_factory=list)
    memory_bytes: int = 0
    cpu_s: float = 0.0


class Processes:
    """Reads /proc. A process that ends meanwhile is left out."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc

    def look(self, root: int) -> Seen:
        seen = Seen()
        for pid in self._tree(root):
            try:
                status = (self._proc / str(pid) / "status").read_bytes()
                stat = (self._proc / str(pid) / "stat").read_bytes()
            except OSError:
                continue
            seen.pids.append(pid)
            seen.memory_bytes += _field_bytes(status, (b"RssAnon:", b"RssShmem:"))
            # utime, stime, and those of children already waited for
            seen.cpu_s += sum(map(int, stat.rpartition(b")")[2].split()[11:15])) / _TICKS_PER_S
        return seen

    def proportional_bytes(self, pids: list[int]) -> int:
        """Own memory exactly: a page that N processes share counts 1/N for each."""
        total = 0
        for pid in pids:
            try:
                rollup = (self._proc / str(pid) / "smaps_rollup").read_bytes()
            except OSError:
                continue
            total += _field_bytes(rollup, (b"Pss_Anon:", b"Pss_Shmem:"))
        return total

    def _tree(self, root: int) -> Iterator[int]:
        todo = [root]
        seen: set[int] = set()
        while todo:
            pid = todo.pop()
            if pid in seen:
                continue
            seen.add(pid)
            yield pid
            for children in (self._proc / str(pid) / "task").glob("*/children"):
                try:
                    todo += map(int, children.read_bytes().split())
                except OSError:
                    continue


def _field_bytes(text: bytes, names: tuple[bytes, ...]) -> int:
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(names))
