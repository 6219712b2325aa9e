"""What do the processes of a sandbox hold and use? Read from /proc, where no cgroup tells.

Asked twenty times a second for each sandbox: with paths as plain text and files without buffers,
which is a tenth of what pathlib takes.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = 100  # USER_HZ, part of the kernel's interface to programs
_STARTED: Final = 19  # of the fields behind the name, in /proc/PID/stat
_STOPPED: Final = {b"T", b"t"}
_READ_BYTES: Final = 65_536


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
        self._proc = str(proc)
        self._roots = roots

    def look(self, root: int) -> Seen:
        seen = Seen()
        for pid in self.tree(root):
            try:
                status = _read(f"{self._proc}/{pid}/status")
                stat = _read(f"{self._proc}/{pid}/stat")
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
                rollup = _read(f"{self._proc}/{pid}/smaps_rollup")
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
            stat = _read(f"{self._proc}/{pid}/stat")
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
            tasks = f"{self._proc}/{pid}/task"
            for task in _names(tasks):
                try:
                    todo += map(int, _read(f"{tasks}/{task}/children").split())
                except OSError:
                    continue


def _names(directory: str) -> list[str]:
    """Of what is in it; none if it is gone."""
    try:
        return os.listdir(directory)  # noqa: PTH208 - names are enough
    except OSError:
        return []


def _read(path: str) -> bytes:
    """Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while piece := os.read(descriptor, _READ_BYTES):
            content += piece
        return content
    finally:
        os.close(descriptor)


def _field_bytes(text: bytes, names: tuple[bytes, ...]) -> int:
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(names))
