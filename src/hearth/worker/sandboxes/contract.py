"""What is a sandbox? The seam between an execution environment and the isolation it runs in.

    backend.create(spec) -> Sandbox          resources: uid, limits, /tmp; nothing runs yet
    sandbox.start(program) -> Channels       the program runs; its Runtime API socket listens
    sandbox.wait() -> Exit                   how it ended
    sandbox.freeze(), sandbox.thaw()         its time stands still, and goes on
    sandbox.kill()                           ends the program; /tmp and limits stay (a *reset*)
    sandbox.start(program) -> Channels       ... so it may be started again
    sandbox.destroy()                        nothing is left: processes, mounts, cgroups, files

A sandbox serves one function version of one account for all its life. Every implementation
passes tests/contract/test_sandboxes.py. `create` may hand out one that was launched long before
(a stem, which nobody has had), and `start` may only tell it what it is for.
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from hearth.model.ids import SandboxId
from hearth.model.isolation import Network, Tier

PROCESSES_MAX: Final = 1024
FILES_MAX: Final = 1024
_OWN_PLACES: Final = ("/var/task", "/opt")
"""Where a program may have mounts that its zygote has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """All that must be known before a program is."""

    sandbox: SandboxId
    memory_mb: int
    tmp_mb: int
    network: Network = Network.NONE
    tier: Tier | None = None
    """Of a backend that has several; None: the one that it has for everybody."""
    processes_max: int = PROCESSES_MAX
    files_max: int = FILES_MAX
    kind: "ZygoteKind | None" = None
    """What is to run in it, if that is known: a backend may have one prepared for such."""
    is_template: bool = False
    """Its program may be a template."""
    fork_of: "Forkable | None" = None
    """Its first program is a fork of the one that runs there, a template."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host that the program sees, read-only, at `destination`."""

    source: Path
    destination: str
    below: tuple[Path, ...] = ()
    """Directories that show where `source` has nothing, nearest first. Only for a backend that
    can_merge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygoteKind:
    """Which programs may be forked from one process (*zygote*): those whose kinds are equal.

    A Python that was started once as `command` with `environment`, sees `mounts`, and has loaded
    `script`. Programs of the kind have argv `command + (script, ...)` or `command + ("-c", ...)`.
    """

    tenant: str
    """Whose it is. Two accounts never share one: its children have all of its memory."""
    command: tuple[str, ...]
    script: str | None
    """Must define main(), which runs the program. May define preload(), which loads what every
    program needs; rehearse(directory), which is called twice, in forks thrown away, to find out
    which pages main() will write to; and warm(), which is called in each fork before it is known
    what it is for. None: nothing is preloaded."""
    environment: tuple[tuple[str, str], ...]
    """No secrets."""
    mounts: tuple[Mount, ...]
    """No function's code."""
    waits: bool = False
    """Forked from nothing: `command` itself is executed, with one argument more, before anybody
    knows for which function; see messages.WAIT_ARGUMENT. Programs of the kind have argv
    `command`."""
    one_output: bool = False
    """As its programs have it, where they are executed before they are known."""

    def __hash__(self) -> int:
        """Of what tells most kinds apart: a start looks one up a dozen times."""
        return hash((self.tenant, self.command))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. Paths in it are as seen from inside: see Sandbox.inside."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """All of it: nothing is inherited."""
    working_directory: str
    mounts: tuple[Mount, ...]
    zygote: ZygoteKind | None = None
    """What it may be forked from, by a backend that has such; the others execute it."""
    is_template: bool = False
    """When it waits to be restored, it may be forked itself; see Forkable."""
    one_output: bool = False
    """What it prints goes where its errors go, so that all of it keeps its order. Of a program that
    is executed; one that is forked does so itself."""


def own_mounts(program: Program) -> tuple[Mount, ...] | None:
    """What a program needs mounted beside what a zygote of its kind has; None if it cannot be a
    fork of one."""
    kind = program.zygote
    if kind is None:
        return None
    own = tuple(mount for mount in program.mounts if mount not in kind.mounts)
    if len(own) + len(kind.mounts) != len(program.mounts):
        return None
    return own if all(mount.destination in _OWN_PLACES for mount in own) else None


@dataclass(frozen=True, slots=True)
class Channels:
    """What the worker holds of a running program. It owns these and closes them."""

    api: socket.socket
    """Listening, non-blocking; only the program can connect to it."""
    stdout: int
    stderr: int
    """Read ends of pipes, non-blocking."""


class ExitKind(StrEnum):
    EXITED = "exited"
    SIGNALED = "signaled"
    OUT_OF_MEMORY = "out-of-memory"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended. `code` is the exit status or the signal's number."""

    kind: ExitKind
    code: int
    executed: bool = True
    """False: its file was never executed (missing, not executable, wrong interpreter, or the
    sandbox could not be set up); stderr has the reason."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the whole sandbox. Peak is since the last reset_peak()."""

    memory_bytes: int
    memory_peak_bytes: int
    cpu_s: float


