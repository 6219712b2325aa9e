"""make bench: warm, cold, CPU and idle figures, as ratios to a floor measured in the same run.

Everything, the load generator too, is pinned to one core, so that a figure is the work done and
not how it was spread. These machines are noisy: the floor and Hearth take turns, the median of the
turns is printed, and ratios say more than single figures.

    python bench/run.py [--seconds 3] [--turns 3] [--core N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loads import HERE, Turn, load, plain_request
from platforms import HANDLER, PYTHON, Hearth, hearth, key, machine

COLD_STARTS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of load per measurement")
    parser.add_argument("--turns", type=int, default=3, help="floor and Hearth take turns")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    print(
        f"{machine()}; all on core {options.core}, {options.turns} turns of {options.seconds} s\n"
    )
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:
        bench(Path(folder), options.seconds, options.turns)


def bench(folder: Path, seconds: float, turns: int) -> None:
    starts = [start_and_idle(folder / f"idle-{n}") for n in range(4)][1:]  # the first compiles
    pair = key(folder / "signed")
    with (
        hearth(folder / "open", "open", ("test", "test")) as open_,
        hearth(folder / "signed", "sigv4", pair) as signed,
    ):
        for platform in (open_, signed):
            platform.create("warm", HANDLER)
            platform.prepare("warm", 8)
        warm_table(open_, signed, next(open_.kits()), seconds, turns)
        cold_table(open_)
    start_table(starts)


# -- (a) and (c): warm --------------------------------------------------------------------------


def warm_table(open_: Hearth, signed: Hearth, kit: Path, seconds: float, turns: int) -> None:
    print("(a) warm, and (c) CPU per invoke in µs")
    print(
        f"{'':34} {'invokes/s':>9} {'of floor':>9} {'p50 µs':>8} {'p99 µs':>8}"
        f"   {'platform':>9} {'runtime':>8} {'load':>6}"
    )
    for connections in (1, 8):
        runs: dict[str, list[Turn]] = {}
        for _ in range(turns):
            for kind in ("ric", "kit", "raw"):
                with floor(kind, connections, kit) as (port, server, runtimes):
                    turn = load(port, plain_request(port), connections, seconds, server, runtimes)
                runs.setdefault(f"floor, {kind}", []).append(turn)
            for name, platform in (("open", open_), ("signed", signed)):
                request = platform.request()
                turn = load(
                    platform.port,
                    request,
                    connections,
                    seconds,
                    platform.pid,
                    platform.runtimes(),
                )
                runs.setdefault(f"Hearth, {name} request", []).append(turn)
        base = statistics.median(t.per_s for t in runs["floor, ric"])
        for name, measured in runs.items():
            show_warm(f"{name}, {connections} connection{'s'[: connections > 1]}", measured, base)
        print()
    print(
        "    floor: the least asyncio front end, with AWS's runtime client as published (ric), with"
    )
    print(
        "    AWS's client on Hearth's transport, as functions get it (kit), with a minimal client"
    )
    print("    (raw); a floor takes an answer and the question for the next event as two requests,")
    print("    Hearth takes one from its own transport. `of floor` is against floor, ric. Signed")
    print("    requests go to a Hearth with --auth sigv4, which verifies each of them.")


def show_warm(name: str, turns: list[Turn], base: float) -> None:
    def median(field: str) -> float:
        return float(statistics.median(getattr(turn, field) for turn in turns))

    print(
        f"{name:34} {median('per_s'):9.0f} {median('per_s') / base:9.2f}"
        f" {median('p50_us'):8.0f} {median('p99_us'):8.0f}   {median('platform_us'):9.0f}"
        f" {median('runtime_us'):8.0f} {median('load_us'):6.0f}"
        + (f"  ERRORS {sum(t.errors for t in turns)}" if any(t.errors for t in turns) else "")
    )


@contextmanager
def floor(kind: str, runtimes: int, kit: Path) -> Iterator[tuple[int, int, list[int]]]:
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [sys.executable, HERE / "floor.py", kind, str(runtimes), kit],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
        assert process.stdout is not None
        try:
            ready, _, said = process.stdout.readline().partition(" ")
            if ready != "ready":
                complaints.seek(0)
                sys.exit(f"floor, {kind}: {complaints.read()}")
            port, *pids = said.split()
            yield int(port), int(pids[0]), [int(pid) for pid in pids[1:]]
        finally:
            process.terminate()
            process.wait(10)


# -- (b): cold ----------------------------------------------------------------------------------


def cold_table(platform: Hearth) -> None:
    """The first invoke of a function that nobody has invoked; and of the same unsandboxed."""
    times, warm = [], []
    for number in range(COLD_STARTS):
        name = f"cold-{number}"
        platform.create(name, HANDLER)
        times.append(platform.invoke(name))
        warm.append(platform.invoke(name))
        platform.delete(name)
    bare = [bare_start(next(platform.kits())) for _ in range(COLD_STARTS)]
    p50, floor_p50 = statistics.median(times), statistics.median(bare)
    print("\n(b) cold, ms: first invoke of a fresh function, through an AWS client")
    print(f"{'first invoke':34} p50 {p50:7.1f}  max {max(times):7.1f}")
    print(f"{'second invoke':34} p50 {statistics.median(warm):7.1f}")
    print(
        f"{'floor: AWS client starts, bare':34} p50 {floor_p50:7.1f}  ratio {p50 / floor_p50:.2f}"
    )


def bare_start(kit: Path) -> float:
    """Milliseconds from exec to the first `next` of AWS's client, with no sandbox around it."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory() as task:
        Path(task, "app.py").write_text(HANDLER)
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{listener.getsockname()[1]}",
            "LAMBDA_TASK_ROOT": task,
            "_HANDLER": "app.handler",
            "PYTHONPATH": str(kit),
            "LC_CTYPE": "C.UTF-8",
        }
        python = f"/usr/bin/{PYTHON}" if Path(f"/usr/bin/{PYTHON}").exists() else sys.executable
        began = time.perf_counter()
        process = subprocess.Popen([python, "-S", kit / "bootstrap.py"], env=environment, cwd=task)
        connection, _ = listener.accept()
        connection.recv(1)
        took = (time.perf_counter() - began) * 1000
        process.kill()
        process.wait()
        connection.close()
    return took


# -- (d): start and idle ------------------------------------------------------------------------


def start_and_idle(state: Path) -> tuple[float, dict[str, float]]:
    """Seconds to the ready line, and MB (PSS) of each process a second later."""
    began = time.perf_counter()
    with hearth(state, "open") as platform:
        took = time.perf_counter() - began
        time.sleep(1.0)
        memory = {name: pss_mb(pid) for name, pid in platform.processes().items()}
    return took, memory


def start_table(starts: list[tuple[float, dict[str, float]]]) -> None:
    print("\n(d) start and idle")
    print(f"{'hearth up, to its ready line':34} {statistics.median(s for s, _ in starts):7.2f} s")
    memory = starts[-1][1]
    for name, used in memory.items():
        print(f"{name + ', idle':34} {used:7.1f} MB")
    print(f"{'together':34} {sum(memory.values()):7.1f} MB")


def pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
