"""What is one bubblewrap sandbox, from create() to destroy()?

It owns a *box* in the launcher (its /tmp), a *cell* of limits and, where Hearth is root, a uid of
the host. They outlive its programs; a program's namespaces last for one start().
"""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from hearth.base.log import Log
from hearth.model.ids import SandboxId
from hearth.model.isolation import Network
from hearth.worker.limits.contract import MB, Cell
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
    ZygoteKind,
    own_mounts,
)
from hearth.worker.sandboxes.host_api import HostApi
from hearth.worker.sandboxes.launcher import Answer, Launcher
from hearth.worker.sandboxes.messages import (
    API_HOST,
    API_PORT,
    BindOrder,
    BoxOrder,
    ExitEvent,
    SocketOrder,
    StartOrder,
)
from hearth.worker.sandboxes.nat import Link
from hearth.worker.sandboxes.orders import (
    bounds,
    check,
    mount_order,
    name_resolution,
    waiting_program,
)
from hearth.worker.sandboxes.outputs import read_to_end
from hearth.worker.sandboxes.slirp import Slirp
from hearth.worker.sandboxes.tmp import Tmp

log = Log("sandboxes")

FORK_S: Final = 15.0
"""For one fork of a template. What it does is in the hands of a function's code."""
_KILLED: Final = Exit(ExitKind.SIGNALED, signal.SIGKILL)
_SIGNAL_CODES: Final = range(128 + 1, 128 + 65)  # how bubblewrap tells of a signal, as shells do
_MEMLOCK_BYTES: Final = 64 << 10  # Lambda's
# Not 0: with 0 a core dump still goes to a handler that the host's core_pattern pipes it to, which
# runs as the host's root. 1 is the value at which the kernel dumps nothing at all.
_CORE_BYTES: Final = 1
_NOTHING: Final = Program(argv=(), environment={}, working_directory="/", mounts=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the backend made for a sandbox. `on_destroyed` is called once they are given back."""

    box: int
    uid: int | None
    tmp: Tmp
    cell: Cell
    launcher: Launcher
    watch: MemoryWatch
    template: "BubblewrapSandbox | None"
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


@dataclass(frozen=True, slots=True)
class _Stem:
    kind: ZygoteKind
    pid: int
    channels: Channels

    def close(self) -> None:
        self.channels.api.close()
        os.close(self.channels.stdout)
        os.close(self.channels.stderr)


class BubblewrapSandbox:
    """See contract.Sandbox."""

    tmp_directory = "/tmp"

    def __init__(self, spec: SandboxSpec, resources: Resources) -> None:
        self._spec = spec
        self._own = resources
        self._host_api = HostApi() if spec.network is Network.HOST else None
        self._stem: _Stem | None = None
        self._template = resources.template
        self._environment: Mapping[str, str] = {}
        """Of the program that was started last."""
        self._is_forked_from_zygote = False
        self._forks = 0
        self._no_forks = asyncio.Event()
        self._no_forks.set()
        self._has_other_tmp = False
        """Than that with which it was made."""
        self._cpu_mb: int | None = None
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
        stem, self._stem = self._stem, None
        if self._is_destroyed or (self._is_running() and stem is None):
            raise SandboxFailed("the sandbox is destroyed, or runs a program already")
        check(program)
        template, self._template = self._template, None
        if template is not None:
            return await self._fork(program, template)
        self._environment = program.environment
        if stem is not None and await self._bind(program, stem):
            return stem.channels
        fork = self._own.fork_from(program, self._spec)
        self._is_forked_from_zygote = fork is not None
        if fork is not None:
            number, rest = fork
            kills = self._kills
            try:
                return await self._start(self._order(rest, number))
            except SandboxFailed as error:
                if kills != self._kills or not self._own.launcher.is_alive:
                    raise
                log.warning("not forked, but executed", sandbox=self.id, error=error)
                self._is_forked_from_zygote = False
        return await self._start(self._order(program, None))

    async def launch_stem(self, zygote: int | None, kind: ZygoteKind) -> None:
        """Make all of the sandbox, and have a program wait in it that may become any of this kind:
        forked from the zygote, or executed. The next start() tells it what it is.

        Raises SandboxFailed.
        """
        waiting = _NOTHING if zygote is not None else waiting_program(kind)
        order = self._order(waiting, zygote, is_stem=True)
        self._own.cell.give_way(gives_way=True)
        try:
            answer = await self._launch(order)
            api, stdout, stderr = answer.fds
            channels = Channels(socket.socket(fileno=api), stdout, stderr)
            self._stem = _Stem(kind, answer.content["pid"], channels)
            if zygote is None:
                await self._own.launcher.ask(messages.WAIT, BoxOrder(box=self._own.box))
        finally:
            self._own.cell.give_way(gives_way=False)

    @property
    def has_limits_of_processes(self) -> bool:
        """Some that each process must set for itself."""
        return bool(self._own.cell.entry.rlimits)

    @property
    def is_waiting_stem(self) -> bool:
        return self._stem is not None and self._is_running()

    def adopt(self, spec: SandboxSpec) -> None:
        """A stem is given away: as this. Raises OSError."""
        if (spec.memory_mb, spec.tmp_mb) != (self._spec.memory_mb, self._spec.tmp_mb):
            own = self._own
            beside = (own.memory_bytes_beside, own.threads_beside)
            own.cell.rebound(bounds(spec, *beside))
        self._has_other_tmp = spec.tmp_mb != self._spec.tmp_mb
        self._spec = spec

    async def _bind(self, program: Program, stem: "_Stem") -> bool:
        """Tell the stem. False if that did not work: then there is nothing left of it."""
        kills = self._kills
        try:
            order = self._bind_order(program, stem)
            self._watch(stem.pid)
            await self._own.launcher.ask(messages.BIND, order)
        except BaseException as error:
            stem.close()
            await self._kill()
            is_ours = isinstance(error, SandboxFailed) and kills == self._kills
            if not is_ours or not self._own.launcher.is_alive:
                raise
            log.warning("a stem was of no use", sandbox=self.id, error=error)
            return False
        return True

    def _bind_order(self, program: Program, stem: "_Stem") -> BindOrder:
        """Raises SandboxFailed."""
        mounts = own_mounts(program)
        is_other = program.zygote != stem.kind or (
            stem.kind.waits and program.argv != stem.kind.command
        )
        if mounts is None or is_other or not self._is_running():
            raise SandboxFailed("the stem has ended, or was made for other programs")
        return BindOrder(
            box=self._own.box,
            argv=list(program.argv),
            environment=dict(program.environment),
            working_directory=program.working_directory,
            mounts=[mount_order(mount) for mount in mounts],
            tmp_bytes=self._tmp_bytes(),
            rlimits=list(map(list, self._own.cell.entry.rlimits)),
        )

    async def _fork(self, program: Program, template: "BubblewrapSandbox") -> Channels:
        """Raises SandboxFailed."""
        mounts = own_mounts(program)
        if mounts is None:
            raise SandboxFailed("it cannot be forked: it was not made for that")
        has = template.environment
        own = {n: v for n, v in program.environment.items() if has.get(n) != v}
        rest = replace(program, mounts=mounts, environment=own, is_template=False)
        try:
            async with asyncio.timeout(FORK_S):
                return await self._start(self._order(rest, -template.box))
        except TimeoutError:
            await self._kill()
            raise SandboxFailed(f"it was not forked within {FORK_S:.0f} s") from None

    # -- of a template ---------------------------------------------------------------------------

    @property
    def box(self) -> int:
        return self._own.box

    @property
    def uid(self) -> int | None:
        return self._own.uid

    @property
    def environment(self) -> Mapping[str, str]:
        return self._environment

    async def become_template(self, let_go: Callable[[], None]) -> str:
        """See contract.Forkable."""
        if not self._is_running():
            raise SandboxFailed("nothing runs in the sandbox")
        if not self._is_forked_from_zygote:
            return "its interpreter was executed, and not forked"
        let_go()
        try:
            async with asyncio.timeout(FORK_S):
                order = BoxOrder(box=self._own.box)
                answer = await self._own.launcher.ask(messages.TEMPLATE, order)
        except TimeoutError:
            raise SandboxFailed(f"it did not say within {FORK_S:.0f} s whether it can") from None
        return str(answer.content["why_not"])

    async def leave(self) -> None:
        """See contract.Forkable."""
        await self._tell(messages.LEAVE)
        await self._no_forks.wait()

    def has_fork(self) -> Callable[[], None]:
        """Until what is returned is called."""
        self._forks += 1
        self._no_forks.clear()
        return self._fork_is_gone

    def _fork_is_gone(self) -> None:
        self._forks -= 1
        if self._forks == 0:
            self._no_forks.set()

    async def try_fork(self, zygote: int, program: Program) -> None:
        """Fork it, and wait for its end. Raises SandboxFailed if it could not be, or failed."""
        channels = await self._start(self._order(program, zygote))
        channels.api.close()
        said, exit_ = await asyncio.gather(read_to_end(channels.stderr), self.wait())
        await read_to_end(channels.stdout)
        if exit_.code != 0:
            raise SandboxFailed(said.decode(errors="replace").strip() or f"{exit_}")

    async def _start(self, order: StartOrder) -> Channels:
        api = self._host_api.hand_out() if self._host_api else None  # its program connects at once
        try:
            answer = await self._launch(order)
        except BaseException:
            if api is not None:
                api.close()
            raise
        fds = answer.fds
        self._watch(answer.content["pid"])
        api = api or socket.socket(fileno=fds.pop(0))
        stdout, stderr = fds
        return Channels(api, stdout, stderr)

    async def _launch(self, order: StartOrder) -> Answer:
        self._ended = asyncio.get_running_loop().create_future()
        self._is_over_memory = False
        if self._run:  # before the first there were none
            self._oom_kills_before = self._oom_kills()
        self._run = order.run
        try:
            return await self._own.launcher.ask(messages.START, order)
        except SandboxFailed as error:
            await self._kill()  # the half-made child, if there is one
            raise (self._own.tmp.failure or error) from None

    def _watch(self, pid: int) -> None:
        if self._is_running():  # else it has ended already
            self._own.cell.began(pid)
            self._own.watch.add(self._own.cell, self._over_memory)

    async def wait(self) -> Exit:
        if self._ended is None:
            raise SandboxFailed("no program was started")
        return await asyncio.shield(self._ended)

    async def terminate(self) -> None:
        self.thaw()
        if self._is_running() and self._stem is None:
            await self._tell(messages.TERMINATE)

    async def open_socket(self, *, datagrams: bool = False) -> socket.socket:
        if not self._is_running():
            raise SandboxFailed("nothing runs in the sandbox")
        if self._host_api:
            kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
            return socket.socket(type=kind | socket.SOCK_NONBLOCK)
        order = SocketOrder(box=self._own.box, datagrams=datagrams)
        answer = await self._own.launcher.ask(messages.SOCKET, order)
        return socket.socket(fileno=answer.fds[0])

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

    async def _kill(self, *, for_good: bool = False) -> None:
        self.thaw()  # what is frozen does not die everywhere
        meant = self._ended
        if for_good:
            await self._tell(messages.DESTROY)
        elif self._is_running():
            await self._tell(messages.KILL)
        if self._ended is meant:  # else it has ended, and a start has not waited for us
            self._end(_KILLED)  # does nothing if the exit was told, as it is for all that ran

    async def destroy(self) -> None:
        async with self._destroying:
            if self._is_destroyed:
                return
            self._kills += 1
            await self._kill(for_good=True)
            if self._stem is not None:
                self._stem.close()
                self._stem = None
            await self._own.cell.remove()
            self._is_destroyed = True
            await self._own.tmp.close()
            if self._host_api:
                self._host_api.close()
            self._own.on_destroyed()

    def limit_cpu(self, memory_mb: int | None) -> None:
        if memory_mb != self._cpu_mb:
            self._own.cell.limit_cpu(memory_mb)
            self._cpu_mb = memory_mb

    def usage(self) -> Usage:
        seen = self._own.cell.usage()
        return Usage(seen.memory_bytes, seen.memory_peak_bytes, seen.cpu_s)

    def peak_bytes(self) -> int:
        return self._own.cell.peak_bytes()

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

    def _order(self, program: Program, zygote: int | None, *, is_stem: bool = False) -> StartOrder:
        entry, nat = self._own.cell.entry, self._own.nat
        own_network = self._spec.network is not Network.HOST
        return StartOrder(
            box=self._own.box,
            run=self._run + 1,
            argv=list(program.argv),
            environment=dict(program.environment),
            working_directory=program.working_directory,
            mounts=[mount_order(mount) for mount in program.mounts],
            own_network=own_network,
            nat=nat.order() if isinstance(nat, Link) else None,
            slirp=nat.order() if isinstance(nat, Slirp) else None,
            host_files=name_resolution(self._spec.network),
            uid=self._own.uid,
            cgroup_tasks=list(entry.cgroup_tasks),
            cgroup_directory=entry.cgroup_directory,
            rlimits=[*self._rlimits(), *map(list, () if is_stem else entry.rlimits)],
            processes_in_namespace=entry.processes_in_namespace,
            zygote=zygote,
            runtime=self._own.runtime,
            root_uid=self._own.root_uid,
            tmp_bytes=self._tmp_bytes(),
            is_stem=is_stem,
            is_template=program.is_template and zygote is not None,
        )

    def _tmp_bytes(self) -> int | None:
        return self._spec.tmp_mb * MB if self._has_other_tmp else None

    def _rlimits(self) -> list[list[int]]:
        return [
            [resource.RLIMIT_NOFILE, self._spec.files_max],
            [resource.RLIMIT_CORE, _CORE_BYTES],
            [resource.RLIMIT_MEMLOCK, _MEMLOCK_BYTES],
        ]
