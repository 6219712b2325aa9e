"""What do forks of one zygote share, and what becomes of them, of it, and of the launcher?

docs/decisions/0013-zygotes.md lists the hazards; each has its test here.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.sandbox_scene import (
    EVENTUALLY_S,
    KIND,
    PYTHON,
    Scene,
    descriptors,
    drop,
    eventually,
    groups_of,
    line_from,
    processes_with,
    python,
    run,
)
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.worker.sandboxes.contract import Exit, ExitKind, Mount, Program, ZygoteKind
from hearth.worker.sandboxes.zygote import ZygoteBackend
from hearth.worker.stem_policy import DEFAULT_BOUNDS, StemBounds

pytestmark = pytest.mark.integration

# All of these have been used by the zygote, so that there is state to be inherited.
SCRIPT = """
import gc, hashlib, json, os, random, secrets, ssl, sys, tempfile, threading, uuid

def values():
    return {
        "os.urandom": os.urandom(8).hex(),
        "ssl.RAND_bytes": ssl.RAND_bytes(8).hex(),
        "random": random.random(),
        "SystemRandom": random.SystemRandom().random(),
        "uuid1": uuid.uuid1().hex,
        "uuid4": uuid.uuid4().hex,
        "secrets": secrets.token_hex(8),
        "tempfile": tempfile.mktemp(dir="/tmp"),
        "salt": hashlib.blake2b(os.urandom(4)).hexdigest(),
    }

def preload():
    global zygote_pid
    values()
    zygote_pid = os.getpid()

def main():
    seen = values()
    seen["pid"] = os.getpid()
    seen["zygote's pid"] = zygote_pid
    seen["main"] = sys.modules["__main__"].main is main and __name__ == "__main__"
    seen["argv"] = sys.argv
    seen["gc"] = [gc.isenabled(), gc.get_freeze_count() > 0]
    seen["threads"] = threading.active_count()
    seen["native id"] = threading.main_thread().native_id == os.getpid()
    seen["fds"] = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
    seen["ours"] = sorted(name for name in sys.modules if name.startswith("hearth"))
    seen["json"] = json.__file__
    print(json.dumps(seen))
"""
DIFFERENT = (
    *("os.urandom", "ssl.RAND_bytes", "random", "SystemRandom", "uuid1", "uuid4"),
    *("secrets", "tempfile", "salt"),
)


def play(
    directory: Path,
    scenario: Callable[[Scene, ZygoteBackend], Awaitable[None]],
    stems: StemBounds = DEFAULT_BOUNDS,
) -> None:
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not there to be run in a sandbox")

    async def main() -> None:
        instance = uuid.uuid4().hex[:12]
        before = descriptors()
        async with Jobs() as jobs:
            backend = ZygoteBackend(instance, directory / "run", SystemClock(), jobs, stems)
            capabilities = await backend.open()
            if not capabilities.usable:
                pytest.skip(f"no zygotes here: {capabilities.why_not}")
            assert not [note for note in capabilities.notes if "zygotes" in note]
            try:
                await scenario(Scene(backend, capabilities, instance, directory), backend)
            finally:
                await backend.close()
        assert groups_of(instance) == []
        assert len(descriptors() - before) <= 1

    asyncio.run(main())


def scripted(directory: Path, text: str = SCRIPT, **changes: Any) -> Program:
    kit = directory / "kit"
    kit.mkdir(exist_ok=True)
    (kit / "script.py").write_text(text)
    mount = Mount(kit, "/var/runtime")
    command = (PYTHON, "-S")
    script = "/var/runtime/script.py"
    kind = ZygoteKind(
        tenant="test", command=command, script=script, environment=(), mounts=(mount,)
    )
    program = Program(
        argv=(*command, script),
        environment={},
        working_directory="/",
        mounts=(mount,),
        zygote=kind,
    )
    return replace(program, **changes)


async def forked(scene: Scene, program: Program, name: str) -> dict[str, Any]:
    sandbox = await scene.sandbox(name)
    out, err, exit_ = await run(sandbox, program)
    assert (err, exit_) == ("", Exit(ExitKind.EXITED, 0))
    await sandbox.destroy()
    seen: dict[str, Any] = json.loads(out)
    return seen


def test_no_random_value_is_the_same_in_two_siblings(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        program = scripted(tmp_path)
        assert program.zygote is not None
        assert await backend.prepare(program.zygote)
        seen = [await forked(scene, program, f"s{n}") for n in range(4)]
        assert backend.forked == 4
        for what in DIFFERENT:
            assert len({str(sibling[what]) for sibling in seen}) == 4, what

    play(tmp_path, scenario)


# What it looks for is not in the pattern, or it would find itself.
SEARCH = """
import re, sys
pattern = re.compile(b"only-for-on[e]-[0-9a-f]{8}")
found = 0
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        area, rights = line.split()[:2]
        if "r" not in rights or "[v" in line:
            continue
        first, last = (int(end, 16) for end in area.split("-"))
        memory.seek(first)
        found += len(pattern.findall(memory.read(last - first)))
