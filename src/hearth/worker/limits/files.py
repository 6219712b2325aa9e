"""How are the kernel's small control files read and written?"""

import asyncio
import contextlib
import errno
import os
import signal
from pathlib import Path
from typing import Final

_REMOVE_TRIES: Final = 200
_KILL_EVERY: Final = 20
"""So many tries."""
_BYTES_MAX: Final = 64 << 10
_PAGE: Final = 2048  # the kernel gives a little less than a page of 4096 at a time
_REMOVE_PAUSE_S: Final = 0.005


def read_int(path: str | Path) -> int:
    """Raises OSError. `max` is read as 0: nothing counted."""
    text = read(path)
    return 0 if text.startswith(b"max") else int(text)


def read_table(path: str | Path) -> dict[str, int]:
    """Lines of `name number`. Raises OSError."""
    rows = (line.split() for line in read(path).decode("ascii").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


def row(table: bytes, name: bytes) -> int:
    """Of a file with lines of `name number`, that line's number; 0 if there is none."""
    _, found, rest = (b"\n" + table).partition(b"\n" + name + b" ")
    return int(rest.partition(b"\n")[0]) if found else 0


def open_together(*paths: str) -> tuple[int, ...]:
    """For again(): all of them, or none. Raises OSError."""
    opened: list[int] = []
    try:
        for path in paths:
            opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))  # noqa: PERF401 - to be closed
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return tuple(opened)


def again(fd: int) -> bytes:
    """What a file says now, that is not long. Raises OSError."""
    return os.pread(fd, _PAGE, 0)


def has_members(procs: str | Path) -> bool:
    """Raises OSError."""
    return bool(read(procs).strip())


def read(path: str | Path) -> bytes:
    """Raises OSError. A start reads many of these, and Python's own files cost three times as
    much."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, _BYTES_MAX)
        while len(text) >= _PAGE and (more := os.read(fd, _BYTES_MAX)):
            text += more
        return text
    finally:
        os.close(fd)


def write(path: str | Path, value: int | str) -> None:
    """Raises OSError. Opens the file as it is: control files are never created."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def write_if_there(path: str | Path, value: int | str) -> None:
    """For settings that some kernels do not have."""
    with contextlib.suppress(FileNotFoundError):
        write(path, value)


async def remove_directory(path: Path) -> None:
    """Remove a cgroup whose sandbox has ended. The kernel may call it busy for a moment after its
    last process died; what has moved in, over a descriptor that it kept, is killed.

    Raises OSError if it stays busy for a second.
    """
    for attempt in range(_REMOVE_TRIES):
        try:
            path.rmdir()  # noqa: ASYNC240 - on cgroupfs nothing waits for a disk
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == _REMOVE_TRIES - 1:
                raise
            if attempt % _KILL_EVERY == _KILL_EVERY - 1:
                _kill_members(path)
        else:
            return
        await asyncio.sleep(_REMOVE_PAUSE_S)


def _kill_members(cell: Path) -> None:
    """By descriptors, and after a second look: a number may have gone to another process."""
    members = cell / "cgroup.procs"
    for pid in _pids(members):
        try:
            process = os.pidfd_open(pid)
        except OSError:  # it has just gone
            continue
        try:
            if pid in _pids(members):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(process)


def _pids(members: Path) -> set[int]:
    """Without those that our pid namespace does not know. Raises OSError."""
    return {int(pid) for pid in read(members).split()} - {0}
