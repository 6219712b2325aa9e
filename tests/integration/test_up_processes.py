"""`hearth up`, `--detach` and `down` as real processes."""

import os
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hearth.cli import run_directory
from hearth.settings import StatePaths

pytestmark = pytest.mark.integration

TIMEOUT_S = 60

STUBBORN = """
import asyncio, sys
from hearth.cli.main import cli

class Platform:
    async def run(self, settings, surroundings, *, ready, stop):
        ready("http://127.0.0.1:1")
        await stop.wait()
        print("draining", flush=True)
        await asyncio.sleep(3600)

cli(["up", "--state", sys.argv[1]], obj=Platform())
"""


class Hearth:
    def __init__(self, state: Path) -> None:
        self.paths = StatePaths(state)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "hearth", *arguments, "--state", str(self.paths.state)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def up(self, *more: str) -> subprocess.CompletedProcess[str]:
        # Without isolation: what is tested here works on every machine.
        return self.run("up", "--listen", "127.0.0.1:0", "--sandbox", "process", *more)

    def pid(self) -> int:
        pid = run_directory.holder(self.paths)
        assert pid
        return pid


@pytest.fixture
def hearth(tmp_path: Path) -> Iterator[Hearth]:
    found = Hearth(tmp_path)
    yield found
    pid = run_directory.holder(found.paths)
    if pid:
        os.kill(pid, signal.SIGKILL)


def wait_gone(hearth: Hearth, pid: int) -> None:
    """Until that process has ended."""
    handle = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([handle], [], [], TIMEOUT_S)
        assert ended
    finally:
        os.close(handle)
    assert run_directory.holder(hearth.paths) is None


def test_detached_it_is_ready_when_the_command_returns_and_ends_with_down(hearth: Hearth) -> None:
    started = hearth.up("--detach")
    assert started.returncode == 0, started.stderr
    assert started.stdout.startswith("hearth ready http://127.0.0.1:")
    endpoint = started.stdout.split()[-1]
    with urllib.request.urlopen(f"{endpoint}/2016-08-19/account-settings") as answer:
        assert answer.status == 200
    pid = hearth.pid()
    process = os.pidfd_open(pid)
    assert os.getsid(pid) == pid, "it must not die with the terminal it was started from"
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    assert hearth.run("status").returncode == 0
    down = hearth.run("down")
    assert (down.returncode, down.stderr) == (0, "Hearth has stopped.\n")
    assert select.select([process], [], [], 0)[0], "the process itself has ended too"
    os.close(process)
    assert hearth.run("status").returncode == 1


def test_twice_on_one_state_directory_is_refused_detached_or_not(hearth: Hearth) -> None:
    assert hearth.up("--detach").returncode == 0
    pid = hearth.pid()
    for second in (hearth.up(), hearth.up("--detach")):
        assert second.returncode == 1
        assert second.stdout == ""
        assert f"already running on this state directory (pid {pid}, http://" in second.stderr
    assert hearth.pid() == pid


def test_after_a_kill_it_starts_again(hearth: Hearth) -> None:
    assert hearth.up("--detach").returncode == 0
    pid = hearth.pid()
    os.kill(pid, signal.SIGKILL)
    wait_gone(hearth, pid)
    assert hearth.run("status").returncode == 1
    assert hearth.up("--detach").returncode == 0
    assert hearth.pid() != pid


def test_why_a_daemon_did_not_start_is_told_by_the_command(hearth: Hearth) -> None:
    refused = hearth.run("up", "--detach", "--sandbox", "process", "--nats-server", "/bin/false")
    assert refused.returncode == 1
    assert refused.stdout == ""
    why = refused.stderr.splitlines()[-1]  # a slow machine is told before that it still starts
    assert why.startswith("hearth: "), refused.stderr
    assert "Traceback" not in refused.stderr
    assert run_directory.holder(hearth.paths) is None


def test_a_hearth_that_cannot_be_asked_is_stopped_by_a_signal(hearth: Hearth) -> None:
    assert hearth.up("--detach").returncode == 0
    hearth.paths.admin_socket.unlink()
    assert hearth.run("down").returncode == 0
    assert run_directory.holder(hearth.paths) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it_well(hearth: Hearth, number: signal.Signals) -> None:
    command = hearth.command("up", "--listen", "127.0.0.1:0", "--sandbox", "process")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"hearth ready http://127.0.0.1:")
        process.send_signal(number)
        assert process.wait(timeout=TIMEOUT_S) == 0
    assert not hearth.paths.run_file.exists()


def test_a_second_signal_ends_it_at_once_however_it_drains(hearth: Hearth) -> None:
    command = [sys.executable, "-c", STUBBORN, str(hearth.paths.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"hearth ready http://127.0.0.1:1\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"draining\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=TIMEOUT_S) == 130
        assert process.stderr.read().endswith(b"hearth: ending at once.\n")
    assert run_directory.holder(hearth.paths) is None


def test_down_says_so_when_it_takes_too_long_and_how_to_force_it(hearth: Hearth) -> None:
    command = [sys.executable, "-c", STUBBORN, str(hearth.paths.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hearth ready http://127.0.0.1:1\n"
        down = hearth.run("down", "--timeout", "0.2s")
        assert down.returncode == 1
        assert f"kill -9 {process.pid}" in down.stderr
        process.kill()
