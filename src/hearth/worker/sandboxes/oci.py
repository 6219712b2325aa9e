"""How is a program isolated as a container? By an OCI runtime: runc, crun, or runsc (gVisor).

bubblewrap's backend with another last step: the launcher makes the same network namespace, limits
and /tmp, and starts the runtime where it would have started bubblewrap; see jail_container.py.
The runtimes are the machine's own, found when they are asked for, never needed.

runsc is the one that is different in kind: its programs see a kernel written in Go, not the
host's, and only that kernel sees the host's. To start that takes long, so some are started before
they are needed (*stems*, stems.py), with the function's runtime waiting in them.
"""

import asyncio
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.worker.sandboxes import diagnosis
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend, seccomp_filter
from hearth.worker.sandboxes.bubblewrap_sandbox import BubblewrapSandbox
from hearth.worker.sandboxes.container_config import RUNTIMES
from hearth.worker.sandboxes.contract import (
    Capabilities,
    Mount,
    SandboxFailed,
    SandboxSpec,
    ZygoteKind,
)
from hearth.worker.sandboxes.messages import Opened, OpenOrder
from hearth.worker.sandboxes.stems import USUAL, Stems, StemStatistics, may_be_stem, runnable
from hearth.worker.sandboxes.uids import Uids
from hearth.worker.stem_policy import DEFAULT_BOUNDS, StemBounds

_INIT: Final = Path(__file__).with_name("init")
# Not PATH: these become root in namespaces, and root's own directories are not in everyone's PATH.
_WHERE: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TRIAL_S: Final = 20.0
_STEM_MB: Final = 70
"""One that waits: measured with Python; most of it is gVisor's own."""
_ISOLATION: Final = (
    "user namespace around runtime and program, no capabilities, no new privileges",
    "pid namespace",
    "mount namespace, read-only root",
    "network namespace",
    "ipc, uts and cgroup namespaces",
    "seccomp filter",
)
_ISOLATION_OWN_KERNEL: Final = (
    "user namespace around runtime and program, no capabilities, no new privileges",
    "a kernel of its own (gVisor) between the program and the host's",
    "pid and mount namespace, read-only root",
    "network namespace",
)


def find_runtime(name: str) -> Path | None:
    """The runtime's program on this machine."""
    found = shutil.which(name, path=_WHERE)
    return Path(found).resolve() if found else None


class OciBackend(BubblewrapBackend):
    """The SandboxBackend of one runtime."""

    def __init__(
        self,
        instance: str,
        run_directory: Path,
        clock: Clock,
        jobs: Jobs,
        *,
        runtime: str,
        stems: StemBounds = DEFAULT_BOUNDS,
    ) -> None:
        super().__init__(instance, run_directory, clock, jobs)
        traits = RUNTIMES[runtime]
        self.name = self._runtime = runtime
        self._isolation = _ISOLATION_OWN_KERNEL if traits.has_own_kernel else _ISOLATION
        self._memory_bytes_beside = traits.memory_bytes
        self._threads_beside = traits.threads
        self._roots_apart = 0
        bounds = stems if traits.has_own_kernel else StemBounds(floor=0, memory_mb=0)
        self._stems: Stems[BubblewrapSandbox] = Stems(
            self, bounds, clock, jobs, runnable, lambda _kind: _STEM_MB, f" ({runtime})"
        )

    async def create(self, spec: SandboxSpec) -> BubblewrapSandbox:
        """A stem, if there is one for it."""
        if spec.kind is not None and may_be_stem(spec):
            stem = self._stems.take(spec.kind)
            if stem is not None:
                stem.adopt(spec)
                return stem
        return await super().create(spec)

    async def make_stem(self, kind: ZygoteKind) -> BubblewrapSandbox | None:
        """See stems.Maker. Raises SandboxFailed."""
        sandbox = await super().create(USUAL)
        try:
            if kind.waits and sandbox.has_limits_of_processes:
                await sandbox.destroy()  # it cannot set them, and from outside nobody can
                return None
            await sandbox.launch_stem(None, kind)
        except BaseException:
            await sandbox.destroy()
            raise
        return sandbox

    async def survey(self) -> Capabilities:
        """As open(); and whether sandboxes can wait here, by launching one."""
        found = await self.open()
        if not found.usable or not RUNTIMES[self.name].has_own_kernel:
            return found
        try:
            async with asyncio.timeout(_TRIAL_S):
                stem = await self.make_stem(_trial_kind())
                assert stem is not None
                await stem.destroy()
        except (SandboxFailed, TimeoutError) as error:
            said = str(error) or type(error).__name__
            return replace(found, waiting=f"none can be launched before it is needed ({said})")
        return replace(found, waiting="launched before they are needed")

    async def prepare(self, kind: ZygoteKind, stems: int) -> bool:
        """Have so many stems of this kind ready; False if there can be none."""
        return await self._stems.prepare(kind, stems)

    def stems(self) -> StemStatistics:
        return self._stems.statistics()

    async def close(self) -> None:
        await self._stems.close()
        await super().close()

    def _what_is_missing(self) -> Capabilities | None:
        if find_runtime(self.name) is None:
            return diagnosis.no_runtime(self.name)
        if seccomp_filter() is None or _init_program() is None:
            return diagnosis.unknown_machine(self.name, platform.machine())
        return None

    def _open_order(self, cgroups: list[str]) -> OpenOrder:
        runtime, seccomp, init = find_runtime(self.name), seccomp_filter(), _init_program()
        if runtime is None or seccomp is None or init is None:
            raise SandboxFailed(f"{self.name} has gone")
        return OpenOrder(
            bwrap=None,
            libraries=[],
            seccomp=str(seccomp),
            runtime=str(runtime),
            init=str(init),
            cgroups=cgroups,
        )

    def _own_uids(self, opened: Opened) -> None:
        """Two for each sandbox: one half of them for programs, the other for their roots."""
        if opened.own_uids and self._uids is None:
            first, count = self._share(opened)
            self._roots_apart = count // 2
            self._uids = Uids(first, self._roots_apart, self._instance)

    def _root_uid(self, uid: int | None) -> int | None:
        return None if uid is None else uid + self._roots_apart


def _trial_kind() -> ZygoteKind:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return ZygoteKind(
        tenant="",
        command=(f"/var/lang/bin/python{version}", "-I", "-S"),
        script=None,
        environment=(("LD_LIBRARY_PATH", "/var/lang/lib"),),
        mounts=(Mount(Path(sys.base_prefix), "/var/lang"),),
    )


def _init_program() -> Path | None:
    path = _INIT / platform.machine()
    return path if path.is_file() else None
