"""What every sandbox must do, whatever isolates it: contract.py, as sentences.

Each runs over every backend; those about isolation say so and skip the one that has none.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.model.ids import SandboxId
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.contract import (
    Capabilities,
    Channels,
    Exit,
    ExitKind,
    Mount,
    Program,
    Sandbox,
    SandboxBackend,
    SandboxFailed,
    SandboxSpec,
)
from hearth.worker.sandboxes.outputs import read_to_end
from hearth.worker.sandboxes.process import ProcessBackend

pytestmark = pytest.mark.integration

PYTHON = "/usr/bin/python3"
BACKENDS: dict[str, type[BubblewrapBackend] | type[ProcessBackend]] = {
    "bubblewrap": BubblewrapBackend,
    "process": ProcessBackend,
}
EVENTUALLY_S = 15.0
KILLED = Exit(ExitKind.SIGNALED, signal.SIGKILL)
OUT_OF_MEMORY = Exit(ExitKind.OUT_OF_MEMORY, signal.SIGKILL)


@dataclass
class Scene:
    """An opened backend, and how to run Python in its sandboxes."""

    backend: SandboxBackend
    capabilities: Capabilities
    instance: str
    directory: Path

    async def sandbox(self, name: str = "s1", **settings: Any) -> Sandbox:
        spec = SandboxSpec(sandbox=SandboxId(name), memory_mb=128, tmp_mb=16)
        return await self.backend.create(replace(spec, **settings))

    def only_isolated(self) -> None:
        if not self.capabilities.isolation:
            pytest.skip(f"{self.backend.name} isolates nothing")


def python(code: str, *arguments: str, **settings: Any) -> Program:
    argv = (PYTHON, "-I", "-S", "-c", code, *arguments)
    program = Program(argv=argv, environment={}, working_directory="/", mounts=())
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
    """Directories in any cgroup hierarchy that this instance made."""
    name = f"hearth-{instance}-"
    found = []
    for directory, below, _ in os.walk("/sys/fs/cgroup"):
        found += [Path(directory, group) for group in below if group.startswith(name)]
    return found


Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


@pytest.fixture(params=sorted(BACKENDS))
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Runs a scenario with an opened backend, closes it, and checks that nothing is left."""
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not there to be run in a sandbox")

    def run_scenario(scenario: Callable[[Scene], Awaitable[None]]) -> None:
        asyncio.run(main(scenario))

    async def main(scenario: Callable[[Scene], Awaitable[None]]) -> None:
        instance = uuid.uuid4().hex[:12]
        before = descriptors()
        async with Jobs() as jobs:
            backend: SandboxBackend
            backend = BACKENDS[request.param](instance, tmp_path / "run", SystemClock(), jobs)
            capabilities = await backend.open()
            if not capabilities.usable:
                pytest.skip(f"no {backend.name} here: {capabilities.why_not}")
            try:
                await scenario(Scene(backend, capabilities, instance, tmp_path))
            finally:
                await backend.close()
        assert groups_of(instance) == []
        assert not list((tmp_path / "run").glob("*")), "files were left behind"
        left = descriptors() - before
        assert len(left) <= 1, f"descriptors were left open: {left}"  # one is the listing's own

    return run_scenario