print(found)
"""


def test_nothing_that_one_function_was_told_is_in_the_memory_of_the_next(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND)
        secret = {"SECRET": f"only-for-one-{uuid.uuid4().hex}"}
        for number in range(3):
            sandbox = await scene.sandbox(f"told-{number}")
            out, _, _ = await run(sandbox, python(SEARCH, environment=secret))
            assert int(out) > 0, "the search finds what there is"
        out, err, _ = await run(await scene.sandbox("other"), python(SEARCH))
        assert (out, err) == ("0\n", "")
        assert backend.forked == 4

    play(tmp_path, scenario)


def test_a_fork_looks_like_a_program_that_was_just_started(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        program = scripted(tmp_path)
        assert program.zygote is not None
        assert await backend.prepare(program.zygote)
        seen = await forked(scene, program, "s1")
        assert seen["pid"] == 2
        assert seen["zygote's pid"] not in {1, 2}
        assert seen["main"] is True
        assert seen["argv"] == ["/var/runtime/script.py"]
        assert seen["gc"] == [True, True]
        assert seen["threads"] == 1
        assert seen["fds"][:3] == [0, 1, 2]
        assert len(seen["fds"]) == 4, "one is the listing's own"
        assert seen["ours"] == []

    play(tmp_path, scenario)


def test_what_is_read_when_an_interpreter_starts_is_heeded(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        program = scripted(tmp_path)
        assert program.zygote is not None
        assert await backend.prepare(program.zygote)
        code = (
            "import os, sys; print(sys.flags.hash_randomization, sys.flags.utf8_mode, os.getpid())"
        )
        kind = replace(program.zygote, script=None, mounts=())
        assert await backend.prepare(kind)
        given = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
        executed = python(code, argv=(PYTHON, "-S", "-c", code), zygote=kind, environment=given)
        out, err, _ = await run(await scene.sandbox(), executed)
        assert (out, err) == ("0 1 2\n", "")
        assert backend.forked == 1, "it was the zygote's sandbox all the same"

    play(tmp_path, scenario)


def test_a_module_of_the_function_goes_before_one_that_the_zygote_has(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        task = tmp_path / "task"
        task.mkdir()
        (task / "json.py").write_text("def dumps(it): return __file__\n")
        program = scripted(tmp_path)
        assert program.zygote is not None
        assert await backend.prepare(program.zygote)
        for mounts, expected in (((Mount(task, "/var/task"),), True), ((), False)):
            sandbox = await scene.sandbox()
            # The script is executed if anything of the task's is among what it has loaded.
            with_task = replace(program, mounts=(*program.mounts, *mounts))
            out, _, _ = await run(sandbox, with_task)
            assert (out == "") is expected, "an executed script defines main, and does not call it"
            await sandbox.destroy()

    play(tmp_path, scenario)


def test_a_zygote_knows_nothing_and_may_do_little(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND)
        look_at(the_zygote(backend))

    play(tmp_path, scenario)


def look_at(zygote: int) -> None:
    proc = Path(f"/proc/{zygote}")
    rows = (row.partition(":") for row in (proc / "status").read_text().splitlines())
    status = {name: value.strip() for name, _, value in rows}
    six = sum(1 << number for number in (6, 7, 8, 12, 18, 21))
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {six}
    assert status["Threads"] == "1"
    if os.geteuid() == 0:  # an ordinary user may not look into what cannot be dumped
        assert "0" not in status["Uid"].split()
        for namespace in ("user", "net", "mnt", "ipc", "uts"):
            where = Path("ns", namespace)
            assert (proc / where).readlink() != (Path("/proc/self") / where).readlink()
        assert (proc / "environ").read_bytes() == b""
        assert interfaces(zygote) == ["lo"]


def interfaces(pid: int) -> list[str]:
    rows = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return [row.partition(":")[0].strip() for row in rows]


def test_when_a_zygote_is_killed_its_forks_live_and_another_takes_its_place(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND)
        sandbox = await scene.sandbox()
        code = "import sys, time; print('up', flush=True); time.sleep(0.5); print('alive')"
        channels = await sandbox.start(python(code))
        assert await line_from(channels.stdout) == "up\n"
        first = the_zygote(backend)
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: not alive(first))
        assert await line_from(channels.stdout) == "alive\n"
        assert await asyncio.wait_for(sandbox.wait(), EVENTUALLY_S) == Exit(ExitKind.EXITED, 0)
        drop(channels)
        for number in range(3):  # by bubblewrap, until there is another zygote
            assert (await run(await scene.sandbox(f"n{number}"), python("print(1)")))[0] == "1\n"
        assert await backend.prepare(KIND)
        assert the_zygote(backend) != first
        before = backend.forked
        assert (await run(await scene.sandbox("last"), python("print(1)")))[0] == "1\n"
        assert backend.forked == before + 1

    play(tmp_path, scenario)


def test_starts_that_a_dying_zygote_leaves_behind_are_executed(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND)
        marker = uuid.uuid4().hex
        sandboxes = await asyncio.gather(*(scene.sandbox(f"s{n}") for n in range(8)))
        zygote = the_zygote(backend)
        os.kill(zygote, signal.SIGSTOP)  # so that it dies with all of them before it
        runs = [asyncio.ensure_future(run(s, python("print(1)", marker))) for s in sandboxes]
        await eventually(lambda: backend.forked == 8)
        os.kill(zygote, signal.SIGKILL)
        results = await asyncio.gather(*runs)
        assert results == [("1\n", "", Exit(ExitKind.EXITED, 0))] * 8
        assert processes_with(marker) == []

    play(tmp_path, scenario)


def test_two_hundred_sandboxes_leave_nothing(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND)

        async def some(count: int) -> None:
            for start in range(0, count, 8):
                await asyncio.gather(*(one(f"s{start + n}") for n in range(8)))

        async def one(name: str) -> None:
            sandbox = await scene.sandbox(name)
            assert (await run(sandbox, python("print(1)")))[0] == "1\n"
            await sandbox.destroy()

        await some(8)
        before = held(backend, scene)
        await some(200)
        assert backend.forked == 208
        assert held(backend, scene) == before

    play(tmp_path, scenario)


REAPED = """
import os, sys, time
while open("/proc/1/comm").read() != "init\\n" and time.monotonic() < %r:
    time.sleep(0.01)
