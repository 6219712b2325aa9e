"""What do forks of one template share, what may they do, and what becomes of them and of it?"""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from contract.sandbox_scene import (
    KILLED,
    Scene,
    drop,
    eventually,
    finish,
    line_from,
    processes_with,
)
from hearth.worker.sandboxes.bubblewrap_sandbox import BubblewrapSandbox
from hearth.worker.sandboxes.contract import (
    Channels,
    Exit,
    ExitKind,
    Program,
    SandboxFailed,
)
from hearth.worker.sandboxes.zygote import ZygoteBackend
from integration.test_zygotes import DIFFERENT, SCRIPT, play, scripted

pytestmark = pytest.mark.integration

# What a program does before it becomes a template, and what each of its forks does.
WHOLE = """
template = None

def main():
    prepare()
    print("prepared", flush=True)
    template.serve()
    behave()
"""
RANDOM = SCRIPT.replace("def main():", "def behave():") + "prepare = values\n" + WHOLE
WAITS = """
import os, sys, time
def prepare(): ...
def behave():
    print("behaves", os.environ["NAME"], flush=True)
    time.sleep(600)
"""


@dataclass
class Made:
    """A program that was asked to become a template."""

    scene: Scene
    sandbox: BubblewrapSandbox
    channels: Channels
    program: Program
    why_not: str

    async def fork(self, name: str) -> BubblewrapSandbox:
        """Not started."""
        sandbox = await self.scene.sandbox(name, fork_of=self.sandbox)
        assert isinstance(sandbox, BubblewrapSandbox)
        return sandbox

    def its(self, name: str) -> Program:
        return replace(self.program, environment={**self.program.environment, "NAME": name})

    async def said(self, name: str) -> Any:
        """What a fork of it prints, as JSON, before it ends well."""
        sandbox = await self.fork(name)
        out, err, exit_ = await finish(sandbox, await sandbox.start(self.its(name)))
        assert (err, exit_) == ("", Exit(ExitKind.EXITED, 0))
        return json.loads(out)


def play_template(
    directory: Path, text: str, scenario: Callable[[Made], Awaitable[None]], **environment: str
) -> None:
    async def with_template(scene: Scene, backend: ZygoteBackend) -> None:
        program = scripted(directory, text + WHOLE)
        program = replace(program, environment=environment, is_template=True)
        sandbox = await scene.sandbox("template", kind=program.zygote, is_template=True)
        assert isinstance(sandbox, BubblewrapSandbox)
        channels = await sandbox.start(program)
        assert await line_from(channels.stdout) == "prepared\n"
        why_not = await sandbox.become_template(lambda: None)
        await scenario(Made(scene, sandbox, channels, program, why_not))
        drop(channels)

    play(directory, with_template)


def test_forks_of_a_template_draw_no_random_value_alike(tmp_path: Path) -> None:
    async def scenario(made: Made) -> None:
        assert made.why_not == ""
        seen = [await made.said(f"fork-{number}") for number in range(3)]
        for what in DIFFERENT:
            assert len({str(one[what]) for one in seen}) == 3, what

    play_template(tmp_path, RANDOM.removesuffix(WHOLE), scenario)


LOOK = """
import ctypes, errno, json, os, socket
def prepare():
    with open("/tmp/kept", "w") as file:
        file.write("by the template")
    global task
    task = open("/var/runtime/script.py")
    task.read(10)

def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == 0:
        return "done"
    return errno.errorcode[ctypes.get_errno()]

def behave():
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    with open("/proc/sys/user/max_user_namespaces") as file:
        nested = file.read().strip()
    mark = socket.socket(socket.AF_UNIX)
    mark.bind("\\0mark")  # once in each network namespace
    own = os.open("/proc/self/ns/user", os.O_RDONLY)
    print(json.dumps({
        "name": os.environ["NAME"],
        "kept": open("/tmp/kept").read(),
        "offset": task.tell(),
        "capabilities": {status[n].strip() for n in status if n.startswith("Cap")} == {"0" * 16},
        "no new privileges": status["NoNewPrivs"].strip(),
        "nested": nested,
        "uid": os.getuid(),
        "host": socket.gethostname(),
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "first": open("/proc/1/cmdline", "rb").read().count(b"script.py"),
        "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:3],
        "setns": call("setns", own, 0),
        "setns of all": call("setns", own, 0x7E020000),
        "unshare": call("unshare", 0x10000000),
        "sethostname": call("sethostname", b"other", 5),
        "mount": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "init's memory": os.access("/proc/1/mem", os.R_OK),
        "cgroups": sorted({line.rstrip().rsplit(":", 1)[1] for line in open("/proc/self/cgroup")}),
        "routes": open("/proc/net/route").read().count("\\n"),
        "pid": os.getpid(),
    }))
"""


