"""Do sandboxes that come and go leave anything? `make leak` has 2,000 of them for each tier.

A fourth of them is frozen when it is destroyed, a fourth kills itself, a fourth is killed, and the
rest ends by itself and is started once more. Programs live until they are ended: so that nothing
here depends on how fast they are.
"""

import asyncio
import os
import uuid
from pathlib import Path

import pytest

from contract.sandbox_scene import (
    KIND,
    PYTHON,
    STEMS,
    Scene,
    descriptors,
    drop,
    eventually,
    groups_of,
    line_from,
    python,
)
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.worker.limits.cgroup_v1 import SPARES_MAX
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.zygote import ZygoteBackend
from hearth.worker.stem_policy import STEM_MB, StemBounds

COUNT = int(os.environ.get("HEARTH_TEST_SANDBOXES", "48"))
AT_A_TIME = 8
MIB = 1 << 20
# A process that leaks 10 KiB with each of 2,000 sandboxes grows by 20 MiB.
GROWTH_MAX = 12 * MIB

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300 + COUNT)]

LIVES = python("import time; print('up', flush=True); time.sleep(600)")
ENDS = python("print('up', flush=True)")
DIES = python("import os; os.write(1, b'up\\n'); os.kill(os.getpid(), 9)")

TIERS = {"bubblewrap": BubblewrapBackend, "zygote": ZygoteBackend, "stem": ZygoteBackend}


@pytest.mark.parametrize("tier", TIERS)
def test_sandboxes_that_come_and_go_leave_nothing(tier: str, tmp_path: Path) -> None:
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not there to be run in a sandbox")
    asyncio.run(main(tier, tmp_path))


async def main(tier: str, directory: Path) -> None:
    instance = uuid.uuid4().hex[:12]
    async with Jobs() as jobs:
        backend = TIERS[tier](instance, directory / "run", SystemClock(), jobs)
        if tier == "stem":  # as many before as after: else the pool grows with what is wanted
            bounds = StemBounds(floor=STEMS, memory_mb=STEMS * STEM_MB)
            backend = ZygoteBackend(instance, directory / "run", SystemClock(), jobs, bounds)
        capabilities = await backend.open()
        if not capabilities.usable:
            pytest.skip(f"no {backend.name} here: {capabilities.why_not}")
        try:
            has_stems = tier == "stem"
            if isinstance(backend, ZygoteBackend):
                assert await backend.prepare(KIND, STEMS if has_stems else 0)
            scene = Scene(backend, capabilities, instance, directory, has_stems)
            await come_and_go(scene, range(AT_A_TIME * 2))
            if isinstance(backend, ZygoteBackend) and has_stems:
                assert await backend.prepare(KIND, STEMS)
            launcher = launcher_of(backend)
            before, memory = held(scene, launcher), resident(launcher)
            await come_and_go(scene, range(COUNT))
            if isinstance(backend, ZygoteBackend) and has_stems:
                assert await backend.prepare(KIND, STEMS)
            await eventually(lambda: held(scene, launcher_of(backend)) == before)
            spare = len(cells(instance)) - before["cgroups with processes"]
            assert spare <= SPARES_MAX * len(groups_of(instance))
            assert launcher_of(backend) == launcher, "the launcher was lost"
            assert resident(launcher) - memory < GROWTH_MAX
        finally:
            await backend.close()
    assert groups_of(instance) == []
    assert not is_alive(launcher)


async def come_and_go(scene: Scene, numbers: range) -> None:
    for start in range(0, len(numbers), AT_A_TIME):
        await asyncio.gather(*(one(scene, n) for n in numbers[start : start + AT_A_TIME]))


async def one(scene: Scene, number: int) -> None:
    sandbox = await scene.sandbox(f"s{number}")
    way = number % 4
    channels = await sandbox.start((LIVES, DIES, LIVES, ENDS)[way])
    assert await line_from(channels.stdout) == "up\n"
    if way == 0:
        sandbox.freeze()
    elif way == 2:
        await sandbox.kill()
    else:
        await sandbox.wait()
    drop(channels)
    if way == 3:
        drop(await sandbox.start(LIVES))
    await sandbox.destroy()


def launcher_of(backend: BubblewrapBackend) -> int:
    """The launcher proper: its stub's only child."""
    assert backend.launcher_pid is not None
    (found,) = children(backend.launcher_pid)
    return found


def held(scene: Scene, launcher: int) -> dict[str, int]:
    """What worker and launcher hold. Zygotes are renewed, and are the processes that stay."""
    counts = {
        "worker's descriptors": len(descriptors()),
        "processes": len(below(launcher)),
        "cgroups with processes": sum(map(has_processes, cells(scene.instance))),
        "namespaces": len(namespaces(launcher)),
    }
    if os.geteuid() == 0:
        counts["descriptors"] = len(list(Path(f"/proc/{launcher}/fd").iterdir()))
        counts["mounts"] = len(Path(f"/proc/{launcher}/mountinfo").read_text().splitlines())
    return counts


def cells(instance: str) -> list[Path]:
    return [cell for group in groups_of(instance) for cell in group.glob("*/")]


def has_processes(cell: Path) -> bool:
    try:
        return bool((cell / "cgroup.procs").read_text())
    except OSError:  # it has just gone
        return False


def namespaces(launcher: int) -> set[str]:
    """Of all processes below the launcher; those that are ending may be gone."""
    found = set()
    for pid in (launcher, *below(launcher)):
        try:
            found |= {str(path.readlink()) for path in Path(f"/proc/{pid}/ns").iterdir()}
        except OSError:
            continue
    return found


def resident(pid: int) -> int:
    """Bytes of its own. Not of the worker, which is this test, and keeps what it likes."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith("RssAnon:"))


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def below(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        found += [child, *below(child)]
    return found
