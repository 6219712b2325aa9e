"""What is in a sandbox that waits for its function, what does the bind change, and what is left?

The contract suite runs over bound stems; here is what only they could get wrong.
"""

import contextlib
import json
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contract.sandbox_scene import (
    KIND,
    Scene,
    drop,
    eventually,
    line_from,
    processes_with,
    python,
    run,
)
from hearth.worker.sandboxes.contract import Exit, ExitKind, Mount, Sandbox
from hearth.worker.sandboxes.zygote import ZygoteBackend
from hearth.worker.stem_policy import DEFAULT_BOUNDS, STEM_MB, StemBounds
from integration.test_zygotes import (
    DIFFERENT,
    SEARCH,
    alive,
    below,
    children,
    held,
    pids_of,
    play,
    scripted,
)

pytestmark = pytest.mark.integration

TWO = StemBounds(floor=2, memory_mb=2 * STEM_MB)
Scenario = Callable[[Scene, ZygoteBackend], Awaitable[None]]


def play_stems(directory: Path, scenario: Scenario, stems: StemBounds = DEFAULT_BOUNDS) -> None:
    async def with_stems(scene: Scene, backend: ZygoteBackend) -> None:
        scene.has_stems = True
        await scenario(scene, backend)

    play(directory, with_stems, stems)


async def taken(scene: Scene, backend: ZygoteBackend, name: str = "s1") -> Sandbox:
    """A sandbox that is a stem for certain."""
    assert await backend.prepare(KIND, 1)
    before = backend.stems().taken
    sandbox = await scene.sandbox(name)
    assert backend.stems().taken == before + 1
    return sandbox


def test_no_random_value_is_the_same_in_two_stems(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        program = scripted(tmp_path)
        assert program.zygote is not None
        assert await backend.prepare(program.zygote, 3)
        seen = []
        for number in range(3):
            sandbox = await scene.sandbox(f"s{number}", kind=program.zygote)
            out, err, exit_ = await run(sandbox, program)
            assert (err, exit_) == ("", Exit(ExitKind.EXITED, 0))
            seen.append(json.loads(out))
        assert backend.stems().taken == 3
        for what in DIFFERENT:
            assert len({str(one[what]) for one in seen}) == 3, what

    play_stems(tmp_path, scenario)


def test_a_stem_was_told_nothing_of_another_function(tmp_path: Path) -> None:
    """Neither one that was made before the other function was bound, nor one made after it."""

    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND, 3)
        secret = {"SECRET": f"only-for-one-{uuid.uuid4().hex}"}
        told = await taken(scene, backend, "told")
        out, _, _ = await run(told, python(SEARCH, environment=secret))
        assert int(out) > 0, "the search finds what there is"
        for number in range(4):
            other = await taken(scene, backend, f"other-{number}")
            assert (await run(other, python(SEARCH)))[:2] == ("0\n", "")

    play_stems(tmp_path, scenario)


def test_a_waiting_stem_is_as_closed_as_it_will_ever_be(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND, 1)
        assert backend.launcher_pid is not None
        launcher = children(backend.launcher_pid)[0]
        depth = len(pids_of(launcher))
        waiting = [pid for pid in below(launcher) if len(pids_of(pid)) > depth]
        assert len(waiting) >= 2, "init and program"
        for pid in waiting:
            look_at(pid)
        names = [Path(f"/proc/{pid}/comm").read_text() for pid in waiting]  # noqa: ASYNC240
        assert "init\n" in names, "what has made the sandbox is not needed any more"

    play_stems(tmp_path, scenario)


def in_sandboxes(backend: ZygoteBackend) -> list[int]:
    """The processes of all its sandboxes, now; others may come and go."""
    assert backend.launcher_pid is not None
    launcher = children(backend.launcher_pid)[0]
    depth = len(pids_of(launcher))
    found = []
    for pid in below(launcher):
        with contextlib.suppress(OSError):
            if len(pids_of(pid)) > depth:
                found.append(pid)
    return found


def look_at(pid: int) -> None:
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(row.split(":", 1) for row in rows)
    for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"


