"""What is one bubblewrap sandbox, from create() to destroy()?

It owns a *box* in the launcher (its /tmp), a *cell* of limits and, where Hearth is root, a uid of
the host. They outlive its programs; a program's namespaces last for one start().
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from hearth.base.log import Log
from hearth.model.ids import SandboxId
from hearth.model.isolation import Network
from hearth.worker.limits.contract import MB
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
from hearth.worker.sandboxes.launcher import Answer
from hearth.worker.sandboxes.messages import (
    API_HOST,
    API_PORT,
    BoxOrder,
    ExitEvent,
    SocketOrder,
    StartOrder,
)
from hearth.worker.sandboxes.orders import (
    bounds,
    check,
    waiting_program,
)
from hearth.worker.sandboxes.outputs import read_to_end
from hearth.worker.sandboxes.resources import (
    FORK_S,
    KILLED,
    Forks,
    Resources,
    Stem,
    Template,
    bind_order,
    exit_of,
    start_order,
    why_not_forkable,
)

log = Log("sandboxes")

_NOTHING: Final = Program(argv=(), environment={}, working_directory="/", mounts=())


class BubblewrapSandbox:
    """See contract.Sandbox."""

    tmp_directory = "/tmp"

    def __init__(self, spec: SandboxSpec, resources: Resources) -> None:
        self._spec = spec
        self._own = resources
        self._host_api = HostApi() if spec.network is Network.HOST else None
        self._stem: Stem | None = None
        self._template = resources.template
        self._environment: Mapping[str, str] = {}
        """Of the program that was started last."""
        self._is_forked_from_zygote = False
        self._forks = Forks()
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
            self._stem = Stem(kind, answer.content["pid"], channels)
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

    async def _bind(self, program: Program, stem: Stem) -> bool:
        """Tell the stem. False if that did not work: then there is nothing left of it."""
        kills = self._kills
        try:
            is_alive = self._is_running()
            order = bind_order(self._own, program, stem, self._tmp_bytes(), is_alive=is_alive)
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

    async def _fork(self, program: Program, template: Template) -> Channels:
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
        return await why_not_forkable(self._own)

    async def leave(self) -> None:
        """See contract.Forkable."""
        await self._tell(messages.LEAVE)
        await self._forks.wait_for_none()

    def has_fork(self) -> Callable[[], None]:
        """Until what is returned is called."""
        return self._forks.add()

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
            self._end(KILLED)  # does nothing if the exit was told, as it is for all that ran

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
        self._end(KILLED)

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
        if self._is_over_memory:
            return Exit(ExitKind.OUT_OF_MEMORY, signal.SIGKILL)
        exit_ = exit_of(event)
        if exit_ == KILLED and self._oom_kills() > self._oom_kills_before:
            return Exit(ExitKind.OUT_OF_MEMORY, signal.SIGKILL)
        return exit_

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
        return start_order(
            self._own,
            self._spec,
            program,
            run=self._run + 1,
            zygote=zygote,
            tmp_bytes=self._tmp_bytes(),
            is_stem=is_stem,
        )

    def _tmp_bytes(self) -> int | None:
        return self._spec.tmp_mb * MB if self._has_other_tmp else None
