"""How does a Python function start in milliseconds? As a fork of a prepared interpreter.

bubblewrap's backend, with one more way to start a program: one that says what it may be forked
from (Program.zygote) is forked, into a sandbox that is made in the fork; see zygote_child.py. What
has no such kind, needs the host's network, or comes before its zygote is ready, is executed by
bubblewrap. Limits, uids, /tmp, kills and ends are the same.

Forks are also made before they are needed (*stems*, stems.py): a start only tells one of them what
it is for.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.ids import SandboxId
from hearth.model.isolation import Network
from hearth.worker.sandboxes import messages
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.bubblewrap_sandbox import BubblewrapSandbox
from hearth.worker.sandboxes.contract import (
    Capabilities,
    Mount,
    Program,
    SandboxFailed,
    SandboxSpec,
    ZygoteKind,
    own_mounts,
)
from hearth.worker.sandboxes.messages import RetireOrder, ZygoteOrder
from hearth.worker.sandboxes.orders import mount_order
from hearth.worker.sandboxes.stems import USUAL, Stems, StemStatistics, may_be_stem, runnable
from hearth.worker.sandboxes.zygotes import Zygotes
from hearth.worker.stem_policy import DEFAULT_BOUNDS, StemBounds

log = Log("zygotes")

_TRIAL: Final = SandboxSpec(sandbox=SandboxId("trial"), memory_mb=128, tmp_mb=1)
_TRIAL_NUMBER: Final = 0
_TRIAL_S: Final = 20.0


class ZygoteBackend(BubblewrapBackend):
    """A SandboxBackend that forks what it can, and executes the rest."""

    name = "zygote"

    def __init__(
        self,
        instance: str,
        run_directory: Path,
        clock: Clock,
        jobs: Jobs,
        stems: StemBounds = DEFAULT_BOUNDS,
    ) -> None:
        super().__init__(instance, run_directory, clock, jobs)
        self._zygotes = Zygotes(self, clock, jobs)
        self._stems: Stems[BubblewrapSandbox] = Stems(self, stems, clock, jobs, runnable)
        self._zygote_uids: dict[int, int] = {}
        self.forked = 0
        """How many programs were forked, and not executed."""
        self.pages = 0
        """Runs of pages that forks of the newest zygote copy at once; see zygote_pages.py."""

    async def open(self) -> Capabilities:
        """bubblewrap's; and whether zygotes work too, by making one and forking from it."""
        found = await super().open()
        if not found.usable:
            return found
        try:
            await self._try_to_fork()
        except (SandboxFailed, TimeoutError) as error:
            said = str(error) or type(error).__name__
            note = f"zygotes do not work here, Python is started by bubblewrap: {said}"
            return replace(found, notes=(*found.notes, note))
        self.forked = 0
        return replace(found, isolation=(*found.isolation, "Python functions forked from zygotes"))

    async def _try_to_fork(self) -> None:
        """Raises SandboxFailed or TimeoutError if a program cannot be forked for real."""
        command = (f"/var/lang/bin/python{sys.version_info[0]}.{sys.version_info[1]}", "-I", "-S")
        kind = ZygoteKind(
            tenant="",
            command=command,
            script=None,
            environment=(("LD_LIBRARY_PATH", "/var/lang/lib"),),
            mounts=(Mount(Path(sys.base_prefix), "/var/lang"),),
        )
        program = Program(
            argv=(*command, "-c", "pass"),
            environment=dict(kind.environment),
            working_directory="/",
            mounts=kind.mounts,
            zygote=kind,
        )
        number = _TRIAL_NUMBER
        async with asyncio.timeout(_TRIAL_S):
            await self.make(number, kind)
            sandbox = await self.create(_TRIAL)
            try:
                await sandbox.try_fork(number, replace(program, mounts=()))
            finally:
                await sandbox.destroy()
            launcher = await self._launched()
            await launcher.ask(messages.RETIRE, RetireOrder(zygote=number))

    async def create(self, spec: SandboxSpec) -> BubblewrapSandbox:
        """A stem, if there is one for it."""
        if spec.is_template and spec.kind is not None:
            await self._zygotes.prepare(spec.kind)  # what is executed could not be forked later
        elif spec.kind is not None and may_be_stem(spec):
            stem = self._stems.take(spec.kind)
            if stem is not None:
                stem.adopt(spec)
                return stem
        return await super().create(spec)

    async def make_stem(self, kind: ZygoteKind) -> BubblewrapSandbox | None:
        """See stems.Maker. Raises SandboxFailed."""
        number = None if kind.waits else self._zygotes.find(kind)
        if number is None and not kind.waits:
            if not await self._zygotes.prepare(kind):
                return None
            number = self._zygotes.find(kind)
            assert number is not None
        sandbox = await super().create(USUAL)
        try:
            await sandbox.launch_stem(number, kind)
        except BaseException:
            await sandbox.destroy()
            raise
        return sandbox

    def stems(self) -> StemStatistics:
        return self._stems.statistics()

    async def close(self) -> None:
        await self._stems.close()
        await self._zygotes.close()
        await super().close()
        self._zygote_uids.clear()

    async def prepare(self, kind: ZygoteKind, stems: int = 0) -> bool:
        """Have a zygote of this kind ready, and so many stems; False if there can be none."""
        is_there = kind.waits or await self._zygotes.prepare(kind)
        return is_there and await self._stems.prepare(kind, stems)

    async def make(self, number: int, kind: ZygoteKind) -> None:
        """See zygotes.Maker. Raises SandboxFailed."""
        launcher = await self._launched()
        uid = self._uids.take() if self._uids else None
        order = ZygoteOrder(
            zygote=number,
            uid=uid,
            command=list(kind.command),
            script=kind.script,
            environment=dict(kind.environment),
            mounts=[mount_order(mount) for mount in kind.mounts],
        )
        if uid is not None:
            self._zygote_uids[number] = uid
        try:
            answer = await launcher.ask(messages.ZYGOTE, order)
        except SandboxFailed:
            self._zygote_gone(number)
            raise
        self.pages = answer.content["pages"]
        log.debug("zygote made", command=kind.command[0], pages=self.pages)

    def retire(self, number: int) -> None:
        if self._launcher is not None:
            self._launcher.tell(messages.RETIRE, RetireOrder(zygote=number))

    def fork_from(self, program: Program, spec: SandboxSpec) -> tuple[int, Program] | None:
        kind = program.zygote
        if kind is None or kind.waits or spec.network is not Network.NONE:
            return None
        own = own_mounts(program)
        if own is None:
            return None
        number = self._zygotes.find(kind)
        if number is None:
            return None
        self.forked += 1
        return number, replace(program, mounts=own)

    def _zygote_gone(self, number: int) -> None:
        self._zygotes.gone(number)
        self._give_uid(self._zygote_uids.pop(number, None))

    def _lost(self) -> None:
        self._zygotes.all_gone()
        for number in list(self._zygote_uids):
            self._zygote_gone(number)
        super()._lost()