def test_code_arrives_read_only_and_only_in_its_own_stem(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        code, layer = tmp_path / "code", tmp_path / "layer"
        for directory in (code, layer):
            directory.mkdir()
            (directory / "file").write_text(directory.name)
        look = (
            "import os\n"
            "def read(path):\n"
            "    try: return open(path).read()\n"
            "    except OSError as error: return error.strerror\n"
            "print(read('/var/task/file'), read('/opt/file'))\n"
            "try: open('/var/task/new', 'w')\n"
            "except OSError as error: print(error.strerror)\n"
        )
        mounts = (Mount(code, "/var/task"), Mount(layer, "/opt"))
        sandbox = await taken(scene, backend)
        bound = python(look, mounts=mounts, working_directory="/var/task")
        out, err, _ = await run(sandbox, bound)
        assert (out, err) == ("code layer\nRead-only file system\n", "")
        other = await taken(scene, backend, "other")
        out, _, _ = await run(other, python(look))
        assert out.startswith("No such file or directory No such file or directory\n")

    play_stems(tmp_path, scenario)


def test_limits_and_tmp_are_those_of_the_function(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        size = "import os; seen = os.statvfs('/tmp'); print(seen.f_blocks * seen.f_frsize)"
        for tmp_mb in (512, 1024, 600):
            assert await backend.prepare(KIND, 1)
            sandbox = await scene.sandbox(f"tmp-{tmp_mb}", tmp_mb=tmp_mb)
            assert (await run(sandbox, python(size)))[0] == f"{tmp_mb << 20}\n"
        hungry = python("held = b'x' * (220 << 20); print('fits')")
        for memory_mb, fits in ((320, True), (160, False)):
            assert await backend.prepare(KIND, 1)
            sandbox = await scene.sandbox(f"memory-{memory_mb}", memory_mb=memory_mb, tmp_mb=16)
            out, _, exit_ = await run(sandbox, hungry)
            if fits:
                assert (out, exit_) == ("fits\n", Exit(ExitKind.EXITED, 0))
            elif scene.capabilities.memory_limit.startswith("cgroup"):
                assert exit_.kind is ExitKind.OUT_OF_MEMORY
        assert backend.stems().missed == 0

    play_stems(tmp_path, scenario)


def test_a_stem_that_was_killed_is_made_up_for(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        sandbox = await taken(scene, backend)
        killed = in_sandboxes(backend)
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):  # it went with its pid 1
                os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not any(alive(pid) for pid in killed))
        assert (await run(sandbox, python("print(1)")))[0] == "1\n"
        # The others have died too; whoever comes next is not given one of those.
        assert (await run(await scene.sandbox("next"), python("print(2)")))[0] == "2\n"

    play_stems(tmp_path, scenario)


def test_a_stem_serves_only_what_it_was_made_for(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        sandbox = await taken(scene, backend)
        other = replace(KIND, tenant="somebody-else")
        out, _, exit_ = await run(sandbox, python("print(1)", zygote=other))
        assert (out, exit_) == ("1\n", Exit(ExitKind.EXITED, 0)), "executed, in a sandbox made anew"

    play_stems(tmp_path, scenario)


def test_a_bound_stem_may_be_reset_and_started_again(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        assert await backend.prepare(KIND, 1)
        sandbox = await scene.sandbox(tmp_mb=32)
        keep = "open('/tmp/kept', 'w').write('kept'); import time; print(1, flush=True)"
        channels = await sandbox.start(python(f"{keep}; time.sleep(100)"))
        assert await line_from(channels.stdout) == "1\n"
        await sandbox.kill()
        drop(channels)
        again = "import os; print(open('/tmp/kept').read(), os.statvfs('/tmp').f_blocks * 4096)"
        assert (await run(sandbox, python(again)))[0] == f"kept {32 << 20}\n"

    play_stems(tmp_path, scenario)


def test_what_an_interpreter_reads_when_it_starts_is_heeded_by_a_stem_too(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        sandbox = await taken(scene, backend)
        code = "import os, sys; print(sys.flags.utf8_mode, os.getpid(), sys.argv[1:])"
        # -I ignores PYTHON*; what the C library reads is heeded all the same.
        program = python(code, "x", environment={"LC_ALL": "C", "MALLOC_ARENA_MAX": "1"})
        out, err, _ = await run(sandbox, program)
        assert err == ""
        assert out.split(" ", 1)[1] == "2 ['x']\n"

    play_stems(tmp_path, scenario)


def test_stems_leave_nothing_whether_they_were_used_or_not(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        async def use(count: int) -> None:
            assert await backend.prepare(KIND, TWO.stems_max)
            for number in range(count):
                sandbox = await taken(scene, backend, f"s{number}")
                assert (await run(sandbox, python("print(1)")))[0] == "1\n"
                await sandbox.destroy()

            assert await backend.prepare(KIND, TWO.stems_max)

        await use(6)
        before = held(backend, scene)
        await use(12)
        assert held(backend, scene) == before
        assert backend.stems().failed == 0

    play_stems(tmp_path, scenario, TWO)


def test_when_the_launcher_dies_no_stem_survives_it(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        marker = uuid.uuid4().hex
        sandbox = await taken(scene, backend)
        channels = await sandbox.start(python("import time; time.sleep(600)", marker))
        await eventually(lambda: processes_with(marker))
        assert await backend.prepare(KIND, 2)
        assert backend.launcher_pid is not None
        launcher = children(backend.launcher_pid)[0]
        everything = below(launcher)
        os.kill(launcher, signal.SIGKILL)
        await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everything))
        assert (await sandbox.wait()).kind is ExitKind.SIGNALED
        drop(channels)
        assert (await run(await scene.sandbox("next"), python("print(1)")))[0] == "1\n"

    play_stems(tmp_path, scenario)


REHEARSED = """
import os
held = [bytearray(4096) for _ in range(500)]

def touch():
    for page in held:
        page[0] = 1

def rehearse(directory):
    open(f"{directory}/file", "w").close()
    os.makedirs(f"{directory}/below", exist_ok=True)
    touch()

def main():
    def faults():
        return int(open("/proc/self/stat").read().rpartition(")")[2].split()[7])
    before = faults()
    touch()
    print(faults() - before, os.path.exists("/rehearsal"))
"""


def test_pages_that_were_written_to_in_a_rehearsal_are_there_before_the_start(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        faults: list[int] = []
        for script in (REHEARSED, REHEARSED.replace("rehearse", "other")):
            directory = tmp_path / str(len(faults))
            directory.mkdir()
            program = scripted(directory, script)
            assert program.zygote is not None
            assert await backend.prepare(program.zygote, 1)
            sandbox = await scene.sandbox(f"s{len(faults)}", kind=program.zygote)
            out, err, _ = await run(sandbox, program)
            assert err == ""
            found, shows = out.split()
            assert shows == "False"
            faults.append(int(found))
            if script is REHEARSED:
                assert backend.pages > 0
        assert faults[1] >= 400, "each page is copied when it is first written to"
        if linux_is_at_least(5, 14):
            assert faults[0] < 100

    play_stems(tmp_path, scenario)


def linux_is_at_least(*version: int) -> bool:
    return tuple(int(part) for part in os.uname().release.split(".")[:2]) >= version
