"""How fast are list and get with a thousand functions and ten thousand versions?

    bench/control_plane.py [--functions 1000] [--versions 10000]

Starts a Hearth of its own and speaks HTTP to it with real boto3, one caller at a time for the
latencies: create functions, publish versions of them, stop, start again, then get and list. Prints
the start-up time without and with them and where it goes, latencies beside what of them is CPU of
Hearth's, and the resident memory that each has cost. What it is at stands on stderr.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from compat.platform import PYTHON, ROLE, Platform, package  # noqa: E402

CALLERS = 8
CALLS = 300
CODE = package({"app.py": "def handler(event, context):\n    return event\n"})


@dataclass(frozen=True)
class Start:
    """What a start took."""

    wall_s: float
    cpu_s: float
    """Of Hearth, its engine and its launcher, until it was ready."""
    build_ms: int
    """Until the engine and the sandboxes ran; before that, modules are imported."""
    read_ms: int
    """Until every record was read."""

    def __str__(self) -> str:
        import_ms = self.wall_s * 1e3 - self.build_ms - self.read_ms
        return (
            f"{self.wall_s:.2f} s ({self.cpu_s:.2f} s CPU; imports and the rest {import_ms:.0f}, "
            f"engine and sandboxes {self.build_ms}, reading {self.read_ms} ms)"
        )


@contextmanager
def started(state: Path) -> Iterator[tuple[Platform, Start]]:
    """A running Hearth, once it is ready."""
    platform = Platform(state)
    began = time.perf_counter()
    platform.start()
    wall_s = time.perf_counter() - began
    try:
        cpu_s = sum(cpu_of(pid) for pid in (platform.pid, *children(platform.pid)))
        yield platform, Start(wall_s, cpu_s, *phases(platform))
    finally:
        platform.stop()


def phases(platform: Platform) -> tuple[int, int]:
    """From its ready line, which may come a moment after the one on stdout."""
    while not (ready := re.findall(r"build_ms=(\d+) read_ms=(\d+)", platform.said())):
        time.sleep(0.01)
    build_ms, read_ms = ready[-1]
    return int(build_ms), int(read_ms)


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def cpu_of(pid: int) -> float:
    """Seconds of CPU, of a process and of those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def say(what: str) -> None:
    print(f"  ... {what}", file=sys.stderr, flush=True)


def memory_mb(platform: Platform) -> float:
    pages = int(Path(f"/proc/{platform.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def populate(platform: Platform, functions: int, versions: int) -> tuple[float, float]:
    """Functions a second, versions a second."""
    client: Any = platform.client()
    names = [f"f-{number:04}" for number in range(functions)]

    def create(name: str) -> None:
        client.create_function(
            FunctionName=name,
            Runtime=PYTHON,
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": CODE},
            Environment={"Variables": {"STAGE": "bench", "NAME": name}},
        )

    def publish(task: tuple[str, int]) -> None:
        name, count = task
        for number in range(count):
            if (at := next(published)) % 1_000 == 0:
                say(f"{at:,} of {versions:,} versions")
            settled(lambda: client.get_function_configuration(FunctionName=name))
            client.update_function_configuration(FunctionName=name, Description=f"v{number}")
            settled(lambda: client.get_function_configuration(FunctionName=name))
            client.publish_version(FunctionName=name)

    published = count_from(0)
    each, rest = divmod(versions, functions)
    tasks = [(name, each + (at < rest)) for at, name in enumerate(names)]
    say(f"creating {functions:,} functions")
    with ThreadPoolExecutor(CALLERS) as pool:
        began = time.perf_counter()
        list(pool.map(create, names))
        created = time.perf_counter()
        list(pool.map(publish, tasks))
        ended = time.perf_counter()
    return functions / (created - began), versions / (ended - created)


def settled(read: Callable[[], Any]) -> None:
    while True:
        shown = read()
        if shown["State"] == "Active" and shown["LastUpdateStatus"] == "Successful":
            return


def latencies(platform: Platform, call: Callable[[int], object], calls: int = CALLS) -> str:
    took = []
    cpu_s = cpu_of(platform.pid)
    for number in range(calls):
        began = time.perf_counter()
        call(number)
        took.append((time.perf_counter() - began) * 1e3)
    cpu_ms = (cpu_of(platform.pid) - cpu_s) / calls * 1e3
    p99 = sorted(took)[int(calls * 0.99)]
    return f"p50 {statistics.median(took):7.2f}   p99 {p99:7.2f} ms   CPU {cpu_ms:6.2f} ms"


def pages(client: Any, operation: str, key: str, **more: Any) -> int:
    return sum(len(page[key]) for page in client.get_paginator(operation).paginate(**more))


def print_latencies(platform: Platform, functions: int) -> None:
    client = platform.client()

    def name(number: int) -> str:
        return f"f-{number % functions:04}"

    for what, call, calls in (
        ("GetFunction", lambda n: client.get_function(FunctionName=name(n)), CALLS),
        (
            "GetFunction, version",
            lambda n: client.get_function(FunctionName=name(n), Qualifier="1"),
            CALLS,
        ),
        ("ListFunctions, a page of 50", lambda _: client.list_functions(), 100),
        (
            "ListVersionsByFunction",
            lambda n: client.list_versions_by_function(FunctionName=name(n)),
            100,
        ),
        ("ListFunctions, all of them", lambda _: pages(client, "list_functions", "Functions"), 5),
        (
            "ListFunctions, all versions",
            lambda _: pages(client, "list_functions", "Functions", FunctionVersion="ALL"),
            2,
        ),
    ):
        call(0)  # the first call of an operation learns its shapes
        print(f"  {what:30} {latencies(platform, call, calls)}", flush=True)
    found = pages(client, "list_functions", "Functions")
    assert found == functions, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, default=1_000)
    parser.add_argument("--versions", type=int, default=10_000)
    arguments = parser.parse_args()
    functions, versions = arguments.functions, arguments.versions
    print(f"{functions:,} functions, {versions:,} versions, over HTTP with boto3", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory) / "state"
        with started(state):
            say("compiled, once")
        with started(state) as (platform, empty):
            print(f"  start-up, empty      {empty}", flush=True)
            empty_mb = memory_mb(platform)
            created_s, published_s = populate(platform, functions, versions)
            print(
                f"  created {created_s:.0f} functions/s, {published_s:.0f} versions/s", flush=True
            )
        with started(state) as (platform, full):
            print(f"  start-up, with them  {full}")
            full_mb = memory_mb(platform)
            per_function = (full_mb - empty_mb) * 1024 / functions
            per_one = (full_mb - empty_mb) * 1024 / (functions + versions)
            print(f"  memory {empty_mb:.0f} MB empty, {full_mb:.0f} MB with them:", end=" ")
            print(f"{per_function:.1f} KB a function with its versions, {per_one:.1f} KB a record")
            print_latencies(platform, functions)


if __name__ == "__main__":
    main()
