"""How is a program isolated by default? In a fresh bubblewrap sandbox, made by the launcher.

open() starts the launcher, runs a program for real and says what this machine gives. A launcher
that died is started anew at the next create(); its sandboxes are lost with it.
"""

import asyncio
import itertools
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.ids import SandboxId
from hearth.model.isolation import Network
from hearth.worker import limits
from hearth.worker.limits.contract import MB, Cell, Limits
from hearth.worker.limits.find import find_limits
from hearth.worker.limits.watch import MemoryWatch
from hearth.worker.sandboxes import diagnosis, messages
from hearth.worker.sandboxes.bubblewrap_sandbox import BubblewrapSandbox
from hearth.worker.sandboxes.bwrap import find_bwrap
from hearth.worker.sandboxes.contract import (
    Capabilities,
    Mount,
    Program,
    SandboxFailed,
    SandboxSpec,
)
from hearth.worker.sandboxes.launcher import Launcher
from hearth.worker.sandboxes.messages import BoxOrder, CreateOrder, ExitEvent, Opened, OpenOrder
from hearth.worker.sandboxes.nat import Link, Nat
from hearth.worker.sandboxes.orders import bounds
from hearth.worker.sandboxes.outputs import read_to_end
from hearth.worker.sandboxes.resources import Resources
from hearth.worker.sandboxes.slirp import Slirp
from hearth.worker.sandboxes.tmp import Tmp
from hearth.worker.sandboxes.uids import Uids

log = Log("sandboxes")

_SECCOMP: Final = Path(__file__).with_name("seccomp")
_REAPER: Final = Path(__file__).with_name("init") / f"{platform.machine()}-reaper"
_TRIAL_S: Final = 20.0
_TRIAL = SandboxSpec(sandbox=SandboxId("trial"), memory_mb=128, tmp_mb=1)
_TRIAL_PROGRAM = Program(
    argv=("/bin/true",), environment={}, working_directory="/var/task", mounts=()
)
_TRIAL_MERGE = Mount(_SECCOMP, "/opt", (Path(limits.__file__).parent,))
"""Two directories that there are, neither of them within the other."""
_ISOLATION: Final = (
    "user namespace, no capabilities, no new privileges",
    "pid namespace",
    "mount namespace, read-only root",
    "network namespace",
    "ipc, uts and cgroup namespaces",
    "seccomp filter",
)


