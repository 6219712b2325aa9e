"""make bench-cold: the first invoke of a function, by sandbox, in milliseconds.

The platforms take turns, all on one core, the client too: each sample is a function that nobody
has invoked before. The zygote's account has invoked another function before, as it would have.

    python bench/cold.py [--samples 40] [--core N]
"""

import argparse
import http.client
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from run import HANDLER, PAYLOAD, Hearth, bare_start, hearth, machine

SANDBOXES = ("bubblewrap", "zygote")
MEMORY_READY_S = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    print(f"{machine()}; all on core {options.core}, {options.samples} samples each\n")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hearth-cold-")))
        platforms = {
            name: stack.enter_context(hearth(folder / name, "open", None, "--sandbox", name))
            for name in SANDBOXES
        }
        for name, platform in platforms.items():
            prepare(name, platform)
        cold: dict[str, list[float]] = {name: [] for name in platforms}
        warm: dict[str, list[float]] = {name: [] for name in platforms}
        for number in range(options.samples):
            for name, platform in platforms.items():
                function = f"cold-{number}"
                platform.create(function, HANDLER)
                cold[name].append(invoke(platform, function))
                warm[name].append(invoke(platform, function))
                platform.delete(function)
        bare = [bare_start(next(platforms["zygote"].kits())) for _ in range(options.samples)]
    print(f"{'':34} {'p50':>7} {'p99':>7} {'second':>7}")
    for name in platforms:
        print(f"{name:34} {show(cold[name])} {statistics.median(warm[name]):7.2f}")
    print(f"{'floor: AWS client starts, bare':34} {show(bare)}")
    ratio = statistics.median(cold["zygote"]) / statistics.median(cold["bubblewrap"])
    print(f"\nzygote / bubblewrap, p50: {ratio:.2f}")


def prepare(name: str, platform: Hearth) -> None:
    """Build the kit; for zygotes, wait until there is one."""
    platform.create("first", HANDLER)
    invoke(platform, "first")
    gives_up_s = time.monotonic() + MEMORY_READY_S
    while name == "zygote" and not has_zygote(platform):
        if time.monotonic() > gives_up_s:
            sys.exit("no zygote was made")
        time.sleep(0.05)
    for number in range(3):
        platform.create(f"warm-up-{number}", HANDLER)
        invoke(platform, f"warm-up-{number}")


def has_zygote(platform: Hearth) -> bool:
    return any(
        b"/zygote_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        for pid in platform.runtimes()
    )


def invoke(platform: Hearth, function: str) -> float:
    """Milliseconds from the first byte out to the last byte in, on a fresh connection."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=30)
    connection.connect()
    began = time.perf_counter()
    connection.request("POST", f"/2015-03-31/functions/{function}/invocations", PAYLOAD)
    answer = connection.getresponse()
    body = answer.read()
    took = (time.perf_counter() - began) * 1000
    connection.close()
    if answer.status != 200 or b'"ok"' not in body:
        sys.exit(f"{function}: {answer.status} {body!r}")
    return took


def show(times: list[float]) -> str:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(ordered):7.2f} {p99:7.2f}"


if __name__ == "__main__":
    main()
