"""What of many sandboxes at once, and of all when the launcher or the worker dies?"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from contract.sandbox_scene import (
    BACKENDS,
    EVENTUALLY_S,
    KILLED,
    KIND,
    OWN_KERNEL,
    PYTHON,
    Play,
    Scene,
    drop,
    eventually,
    groups_of,
    line_from,
    processes_with,
    python,
    run,
    scene_player,
)
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.contract import (
    ExitKind,
    Program,
    Sandbox,
    SandboxBackend,
    SandboxFailed,
)
from hearth.worker.sandboxes.zygote import ZygoteBackend

pytestmark = pytest.mark.integration

__all__ = ["scene_player"]

ROUNDS = 3


def test_many_sandboxes_run_side_by_side(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        many = {"runsc": 4, "runc": 16, "crun": 16}.get(scene.backend.name, 64)
        sandboxes = await asyncio.gather(*(scene.sandbox(f"s{n}") for n in range(many)))
        marker = uuid.uuid4().hex
        shell = "echo $1; exec sleep 60"
        programs = [
            Program(
                argv=("/bin/sh", "-c", shell, marker, str(number)),
                environment={"PATH": "/usr/bin:/bin"},
                working_directory="/",
                mounts=(),
            )
            for number in range(many)
        ]
        started = await asyncio.gather(
            *(sandbox.start(p) for sandbox, p in zip(sandboxes, programs, strict=True))
        )
        said = await asyncio.gather(*(line_from(channels.stdout) for channels in started))
        assert said == [f"{number}\n" for number in range(many)]
        await asyncio.gather(*(sandbox.destroy() for sandbox in sandboxes))
        assert processes_with(marker) == []
        for channels in started:
            drop(channels)

    play(scenario)


def test_all_that_are_killed_while_they_start_are_told_to_have_ended(play: Play) -> None:
    """bubblewrap's, before it has said what it forked: the launcher has to find that, and once
    reaped one's in another's place, who then never ended."""

    async def scenario(scene: Scene) -> None:
        many = {"process": 4, "runsc": 2, "runc": 4, "crun": 4}.get(scene.backend.name, 16)
        sandboxes = await asyncio.gather(*(scene.sandbox(f"s{n}") for n in range(many)))
        sleep = Program(
            argv=("/bin/sleep", "600"), environment={}, working_directory="/", mounts=()
        )

        async def start_and_kill(sandbox: Sandbox) -> None:
            drop(await sandbox.start(sleep))
            await sandbox.kill()
            assert (await sandbox.wait()).kind is ExitKind.SIGNALED

        for _ in range(ROUNDS):
            async with asyncio.timeout(EVENTUALLY_S):
                await asyncio.gather(*map(start_and_kill, sandboxes))

    play(scenario)


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
@pytest.mark.parametrize("kind", [BubblewrapBackend, ZygoteBackend])
def test_when_the_launcher_is_killed_its_sandboxes_die_and_new_ones_work(
    kind: type[BubblewrapBackend], *, frozen: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            instance = uuid.uuid4().hex[:12]
            backend = kind(instance, tmp_path, SystemClock(), jobs)
            capabilities = await backend.open()
            if not capabilities.usable:
                pytest.skip(f"no {backend.name} here: {capabilities.why_not}")
            if isinstance(backend, ZygoteBackend):
                assert await backend.prepare(KIND)
            scene = Scene(backend, capabilities, instance, tmp_path)
            marker = uuid.uuid4().hex
            sandbox = await scene.sandbox()
            channels = await sandbox.start(python("import time; time.sleep(60)", marker))
            if frozen:
                await eventually(lambda: programs_with(marker) == 1)
                sandbox.freeze()
            assert backend.launcher_pid is not None
            os.kill(backend.launcher_pid, signal.SIGKILL)
            assert await asyncio.wait_for(sandbox.wait(), EVENTUALLY_S) == KILLED
            await eventually(lambda: not processes_with(marker))
            drop(channels)
            with pytest.raises(SandboxFailed):
                await sandbox.start(python("pass"))
            await sandbox.destroy()
            assert (await run(await scene.sandbox("s2"), python("print(1)")))[0] == "1\n"
            await backend.close()
            assert groups_of(instance) == []

    asyncio.run(main())


WORKER = """
import asyncio, sys
from pathlib import Path
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.model.ids import SandboxId
from hearth.worker.sandboxes.{module} import {backend} as Backend
from hearth.worker.sandboxes.contract import Program, SandboxSpec, ZygoteKind

