"""What do the worker and its launcher say to each other?

One message is one packet on a SOCK_SEQPACKET pair: a JSON object, and file descriptors beside
it. Standard library only: the launcher runs without site-packages.

    worker -> launcher   {"id": 7, "do": "start", "order": {...}}
    launcher -> worker   {"id": 7, "answer": {...}}      or {"id": 7, "error": "text"}
                         {"event": "exit", ...}          unasked
"""

import array
import json
import socket
from dataclasses import asdict, dataclass
from typing import Any, Final

BYTES_MAX: Final = 256 << 10  # the kernel lets no packet be larger than the socket buffer
FDS_MAX: Final = 8

# Where the Runtime API listens inside a sandbox, as in real Lambda.
API_HOST: Final = "169.254.100.1"
API_PORT: Final = 9001

CREATE: Final = "create"
START: Final = "start"
KILL: Final = "kill"
DESTROY: Final = "destroy"
OPEN: Final = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """What the launcher puts on its stage. Paths are the host's."""

    bwrap: str
    libraries: list[str]
    seccomp: str
    cgroups: list[str]
    """To be removed, with their children, if the worker dies and cannot do it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the launcher found itself to be."""

    own_uids: bool
    """It may give each sandbox a uid of its own, from `uid_first` on."""
    uid_first: int
    uid_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOrder:
    """A box: a number that stands for one sandbox, and its /tmp."""

    box: int
    tmp_bytes: int
    uid: int | None
    """The host's uid and gid for everything in it; None: the launcher's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOrder:
    """One run of a program in a box."""

    box: int
    run: int
    argv: list[str]
    environment: dict[str, str]
    working_directory: str
    mounts: list[list[str]]
    """[source on the host, destination inside]"""
    own_network: bool
    host_files: list[list[str]]
    """[source on the host, file in /etc to be covered by it]: for programs in the host's network"""
    uid: int | None
    cgroup_tasks: list[str]
    """v1: files into which the process writes itself."""
    cgroup_directory: str | None
    """v2: the directory in which the process is born."""
    rlimits: list[list[int]]
    """[resource, soft and hard limit], set before anything else runs."""
    processes_in_namespace: int | None
    """RLIMIT_NPROC to be set inside the new user namespace, where it counts only this sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOrder:
    """KILL and DESTROY."""

    box: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitEvent:
    """A program and all it left behind are gone."""

    box: int
    run: int
    order: int
    """The start order's id. If it was not answered yet, it never will be."""
    code: int
    signal: int
    """Not 0: it was killed by this signal, and `code` says nothing."""
    executed: bool
    """False: the program's file was never executed; its stderr has the reason."""


def send(control: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Raises OSError; BlockingIOError if the socket does not block and is full."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    control.sendmsg([encode(message)], rights)


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def receive(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message, or None when the other side has gone. Raises OSError."""
    data, rights, flags, _ = control.recvmsg(BYTES_MAX, socket.CMSG_SPACE(4 * FDS_MAX))
    fds = array.array("i")
    for level, kind, payload in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if not data:
        return None, list(fds)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise OSError(0, "a message of the launcher was cut off")
    message = json.loads(data)
    assert isinstance(message, dict)
    return message, list(fds)


def order(number: int, do: str, content: Any) -> dict[str, Any]:
    return {"id": number, "do": do, "order": asdict(content)}


def exit_event(event: ExitEvent) -> dict[str, Any]:
    return {"event": "exit", **asdict(event)}
