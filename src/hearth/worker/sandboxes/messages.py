"""What do the worker and its launcher say to each other?

Standard library only: the launcher runs without site-packages. How a message travels: wire.py.

    worker -> launcher   {"id": 7, "do": "start", "order": {...}}
    launcher -> worker   {"id": 7, "answer": {...}}      or {"id": 7, "error": "text"}
                         {"event": "exit", ...}          unasked
"""

from dataclasses import dataclass
from typing import Any, Final

from hearth.worker.sandboxes.jail_steps import API_HOST, API_PORT
from hearth.worker.sandboxes.wire import BYTES_MAX, encode, receive, send

__all__ = ["API_HOST", "API_PORT", "BYTES_MAX", "encode", "receive", "send"]

CREATE: Final = "create"
START: Final = "start"
KILL: Final = "kill"
TERMINATE: Final = "terminate"
SOCKET: Final = "socket"
DESTROY: Final = "destroy"
OPEN: Final = "open"
ZYGOTE: Final = "zygote"
RETIRE: Final = "retire"
BIND: Final = "bind"
WAIT: Final = "wait"
TEMPLATE: Final = "template"
LEAVE: Final = "leave"

WAIT_FD: Final = 60
WAIT_ARGUMENT: Final = f"--wait={WAIT_FD}"
"""For a program that is executed before it is known what for: on this descriptor it writes anything
once it is ready, then reads one packet, a BindOrder's content as JSON, and closes it."""

EXITED: Final = "exit"
ZYGOTE_GONE: Final = "zygote-gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """What the launcher puts on its stage. Paths are the host's."""

    bwrap: str | None
    libraries: list[str]
    seccomp: str
    cgroups: list[str]
    """To be removed, with their children, if the worker dies and cannot do it."""
    runtime: str | None = None
    """An OCI runtime's program."""
    init: str | None = None
    """Our own program beside it; see init/init.c."""
    reaper: str | None = None
    """Another, for forked sandboxes; see init/reaper.c."""


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
    """[source on the host, destination inside, further sources below the first, nearest first]"""
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
    nat: list[str] | None = None
    """[interface of the host, its address, address inside]: a way out of the own network."""
    slirp: dict[str, str] | None = None
    """Another one; see slirp.Slirp."""
    zygote: int | None = None
    """Not None: forked from the zygote of this number. `mounts` are then those that it lacks.
    Less than 0: from the program in the box of that number, which is a template; `environment` is
    then what is not as it has it."""
    runtime: str | None = None
    """Not None: a container of the OCI runtime of this name."""
    root_uid: int | None = None
    """For a container: the host's uid for root inside, where `uid` is the program's."""
    tmp_bytes: int | None = None
    """As in BindOrder."""
    is_stem: bool = False
    """Answered when the sandbox is complete and its program waits; BIND tells what it is for. Then
    `argv`, `environment`, `working_directory` and `mounts` say nothing, unless there is no zygote:
    then they are of the program that waits, and WAIT is answered when it does."""
    is_template: bool = False
    """It may become a template; see launcher_templates.py."""
    one_output: bool = False
    """See Program.one_output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BindOrder:
    """What a stem waits for; it gets one, ever."""

    box: int
    argv: list[str]
    environment: dict[str, str]
    working_directory: str
    mounts: list[list[str]]
    """Those that its zygote lacks."""
    tmp_bytes: int | None
    """The size of its /tmp, if that is not what it was made with."""
    rlimits: list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygoteOrder:
    """A process to fork sandboxes from, answered when it is ready. RETIRE ends it."""

    zygote: int
    uid: int | None
    """The host's uid for it, that no sandbox has; None: the launcher's own."""
    command: list[str]
    script: str | None
    """Loaded before anything is forked; see contract.ZygoteKind."""
    environment: dict[str, str]
    mounts: list[list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireOrder:
    zygote: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOrder:
    """TERMINATE, KILL, DESTROY, WAIT, TEMPLATE and LEAVE. What runs is killed by DESTROY too."""

    box: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOrder:
    box: int
    datagrams: bool


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
    exact: bool = False
    """`code` is the program's own; else bubblewrap's, which tells signals as codes."""


def order(number: int, do: str, content: Any) -> dict[str, Any]:
    return {"id": number, "do": do, "order": _fields(content)}


def exit_event(event: ExitEvent) -> dict[str, Any]:
    return {"event": EXITED, **_fields(event)}


def _fields(content: Any) -> dict[str, Any]:
    """Not asdict: that copies all that is inside, to be encoded at once. Slots: all fields."""
    return {name: getattr(content, name) for name in content.__slots__}