async def main():
    async with Jobs() as jobs:
        backend = Backend(sys.argv[1], Path(sys.argv[3]), SystemClock(), jobs, **{options})
        if not (await backend.open()).usable:
            sys.exit("not usable")
        sandboxes = []
        for number in range(3):
            kind = ZygoteKind(tenant="t", command=("/usr/bin/python3", "-I", "-S"), script=None,
                environment=(), mounts=())
            if "{module}" == "zygote":
                assert await backend.prepare(kind)
            spec = SandboxSpec(sandbox=SandboxId(f"s{{number}}"), memory_mb=128, tmp_mb=16)
            sandbox = await backend.create(spec)
            sandboxes.append(sandbox)
            await sandbox.start(Program(argv=("/usr/bin/python3", "-I", "-S", "-c",
                "import time; time.sleep(600)", sys.argv[2]), environment={{}},
                working_directory="/", mounts=(), zygote=kind))
        if "{module}" == "zygote":
            assert backend.forked == 3
        print("up", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for sandbox in sandboxes[1:]:
            sandbox.freeze()
        print("frozen", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", sorted(set(BACKENDS) - {"runsc-stem"}))
def test_when_the_worker_is_killed_nothing_stays_behind(kind: str, tmp_path: Path) -> None:
    instance, marker = uuid.uuid4().hex[:12], uuid.uuid4().hex
    code = WORKER.format(**how_to_import(kind))
    worker = subprocess.Popen(
        [sys.executable, "-c", code, instance, marker, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert worker.stdin is not None
        assert worker.stdout is not None
        if worker.stdout.readline() != b"up\n":
            pytest.skip(f"no {kind} here")
        # As long as setpriv has not asked for it, no program of the process backend dies with us.
        if kind not in OWN_KERNEL:
            asyncio.run(until(lambda: programs_with(marker) == 3))
        other = asyncio.run(groups_after_another_opens(kind, instance, tmp_path / "other"))
        assert other == set(groups_of(instance)), "a living worker's groups must be left alone"
        worker.stdin.write(b"\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == b"frozen\n"
    finally:
        worker.kill()
        worker.communicate()
    asyncio.run(until(lambda: not processes_with(marker) and not groups_of(instance)))


def how_to_import(kind: str) -> dict[str, object]:
    new = BACKENDS[kind]
    if isinstance(new, partial):
        return {"module": "oci", "backend": new.func.__name__, "options": new.keywords}
    assert isinstance(new, type)
    return {"module": kind, "backend": new.__name__, "options": {}}


async def until(holds: Callable[[], bool]) -> None:
    await eventually(holds)


def programs_with(marker: str) -> int:
    """How many of the processes with `marker` are the programs themselves."""
    found = 0
    for pid in processes_with(marker):
        with contextlib.suppress(OSError):
            found += (
                Path("/proc", pid, "cmdline").read_bytes().startswith(PYTHON.encode() + b"\0-I")
            )
    return found


async def groups_after_another_opens(kind: str, instance: str, directory: Path) -> set[Path]:
    """What of this instance another worker of the same instance leaves, that comes and goes."""
    async with Jobs() as jobs:
        backend: SandboxBackend
        backend = BACKENDS[kind](instance, directory, SystemClock(), jobs)
        await backend.open()
        found = {group for group in groups_of(instance) if f"-{os.getpid()}-" not in group.name}
        await backend.close()
        return found


def test_root_without_other_uids_is_told_what_is_missing(tmp_path: Path) -> None:
    """As in a container whose only user is root: sandboxes would be the host's root, or nobody."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not there")
    alone = ["unshare", "--user", "--map-root-user", "--"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    code = WORKER.format(**how_to_import("bubblewrap"))
    code = code.replace('sys.exit("not usable")', "sys.exit(repr(capabilities))")
    code = code.replace(
        "(await backend.open()).usable", "(capabilities := await backend.open()).usable"
    )
    said = subprocess.run(
        [*alone, sys.executable, "-c", code, "i", "m", str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=EVENTUALLY_S,
        check=False,
    )
    assert "usable=False" in said.stderr
    assert "no other uids" in said.stderr
    assert "--sandbox process" in said.stderr
