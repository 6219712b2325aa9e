"""Who listens on a TCP port of this machine? As /proc tells it: of our own processes; of root, all.

Source: https://docs.kernel.org/networking/proc_net_tcp.html
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
LISTENS: Final = "0A"
"""TCP_LISTEN in the column `st`."""
LOCK: Final = "/run/hearth.lock"
"""What every Hearth holds, in its state directory."""


class PortOwner(NamedTuple):
    pid: int
    name: str
    hearth_state: Path | None
    """Its state directory, if it is a Hearth."""


def find(port: int) -> PortOwner | None:
    """None if nobody does, or somebody whose processes we may not look into."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    if not wanted:
        return None
    for process in PROC.iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # not ours, or gone
                if owner := _owner(process, wanted):
                    return owner
    return None


def _listening(port: int) -> Iterator[str]:
    """Inodes of sockets."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):  # a kernel without IPv6
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if state == LISTENS and int(local.rpartition(":")[2], 16) == port:
                    yield inode


def _owner(process: Path, wanted: set[str]) -> PortOwner | None:
    leads_to = [*_descriptors(process)]
    if wanted.isdisjoint(leads_to):
        return None
    states = [link.removesuffix(LOCK) for link in leads_to if link.endswith(LOCK)]
    name = (process / "comm").read_text().strip()
    return PortOwner(int(process.name), name, Path(states[0]) if states else None)


def _descriptors(process: Path) -> Iterator[str]:
    """What each leads to."""
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed since; of ourselves the one that lists them
            yield str(descriptor.readlink())
