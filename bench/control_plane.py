"""How fast are list and get with a thousand functions and ten thousand versions?

    bench/control_plane.py [--functions 1000] [--versions 10000]

Starts a Hearth of its own and speaks HTTP to it with real boto3, one caller at a time for the
latencies: create functions, publish versions of them, stop, start again, then get and list. Prints
the start-up time without and with them, latencies, and the resident memory that each has cost.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from compat.platform import PYTHON, ROLE, Platform, package  # noqa: E402

CALLERS = 8
CALLS = 300
CODE = package({"app.py": "def handler(event, context):\n    return event\n"})


@contextmanager
def started(state: Path) -> Iterator[tuple[Platform, float]]:
    """A running Hearth, and the seconds until it was ready."""
    platform = Platform(state)
    began = time.perf_counter()
    platform.start()
    took_s = time.perf_counter() - began
    try:
        yield platform, took_s
    finally:
        platform.stop()


def memory_mb(platform: Platform) -> float:
    pages = int(Path(f"/proc/{platform.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def populate(platform: Platform, functions: int, versions: int) -> tuple[float, float]:
    """Functions a second, versions a second."""
    client = platform.client()
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
            settled(lambda: client.get_function_configuration(FunctionName=name))
            client.update_function_configuration(FunctionName=name, Description=f"v{number}")
            settled(lambda: client.get_function_configuration(FunctionName=name))
            client.publish_version(FunctionName=name)

    each, rest = divmod(versions, functions)
    tasks = [(name, each + (at < rest)) for at, name in enumerate(names)]
    with ThreadPoolExecutor(CALLERS) as pool:
        began = time.perf_counter()
        list(pool.map(create, names))
        created = time.perf_counter()
        list(pool.map(publish, tasks))
        published = time.perf_counter()
    return functions / (created - began), versions / (published - created)


def settled(read: Callable[[], Any]) -> None:
    while True:
        shown = read()
        if shown["State"] == "Active" and shown["LastUpdateStatus"] == "Successful":
            return


def latencies(call: Callable[[int], object], calls: int = CALLS) -> str:
    took = []
    for number in range(calls):
        began = time.perf_counter()
        call(number)
        took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return f"p50 {statistics.median(took):7.2f}   p99 {took[int(len(took) * 0.99)]:7.2f} ms"


def pages(client: Any, operation: str, key: str, **more: Any) -> int:
    return sum(len(page[key]) for page in client.get_paginator(operation).paginate(**more))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, default=1_000)
    parser.add_argument("--versions", type=int, default=10_000)
    arguments = parser.parse_args()
    functions, versions = arguments.functions, arguments.versions
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory) / "state"
        with started(state) as (platform, empty_s):
            empty_mb = memory_mb(platform)
            created_s, published_s = populate(platform, functions, versions)
        with started(state) as (platform, full_s):
            full_mb = memory_mb(platform)
            client = platform.client()
            print(f"{functions:,} functions, {versions:,} versions, over HTTP with boto3")
            print(f"  created {created_s:.0f} functions/s, {published_s:.0f} versions/s")
            print(f"  start-up {empty_s:.2f} s empty, {full_s:.2f} s with them")
            per_function = (full_mb - empty_mb) * 1024 / functions
            per_one = (full_mb - empty_mb) * 1024 / (functions + versions)
            print(f"  memory {empty_mb:.0f} MB empty, {full_mb:.0f} MB with them:", end=" ")
            print(f"{per_function:.1f} KB a function with its versions, {per_one:.1f} KB a record")
            name: Callable[[int], str] = lambda n: f"f-{n % functions:04}"  # noqa: E731
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
                (
                    "ListFunctions, all of them",
                    lambda _: pages(client, "list_functions", "Functions"),
                    5,
                ),
                (
                    "ListFunctions, all versions",
                    lambda _: pages(client, "list_functions", "Functions", FunctionVersion="ALL"),
                    2,
                ),
            ):
                print(f"  {what:30} {latencies(call, calls)}")
            found = pages(client, "list_functions", "Functions")
            assert found == functions, found


if __name__ == "__main__":
    main()
