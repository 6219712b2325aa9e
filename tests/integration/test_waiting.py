"""A program that was executed before its function was known: what it sees, and what is left of it.

The contract suite runs over stems that zygotes forked; here is what only these could get wrong.
The program is Python, but for the last test, since any that can read a descriptor will do.
"""

import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.sandbox_scene import PYTHON, Scene, drop, eventually, finish, run
from hearth.worker.sandboxes.contract import (
    Exit,
    ExitKind,
    Mount,
    Program,
    Sandbox,
    ZygoteKind,
)
from hearth.worker.sandboxes.messages import WAIT_FD
from hearth.worker.sandboxes.zygote import ZygoteBackend
from hearth.worker.stem_policy import WAITING_MB, StemBounds
from integration.test_stems import in_sandboxes, look_at
from integration.test_zygotes import alive, play

pytestmark = pytest.mark.integration

TWO = StemBounds(floor=1, memory_mb=2 * WAITING_MB)
SCRIPT = """
import json, os, sys
order = None
if sys.argv[-1].startswith("--wait="):
    descriptor = int(sys.argv.pop().partition("=")[2])
    os.write(descriptor, b"ready")
    order = json.loads(os.read(descriptor, 1 << 18) or sys.exit(1))
    os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["working_directory"])
def attempt(action):
    try:
        return action()
    except OSError as error:
        return error.strerror
print(json.dumps({
    "waited": order is not None,
    "environment": dict(os.environ),
    "directory": os.getcwd(),
    "code": attempt(lambda: open("/var/task/file").read()),
    "layers": attempt(lambda: sorted(os.listdir("/opt"))),
    "write": attempt(lambda: open("/var/task/new", "w")),
    "tmp": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,
    "descriptors": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    "pid": os.getpid(),
    "kept": os.path.exists("/tmp/kept"),
}), flush=True)
open("/tmp/kept", "w").close()
if "HANG" in os.environ:
    import time
    time.sleep(1000)
"""

Scenario = Callable[[Scene, ZygoteBackend], Awaitable[None]]


def kind_in(directory: Path, **changes: Any) -> ZygoteKind:
    kit = directory / "kit"
    kit.mkdir(exist_ok=True)
    (kit / "script.py").write_text(SCRIPT)
    kind = ZygoteKind(
        tenant="test",
        command=(PYTHON, "-I", "-S", "/var/runtime/script.py"),
        script=None,
        environment=(("LC_ALL", "C.UTF-8"), ("OWN", "the kind's")),
        mounts=(Mount(kit, "/var/runtime"),),
        waits=True,
    )
    return replace(kind, **changes)


def program_of(kind: ZygoteKind, *mounts: Mount, **environment: str) -> Program:
    return Program(
        argv=kind.command,
        environment={"LC_ALL": "C.UTF-8", **environment},
        working_directory="/tmp",
        mounts=(*mounts, *kind.mounts),
        zygote=kind,
    )


async def taken(scene: Scene, backend: ZygoteBackend, kind: ZygoteKind, **spec: Any) -> Sandbox:
    """A sandbox in which a program waits, for certain."""
    assert await backend.prepare(kind, 1)
    before = backend.stems().taken
    sandbox = await scene.sandbox(kind=kind, **({"tmp_mb": 512} | spec))
    assert backend.stems().taken == before + 1
    return sandbox


def play_waiting(directory: Path, scenario: Scenario) -> None:
    play(directory, scenario, TWO)


def test_it_waits_however_many_descriptors_the_launcher_has(tmp_path: Path) -> None:
    """One of the launcher's once had the number by which programs wait: bubblewrap read its own
    arguments from there, for ever."""
    count = WAIT_FD // 2  # two each, beside a dozen

    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(kind_in(tmp_path), count)

    play(tmp_path, scenario, StemBounds(floor=1, memory_mb=count * WAITING_MB))


def test_it_becomes_the_function_and_nothing_else(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        kind = kind_in(tmp_path)
        for name in ("code", "low", "high"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text(name)
            (tmp_path / name / name).touch()
        mounts = (
            Mount(tmp_path / "code", "/var/task"),
            Mount(tmp_path / "high", "/opt", (tmp_path / "low",)),
        )
        sandbox = await taken(scene, backend, kind, memory_mb=256, tmp_mb=600)
        out, err, exit_ = await run(sandbox, program_of(kind, *mounts, MINE="1"))
        assert (err, exit_) == ("", Exit(ExitKind.EXITED, 0))
        assert json.loads(out) == {
            "waited": True,
            "environment": {"LC_ALL": "C.UTF-8", "MINE": "1"},
            "directory": "/tmp",
            "code": "code",
            "layers": ["file", "high", "low"],
            "write": "Read-only file system",
            "tmp": 600 << 20,
            "descriptors": [0, 1, 2],
            "pid": 2,
            "kept": False,
        }
        # The next one has nothing of it, and what is started again is executed.
        other = await taken(scene, backend, kind)
        out, _, _ = await run(other, program_of(kind))
        assert json.loads(out)["code"] == "No such file or directory"
        out, _, _ = await run(other, program_of(kind))
        assert [json.loads(out)[name] for name in ("waited", "kept")] == [False, True]

    play_waiting(tmp_path, scenario)


def test_while_it_waits_it_is_as_closed_as_it_will_ever_be(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(kind_in(tmp_path), 1)
        waiting = in_sandboxes(backend)
        assert waiting
        for pid in waiting:
            look_at(pid)

    play_waiting(tmp_path, scenario)


def test_it_serves_only_what_it_was_made_for(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        kind = kind_in(tmp_path)
        for other in (replace(kind, tenant="somebody-else"), replace(kind, environment=())):
            sandbox = await taken(scene, backend, kind)
            out, _, exit_ = await run(sandbox, program_of(other))
            assert (json.loads(out)["waited"], exit_) == (False, Exit(ExitKind.EXITED, 0))
        sandbox = await taken(scene, backend, kind)
        longer = replace(program_of(kind), argv=(*kind.command, "more"))
        out, _, _ = await run(sandbox, longer)
        assert json.loads(out)["waited"] is False

    play_waiting(tmp_path, scenario)


def test_one_that_died_is_made_up_for_and_one_that_runs_is_ended(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        kind = kind_in(tmp_path)
        sandbox = await taken(scene, backend, kind)
        killed = in_sandboxes(backend)
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):  # it went with its pid 1
                os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not any(alive(pid) for pid in killed))
        out, _, _ = await run(sandbox, program_of(kind))
        assert json.loads(out)["waited"] is False
        sandbox = await taken(scene, backend, kind, name="hangs")
        channels = await sandbox.start(program_of(kind, HANG="1"))
        await sandbox.kill()
        assert (await finish(sandbox, channels))[2].kind is ExitKind.SIGNALED

    play_waiting(tmp_path, scenario)


def test_what_cannot_get_ready_is_no_stem(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        kind = kind_in(tmp_path, command=("/bin/false",))
        assert not await backend.prepare(kind, 1)
        sandbox = await scene.sandbox(kind=kind)
        channels = await sandbox.start(program_of(kind))
        assert await sandbox.wait() == Exit(ExitKind.EXITED, 1)
        drop(channels)

    play_waiting(tmp_path, scenario)
