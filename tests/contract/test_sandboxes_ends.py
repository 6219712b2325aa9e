"""How does a program in a sandbox end, what outlives it, and how much may it use?"""

import asyncio
import contextlib
import signal
import uuid

import pytest

from contract.sandbox_scene import (
    EVENTUALLY_S,
    KILLED,
    OUT_OF_MEMORY,
    Play,
    Scene,
    drop,
    eventually,
    finish,
    groups_of,
    line_from,
    processes_with,
    python,
    run,
    scene_player,
)
from hearth.worker.sandboxes.contract import (
    Exit,
    ExitKind,
    Program,
    SandboxFailed,
)

pytestmark = pytest.mark.integration

__all__ = ["scene_player"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_a_program_that_dies_of_a_signal_is_told_by_its_number(play: Play, number: int) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        program = python(f"import os; os.kill(os.getpid(), {int(number)})")
        assert (await run(sandbox, program))[2] == Exit(ExitKind.SIGNALED, number)

    play(scenario)


@pytest.mark.parametrize("file", ["/var/task/bootstrap", "/etc/passwd", "/usr"])
def test_what_cannot_be_executed_is_told_and_stderr_says_why(play: Play, file: str) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        program = Program(argv=(file,), environment={}, working_directory="/", mounts=())
        _, err, exit_ = await run(sandbox, program)
        assert exit_ == Exit(ExitKind.EXITED, 1, executed=False)
        assert file in err

    play(scenario)


def test_terminate_asks_the_program_and_nobody_else(play: Play) -> None:
    code = """
import os, signal, sys, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(print("child", flush=True) or 0))
    time.sleep(600)
def end(*_):
    print("asked", flush=True)
    os._exit(5)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(0.05)  # a signal between the last look and a long sleep would wait for its end
"""

    async def scenario(scene: Scene) -> None:
        if scene.backend.name == "runsc":
            pytest.skip("nobody outside can signal what runs on gVisor's own kernel")
        sandbox = await scene.sandbox()
        await sandbox.terminate()  # nothing runs
        channels = await sandbox.start(python(code))
        assert await line_from(channels.stdout) == "ready\n"
        await sandbox.terminate()
        assert await finish(sandbox, channels) == ("asked\n", "", Exit(ExitKind.EXITED, 5))

    play(scenario)


def test_the_worker_can_connect_to_a_port_of_the_program(play: Play) -> None:
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
print(connection.recv(100).decode(), flush=True)
"""

    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        channels = await sandbox.start(python(code))
        port = int(await line_from(channels.stdout))
        with await sandbox.open_socket() as connection:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, ("127.0.0.1", port))
            await loop.sock_sendall(connection, b"hello")
            out, _, _ = await finish(sandbox, channels)
        assert out == "hello\n"

    play(scenario)


def test_kill_ends_the_program_and_all_that_it_started(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        marker = uuid.uuid4().hex
        code = (
            "import signal, subprocess, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "again = [sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)']\n"
            "again.append(sys.argv[1])\n"
            "subprocess.Popen(again); subprocess.Popen(again, start_new_session=True)\n"
            "print('up', flush=True); time.sleep(60)"
        )
        channels = await sandbox.start(python(code, marker))
        assert await line_from(channels.stdout) == "up\n"
        if not scene.has_own_kernel:
            await eventually(lambda: len(processes_with(marker)) >= 3)
        await sandbox.kill()
        assert processes_with(marker) == []
        assert await sandbox.wait() == KILLED
        drop(channels)

    play(scenario)


def test_what_a_program_leaves_running_ends_with_it(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        marker = uuid.uuid4().hex
        code = (
            "import subprocess, sys\n"
            "subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)', "
            "sys.argv[1]])"
        )
        channels = await sandbox.start(python(code, marker))
        assert await sandbox.wait() == Exit(ExitKind.EXITED, 0)
        assert processes_with(marker) == []
        drop(channels)

    play(scenario)


def test_a_daemon_ends_with_the_program(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        scene.only_isolated()
        sandbox = await scene.sandbox()
        marker = uuid.uuid4().hex
        code = (
            "import os, sys, time\n"
            "if os.fork(): os.wait(); print('up', flush=True); time.sleep(60)\n"
            "os.setsid()\n"
            "if os.fork(): os._exit(0)\n"
            "time.sleep(60)"
        )
        channels = await sandbox.start(python(code, marker))
        assert await line_from(channels.stdout) == "up\n"
        await sandbox.kill()
        assert processes_with(marker) == []
        drop(channels)

    play(scenario)


def test_tmp_outlives_a_kill_and_a_new_start(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        write = "import sys, time; open(sys.argv[1] + '/kept', 'w').write('kept'); "
        write += "print('up', flush=True); time.sleep(60)"
        channels = await sandbox.start(python(write, sandbox.tmp_directory))
        assert await line_from(channels.stdout) == "up\n"
        await sandbox.kill()
        drop(channels)
        read = "import sys; print(open(sys.argv[1] + '/kept').read())"
        out, _, exit_ = await run(sandbox, python(read, sandbox.tmp_directory))
        assert (out, exit_) == ("kept\n", Exit(ExitKind.EXITED, 0))

    play(scenario)


def test_a_second_start_while_a_program_runs_is_refused(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        channels = await sandbox.start(python("import time; time.sleep(60)"))
        with pytest.raises(SandboxFailed):
            await sandbox.start(python("pass"))
        await sandbox.kill()
        assert (await run(sandbox, python("print(1)")))[0] == "1\n"
        drop(channels)

    play(scenario)


def test_destroy_ends_everything_and_may_be_called_twice(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        marker = uuid.uuid4().hex
        channels = await sandbox.start(python("import time; time.sleep(60)", marker))
        await sandbox.destroy()
        await sandbox.destroy()
        assert processes_with(marker) == []
        assert await sandbox.wait() == KILLED
        with pytest.raises(SandboxFailed):
            await sandbox.start(python("pass"))
        drop(channels)

    play(scenario)


def test_destroy_removes_a_tree_of_any_depth(play: Play) -> None:
    dig = """
import os, sys
os.chdir(sys.argv[1])
for _ in range(1_500):
    os.mkdir("d")
    os.chdir("d")
print("dug")
"""

    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        assert (await run(sandbox, python(dig, sandbox.tmp_directory)))[0] == "dug\n"
        await sandbox.destroy()

    play(scenario)


def test_a_start_that_was_given_up_leaves_nothing_after_destroy(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        for turns in range(6):  # given up before, while and after the program is made
            sandbox = await scene.sandbox(f"s{turns}")
            marker = uuid.uuid4().hex
            starting = asyncio.ensure_future(
                sandbox.start(python("import time; time.sleep(60)", marker))
            )
            for _ in range(turns):
                await asyncio.sleep(0.001)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                drop(await starting)
            await sandbox.destroy()
            assert processes_with(marker) == []

    play(scenario)


def test_a_kill_while_the_program_starts_ends_it_and_answers_both(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        marker = uuid.uuid4().hex
        program = python("import time; time.sleep(60)", marker)
        for turns in range(12):
            starting = asyncio.ensure_future(sandbox.start(program))
            for _ in range(turns):
                await asyncio.sleep(0.0005)
            async with asyncio.timeout(EVENTUALLY_S):
                await sandbox.kill()
                with contextlib.suppress(SandboxFailed):
                    drop(await starting)
                await sandbox.kill()  # the first may have come before there was anything to kill
            assert processes_with(marker) == []
        assert (await run(sandbox, python("print(1)")))[0] == "1\n"

    play(scenario)


def test_too_much_memory_is_told_as_such_and_a_new_start_works(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox(memory_mb=64)
        hungry = "x = b'x' * (200 << 20); import time; time.sleep(60)"
        assert (await run(sandbox, python(hungry)))[2] == OUT_OF_MEMORY
        assert (await run(sandbox, python("print(1)")))[0] == "1\n"

    play(scenario)


def test_memory_is_counted_over_all_processes(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox(memory_mb=96)
        code = (
            "import os, time\n"
            "for _ in range(4):\n"
            "    if os.fork() == 0: x = b'x' * (40 << 20); time.sleep(60)\n"
            "time.sleep(60)"
        )
        assert (await run(sandbox, python(code)))[2] == OUT_OF_MEMORY

    play(scenario)


def test_usage_has_a_peak_that_can_be_reset(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        host, _, port = sandbox.api_address.rpartition(":")
        code = (
            "import socket, sys, time\n"
            "x = b'x' * (60 << 20); print('up', flush=True)\n"
            "socket.create_connection((sys.argv[1], int(sys.argv[2]))).recv(1)\n"
            "del x; print('freed', flush=True); time.sleep(60)"
        )
        channels = await sandbox.start(python(code, host, port))
        assert await line_from(channels.stdout) == "up\n"
        assert 60 << 20 < sandbox.usage().memory_bytes < 110 << 20
        async with asyncio.timeout(EVENTUALLY_S):
            accepted, _ = await asyncio.get_running_loop().sock_accept(channels.api)
        accepted.close()
        assert await line_from(channels.stdout) == "freed\n"
        usage = sandbox.usage()
        if not scene.has_own_kernel:  # it keeps what a program frees, for a while
            assert usage.memory_bytes < 40 << 20
        assert 60 << 20 < usage.memory_peak_bytes < 110 << 20
        sandbox.reset_peak()
        if not scene.has_own_kernel:
            assert sandbox.usage().memory_peak_bytes < 40 << 20
        await sandbox.kill()
        drop(channels)

    play(scenario)


def test_files_in_tmp_do_not_count_as_memory_but_are_bounded(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        scene.only_isolated()
        sandbox = await scene.sandbox(memory_mb=64, tmp_mb=100)
        code = (
            "f = open('/tmp/big', 'wb', buffering=0)\n"
            "for n in range(200):\n"
            "    try: f.write(b'x' * (1 << 20))\n"
            "    except OSError as error: print(n, error.strerror); break"
        )
        out, _, exit_ = await run(sandbox, python(code))
        assert exit_ == Exit(ExitKind.EXITED, 0)
        assert out in {"99 No space left on device\n", "100 No space left on device\n"}
        assert sandbox.usage().memory_bytes < 32 << 20

    play(scenario)


def test_processes_are_bounded(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        scene.only_isolated()
        scene.only_of_the_host("has no limit on processes but that on memory")
        sandbox = await scene.sandbox(processes_max=20)
        code = (
            "import os, time\n"
            "made = 0\n"
            "try:\n"
            "    while made < 200:\n"
            "        if os.fork() == 0: time.sleep(60)\n"
            "        made += 1\n"
            "except OSError as error: print(made, error.strerror)"
        )
        out, _, _ = await run(sandbox, python(code))
        made, _, text = out.partition(" ")
        assert 15 <= int(made) <= 25
        assert "temporarily unavailable" in text

    play(scenario)


def test_the_cpu_cap_slows_a_program_down_and_comes_off_again(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        if not scene.capabilities.cpu_limit:
            pytest.skip(f"no CPU limit with {scene.backend.name} here")
        scene.only_of_the_host("takes more CPU to start than this could tell apart")
        sandbox = await scene.sandbox()
        busy = "import time; end = time.monotonic() + 0.7\nwhile time.monotonic() < end: pass"
        sandbox.limit_cpu(177)  # a tenth of a CPU
        await run(sandbox, python(busy))
        capped_s = sandbox.usage().cpu_s
        assert capped_s < 0.3
        sandbox.limit_cpu(None)
        burn = "import time\nwhile time.process_time() < 0.5: pass"
        await run(sandbox, python(burn))
        assert sandbox.usage().cpu_s - capped_s > 0.4

    play(scenario)


def test_limits_that_have_served_another_are_as_new(play: Play) -> None:
    """After one that held much, and after one that the kernel or the watch has killed for it."""

    async def scenario(scene: Scene) -> None:
        if not scene.capabilities.memory_limit:
            pytest.skip("memory is not limited here")
        for source in ("held = b'x' * (50 << 20)", "held = [b'x' * (1 << 20) for _ in range(999)]"):
            before = await scene.sandbox()
            await run(before, python(source))
            await before.destroy()
            after = await scene.sandbox()
            said, _, exit_ = await run(after, python("print(1)"))
            assert (said, exit_.kind) == ("1\n", ExitKind.EXITED)
            if not scene.has_own_kernel:
                assert after.usage().memory_peak_bytes < 45 << 20
            await after.destroy()

    play(scenario)


def test_what_moves_into_its_group_does_not_keep_it_from_going(play: Play) -> None:
    """Over a descriptor of the group that a hostile process had kept, say."""

    async def scenario(scene: Scene) -> None:
        if scene.has_stems:
            pytest.skip("others wait beside it, and nobody outside knows which group is whose")
        sandbox = await scene.sandbox()
        cells = [cell for group in groups_of(scene.instance) for cell in group.glob("*/")]
        if not cells:
            pytest.skip("no cgroup here")
        assert (await run(sandbox, python("print(1)")))[0] == "1\n"
        intruder = await asyncio.create_subprocess_exec("sleep", "600")
        try:
            for cell in cells:
                (cell / "cgroup.procs").write_text(str(intruder.pid), encoding="ascii")
            await sandbox.destroy()
            async with asyncio.timeout(EVENTUALLY_S):
                assert await intruder.wait() == -signal.SIGKILL
        finally:
            with contextlib.suppress(ProcessLookupError):
                intruder.kill()

    play(scenario)
