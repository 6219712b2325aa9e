"""make bench-cold-node: the first invoke of a Node.js function, in milliseconds.

Two platforms take turns: in one Node waits for its function in a sandbox (a *stem*), in the other
it is executed for it. All on one core, the client too; each sample is a function that nobody has
invoked before, and comes when a stem is ready.

    python bench/cold_node.py [--samples 40] [--core N] [--runtime nodejs20.x]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cold import invoke, show
from platforms import HEARTH, MEMORY_MB, Hearth, hearth, machine

HANDLER = "exports.handler = async (event) => ({ ok: true, event });\n"
READY_S = 60.0
PLATFORMS = {"executed": ("--sandbox", "bubblewrap"), "waiting": ("--sandbox", "zygote")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--runtime", default="nodejs20.x")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    print(f"{machine()}; all on core {options.core}, {options.samples} samples each\n")
    cold: dict[str, list[float]] = {name: [] for name in PLATFORMS}
    warm: dict[str, list[float]] = {name: [] for name in PLATFORMS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hearth-node-")))
        platforms = {
            name: stack.enter_context(hearth(folder / name, "open", None, *flags))
            for name, flags in PLATFORMS.items()
        }
        for platform in platforms.values():
            create(platform, "first", options.runtime)
            invoke(platform, "first")
        for number in range(options.samples):
            for name, platform in platforms.items():
                function = f"cold-{number}"
                create(platform, function, options.runtime)
                if name == "waiting":
                    wait_for_stem(folder / name)
                cold[name].append(invoke(platform, function))
                warm[name].append(invoke(platform, function))
                platform.delete(function)
        report = stems(folder / "waiting")
    print(f"{options.runtime:34} {'p50':>7} {'p99':>7} {'second':>7}")
    for name in PLATFORMS:
        print(f"{name:34} {show(cold[name])} {statistics.median(warm[name]):7.2f}")
    print(f"\nstems: {report['taken']} starts found one, {report['missed']} did not")


def create(platform: Hearth, name: str, runtime: str) -> None:
    from compat.platform import ROLE, package

    code = {"ZipFile": package({"index.js": HANDLER})}
    platform._client.create_function(
        FunctionName=name,
        Runtime=runtime,
        Role=ROLE,
        Handler="index.handler",
        MemorySize=MEMORY_MB,
        Code=code,
    )
    while platform._client.get_function(FunctionName=name)["Configuration"]["State"] == "Pending":
        time.sleep(0.01)


def wait_for_stem(state: Path) -> None:
    gives_up_s = time.monotonic() + READY_S
    while not any(kind["ready"] for kind in stems(state)["kinds"] if kind["runtime"] == "node"):
        if time.monotonic() > gives_up_s:
            sys.exit("no stem was made")
        time.sleep(0.05)


def stems(state: Path) -> Any:
    answer = subprocess.run(
        [HEARTH, "status", "--json", "--state", state], capture_output=True, check=True
    )
    return json.loads(answer.stdout)["stems"]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    main()