def tried(path):
    try:
        os.listdir(path) if path.endswith("/") else open(path, "rb").read(1)
    except OSError as error:
        return error.strerror
    return "done"
names = "environ maps mem auxv exe fd/ map_files/ root/ cwd/ ns/ io stack syscall personality"
print({name for name in names.split() if tried(f"/proc/1/{name}") == "done"})
print(open("/proc/1/cmdline", "rb").read().split(b"\\0")[0])
"""
"""It waits until init is the small program, and then tries to look into that."""


def test_init_gives_back_what_has_made_the_sandbox_and_nobody_looks_into_it(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND)
        ends_s = time.monotonic() + EVENTUALLY_S
        program = python(REAPED % ends_s + "import sys; sys.stdout.flush(); time.sleep(600)")
        sandbox = await scene.sandbox()
        channels = await sandbox.start(program)
        assert await line_from(channels.stdout) == "set()\n"
        assert await line_from(channels.stdout) == "b'init'\n"
        (init,) = inits(backend)
        look_at_init(init)
        drop(channels)
        await sandbox.destroy()
        assert not alive(init)

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("last", "exit_"),
    [
        ("os._exit(7)", Exit(ExitKind.EXITED, 7)),
        ("os.kill(os.getpid(), 11)", Exit(ExitKind.SIGNALED, 11)),
        ("os._exit(0) if os.fork() else time.sleep(600)", Exit(ExitKind.EXITED, 0)),
    ],
)
def test_the_small_init_tells_the_programs_end_and_ends_all_else(
    last: str, exit_: Exit, tmp_path: Path
) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND)
        marker = uuid.uuid4().hex
        orphan = "os.fork() or os.fork() or os._exit(0)\n"  # init has others to reap as well
        ends_s = time.monotonic() + EVENTUALLY_S
        source = "import os\nif not os.fork(): os._exit(3)\n" + REAPED % ends_s + orphan
        sandbox = await scene.sandbox()
        assert (await run(sandbox, python(source + last, marker)))[2] == exit_
        assert processes_with(marker) == []
        assert inits(backend) == []
        await sandbox.destroy()

    play(tmp_path, scenario)


def look_at_init(init: int) -> None:
    rows = Path(f"/proc/{init}/status").read_text().splitlines()
    status = dict(row.split(":", 1) for row in rows)
    assert int(status["RssAnon"].split()[0]) < 64
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")


def inits(backend: ZygoteBackend) -> list[int]:
    """Those that are the small program by now."""
    assert backend.launcher_pid is not None
    return [
        pid
        for pid in below(backend.launcher_pid)
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"init\0")
    ]


def held(backend: ZygoteBackend, scene: Scene) -> dict[str, int]:
    """What the worker, the launcher and its zygote hold."""
    assert backend.launcher_pid is not None
    launcher = children(backend.launcher_pid)[0]
    counts = {"worker's descriptors": len(descriptors())}
    counts["processes"] = len(below(launcher))
    cells = [cell for group in groups_of(scene.instance) for cell in group.glob("*/")]
    counts["cgroups with processes"] = sum(bool((c / "cgroup.procs").read_text()) for c in cells)
    if os.geteuid() == 0:  # else a zygote cannot be looked into
        counts["descriptors"] = entries(f"/proc/{launcher}/fd")
        counts["zygote's descriptors"] = entries(f"/proc/{the_zygote(backend)}/fd")
        counts["mounts"] = len(Path(f"/proc/{launcher}/mountinfo").read_text().splitlines())
        mounts = Path(f"/proc/{the_zygote(backend)}/mountinfo").read_text()
        counts["zygote's mounts"] = len(mounts.splitlines())
    return counts


def the_zygote(backend: ZygoteBackend) -> int:
    """The launcher's child that looks like one, and is not a fork of one: those are in pid
    namespaces of their own."""
    assert backend.launcher_pid is not None
    launcher = children(backend.launcher_pid)[0]
    depth = len(pids_of(launcher))
    (found,) = [
        pid
        for pid in children(launcher)
        if b"/zygote_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        and len(pids_of(pid)) == depth
    ]
    return found


def pids_of(pid: int) -> list[str]:
    """Its pids, one for each pid namespace that it is in."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(row.split()[1:] for row in rows if row.startswith("NSpid:"))


def entries(directory: str) -> int:
    return len(list(Path(directory).iterdir()))


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def below(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        with contextlib.suppress(OSError):
            found += [child, *below(child)]
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