class SandboxFailed(Exception):
    """The sandbox itself could not be made or started: ours, not the function's."""


class SandboxRefused(SandboxFailed):
    """This machine cannot have such a one. The text says why, for whoever asked for it."""


class Sandbox(Protocol):
    @property
    def id(self) -> SandboxId: ...

    @property
    def api_address(self) -> str:
        """`host:port` for AWS_LAMBDA_RUNTIME_API, known from create() on."""
        ...

    @property
    def tmp_directory(self) -> str:
        """`/tmp`, as the program sees it."""
        ...

    def inside(self, mount: Mount) -> str:
        """The path at which the program will see this mount (its destination, where there is
        a mount namespace; the source, where there is none)."""
        ...

    async def start(self, program: Program) -> Channels:
        """Raises SandboxFailed. Only when nothing runs in it."""
        ...

    async def wait(self) -> Exit:
        """Return how the running (or last) program ended, once it has."""
        ...

    async def terminate(self) -> None:
        """Ask the program to end: SIGTERM, to it alone. Nothing, if nothing runs, or if it is
        behind a kernel of its own (gVisor)."""
        ...

    async def open_socket(self, *, datagrams: bool = False) -> socket.socket:
        """A TCP socket (or UDP), not connected and non-blocking, in the network that the running
        program is in: its loopback is the program's. Raises SandboxFailed."""
        ...

    async def kill(self) -> None:
        """End the program and all that it left running; returns when they are gone."""
        ...

    async def destroy(self) -> None:
        """kill(), then give everything back. Safe to call twice."""
        ...

    def freeze(self) -> None:
        """Stop the program and all that it started, where they are, until thaw(). Does nothing if
        nothing runs. Whoever has the sandbox may do all else with it meanwhile: terminate(),
        kill() and destroy() thaw it. Raises SandboxFailed."""
        ...

    def thaw(self) -> None:
        """Let it go on. Does nothing to what is not frozen. Raises SandboxFailed."""
        ...

    def limit_cpu(self, memory_mb: int | None) -> None:
        """Cap the CPU to memory_mb/1769 of one; None takes the cap off (during init)."""
        ...

    def usage(self) -> Usage: ...

    def peak_bytes(self) -> int:
        """usage().memory_peak_bytes at less cost; may lag where files in memory made room."""
        ...

    def reset_peak(self) -> None: ...


@runtime_checkable
class Forkable(Protocol):
    """A sandbox whose program may become a *template*: one that others are forked from.

    Others are made by create() with this one as `fork_of`, and start(). They are of the same
    function version, and each is isolated from the others and from this one as any two sandboxes
    are, but that they have the same uid.
    """

    async def become_template(self, let_go: Callable[[], None]) -> str:
        """`let_go` is called when its program, which is_template and waits, may stop waiting to
        find out whether it can be forked. Returns why it cannot, or nothing. Then it waits again.
        Raises SandboxFailed."""
        ...

    async def leave(self) -> None:
        """It forks no more; returns when none of its forks is left."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend gives on this machine, in words that `hearth doctor` prints."""

    name: str
    usable: bool
    why_not: str = ""
    fix: str = ""
    """The command that makes it usable, or usable better."""
    isolation: tuple[str, ...] = ()
    """`own uid`, `pid namespace`, `seccomp filter`, ..."""
    memory_limit: str = ""
    """`cgroup v2`, `cgroup v1`, `watched (no cgroup delegated)`, ..."""
    cpu_limit: str = ""
    freezer: str = ""
    """How idle ones are kept from running: `cgroup v2`, `SIGSTOP`, ..."""
    waiting: str = ""
    """Whether some are launched before they are needed, where that was tried."""
    notes: tuple[str, ...] = ()


class SandboxBackend(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def can_merge(self) -> bool:
        """Whether a Mount may have directories `below` its source. Known after open()."""
        ...

    async def open(self) -> Capabilities:
        """Start what the backend needs (its launcher), clear leftovers of an earlier run, try a
        sandbox for real and say what works. A backend that is not usable is closed again."""
        ...

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Raises SandboxFailed."""
        ...

    async def close(self) -> None:
        """Destroy every sandbox and the launcher."""
        ...