def test_a_fork_is_as_confined_as_any_program(tmp_path: Path) -> None:
    async def scenario(made: Made) -> None:
        assert made.why_not == ""
        seen = [await made.said(name) for name in ("one", "two")]
        assert [one.pop("name") for one in seen] == ["one", "two"]
        assert seen[0] == seen[1]
        for name, value in {
            "kept": "by the template",
            "offset": 10,
            "capabilities": True,
            "no new privileges": "1",
            "nested": "0",
            "uid": 993,
            "host": "localhost",
            "processes": 2,
            "setns": "EPERM",
            "setns of all": "EPERM",
            "unshare": "EPERM",
            "sethostname": "EPERM",
            "mount": "EPERM",
            "init's memory": False,
            "cgroups": ["/"],
        }.items():
            assert seen[0][name] == value, name

    play_template(tmp_path, LOOK, scenario)


REFUSED = {
    "threads": "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "socket": "kept.append(socket.socket())",
    "pipe": "kept.append(os.pipe())",
    "processes": "kept.append(subprocess.Popen(['/bin/sleep', '600']))",
    "shared memory": "kept.append(mmap.mmap(-1, 4096))",
    "open file": "kept.append(open('/tmp/written', 'w'))",
    "eventpoll": "kept.append(select.epoll())",
    "timer": "signal.setitimer(signal.ITIMER_REAL, 600)",
    "/dev/shm": "open('/dev/shm/left', 'w').close()",
    "more in /tmp": "[open(f'/tmp/{n}', 'w').close() for n in range(1001)]",
    "SIGCHLD": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
}


def test_what_its_forks_would_share_is_refused_by_name(tmp_path: Path) -> None:
    text = (
        "import mmap, os, select, signal, socket, subprocess, threading, time\n"
        "kept = []\ndef prepare():\n    exec(os.environ['DO'])\n"
        "def behave():\n    print('goes on', flush=True)\n"
    )

    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        program = scripted(tmp_path, text + WHOLE)
        for expected, do in REFUSED.items():
            program = replace(program, environment={"DO": do}, is_template=True)
            sandbox = await scene.sandbox(expected, kind=program.zygote, is_template=True)
            assert isinstance(sandbox, BubblewrapSandbox)
            channels = await sandbox.start(program)
            assert await line_from(channels.stdout) == "prepared\n"
            why_not = await sandbox.become_template(lambda: None)
            assert expected in why_not
            assert await line_from(channels.stdout) == "goes on\n"
            drop(channels)
            await sandbox.destroy()

    play(tmp_path, scenario)


def test_how_a_fork_ended_is_told(tmp_path: Path) -> None:
    text = """
import os, signal
def prepare(): ...
def behave():
    print("behaves", flush=True)
    exec(os.environ["NAME"])
"""
    ends = {
        "os._exit(7)": Exit(ExitKind.EXITED, 7),
        "raise SystemExit(3)": Exit(ExitKind.EXITED, 3),
        "os.kill(os.getpid(), signal.SIGSEGV)": Exit(ExitKind.SIGNALED, signal.SIGSEGV),
        "os.kill(os.getpid(), signal.SIGKILL)": KILLED,
    }

    async def scenario(made: Made) -> None:
        for number, (do, expected) in enumerate(ends.items()):
            sandbox = await made.fork(f"ends-{number}")
            out, _, exit_ = await finish(sandbox, await sandbox.start(made.its(do)))
            assert (out, exit_) == ("behaves\n", expected)
        sandbox = await made.fork("terminated")
        channels = await sandbox.start(made.its("signal.pause()"))
        assert await line_from(channels.stdout) == "behaves\n"
        await sandbox.terminate()
        _, _, exit_ = await finish(sandbox, channels)
        assert exit_ == Exit(ExitKind.SIGNALED, signal.SIGTERM)

    play_template(tmp_path, text, scenario)


