"""What do the processes of a sandbox hold and use? Read from /proc, where no cgroup tells."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = 100  # USER_HZ, part of the kernel's interface to programs
_STARTED: Final = 19  # of the fields behind the name, in /proc/PID/stat
_STOPPED: Final = {b"T", b"t"}


@dataclass(slots=True)
class Seen:
    """Of a process and all its descendants."""

    pids: list[int] = field(default_factory=list)
    memory_bytes: int = 0
    cpu_s: float = 0.0


class Processes:
    """Reads /proc. A process that ends meanwhile is left out.

    Of a tree everything from one of `roots` down is another's: a fork of a template runs below it.
    """

    def __init__(self, proc: Path, roots: Collection[int] = ()) -> None:
        self._proc = proc
        self._roots = roots

    def look(self, root: int) -> Seen:
        seen = Seen()
        for pid in self.tree(root):
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

    def began(self, pid: int) -> int | None:
        """When it started, in ticks since boot; None if there is no such process."""
        fields = self._fields(pid)
        return int(fields[_STARTED]) if fields else None

    def is_stopped(self, pid: int) -> bool:
        """By a signal or a debugger."""
        fields = self._fields(pid)
        return bool(fields) and fields[0] in _STOPPED

    def _fields(self, pid: int) -> list[bytes]:
        try:
            stat = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            return []
        return stat.rpartition(b")")[2].split()

    def tree(self, root: int) -> Iterator[int]:
        """The process and all below it, parents first."""
        todo = [root]
        seen: set[int] = set()
        while todo:
            pid = todo.pop()
            if pid in seen or (pid in self._roots and pid != root):
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
