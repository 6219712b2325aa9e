"""make bench-freeze: what it costs to freeze an idle sandbox and to thaw it, in milliseconds.

    python bench/freeze.py [--samples 200] [--core N]

Each sample freezes a sleeping Python program and thaws it a moment later: the time is the worker's.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.model.ids import SandboxId
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.contract import Program, SandboxSpec
from platforms import machine

TARGET_MS = 0.5
PAUSE_S = 0.005
PROGRAM = Program(
    argv=("/usr/bin/python3", "-I", "-S", "-c", "import time; time.sleep(3600)"),
    environment={},
    working_directory="/",
    mounts=(),
)


async def measure(samples: int) -> tuple[str, list[float], list[float]]:
    """Which freezer this machine has; each freeze, each thaw."""
    freezes, thaws = [], []
    with tempfile.TemporaryDirectory(prefix="hearth-freeze-") as directory:
        async with Jobs() as jobs:
            backend = BubblewrapBackend("bench", Path(directory), SystemClock(), jobs)
            found = await backend.open()
            if not found.usable:
                raise SystemExit(f"no sandboxes here: {found.why_not}")
            try:
                spec = SandboxSpec(sandbox=SandboxId("bench"), memory_mb=512, tmp_mb=16)
                sandbox = await backend.create(spec)
                channels = await sandbox.start(PROGRAM)
                await asyncio.sleep(0.5)
                for _ in range(samples):
                    began = time.perf_counter()
                    sandbox.freeze()
                    freezes.append((time.perf_counter() - began) * 1000)
                    await asyncio.sleep(PAUSE_S)
                    began = time.perf_counter()
                    sandbox.thaw()
                    thaws.append((time.perf_counter() - began) * 1000)
                    await asyncio.sleep(PAUSE_S)
                channels.api.close()
                os.close(channels.stdout)
                os.close(channels.stderr)
            finally:
                await backend.close()
    return found.freezer, freezes, thaws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    print(f"{machine()}; all on core {options.core}, {options.samples} samples each\n")
    freezer, freezes, thaws = asyncio.run(measure(options.samples))
    both = [freeze + thaw for freeze, thaw in zip(freezes, thaws, strict=True)]
    print(f"{'':24} {'p50':>7} {'p99':>7}")
    for name, times in (("freeze", freezes), ("thaw", thaws), ("freeze and thaw", both)):
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{name:24} {statistics.median(times):7.3f} {p99:7.3f}")
    print(f"\nby {freezer}; target: {TARGET_MS} ms together")


if __name__ == "__main__":
    main()
