"""What is one bubblewrap sandbox, from create() to destroy()?

It owns a *box* in the launcher (its /tmp), a *cell* of limits and, where Hearth is root, a uid of
the host. They outlive its programs; a program's namespaces last for one start().
"""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.base.log import Log
from hearth.model.ids import SandboxId
from hearth.worker.limits.contract import Cell
from hearth.worker.limits.watch import MemoryWatch
from hearth.worker.sandboxes import messages
from hearth.worker.sandboxes.contract import (
    Channels,
    Exit,
    ExitKind,
    Mount,
    Program,
    SandboxFailed,
    SandboxSpec,
    Usage,
)
from hearth.worker.sandboxes.host_api import HostApi
from hearth.worker.sandboxes.launcher import Launcher
from hearth.worker.sandboxes.messages import API_HOST, API_PORT, BoxOrder, ExitEvent, StartOrder
from hearth.worker.sandboxes.outputs import read_to_end

log = Log("sandboxes")

_KILLED: Final = Exit(ExitKind.SIGNALED, signal.SIGKILL)
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
    tmp: int
    cell: Cell
    launcher: Launcher
    watch: MemoryWatch
    fork_from: Callable[[Program, SandboxSpec], tuple[int, Program] | None]
    """A zygote's number, and the program less what that has already; None: it is executed."""
    runtime: str | None
    root_uid: int | None
    on_destroyed: Callable[[], None]


