"""A gVisor sandbox that was launched before its function was known: what only it could get wrong.

Its files come through another process, and its kernel remembers what it saw. The contract suite and
the escape probe run over such sandboxes too.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.sandbox_scene import KIND, PYTHON, Scene, drop, line_from, python, run
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.worker.sandboxes.contract import Exit, ExitKind, Mount, Program, ZygoteKind
from hearth.worker.sandboxes.oci import OciBackend
from hearth.worker.stem_policy import StemBounds

pytestmark = pytest.mark.integration

LOOKER = """
import json, os
def look():
    return {place: sorted(os.listdir(place)) for place in ("/var/task", "/opt")}
before = look(), os.path.exists("/opt/lib/libx.so"), os.path.exists("/var/task/lib")
os.write(60, b"ready")
order = json.loads(os.read(60, 1 << 18))
os.close(60)
def write(path):
    try:
        open(path, "w")
    except OSError as error:
        return error.strerror
print(json.dumps({
    "before": before, "after": look(), "lib": os.listdir("/opt/lib"),
    "code": open("/var/task/app.py").read(), "told": order["environment"],
    "wrote": [write(f"{place}/new") for place in ("/var/task", "/opt")],
}))
"""
Scenario = Callable[[Scene, OciBackend], Awaitable[None]]


def play(directory: Path, scenario: Scenario) -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            instance = uuid.uuid4().hex[:12]
            bounds = StemBounds(floor=0)
            backend = OciBackend(
                instance, directory / "run", SystemClock(), jobs, runtime="runsc", stems=bounds
            )
            capabilities = await backend.open()
            if not capabilities.usable:
                pytest.skip(f"no runsc here: {capabilities.why_not}")
            try:
                await scenario(Scene(backend, capabilities, instance, directory, True), backend)
            finally:
                await backend.close()

    asyncio.run(main())


def tree(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    directory.chmod(0o777)  # so that it is not for this that nobody can write there
    return directory


def test_code_appears_where_the_program_saw_nothing_before(tmp_path: Path) -> None:
    """As the dynamic linker looks, which is told of /var/task/lib and /opt/lib when it starts."""
    kind = ZygoteKind(
        tenant="t",
        command=(PYTHON, "-I", "-S", "-c", LOOKER),
        script=None,
        environment=(("BEFORE", "1"),),
        mounts=(),
        waits=True,
    )
    code = Mount(tree(tmp_path / "code", {"app.py": "the code", "lib/a": ""}), "/var/task")
    layer = Mount(tree(tmp_path / "layer", {"lib/libx.so": ""}), "/opt")

    async def scenario(scene: Scene, backend: OciBackend) -> None:
        assert await backend.prepare(kind, 1)
        sandbox = await scene.sandbox(kind=kind)
        program = Program(
            argv=kind.command,
            environment={"MINE": "x" * 4000},
            working_directory="/var/task",
            mounts=(code, layer),
            zygote=kind,
        )
        out, err, exit_ = await run(sandbox, program)
        assert (err, exit_) == ("", Exit(ExitKind.EXITED, 0))
        said: dict[str, Any] = json.loads(out)
        assert said["before"] == [{"/var/task": [], "/opt": []}, False, False]
        assert said["after"] == {"/var/task": ["app.py", "lib"], "/opt": ["lib"]}
        assert (said["lib"], said["code"]) == (["libx.so"], "the code")
        assert said["told"] == {"MINE": "x" * 4000}
        assert said["wrote"] == ["Read-only file system"] * 2
        assert backend.stems().taken == 1
        await sandbox.destroy()

    play(tmp_path, scenario)


def test_one_that_waits_knows_nothing_of_what_another_became(tmp_path: Path) -> None:
    code = Mount(tree(tmp_path / "code", {"secret": "s"}), "/var/task")
    looks = "import os; print(os.listdir('/var/task'), 'SECRET' in os.environ, os.listdir('/tmp'))"

    async def scenario(scene: Scene, backend: OciBackend) -> None:
        assert await backend.prepare(KIND, 2)
        first, second = await scene.sandbox("a"), await scene.sandbox("b")
        assert backend.stems().taken == 2
        writes = "import time; open('/tmp/x', 'w').close(); print('there', flush=True)\n"
        holds = writes + "time.sleep(600)"
        channels = await first.start(python(holds, mounts=(code,), environment={"SECRET": "s"}))
        assert await line_from(channels.stdout) == "there\n"
        assert await run(second, python(looks)) == ("[] False []\n", "", Exit(ExitKind.EXITED, 0))
        drop(channels)
        await first.destroy()
        await second.destroy()

    play(tmp_path, scenario)


def test_one_that_has_died_is_made_up_for(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: OciBackend) -> None:
        assert await backend.prepare(KIND, 1)
        sandbox = await scene.sandbox()
        assert backend.stems().taken == 1
        await sandbox.kill()
        out, _, exit_ = await run(sandbox, python("print('started')"))
        assert (out, exit_.code) == ("started\n", 0)
        await sandbox.destroy()

    play(tmp_path, scenario)


def test_what_is_read_at_a_start_is_heeded_by_starting_again(tmp_path: Path) -> None:
    shows = "import sys; print(sys.argv, sys.flags.optimize)"

    async def scenario(scene: Scene, backend: OciBackend) -> None:
        kind = replace(KIND, command=(PYTHON, "-S"))
        assert await backend.prepare(kind, 1)
        sandbox = await scene.sandbox(kind=kind)
        program = Program(
            argv=(*kind.command, "-c", shows, "x"),
            environment={"PYTHONOPTIMIZE": "2"},
            working_directory="/",
            mounts=(),
            zygote=kind,
        )
        out, err, _ = await run(sandbox, program)
        assert (out, err) == ("['-c', 'x'] 2\n", "")
        assert backend.stems().taken == 1
        await sandbox.destroy()

    play(tmp_path, scenario)
