"""The rows of `make bench-cold` that are no single start: rates, memory, bursts, ratios."""

import asyncio
import os
import re
import statistics
import threading
import time
from collections import Counter
from pathlib import Path

from cold_bench import Bench, Figures, NotHere, available_kib, invoke, other_hearth
from loads import PAYLOAD, Turn, load, plain_request
from platforms import HANDLER, Hearth, hearth, key
from run import floor

SUSTAINED = 200
IN_FLIGHT = 4
IDLE = 40
SLEEPER = "import time\ndef handler(event, context):\n    time.sleep(2)\n    return {'ok': True}\n"
SANDBOX_KIB = 8 << 10
"""More than one of the burst holds."""
UNRESERVED = 200
"""What an account must keep for other functions is 100."""
WARM_TURNS = 3
WARM_S = 1.0


def sustained(bench: Bench) -> Figures:
    """Idle sandboxes end after a second, so that ends are counted as well as starts."""
    platform = bench.platform("--keepalive", "1")
    names = [bench.name() for _ in range(SUSTAINED)]
    for name in names:
        platform.create(name, HANDLER)
    left = iter(names)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                name = next(left, None)
            if name is None:
                return
            invoke(platform, name)

    threads = [threading.Thread(target=work) for _ in range(IN_FLIGHT)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - began
    text = f"{SUSTAINED / took_s:.0f} /s ({SUSTAINED} starts, {IN_FLIGHT} at a time)"
    return Figures(text=text, each_ms=took_s * 1000 / SUSTAINED)


def idle_memory(_bench: Bench) -> Figures:
    """What the machine has less for each sandbox that has served an invoke and idles."""
    names = [f"idle-{number}" for number in range(IDLE)]
    with other_hearth("--stems-mb", "0") as platform:
        for name in names:
            platform.create(name, HANDLER)
        before = available_kib()
        for name in names:
            invoke(platform, name)
        held = (before - available_kib()) / 1024 / IDLE
        cells = [
            int((cell / name).read_text()) / 2**20
            for cell in cells_of(platform)
            for name in ("memory.current", "memory.usage_in_bytes")
            if (cell / name).exists()
        ]
    text = f"{held:.2f} MiB of the machine's"
    return Figures(text=text + (f", {statistics.median(cells):.2f} by cgroup" if cells else ""))


def cells_of(platform: Hearth) -> list[Path]:
    """The cgroups of its sandboxes. os.walk minds none that goes while it looks; glob does."""
    ours = re.compile(rf"/hearth-\w+-{platform.pid}-\d+$")
    walk = os.walk("/sys/fs/cgroup")
    return [Path(place, name) for place, names, _ in walk if ours.search(place) for name in names]


def burst(bench: Bench) -> Figures:
    """So many sandboxes that are kept initialised and idle, then an invoke of each at once."""
    count = bench.burst
    if available_kib() < count * SANDBOX_KIB:
        raise NotHere(f"{count * SANDBOX_KIB >> 20} GiB of memory are not there")
    with other_hearth("--account-concurrency", str(count + UNRESERVED)) as platform:
        platform.create("sleeper", SLEEPER)
        client = platform._client
        client.update_function_configuration(FunctionName="sleeper", MemorySize=128)
        client.get_waiter("function_updated_v2").wait(FunctionName="sleeper")
        version = client.publish_version(FunctionName="sleeper")["Version"]
        before, began = available_kib(), time.monotonic()
        made = provision(platform, version, count)
        took_s = time.monotonic() - began
        held = (before - available_kib()) / 1024 / count
        time.sleep(1.0)  # by then they are frozen
        statuses, answered_s = asyncio.run(at_once(platform, f"sleeper:{version}", count))
    others = Counter(status for status in statuses if status != 200)
    answered = f"{statuses.count(200)} of {count} in {answered_s:.1f} s (2 of them asleep)"
    text = f"{answered}; {made} were made in {took_s:.0f} s, {held:.2f} MiB each"
    return Figures(text=text + (f"; also {dict(others)}" if others else ""))


def provision(platform: Hearth, version: str, count: int) -> int:
    """How many of `count` sandboxes there are at the end; they are all idle then."""
    where = {"FunctionName": "sleeper", "Qualifier": version}
    client = platform._client
    client.put_provisioned_concurrency_config(**where, ProvisionedConcurrentExecutions=count)
    while True:
        shown = client.get_provisioned_concurrency_config(**where)
        if shown["Status"] != "IN_PROGRESS":
            return int(shown.get("AvailableProvisionedConcurrentExecutions", 0))
        time.sleep(0.5)


async def at_once(platform: Hearth, name: str, count: int) -> tuple[list[int], float]:
    request = (
        f"POST /2015-03-31/functions/{name}/invocations HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {len(PAYLOAD)}\r\nConnection: close\r\n\r\n"
    ).encode() + PAYLOAD

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1]) if answer else 0

    began = time.perf_counter()
    statuses = await asyncio.gather(*(one() for _ in range(count)))
    return list(statuses), time.perf_counter() - began


def freeze_and_thaw(_bench: Bench) -> Figures:
    """A sandbox by itself, without the platform around it."""
    from hearth.base.clock import SystemClock
    from hearth.base.jobs import Jobs
    from hearth.model.ids import SandboxId
    from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
    from hearth.worker.sandboxes.contract import Program, SandboxSpec

    async def main() -> list[float]:
        times = []
        async with Jobs() as jobs:
            backend = BubblewrapBackend(f"bench{os.getpid()}", Path("/"), SystemClock(), jobs)
            if not (await backend.open()).usable:
                raise NotHere("bubblewrap")
            try:
                spec = SandboxSpec(sandbox=SandboxId("bench"), memory_mb=128, tmp_mb=16)
                sandbox = await backend.create(spec)
                sleep = Program(
                    argv=("/bin/sleep", "60"), environment={}, working_directory="/", mounts=()
                )
                channels = await sandbox.start(sleep)
                for _ in range(60):
                    began = time.perf_counter()
                    sandbox.freeze()
                    sandbox.thaw()
                    times.append((time.perf_counter() - began) * 1000)
                    await asyncio.sleep(0.005)
                channels.api.close()
                os.close(channels.stdout)
                os.close(channels.stderr)
            finally:
                await backend.close()
        return times

    return Figures(samples=asyncio.run(main()))


def warm(bench: Bench) -> Figures:
    """Signed and verified invokes a second by one connection, as a part of what AWS's client does
    behind the least front end; in turns. `make bench` has the whole table."""
    state = bench.folder / "signed"
    pair = key(state)
    ours: list[Turn] = []
    floors: list[Turn] = []
    with hearth(state, "sigv4", pair) as platform:
        platform.create("warm", HANDLER)
        platform.prepare("warm", 1)
        kit = next(platform.kits())
        for _ in range(WARM_TURNS):
            with floor("ric", 1, kit) as (port, server, runtimes):
                floors.append(load(port, plain_request(port), 1, WARM_S, server, runtimes))
            request, runtimes = platform.request(), platform.runtimes()
            ours.append(load(platform.port, request, 1, WARM_S, platform.pid, runtimes))
    ratio = median_rate(ours) / median_rate(floors)
    errors = sum(turn.errors for turn in ours)
    text = f"{ratio:.2f} ({median_rate(ours):.0f} of {median_rate(floors):.0f} /s)"
    return Figures(text=text + (f", {errors} errors" if errors else ""))


def median_rate(turns: list[Turn]) -> float:
    return statistics.median(turn.per_s for turn in turns)
