"""What does the launcher's parent do? It waits, and cleans up after a worker that was killed.

Outside of the pid namespace that dies with the launcher, and in a session of its own, it outlives
both: so a killed worker leaves no cgroups behind. The launcher's pid namespace can only end when
nothing in it is frozen (v1), so that is the first thing to see to.
"""

import contextlib
import errno
import os
import signal
import time
from pathlib import Path
from typing import Final, NoReturn

from hearth.worker.sandboxes import linux
from hearth.worker.sandboxes.stage import HOST

_TRIES: Final = 200
_PAUSE_S: Final = 0.01
_PF_EXITING: Final = 0x4
_STAT_FLAGS: Final = 6
"""After the name, in /proc/PID/stat: proc(5)."""


def wait_and_clean(launcher: int, worker: int, cgroups: list[str]) -> NoReturn:
    """Until the launcher and all sandboxes are gone. The worker's death is a reason to end them."""

    def end(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(launcher, signal.SIGKILL)
        for group in cgroups:
            _thaw(HOST + group)

    signal.signal(signal.SIGTERM, end)
    linux.die_with_parent(signal.SIGTERM)
    if os.getppid() != worker:
        end()
    os.waitpid(launcher, 0)  # the kernel ends it only after everything in its pid namespace
    if os.getppid() != worker or _is_ending(worker):
        for group in cgroups:
            _remove(Path(HOST + group))  # the launcher moved our root with its own
    os._exit(0)


def _is_ending(process: int) -> bool:
    """A worker that was killed closes its sockets before we are told that it is gone: a launcher
    that sees its socket closed may end in between, and the worker would be taken for alive."""
    try:
        fd = os.open(f"{HOST}/proc/{process}/stat", os.O_RDONLY)
    except OSError:
        return True  # gone
    try:
        flags = os.read(fd, 4096).rpartition(b")")[2].split()[_STAT_FLAGS]
    finally:
        os.close(fd)
    return bool(int(flags) & _PF_EXITING)


def _thaw(group: str) -> None:
    """What is frozen cannot die (v1). Nothing may be imported any more, not even a codec: the root
    is the launcher's by now, and Python's library is not in it."""
    with contextlib.suppress(OSError):
        for cell in os.listdir(group):  # noqa: PTH208
            with contextlib.suppress(OSError):
                fd = os.open(f"{group}/{cell}/freezer.state", os.O_WRONLY)
                try:
                    os.write(fd, b"THAWED")
                finally:
                    os.close(fd)


def _remove(group: Path) -> None:
    """A cgroup that we may not remove, or that somebody has removed, is left to the next worker."""
    with contextlib.suppress(OSError):
        for cell in [entry for entry in group.iterdir() if entry.is_dir()]:
            _remove_one(cell)
        _remove_one(group)


def _remove_one(directory: Path) -> None:
    for attempt in range(_TRIES):
        try:
            directory.rmdir()
        except OSError as error:  # busy, for a moment after its last process has died
            if error.errno != errno.EBUSY or attempt == _TRIES - 1:
                raise
        else:
            return
        time.sleep(_PAUSE_S)