def test_forks_live_on_when_their_template_leaves(tmp_path: Path) -> None:
    async def scenario(made: Made) -> None:
        forks = [await made.fork(f"stays-{number}") for number in range(2)]
        channels = [await fork.start(made.its("x")) for fork in forks]
        for its in channels:
            assert await line_from(its.stdout) == "behaves x\n"
        leaving = asyncio.create_task(made.sandbox.leave())
        with pytest.raises(SandboxFailed):
            await (await made.fork("too-late")).start(made.its("y"))
        await forks[0].destroy()
        assert not leaving.done()
        os.kill(int(await pid_of(forks[1])), signal.SIGKILL)
        assert await forks[1].wait() == KILLED
        await forks[1].destroy()
        for its in channels:
            drop(its)
        for sandbox in list(made.scene.backend._sandboxes.values()):  # type: ignore[attr-defined]
            if sandbox.id == "too-late":
                await sandbox.destroy()
        await leaving
        assert (await made.sandbox.wait()).kind is ExitKind.SIGNALED

    async def pid_of(sandbox: BubblewrapSandbox) -> str:
        found = sandbox._own.cell._pid  # type: ignore[attr-defined]
        return str(found)

    play_template(tmp_path, WAITS, scenario)


def test_a_fork_that_keeps_its_capabilities_is_refused(tmp_path: Path) -> None:
    text = """
def prepare():
    confine = type(template).serve.__globals__["move"].__globals__["confine"]
    confine.drop_all = lambda: None
def behave():
    print("behaves", flush=True)
"""

    async def scenario(made: Made) -> None:
        assert made.why_not == ""
        sandbox = await made.fork("privileged")
        with pytest.raises(SandboxFailed, match="capabilities"):
            await sandbox.start(made.its("x"))

    play_template(tmp_path, text, scenario)


def test_a_fork_that_stays_outside_is_refused(tmp_path: Path) -> None:
    text = """
def prepare():
    confine = type(template).serve.__globals__["confine"]
    confine.drop_all = lambda: None
    linux = type(template).serve.__globals__["linux"]
    linux.setns = lambda *_: None
    type(template).serve.__globals__["check_pid"].__code__ = (lambda template: None).__code__
def behave():
    print("behaves", flush=True)
"""

    async def scenario(made: Made) -> None:
        assert made.why_not == ""
        sandbox = await made.fork("outside")
        with pytest.raises(SandboxFailed, match="pid namespace"):
            await sandbox.start(made.its("x"))

    play_template(tmp_path, text, scenario)


def test_a_template_that_hides_a_process_forks_no_more(tmp_path: Path) -> None:
    text = """
import os, time
def hide():
    if not os.fork():
        time.sleep(600)
def prepare():
    global first
    first = True
    os.register_at_fork(after_in_parent=once)
def once():
    global first
    if first:
        first = False
        hide()
def behave():
    print("behaves", flush=True)
    time.sleep(600)
"""

    async def scenario(made: Made) -> None:
        assert made.why_not == ""
        first = await made.fork("first")
        its = await first.start(made.its("x"))
        with pytest.raises(SandboxFailed, match="stand still"):
            await (await made.fork("second")).start(made.its("y"))
        drop(its)

    play_template(tmp_path, text, scenario)


def test_nothing_is_left_when_the_launcher_is_killed(tmp_path: Path) -> None:
    mark = f"template-{os.getpid()}"

    async def scenario(made: Made) -> None:
        fork = await made.fork("alone")
        its = await fork.start(made.its("x"))
        assert await line_from(its.stdout) == "behaves x\n"
        assert len(processes_with(mark)) == 2
        backend = made.scene.backend
        assert isinstance(backend, ZygoteBackend)
        assert backend.launcher_pid is not None
        os.kill(backend.launcher_pid, signal.SIGKILL)
        await eventually(lambda: not processes_with(mark))
        assert await fork.wait() == KILLED
        drop(its)

    async def marked(scene: Scene, backend: ZygoteBackend) -> None:
        program = scripted(tmp_path, WAITS + WHOLE)
        program = replace(program, argv=(*program.argv, mark), is_template=True)
        sandbox = await scene.sandbox("template", kind=program.zygote, is_template=True)
        assert isinstance(sandbox, BubblewrapSandbox)
        channels = await sandbox.start(program)
        assert await line_from(channels.stdout) == "prepared\n"
        assert await sandbox.become_template(lambda: None) == ""
        await scenario(Made(scene, sandbox, channels, program, ""))
        drop(channels)

    play(tmp_path, marked)
