"""How do the sandbox tests play a scene? An opened backend, and what is left when it is closed."""

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from hearth.base.clock import Clock, SystemClock
from hearth.base.jobs import Jobs
from hearth.model.ids import SandboxId
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.contract import (
    Capabilities,
    Channels,
    Exit,
    ExitKind,
    Program,
    Sandbox,
    SandboxBackend,
    SandboxSpec,
    ZygoteKind,
)
from hearth.worker.sandboxes.oci import OciBackend
from hearth.worker.sandboxes.outputs import read_to_end
from hearth.worker.sandboxes.process import ProcessBackend
from hearth.worker.sandboxes.zygote import ZygoteBackend
from hearth.worker.stem_policy import StemBounds

PYTHON = "/usr/bin/python3"
COMMAND = (PYTHON, "-I", "-S")
# What every program of python() may be forked from; only the zygote backend heeds it.
KIND = ZygoteKind(tenant="test", command=COMMAND, script=None, environment=(), mounts=())
NewBackend = Callable[[str, Path, Clock, Jobs], SandboxBackend]
BACKENDS: dict[str, NewBackend] = {
    "bubblewrap": BubblewrapBackend,
    "crun": partial(OciBackend, runtime="crun"),
    "process": ProcessBackend,
    "runc": partial(OciBackend, runtime="runc"),
    "runsc": partial(OciBackend, runtime="runsc"),
    "runsc-stem": partial(OciBackend, runtime="runsc", stems=StemBounds(floor=0)),
    "stem": ZygoteBackend,
    "zygote": ZygoteBackend,
}
OWN_KERNEL = {"runsc", "runsc-stem"}
"""Their programs are no processes of the host, and their kernels have ways of their own."""
WITH_STEMS = {"stem", "runsc-stem"}
STEMS: Final = 2
EVENTUALLY_S = 60.0
KILLED = Exit(ExitKind.SIGNALED, signal.SIGKILL)
OUT_OF_MEMORY = Exit(ExitKind.OUT_OF_MEMORY, signal.SIGKILL)


@dataclass
class Scene:
    """An opened backend, and how to run Python in its sandboxes."""

    backend: SandboxBackend
    capabilities: Capabilities
    instance: str
    directory: Path
    has_stems: bool = False

    @property
    def has_own_kernel(self) -> bool:
        return self.backend.name in OWN_KERNEL

    async def sandbox(self, name: str = "s1", **settings: Any) -> Sandbox:
        spec = SandboxSpec(sandbox=SandboxId(name), memory_mb=128, tmp_mb=16)
        if self.has_stems:
            spec = replace(spec, kind=KIND)
        return await self.backend.create(replace(spec, **settings))

    def only_isolated(self) -> None:
        if not self.capabilities.isolation:
            pytest.skip(f"{self.backend.name} isolates nothing")

    def only_of_the_host(self, why: str) -> None:
        if self.has_own_kernel:
            pytest.skip(f"{self.backend.name} {why}")


def python(code: str, *arguments: str, **settings: Any) -> Program:
    argv = (*COMMAND, "-c", code, *arguments)
    program = Program(argv=argv, environment={}, working_directory="/", mounts=(), zygote=KIND)
    return replace(program, **settings)


async def run(sandbox: Sandbox, program: Program) -> tuple[str, str, Exit]:
    """Run to the end; stdout, stderr and how it ended."""
    channels = await sandbox.start(program)
    return await finish(sandbox, channels)


async def finish(sandbox: Sandbox, channels: Channels) -> tuple[str, str, Exit]:
    channels.api.close()
    async with asyncio.timeout(EVENTUALLY_S):
        out, err, exit_ = await asyncio.gather(
            read_to_end(channels.stdout), read_to_end(channels.stderr), sandbox.wait()
        )
    return out.decode(), err.decode(), exit_


def drop(channels: Channels) -> None:
    channels.api.close()
    os.close(channels.stdout)
    os.close(channels.stderr)


async def line_from(fd: int) -> str:
    """The next line of a program's output."""
    async with asyncio.timeout(EVENTUALLY_S):
        line = b""
        while not line.endswith(b"\n"):
            try:
                piece = os.read(fd, 1)
            except BlockingIOError:
                await asyncio.sleep(0.002)
                continue
            if not piece:
                break
            line += piece
    return line.decode()


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(EVENTUALLY_S):
        while not holds():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.01)


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def processes_with(marker: str) -> list[str]:
    """Living processes of the whole machine that have `marker` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
    return found


def groups_of(instance: str) -> list[Path]:
    """Directories in any cgroup hierarchy that this instance made. os.walk minds no directory, of
    whomever, that goes while it looks; glob does."""
    name = f"hearth-{instance}-"
    found = []
    for directory, below, _ in os.walk("/sys/fs/cgroup"):
        found += [Path(directory, group) for group in below if group.startswith(name)]
    return found


Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


@pytest.fixture(name="play", params=sorted(BACKENDS))
def scene_player(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Runs a scenario with an opened backend, closes it, and checks that nothing is left."""
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not there to be run in a sandbox")

    def run_scenario(scenario: Callable[[Scene], Awaitable[None]]) -> None:
        asyncio.run(main(scenario))

    async def main(scenario: Callable[[Scene], Awaitable[None]]) -> None:
        instance = uuid.uuid4().hex[:12]
        before = descriptors()
        async with Jobs() as jobs:
            has_stems = request.param in WITH_STEMS
            backend = BACKENDS[request.param](instance, tmp_path / "run", SystemClock(), jobs)
            capabilities = await backend.open()
            if not capabilities.usable:
                pytest.skip(f"no {backend.name} here: {capabilities.why_not}")
            try:
                if isinstance(backend, ZygoteBackend):
                    stems = STEMS if has_stems else 0
                    assert await backend.prepare(KIND, stems), "no zygote could be made"
                elif has_stems:
                    assert isinstance(backend, OciBackend)
                    assert await backend.prepare(KIND, 1), "no stem could be made"
                await scenario(Scene(backend, capabilities, instance, tmp_path, has_stems))
            finally:
                await backend.close()
        assert groups_of(instance) == []
        assert not list((tmp_path / "run").glob("*")), "files were left behind"
        left = descriptors() - before
        assert len(left) <= 1, f"descriptors were left open: {left}"  # one is the listing's own

    return run_scenario
