"""What does a sandbox do while it is frozen, and what becomes of it?"""

import asyncio
import contextlib
import os
import uuid

import pytest

from contract.sandbox_scene import (
    KILLED,
    Play,
    Scene,
    drop,
    eventually,
    finish,
    line_from,
    processes_with,
    python,
    run,
    scene_player,
)
from hearth.worker.sandboxes.contract import Exit, ExitKind, Sandbox

pytestmark = pytest.mark.integration

__all__ = ["scene_player"]

# Three that are never idle: the program, a child, and a child of that in a session of its own.
BUSY = """
import os, sys
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
    os.write(1, b"up\\n")
    while True:
        pass
os.write(1, b"up\\n")
while True:
    pass
"""


async def cpu_stands_still(sandbox: Sandbox) -> bool:
    """Whether it used no CPU for a while."""
    before_s = sandbox.usage().cpu_s
    await asyncio.sleep(0.2)
    return sandbox.usage().cpu_s == before_s


async def uses_cpu(sandbox: Sandbox, beyond_s: float) -> None:
    await eventually(lambda: sandbox.usage().cpu_s > beyond_s)


async def all_stand_still(sandbox: Sandbox) -> None:
    """The kernel may take a moment to stop those that run on another CPU."""
    while not await cpu_stands_still(sandbox):
        pass


def test_what_is_frozen_stands_still_and_goes_on_where_it_was(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        channels = await sandbox.start(python(BUSY, uuid.uuid4().hex))
        for _ in range(3):
            assert await line_from(channels.stdout) == "up\n"
        for _ in range(2):  # and again
            sandbox.freeze()
            sandbox.freeze()
            await asyncio.wait_for(all_stand_still(sandbox), 60)
            stood_at_s = sandbox.usage().cpu_s
            sandbox.thaw()
            sandbox.thaw()
            await uses_cpu(sandbox, beyond_s=stood_at_s + 0.1)
        await sandbox.kill()
        drop(channels)

    play(scenario)


def test_what_is_written_to_it_while_it_is_frozen_is_read_after_the_thaw(play: Play) -> None:
    code = """
import os, socket, sys
host, port = sys.argv[1].split(":")
with socket.create_connection((host, int(port))) as api:
    print("connected", flush=True)
    print(api.recv(100).decode(), flush=True)
"""

    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        channels = await sandbox.start(python(code, sandbox.api_address))
        assert await line_from(channels.stdout) == "connected\n"
        connection, _ = await asyncio.get_running_loop().sock_accept(channels.api)
        with connection:
            sandbox.freeze()
            connection.send(b"hello")
            sandbox.thaw()
            out, _, exit_ = await finish(sandbox, channels)
        assert (out, exit_) == ("hello\n", Exit(ExitKind.EXITED, 0))

    play(scenario)


@pytest.mark.parametrize("how", ["kill", "destroy"])
def test_what_is_frozen_can_be_ended_with_all_that_it_started(play: Play, how: str) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        marker = uuid.uuid4().hex
        channels = await sandbox.start(python(BUSY, marker))
        for _ in range(3):
            assert await line_from(channels.stdout) == "up\n"
        sandbox.freeze()
        async with asyncio.timeout(60):
            await (sandbox.kill() if how == "kill" else sandbox.destroy())
        assert processes_with(marker) == []
        assert await sandbox.wait() == KILLED
        drop(channels)
        if how == "kill":
            assert (await run(sandbox, python("print(1)")))[0] == "1\n", "born frozen"

    play(scenario)


def test_what_is_frozen_hears_that_it_is_asked_to_end(play: Play) -> None:
    code = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(7))\n"
    code += "print('up', flush=True)\ntime.sleep(600)"

    async def scenario(scene: Scene) -> None:
        scene.only_of_the_host("has programs that nobody outside can signal")
        sandbox = await scene.sandbox()
        channels = await sandbox.start(python(code))
        assert await line_from(channels.stdout) == "up\n"
        sandbox.freeze()
        await sandbox.terminate()
        assert await asyncio.wait_for(sandbox.wait(), 60) == Exit(ExitKind.EXITED, 7)
        drop(channels)

    play(scenario)


def test_a_frozen_sandbox_does_not_keep_its_backend_from_closing(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        for number in range(3):
            sandbox = await scene.sandbox(f"s{number}")
            channels = await sandbox.start(python("import time; print(1); time.sleep(600)"))
            drop(channels)
            sandbox.freeze()

    play(scenario)


def test_where_nothing_runs_there_is_nothing_to_freeze(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        sandbox.freeze()
        assert (await run(sandbox, python("print(1)")))[0] == "1\n"
        sandbox.freeze()
        assert (await run(sandbox, python("print(2)")))[0] == "2\n"
        sandbox.thaw()

    play(scenario)


def test_a_frozen_program_that_is_killed_from_outside_leaves_a_sandbox_that_works(
    play: Play,
) -> None:
    """Not by us: by an administrator, or by the kernel. What v1 has frozen dies at the thaw."""

    async def scenario(scene: Scene) -> None:
        scene.only_of_the_host("has programs that the host does not see")
        sandbox = await scene.sandbox()
        marker = uuid.uuid4().hex
        code = "import time; print('up', flush=True); time.sleep(600)"
        channels = await sandbox.start(python(code, marker))
        assert await line_from(channels.stdout) == "up\n"
        sandbox.freeze()
        for pid in processes_with(marker):
            with contextlib.suppress(ProcessLookupError):  # it went along with one before it
                os.kill(int(pid), 9)
        sandbox.thaw()
        async with asyncio.timeout(60):
            await sandbox.wait()
        drop(channels)
        assert (await run(sandbox, python("print(1)")))[0] == "1\n"

    play(scenario)
