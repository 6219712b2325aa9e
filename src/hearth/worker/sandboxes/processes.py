"""Which processes are whose, and how is one more made? For the launcher; standard library only."""

import os
import selectors
from pathlib import Path

from hearth.worker.sandboxes import linux
from hearth.worker.sandboxes.stage import HOST


def children_of(parent: int) -> dict[int, str]:
    """Living children by pid, with the name of the file that each executes."""
    wanted = str(parent)
    children = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue  # it ended while we looked
        before, _, after = stat.rpartition(")")
        if after.split()[1] == wanted:
            children[int(entry.name)] = before.partition("(")[2]
    return children


def fork_into(cgroup: str | None) -> int:
    """A fork that is born in the cgroup (v2) of that directory of the host. Raises OSError."""
    if cgroup is None:
        return os.fork()
    fd = os.open(HOST + cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.fork_into_cgroup(fd)
    finally:
        os.close(fd)


def is_readable(fd: int) -> bool:
    """Also true at the end of the stream."""
    with selectors.PollSelector() as poll:
        poll.register(fd, selectors.EVENT_READ)
        return bool(poll.select(0))


def close_all(*fds: int | None) -> None:
    for fd in fds:
        if fd is not None:
            os.close(fd)
