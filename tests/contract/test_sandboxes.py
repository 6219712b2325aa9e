"""What every sandbox must do, whatever isolates it: contract.py, as sentences.

Each runs over every backend; those about isolation say so and skip the one that has none. How
programs end, and what they may use: test_sandboxes_ends.py; what happens to all of them when the
launcher or the worker dies: test_sandboxes_together.py.
"""

import asyncio
import socket
import uuid

import pytest

from contract.sandbox_scene import (
    EVENTUALLY_S,
    Play,
    Scene,
    drop,
    finish,
    line_from,
    processes_with,
    python,
    run,
    scene_player,
)
from hearth.model.isolation import Network
from hearth.worker.sandboxes.contract import (
    Exit,
    ExitKind,
    Mount,
    SandboxFailed,
)

pytestmark = pytest.mark.integration

__all__ = ["scene_player"]


def test_a_program_runs_and_its_outputs_and_exit_code_arrive(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        code = "import os; os.write(1, b'out'); os.write(2, b'err'); os._exit(3)"
        assert await run(sandbox, python(code)) == ("out", "err", Exit(ExitKind.EXITED, 3))

    play(scenario)


def test_one_output_keeps_the_order_of_what_is_written(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox()
        code = "import os; [os.write(fd, b'%d' % fd) for fd in (1, 2, 2, 1, 2, 1)]"
        program = python(code, zygote=None, one_output=True)
        assert await run(sandbox, program) == ("", "122121", Exit(ExitKind.EXITED, 0))

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
        (scene.directory / "code").mkdir()
        (scene.directory / "code").chmod(0o777)
        sandbox = await scene.sandbox()
        mount = Mount(scene.directory / "code", "/opt")
        program = python("open('/opt/new', 'w')", mounts=(mount,))
        _, err, exit_ = await run(sandbox, program)
        assert "Read-only file system" in err
        assert exit_.code == 1
        assert list((scene.directory / "code").iterdir()) == []

    play(scenario)


def test_merged_directories_show_at_each_name_what_the_uppermost_has(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        if not scene.backend.can_merge:
            pytest.skip(f"{scene.backend.name} cannot merge directories")
        for layer in ("top", "middle", "bottom"):
            (scene.directory / layer / "lib").mkdir(parents=True)
            (scene.directory / layer / "lib").chmod(0o777)
            (scene.directory / layer / "name").write_text(layer)
            (scene.directory / layer / "lib" / layer).write_text(layer)
        (scene.directory / "top" / "name").unlink()
        below = (scene.directory / "middle", scene.directory / "bottom")
        mount = Mount(scene.directory / "top", "/opt", below)
        sandbox = await scene.sandbox()
        code = (
            "import os; print(open('/opt/name').read(), sorted(os.listdir('/opt/lib')))\n"
            "try: open('/opt/lib/new', 'w')\n"
            "except OSError as error: print(error.strerror)"
        )
        out, err, _ = await run(sandbox, python(code, mounts=(mount,)))
        assert (out, err) == (
            "middle ['bottom', 'middle', 'top']\nRead-only file system\n",
            "",
        )

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


def test_a_program_in_the_hosts_network_has_an_api_socket_too(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        sandbox = await scene.sandbox(network=Network.HOST)
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


def test_a_connection_to_the_last_programs_api_is_not_handed_to_the_next_one() -> None:
    from hearth.worker.sandboxes.host_api import HostApi

    api = HostApi()
    host, _, port = api.address.rpartition(":")
    with socket.create_connection((host, int(port))) as stale:
        with api.hand_out() as listening, pytest.raises(BlockingIOError):
            listening.accept()
        assert stale.recv(1) == b""
    api.close()
