"""What does a sandbox of bubblewrap's backend hold, and how does the launcher hear of it?"""

import asyncio
import os
import resource
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from hearth.model.isolation import Network
from hearth.worker.limits.contract import Cell
from hearth.worker.limits.watch import MemoryWatch
from hearth.worker.sandboxes import messages
from hearth.worker.sandboxes.contract import (
    Channels,
    Exit,
    ExitKind,
    Program,
    SandboxFailed,
    SandboxSpec,
    ZygoteKind,
    own_mounts,
)
from hearth.worker.sandboxes.launcher import Launcher
from hearth.worker.sandboxes.messages import BindOrder, BoxOrder, ExitEvent, StartOrder
from hearth.worker.sandboxes.nat import Link
from hearth.worker.sandboxes.orders import mount_order, name_resolution
from hearth.worker.sandboxes.slirp import Slirp
from hearth.worker.sandboxes.tmp import Tmp

FORK_S: Final = 15.0
"""For one fork of a template. What it does is in the hands of a function's code."""
KILLED: Final = Exit(ExitKind.SIGNALED, signal.SIGKILL)
_SIGNAL_CODES: Final = range(128 + 1, 128 + 65)  # how bubblewrap tells of a signal, as shells do
_MEMLOCK_BYTES: Final = 64 << 10  # Lambda's
# Not 0: with 0 a core dump still goes to a handler that the host's core_pattern pipes it to, which
# runs as the host's root. 1 is the value at which the kernel dumps nothing at all.
_CORE_BYTES: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the backend made for a sandbox. `on_destroyed` is called once they are given back."""

    box: int
    uid: int | None
    tmp: Tmp
    cell: Cell
    launcher: Launcher
    watch: MemoryWatch
    template: "Template | None"
    """Whose program forks the first one here."""
    fork_from: Callable[[Program, SandboxSpec], tuple[int, Program] | None]
    """A zygote's number, and the program less what that has already; None: it is executed."""
    nat: Link | Slirp | None
    runtime: str | None
    root_uid: int | None
    on_destroyed: Callable[[], None]
    memory_bytes_beside: int = 0
    """What the sandbox takes for itself; `threads_beside` alike."""
    threads_beside: int = 0


class Template(Protocol):
    """Another sandbox, whose program forks."""

    @property
    def box(self) -> int: ...

    @property
    def environment(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Stem:
    """A program that waits to be told what it is for."""

    kind: ZygoteKind
    pid: int
    channels: Channels

    def close(self) -> None:
        self.channels.api.close()
        os.close(self.channels.stdout)
        os.close(self.channels.stderr)


class Forks:
    """How many are left of what a template forked."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def add(self) -> Callable[[], None]:
        """Until what is returned is called."""
        self._count += 1
        self._none.clear()
        return self._gone

    def _gone(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._none.set()

    async def wait_for_none(self) -> None:
        await self._none.wait()


async def why_not_forkable(own: Resources) -> str:
    """Of what has been let go to become a template; empty if it is one. Raises SandboxFailed."""
    try:
        async with asyncio.timeout(FORK_S):
            answer = await own.launcher.ask(messages.TEMPLATE, BoxOrder(box=own.box))
    except TimeoutError:
        raise SandboxFailed(f"it did not say within {FORK_S:.0f} s whether it can") from None
    return str(answer.content["why_not"])


def exit_of(event: ExitEvent) -> Exit:
    """As far as the launcher knows: not why something was killed."""
    number = event.signal
    if event.executed and not event.exact and event.code in _SIGNAL_CODES:
        number = event.code - 128
    if number:
        return Exit(ExitKind.SIGNALED, number)
    return Exit(ExitKind.EXITED, event.code, executed=event.executed)


def start_order(
    own: Resources,
    spec: SandboxSpec,
    program: Program,
    *,
    run: int,
    zygote: int | None,
    tmp_bytes: int | None,
    is_stem: bool,
) -> StartOrder:
    entry, nat = own.cell.entry, own.nat
    return StartOrder(
        box=own.box,
        run=run,
        argv=list(program.argv),
        environment=dict(program.environment),
        working_directory=program.working_directory,
        mounts=[mount_order(mount) for mount in program.mounts],
        own_network=spec.network is not Network.HOST,
        nat=nat.order() if isinstance(nat, Link) else None,
        slirp=nat.order() if isinstance(nat, Slirp) else None,
        host_files=name_resolution(spec.network),
        uid=own.uid,
        cgroup_tasks=list(entry.cgroup_tasks),
        cgroup_directory=entry.cgroup_directory,
        rlimits=[*_rlimits(spec), *map(list, () if is_stem else entry.rlimits)],
        processes_in_namespace=entry.processes_in_namespace,
        zygote=zygote,
        runtime=own.runtime,
        root_uid=own.root_uid,
        tmp_bytes=tmp_bytes,
        is_stem=is_stem,
        is_template=program.is_template and zygote is not None,
        one_output=program.one_output,
    )


def bind_order(
    own: Resources, program: Program, stem: Stem, tmp_bytes: int | None, *, is_alive: bool
) -> BindOrder:
    """Raises SandboxFailed."""
    mounts = own_mounts(program)
    is_other = program.zygote != stem.kind or (
        stem.kind.waits and program.argv != stem.kind.command
    )
    if mounts is None or is_other or not is_alive:
        raise SandboxFailed("the stem has ended, or was made for other programs")
    return BindOrder(
        box=own.box,
        argv=list(program.argv),
        environment=dict(program.environment),
        working_directory=program.working_directory,
        mounts=[mount_order(mount) for mount in mounts],
        tmp_bytes=tmp_bytes,
        rlimits=list(map(list, own.cell.entry.rlimits)),
    )


def _rlimits(spec: SandboxSpec) -> list[list[int]]:
    return [
        [resource.RLIMIT_NOFILE, spec.files_max],
        [resource.RLIMIT_CORE, _CORE_BYTES],
        [resource.RLIMIT_MEMLOCK, _MEMLOCK_BYTES],
    ]