def test_a_program_runs_and_its_outputs_and_exit_code_arrive(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        code = "import os; os.write(1, b'out'); os.write(2, b'err'); os._exit(3)"
        assert await run(sandbox, python(code)) == ("out", "err", Exit(ExitKind.EXITED, 3))

    play(scenario)


def test_a_program_sees_exactly_the_environment_that_it_was_given(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        given = {"A": "1 =2", "EMPTY": "", "LD_LIBRARY_PATH": "/nowhere", "UMLAUT": "ä\n"}
        code = "import os; print(dict(sorted(os.environb.items())))"
        program = python(code, environment=given | {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"})
        out, _, _ = await run(sandbox, program)
        seen = {name.decode(): value.decode() for name, value in eval(out).items()}
        seen.pop("PWD", None)  # bubblewrap sets it to the working directory, as Lambda does
        seen.pop("LC_CTYPE", None)  # Python itself sets it
        assert seen == given | {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}

    play(scenario)


def test_nothing_secret_shows_in_a_process_listing_of_the_host(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        secret = uuid.uuid4().hex
        code = "import time; print('up', flush=True); time.sleep(60)"
        channels = await sandbox.start(python(code, environment={"SECRET": secret}))
        assert await line_from(channels.stdout) == "up\n"
        assert processes_with(secret) == []
        await sandbox.kill()
        drop(channels)

    play(scenario)


def test_a_program_starts_in_its_working_directory(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        program = python("import os; print(os.getcwd())", working_directory="/usr")
        assert (await run(sandbox, program))[0] == "/usr\n"

    play(scenario)


def test_a_mount_is_seen_where_the_sandbox_says(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        (scene.directory / "code").mkdir()
        (scene.directory / "code/hello.txt").write_text("hello")
        (scene.directory / "link").symlink_to("code")
        sandbox = await scene.sandbox()
        mount = Mount(scene.directory / "link", "/var/task")
        code = "import sys; print(open(sys.argv[1] + '/hello.txt').read())"
        program = python(code, sandbox.inside(mount), mounts=(mount,))
        assert (await run(sandbox, program))[0] == "hello\n"

    play(scenario)


def test_a_mount_cannot_be_written_to(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        scene.only_isolated()
        (scene.directory / "code").mkdir(mode=0o777)
        sandbox = await scene.sandbox()
        mount = Mount(scene.directory / "code", "/opt")
        program = python("open('/opt/new', 'w')", mounts=(mount,))
        _, err, exit_ = await run(sandbox, program)
        assert "Read-only file system" in err
        assert exit_.code == 1
        assert list((scene.directory / "code").iterdir()) == []

    play(scenario)


def test_a_program_reaches_its_api_socket_and_the_worker_accepts(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        host, _, port = sandbox.api_address.rpartition(":")
        code = (
            "import socket, sys\n"
            "s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)\n"
            "s.sendall(b'ping'); print(s.recv(99).decode())"
        )
        channels = await sandbox.start(python(code, host, port))
        async with asyncio.timeout(EVENTUALLY_S):
            loop = asyncio.get_running_loop()
            accepted, _ = await loop.sock_accept(channels.api)
            with accepted:
                assert await loop.sock_recv(accepted, 99) == b"ping"
                await loop.sock_sendall(accepted, b"pong")
        assert await finish(sandbox, channels) == ("pong\n", "", Exit(ExitKind.EXITED, 0))

    play(scenario)


def test_a_program_cannot_reach_another_ones_api_socket(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        scene.only_isolated()
        first, second = await scene.sandbox("s1"), await scene.sandbox("s2")
        sleeping = await first.start(python("import time; time.sleep(60)"))
        host, _, port = first.api_address.rpartition(":")
        code = (
            "import socket, sys\n"
            "socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).sendall(b'me')"
        )
        calling = await second.start(python(code, host, port))
        accepted, _ = await asyncio.get_running_loop().sock_accept(calling.api)
        accepted.close()
        with pytest.raises(BlockingIOError):
            sleeping.api.accept()
        await finish(second, calling)
        drop(sleeping)

    play(scenario)


def test_no_two_sandboxes_share_a_file_in_tmp(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        first, second = await scene.sandbox("s1"), await scene.sandbox("s2")
        code = "import os, sys; open(sys.argv[1] + '/' + sys.argv[2], 'w'); "
        code += "print(os.listdir(sys.argv[1]))"
        assert (await run(first, python(code, first.tmp_directory, "a")))[0] == "['a']\n"
        assert (await run(second, python(code, second.tmp_directory, "b")))[0] == "['b']\n"

    play(scenario)


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
        code = "x = b'x' * (60 << 20); print('up', flush=True); import sys; sys.stdout.flush()\n"
        code += "import time; time.sleep(0.3); del x; print('freed', flush=True); time.sleep(60)"
        channels = await sandbox.start(python(code))
        assert await line_from(channels.stdout) == "up\n"
        assert 60 << 20 < sandbox.usage().memory_bytes < 110 << 20
        assert await line_from(channels.stdout) == "freed\n"
        usage = sandbox.usage()
        assert usage.memory_bytes < 40 << 20
        assert 60 << 20 < usage.memory_peak_bytes < 110 << 20
        sandbox.reset_peak()
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


def test_a_program_in_the_hosts_network_has_an_api_socket_too(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox(network="host")
        host, _, port = sandbox.api_address.rpartition(":")
        code = (
            "import socket, sys\n"
            "socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).sendall(b'me')"
        )
        for _ in range(2):
            channels = await sandbox.start(python(code, host, port))
            accepted, _ = await asyncio.get_running_loop().sock_accept(channels.api)
            accepted.close()
            assert (await finish(sandbox, channels))[2] == Exit(ExitKind.EXITED, 0)

    play(scenario)


def test_a_mount_that_is_not_there_fails_the_start_and_the_sandbox_stays_good(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        scene.only_isolated()
        sandbox = await scene.sandbox()
        missing = Mount(scene.directory / "missing", "/var/task")
        with pytest.raises(SandboxFailed, match="missing"):
            await sandbox.start(python("pass", mounts=(missing,)))
        assert (await run(sandbox, python("print(1)")))[0] == "1\n"

    play(scenario)


def test_sixty_four_sandboxes_run_side_by_side(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandboxes = await asyncio.gather(*(scene.sandbox(f"s{n}") for n in range(64)))
        marker = uuid.uuid4().hex
        shell = "echo $1; exec sleep 60"
        programs = [
            Program(
                argv=("/bin/sh", "-c", shell, marker, str(number)),
                environment={"PATH": "/usr/bin:/bin"},
                working_directory="/",
                mounts=(),
            )
            for number in range(64)
        ]
        started = await asyncio.gather(
            *(sandbox.start(p) for sandbox, p in zip(sandboxes, programs, strict=True))
        )
        said = await asyncio.gather(*(line_from(channels.stdout) for channels in started))
        assert said == [f"{number}\n" for number in range(64)]
        await asyncio.gather(*(sandbox.destroy() for sandbox in sandboxes))
        assert processes_with(marker) == []
        for channels in started:
            drop(channels)

    play(scenario)


def test_when_the_launcher_is_killed_its_sandboxes_die_and_new_ones_work(tmp_path: Path) -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            instance = uuid.uuid4().hex[:12]
            backend = BubblewrapBackend(instance, tmp_path, SystemClock(), jobs)
            capabilities = await backend.open()
            if not capabilities.usable:
                pytest.skip(f"no bubblewrap here: {capabilities.why_not}")
            scene = Scene(backend, capabilities, instance, tmp_path)
            marker = uuid.uuid4().hex
            sandbox = await scene.sandbox()
            channels = await sandbox.start(python("import time; time.sleep(60)", marker))
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
from hearth.worker.sandboxes.{module} import {backend}
from hearth.worker.sandboxes.contract import Program, SandboxSpec

async def main():
    async with Jobs() as jobs:
        backend = {backend}(sys.argv[1], Path(sys.argv[3]), SystemClock(), jobs)
        if not (await backend.open()).usable:
            sys.exit("not usable")
        for number in range(3):
            spec = SandboxSpec(sandbox=SandboxId(f"s{{number}}"), memory_mb=128, tmp_mb=16)
            sandbox = await backend.create(spec)
            await sandbox.start(Program(argv=("/usr/bin/python3", "-I", "-S", "-c",
                "import time; time.sleep(60)", sys.argv[2]), environment={{}},
                working_directory="/", mounts=()))
        print("up", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", sorted(BACKENDS))
def test_when_the_worker_is_killed_nothing_stays_behind(kind: str, tmp_path: Path) -> None:
    instance, marker = uuid.uuid4().hex[:12], uuid.uuid4().hex
    code = WORKER.format(module=kind, backend=BACKENDS[kind].__name__)
    worker = subprocess.Popen(
        [sys.executable, "-c", code, instance, marker, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with worker:
        assert worker.stdout is not None
        if worker.stdout.readline() != b"up\n":
            pytest.skip(f"no {kind} here")
        running = [pid for pid in processes_with(marker) if pid != str(worker.pid)]
        assert len(running) >= 3
        other = asyncio.run(groups_after_another_opens(kind, instance, tmp_path / "other"))
        assert other == set(groups_of(instance)), "a living worker's groups must be left alone"
        worker.kill()

    async def check() -> None:
        await eventually(lambda: not processes_with(marker))

    asyncio.run(check())
    asyncio.run(groups_after_another_opens(kind, instance, tmp_path))
    assert groups_of(instance) == []


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
    code = WORKER.format(module="bubblewrap", backend="BubblewrapBackend")
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


def test_a_connection_to_the_last_programs_api_is_not_handed_to_the_next_one() -> None:
    from hearth.worker.sandboxes.host_api import HostApi

    api = HostApi()
    host, _, port = api.address.rpartition(":")
    with socket.create_connection((host, int(port))) as stale:
        with api.hand_out() as listening, pytest.raises(BlockingIOError):
            listening.accept()
        assert stale.recv(1) == b""
    api.close()