class BubblewrapSandbox:
    """See contract.Sandbox."""

    tmp_directory = "/tmp"

    def __init__(self, spec: SandboxSpec, resources: Resources) -> None:
        self._spec = spec
        self._own = resources
        self._host_api = HostApi() if spec.network == "host" else None
        self._run = 0
        self._ended: asyncio.Future[Exit] | None = None
        self._oom_kills_before = 0
        self._is_over_memory = False
        self._is_destroyed = False
        self._is_frozen = False
        self._kills = 0
        self._destroying = asyncio.Lock()

    @property
    def id(self) -> SandboxId:
        return self._spec.sandbox

    @property
    def api_address(self) -> str:
        return self._host_api.address if self._host_api else f"{API_HOST}:{API_PORT}"

    def inside(self, mount: Mount) -> str:
        return mount.destination

    async def start(self, program: Program) -> Channels:
        if self._is_destroyed or self._is_running():
            raise SandboxFailed("the sandbox is destroyed, or runs a program already")
        _check(program)
        fork = self._own.fork_from(program, self._spec)
        if fork is not None:
            number, rest = fork
            kills = self._kills
            try:
                return await self._start(self._order(rest, number))
            except SandboxFailed as error:
                if kills != self._kills or not self._own.launcher.is_alive:
                    raise
                log.warning("not forked, but executed", sandbox=self.id, error=error)
        return await self._start(self._order(program, None))

    async def try_fork(self, zygote: int, program: Program) -> None:
        """Fork it, and wait for its end. Raises SandboxFailed if it could not be, or failed."""
        channels = await self._start(self._order(program, zygote))
        channels.api.close()
        said, exit_ = await asyncio.gather(read_to_end(channels.stderr), self.wait())
        await read_to_end(channels.stdout)
        if exit_.code != 0:
            raise SandboxFailed(said.decode(errors="replace").strip() or f"{exit_}")

    async def _start(self, order: StartOrder) -> Channels:
        self._run = order.run
        self._ended = asyncio.get_running_loop().create_future()
        self._is_over_memory = False
        self._oom_kills_before = self._oom_kills()
        try:
            answer = await self._own.launcher.ask(messages.START, order)
        except SandboxFailed:
            await self._kill()  # the half-made child, if there is one
            raise
        fds = answer.fds
        if self._is_running():  # else it has ended already
            self._own.cell.began(answer.content["pid"])
            self._own.watch.add(self._own.cell, self._over_memory)
        api = self._host_api.hand_out() if self._host_api else socket.socket(fileno=fds.pop(0))
        stdout, stderr = fds
        return Channels(api, stdout, stderr)

    async def wait(self) -> Exit:
        if self._ended is None:
            raise SandboxFailed("no program was started")
        return await asyncio.shield(self._ended)

    async def terminate(self) -> None:
        if self._is_running():
            await self._tell(messages.TERMINATE)

    async def kill(self) -> None:
        self._kills += 1
        await self._kill()

    def freeze(self) -> None:
        if self._is_frozen or not self._is_running():
            return
        self._is_frozen = True
        try:
            self._own.cell.freeze()
        except OSError as error:
            self.thaw()
            raise SandboxFailed(f"the sandbox cannot be frozen: {error}") from error
        self._own.watch.remove(self._own.cell)  # it takes no more than it has

    def thaw(self) -> None:
        if not self._is_frozen:
            return
        try:
            self._own.cell.thaw()
        except OSError as error:
            raise SandboxFailed(f"the sandbox cannot be thawed: {error}") from error
        self._is_frozen = False
        if self._is_running():
            self._own.watch.add(self._own.cell, self._over_memory)

    async def _kill(self) -> None:
        self.thaw()  # what is frozen does not die everywhere
        if self._is_running():
            await self._tell(messages.KILL)
        self._end(_KILLED)  # does nothing if the exit was told, as it is for all that ran

    async def destroy(self) -> None:
        async with self._destroying:
            if self._is_destroyed:
                return
            await self.kill()
            await self._tell(messages.DESTROY)
            await self._own.cell.remove()
            self._is_destroyed = True
            os.close(self._own.tmp)
            if self._host_api:
                self._host_api.close()
            self._own.on_destroyed()

    def limit_cpu(self, memory_mb: int | None) -> None:
        self._own.cell.limit_cpu(memory_mb)

    def usage(self) -> Usage:
        seen = self._own.cell.usage()
        return Usage(seen.memory_bytes, seen.memory_peak_bytes, seen.cpu_s)

    def reset_peak(self) -> None:
        self._own.cell.reset_peak()

    def exited(self, event: ExitEvent) -> None:
        """The launcher says that a run is over."""
        if event.run == self._run:
            self._end(self._exit(event))

    def _thaw_anyhow(self) -> None:
        try:
            self.thaw()
        except SandboxFailed as error:
            log.warning("a sandbox stays frozen", sandbox=self.id, error=error)

    def launcher_ends(self) -> None:
        """The launcher has died, or will: so that the kernel can kill all that was its."""
        self._thaw_anyhow()

    def lost(self) -> None:
        """The launcher died, and the kernel has killed all that was its."""
        self._end(_KILLED)

    async def _tell(self, do: str) -> None:
        """Have the launcher do it; if it has died, or dies of it, that is as good."""
        try:
            if self._own.launcher.is_alive:
                await self._own.launcher.ask(do, BoxOrder(box=self._own.box))
        except SandboxFailed:
            if self._own.launcher.is_alive:
                raise

    def _is_running(self) -> bool:
        return self._ended is not None and not self._ended.done()

    def _end(self, exit_: Exit) -> None:
        if self._ended is not None and not self._ended.done():
            self._thaw_anyhow()  # or the next program would be born frozen
            self._own.watch.remove(self._own.cell)
            self._own.cell.ended()
            self._ended.set_result(exit_)

    def _exit(self, event: ExitEvent) -> Exit:
        number = event.signal
        if event.executed and not event.exact and event.code in _SIGNAL_CODES:
            number = event.code - 128
        if self._is_over_memory:
            return Exit(ExitKind.OUT_OF_MEMORY, signal.SIGKILL)
        if number == signal.SIGKILL and self._oom_kills() > self._oom_kills_before:
            return Exit(ExitKind.OUT_OF_MEMORY, signal.SIGKILL)
        if number:
            return Exit(ExitKind.SIGNALED, number)
        return Exit(ExitKind.EXITED, event.code, executed=event.executed)

    def _oom_kills(self) -> int:
        try:
            return self._own.cell.oom_kills()
        except OSError as error:  # somebody removed our cgroup; the exit must be told all the same
            log.warning("cannot tell whether memory ran out", sandbox=self.id, error=error)
            return 0

    def _over_memory(self) -> None:
        log.info("sandbox exceeded its memory", sandbox=self.id)
        self._is_over_memory = True
        self._thaw_anyhow()
        self._own.launcher.tell(messages.KILL, BoxOrder(box=self._own.box))

    def _order(self, program: Program, zygote: int | None) -> StartOrder:
        entry = self._own.cell.entry
        own_network = self._spec.network == "none"
        return StartOrder(
            box=self._own.box,
            run=self._run + 1,
            argv=list(program.argv),
            environment=dict(program.environment),
            working_directory=program.working_directory,
            mounts=[mount_order(mount) for mount in program.mounts],
            own_network=own_network,
            host_files=[] if own_network else _name_resolution(),
            uid=self._own.uid,
            cgroup_tasks=list(entry.cgroup_tasks),
            cgroup_directory=entry.cgroup_directory,
            rlimits=[*self._rlimits(), *map(list, entry.rlimits)],
            processes_in_namespace=entry.processes_in_namespace,
            zygote=zygote,
            runtime=self._own.runtime,
            root_uid=self._own.root_uid,
        )

    def _rlimits(self) -> list[list[int]]:
        return [
            [resource.RLIMIT_NOFILE, self._spec.files_max],
            [resource.RLIMIT_CORE, _CORE_BYTES],
            [resource.RLIMIT_MEMLOCK, _MEMLOCK_BYTES],
        ]


def mount_order(mount: Mount) -> list[str]:
    """See StartOrder.mounts. Resolved, because the launcher sees the host below a directory: a
    link would mislead."""
    below = [str(directory.resolve()) for directory in mount.below]
    return [str(mount.source.resolve()), mount.destination, *below]


def _check(program: Program) -> None:
    """Raises SandboxFailed for what no program can be given."""
    texts = [*program.argv, *program.environment, *program.environment.values()]
    texts += [program.working_directory, *(mount.destination for mount in program.mounts)]
    if not program.argv or any("\0" in text for text in texts):
        raise SandboxFailed("a program without arguments, or with a zero byte in them")
    if any(not name or "=" in name for name in program.environment):
        raise SandboxFailed("an environment variable without a usable name")


def _name_resolution() -> list[list[str]]:
    """The host's files that say how names are resolved, for a program in the host's network."""
    names = ("resolv.conf", "hosts")
    paths = [(Path("/etc", name).resolve(), f"/etc/{name}") for name in names]
    return [[str(source), target] for source, target in paths if source.is_file()]