class BubblewrapBackend:
    """The default SandboxBackend. `instance` names this worker's state; no two live ones share it.

    `run_directory` is not used: everything is in the launcher's own mount namespace.
    """

    name = "bubblewrap"
    _isolation: tuple[str, ...] = _ISOLATION
    _runtime: str | None = None
    """The OCI runtime whose containers are the sandboxes; None: bubblewrap's."""
    _memory_bytes_beside = 0
    """What a sandbox takes for itself, beside its function."""
    _threads_beside = 0
    uid_share = (0, 1)
    """Which of how many parts of the uids is ours: so that no two backends give the same one."""

    def __init__(self, instance: str, run_directory: Path, clock: Clock, jobs: Jobs) -> None:
        del run_directory
        self.can_merge = True
        self.nat = Nat(instance)
        """Of all backends of a worker the same one: replaced before open(), if it is another's."""
        self._instance = instance
        self._watch = MemoryWatch(clock, jobs)
        self._limits: Limits | None = None
        self._launcher: Launcher | None = None
        self._launching = asyncio.Lock()
        self._uids: Uids | None = None
        self._boxes = itertools.count(1)
        self._sandboxes: dict[int, BubblewrapSandbox] = {}

    @property
    def launcher_pid(self) -> int | None:
        """The living launcher's."""
        return self._launcher.pid if self._launcher and self._launcher.is_alive else None

    async def open(self) -> Capabilities:
        if (missing := self._what_is_missing()) is not None:
            return missing
        try:
            self._limits = find_limits(self._instance)
            launcher = await self._launched()
            await self._try_both()
        except (SandboxFailed, TimeoutError) as error:
            await self.close()
            return diagnosis.not_usable(self.name, error)
        assert launcher.is_alive
        return diagnosis.usable(
            Capabilities(
                name=self.name,
                usable=True,
                isolation=(self._whose_uid(), *self._isolation),
                memory_limit=self._limits.memory,
                cpu_limit=self._limits.cpu,
                freezer=self._limits.freezer,
            )
        )

    def _what_is_missing(self) -> Capabilities | None:
        if find_bwrap() is None:
            return diagnosis.no_bubblewrap(self.name)
        if seccomp_filter() is None:
            return diagnosis.unknown_machine(self.name, platform.machine())
        return None

    async def create(self, spec: SandboxSpec) -> BubblewrapSandbox:
        launcher = await self._launched()
        link = await self.nat.take() if spec.network is Network.NAT else None
        template = spec.fork_of
        assert template is None or isinstance(template, BubblewrapSandbox)
        uid = self._take_uid(template)
        box = next(self._boxes)
        give_back = self._give_back(None if template else uid, link)
        try:
            order = CreateOrder(box=box, tmp_bytes=spec.tmp_mb * MB, uid=uid)
            tmp = Tmp(launcher.ask_first(messages.CREATE, order))
        except BaseException:
            give_back()
            raise
        try:
            cell = self._limit(spec, box, tmp.used_bytes)
        except OSError as error:
            launcher.tell(messages.DESTROY, BoxOrder(box=box))
            await tmp.close()
            give_back()
            raise SandboxFailed(f"no limits for the sandbox: {error}") from error
        resources = Resources(
            box=box,
            uid=uid,
            tmp=tmp,
            cell=cell,
            launcher=launcher,
            watch=self._watch,
            template=template,
            fork_from=self.fork_from,
            nat=link,
            runtime=self._runtime,
            root_uid=self._root_uid(uid),
            on_destroyed=self._forget(box, give_back, template),
            memory_bytes_beside=self._memory_bytes_beside,
            threads_beside=self._threads_beside,
        )
        self._sandboxes[box] = sandbox = BubblewrapSandbox(spec, resources)
        return sandbox

    def fork_from(self, program: Program, spec: SandboxSpec) -> tuple[int, Program] | None:  # noqa: ARG002
        """The number of a zygote, and what is left to be done for the program; here, none."""
        return None

    async def close(self) -> None:
        sandboxes = list(self._sandboxes.values())
        ends = await asyncio.gather(*(s.destroy() for s in sandboxes), return_exceptions=True)
        for sandbox, end in zip(sandboxes, ends, strict=True):
            if end is not None:
                log.error("sandbox not destroyed", sandbox=sandbox.id, error=end)
        await self.nat.close()
        if self._launcher:
            self._launcher.close()  # what could not be destroyed is killed here
            self._launcher = None
        if self._limits:
            try:
                self._limits.close()
            except OSError as error:  # removed by the next worker of this instance
                log.warning("cgroups are left", error=error)
            self._limits = None

    def _limit(self, spec: SandboxSpec, box: int, tmp_used: Callable[[], int]) -> Cell:
        assert self._limits is not None, "create() before open(), or after close()"
        within = bounds(spec, self._memory_bytes_beside, self._threads_beside)
        return self._limits.create(str(box), within, tmp_used)

    async def _launched(self) -> Launcher:
        """The launcher; a new one if it has died. Raises SandboxFailed."""
        async with self._launching:
            if self._launcher is None or not self._launcher.is_alive:
                order = self._open_order(list(self._limits.directories) if self._limits else [])
                self._launcher, opened = await Launcher.open(
                    order, self._exited, self._lost, self._zygote_gone, self._launcher_ends
                )
                self._own_uids(opened)
            return self._launcher

    def _open_order(self, cgroups: list[str]) -> OpenOrder:
        """Raises SandboxFailed."""
        bwrap, seccomp = find_bwrap(), seccomp_filter()
        if bwrap is None or seccomp is None:
            raise SandboxFailed("bubblewrap or its seccomp filter has gone")
        return OpenOrder(
            bwrap=str(bwrap.program),
            libraries=[str(library) for library in bwrap.libraries],
            seccomp=str(seccomp),
            cgroups=cgroups,
            reaper=str(_REAPER) if _REAPER.is_file() else None,
        )

    def _own_uids(self, opened: Opened) -> None:
        if opened.own_uids and self._uids is None:
            first, count = self._share(opened)
            self._uids = Uids(first, count, self._instance)

    def _share(self, opened: Opened) -> tuple[int, int]:
        part, parts = self.uid_share
        count = max(1, opened.uid_count // parts)
        return opened.uid_first + part * count, count

    def _root_uid(self, uid: int | None) -> int | None:  # noqa: ARG002
        """The host's uid for root inside, beside the program's; here, nobody is."""
        return None

    def _whose_uid(self) -> str:
        return "own uid" if self._uids else f"uid {os.getuid()}, as Hearth itself"

    def _exited(self, event: ExitEvent) -> None:
        sandbox = self._sandboxes.get(event.box)
        if sandbox is not None:
            sandbox.exited(event)

    def _launcher_ends(self) -> None:
        for sandbox in self._sandboxes.values():
            sandbox.launcher_ends()

    def _lost(self) -> None:
        for sandbox in self._sandboxes.values():
            sandbox.lost()

    def _zygote_gone(self, number: int) -> None: ...

    def _take_uid(self, template: BubblewrapSandbox | None) -> int | None:
        """What a template forks has its uid, for it may have no other."""
        if template is not None:
            return template.uid
        return self._uids.take() if self._uids else None

    def _forget(
        self, box: int, give_back: Callable[[], None], template: BubblewrapSandbox | None
    ) -> Callable[[], None]:
        is_gone = template.has_fork() if template is not None else None

        def forget() -> None:
            del self._sandboxes[box]
            give_back()
            if is_gone is not None:
                is_gone()

        return forget

    def _give_back(self, uid: int | None, link: Link | Slirp | None) -> Callable[[], None]:
        def give_back() -> None:
            self._give_uid(uid)
            if link is not None:
                self.nat.give(link)

        return give_back

    def _give_uid(self, uid: int | None) -> None:
        if self._uids and uid is not None:
            self._uids.give(uid)

    async def _try_both(self) -> None:
        """With merged directories, and if that fails, without. Raises as _try()."""
        try:
            await self._try(replace(_TRIAL_PROGRAM, mounts=(_TRIAL_MERGE,)))
        except SandboxFailed as error:
            await self._try(_TRIAL_PROGRAM)
            self.can_merge = False
            log.warning("layers are merged by hard links: no overlay mounts here", error=error)

    async def _try(self, program: Program) -> None:
        """Raises SandboxFailed or TimeoutError if a program cannot be run for real."""
        async with asyncio.timeout(_TRIAL_S):
            sandbox = await self.create(_TRIAL)
            try:
                channels = await sandbox.start(program)
                channels.api.close()
                said, exit_ = await asyncio.gather(read_to_end(channels.stderr), sandbox.wait())
                await read_to_end(channels.stdout)
            finally:
                await sandbox.destroy()
        if exit_.code != 0:
            raise SandboxFailed(said.decode(errors="replace").strip() or f"{exit_}")


def seccomp_filter() -> Path | None:
    path = _SECCOMP / f"{platform.machine()}.bpf"
    return path if path.is_file() else None
