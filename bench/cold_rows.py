"""What are the rows of `make bench-cold`? One entry each in ROWS, at the end: new ones go there.

A row measures by itself, on platforms that it shares with the others (Bench.platform), and answers
Figures; or raises NotHere with the reason, which is printed in its place. `in_turns` rows are asked
for one sample at a time, all of them and the floor in turns, so that what disturbs the machine
disturbs all alike.
"""

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cold_snapstart import NoNumpy, NumpyFunction
from hearth.worker.sandboxes.oci import find_runtime
from run import HANDLER, HEARTH, MEMORY_MB, PAYLOAD, Hearth, bare_start, hearth

NODE_HANDLER = "exports.handler = async (event) => ({ ok: true });\n"
STEM_S = 60.0
SUSTAINED = 200
IN_FLIGHT = 4
IDLE = 40
SLEEPER = "import time\ndef handler(event, context):\n    time.sleep(2)\n    return {'ok': True}\n"


class NotHere(Exception):
    """This machine, or this Hearth, cannot; the text says what is missing."""


@dataclass(frozen=True)
class Figures:
    samples: list[float] = field(default_factory=list)
    text: str = ""
    """Instead of p50 and p99."""


class Bench:
    """Platforms, started when the first row needs them and ended at the end."""

    def __init__(self, folder: Path, stack: ExitStack, burst: int) -> None:
        self._folder = folder
        self._stack = stack
        self._platforms: dict[tuple[str, ...], Hearth] = {}
        self._states: dict[int, Path] = {}
        self.burst = burst
        self.made = 0

    def platform(self, *flags: str) -> Hearth:
        """One that has run a Python function before, with these flags of `hearth up`."""
        if flags not in self._platforms:
            state = self._folder / str(len(self._platforms))
            platform = self._stack.enter_context(hearth(state, "open", None, *flags))
            self._states[platform.pid] = state
            self._platforms[flags] = platform
            platform.create("first", HANDLER)
            invoke(platform, "first")
            wait_for(lambda: has_zygote(platform), "a zygote")
            for number in range(3):
                platform.create(f"warm-up-{number}", HANDLER)
                invoke(platform, f"warm-up-{number}")
        return self._platforms[flags]

    def stems(self, platform: Hearth) -> Any:
        command = [HEARTH, "status", "--json", "--state", self._states[platform.pid]]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["stems"]

    def name(self) -> str:
        self.made += 1
        return f"cold-{self.made}"


def wait_for(holds: Callable[[], object], what: str) -> None:
    gives_up_s = time.monotonic() + STEM_S
    while not holds():
        if time.monotonic() > gives_up_s:
            raise NotHere(f"{what} did not come within {STEM_S:.0f} s")
        time.sleep(0.05)


def has_zygote(platform: Hearth) -> bool:
    return any(
        b"/zygote_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        for pid in platform.runtimes()
    )


def invoke(platform: Hearth, function: str) -> float:
    """Milliseconds from the first byte out to the last byte in, on a fresh connection."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=120)
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


# -- one sample each -------------------------------------------------------------------------------


def floor(bench: Bench) -> float:
    return bare_start(next(bench.platform().kits()))


def stem_ready(bench: Bench) -> float:
    platform, name = bench.platform(), bench.name()
    platform.create(name, HANDLER)
    wait_for(lambda: any(kind["ready"] for kind in bench.stems(platform)["kinds"]), "a stem")
    before = bench.stems(platform)["taken"]
    took = invoke(platform, name)
    if bench.stems(platform)["taken"] != before + 1:
        raise NotHere("the start did not find its stem")
    platform.delete(name)
    return took


def node_ready(bench: Bench) -> float:
    platform, name, runtime = bench.platform(), bench.name(), node_runtime()
    create_node(platform, name, runtime)
    if not node_stems(bench, platform):  # none has been wanted yet
        invoke(platform, name)
        wait_for(lambda: node_stems(bench, platform), "a Node.js that waits")
        name = bench.name()
        create_node(platform, name, runtime)
    before = bench.stems(platform)["taken"]
    took = invoke(platform, name)
    if bench.stems(platform)["taken"] != before + 1:
        raise NotHere("the start did not find its stem")
    platform.delete(name)
    return took


def node_runtime() -> str:
    from hearth.runtimes import nodes

    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for name in ("nodejs22.x", "nodejs20.x", "nodejs18.x", "nodejs24.x"):
        if nodes.find(name, folders, Path.home()) is not None:
            return name
    raise NotHere("no Node.js on this machine")


def create_node(platform: Hearth, name: str, runtime: str) -> None:
    from compat.platform import ROLE, package

    platform._client.create_function(
        FunctionName=name,
        Runtime=runtime,
        Role=ROLE,
        Handler="index.handler",
        MemorySize=MEMORY_MB,
        Code={"ZipFile": package({"index.js": NODE_HANDLER})},
    )
    while platform._client.get_function(FunctionName=name)["Configuration"]["State"] == "Pending":
        time.sleep(0.01)


def node_stems(bench: Bench, platform: Hearth) -> bool:
    kinds = bench.stems(platform)["kinds"]
    return any(kind["ready"] for kind in kinds if kind["runtime"] == "node")


def pool_miss(bench: Bench) -> float:
    platform, name = bench.platform("--stems-mb", "0"), bench.name()
    platform.create(name, HANDLER)
    took = invoke(platform, name)
    platform.delete(name)
    return took


def strict_exec(bench: Bench) -> float:
    platform, name = bench.platform("--stems-mb", "0"), bench.name()
    platform.create(name, HANDLER)
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    platform._client.tag_resource(Resource=arn, Tags={"hearth:isolation": "strict"})
    took = invoke(platform, name)
    platform.delete(name)
    return took


def numpy(kind: str) -> Callable[[Bench], float]:
    """A start of a function that imports numpy; of one function a platform, made by the first."""
    made: dict[int, NumpyFunction] = {}

    def sample(bench: Bench) -> float:
        platform = bench.platform()
        if id(platform) not in made:
            try:
                made[id(platform)] = NumpyFunction(
                    platform._client, bench.name(), lambda name: invoke(platform, name)
                )
            except NoNumpy as error:
                raise NotHere(str(error)) from error
        started: float = getattr(made[id(platform)], kind)()
        return started

    return sample


def container(tier: str) -> Callable[[Bench], float]:
    """A start in a tier that a tag names; the first, which also opens the tier, is dropped."""
    opened: set[int] = set()

    def sample(bench: Bench) -> float:
        if find_runtime(tier) is None:
            raise NotHere(f"{tier} is not installed")
        platform = bench.platform("--stems-mb", "0")
        if id(platform) not in opened:
            opened.add(id(platform))
            sample(bench)
        name = bench.name()
        platform.create(name, HANDLER)
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
        platform._client.tag_resource(Resource=arn, Tags={"hearth:sandbox": tier})
        took = invoke(platform, name)
        platform.delete(name)
        return took

    return sample


def second_invoke(bench: Bench) -> float:
    platform = bench.platform()
    invoke(platform, "first")  # it may have been frozen
    return invoke(platform, "first")


# -- whole rows ------------------------------------------------------------------------------------


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
    return Figures(text=f"{SUSTAINED / took_s:.0f} /s ({SUSTAINED} starts, {IN_FLIGHT} at a time)")


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
            for cell in Path("/sys/fs/cgroup").glob(f"**/hearth-*-{platform.pid}-*/*/")
            for name in ("memory.current", "memory.usage_in_bytes")
            if (cell / name).exists()
        ]
    text = f"{held:.2f} MiB of the machine's"
    return Figures(text=text + (f", {statistics.median(cells):.2f} by cgroup" if cells else ""))


@contextmanager
def other_hearth(*flags: str) -> Iterator[Hearth]:
    with (
        tempfile.TemporaryDirectory(prefix="hearth-cold-") as folder,
        hearth(Path(folder) / "state", "open", None, *flags) as platform,
    ):
        platform.create("first", HANDLER)
        invoke(platform, "first")
        wait_for(lambda: has_zygote(platform), "a zygote")
        yield platform


def available_kib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise NotHere("the kernel does not tell MemAvailable")


def burst(bench: Bench) -> Figures:
    """So many sandboxes that idle, then as many invokes at once. Idle ones are frozen by then."""
    count = bench.burst
    with other_hearth("--account-concurrency", str(2 * count)) as platform:
        platform.create("sleeper", SLEEPER)
        platform._client.update_function_configuration(FunctionName="sleeper", MemorySize=128)
        platform._client.get_waiter("function_updated_v2").wait(FunctionName="sleeper")
        before = available_kib()
        first = asyncio.run(at_once(platform, "sleeper", count))
        held = (before - available_kib()) / 1024 / count
        second = asyncio.run(at_once(platform, "sleeper", count))
    cold, again = (statuses.count(200) for statuses, _ in (first, second))
    others = Counter(s for statuses, _ in (first, second) for s in statuses if s != 200)
    text = f"{cold} of {count} in {first[1]:.1f} s, again {again} in {second[1]:.1f} s"
    return Figures(text=f"{text}, {held:.2f} MiB each{f', also {dict(others)}' if others else ''}")


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


def elsewhere(where: str) -> Callable[[Bench], Figures]:
    def measure(_bench: Bench) -> Figures:
        raise NotHere(where)

    return measure


# -- the table -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    key: str
    what: str
    target: str
    sample: Callable[[Bench], float] | None = None
    """Milliseconds; asked for in turns with the others."""
    whole: Callable[[Bench], Figures] | None = None


ROWS = (
    Row("floor", "floor: AWS's client starts, bare", "-", sample=floor),
    Row("stem", "Python hello, stem ready", "p50 5 p99 20", sample=stem_ready),
    Row("miss", "pool miss: a zygote's fork", "p50 12 p99 25", sample=pool_miss),
    Row("strict", "strict: fresh exec", "p50 45", sample=strict_exec),
    Row("second", "(the second invoke)", "-", sample=second_invoke),
    Row("snapstart", "SnapStart, numpy, one waits", "p50 12", sample=numpy("restored")),
    Row("numpy", "(the same, initialised then)", "-", sample=numpy("initialised")),
    Row("node", "Node.js, stem ready", "p50 8", sample=node_ready),
    Row(
        "gvisor",
        "gVisor, stem ready",
        "p50 30",
        whole=elsewhere("no stems for the guest-kernel tier yet"),
    ),
    Row("runc", "(a container of runc)", "-", sample=container("runc")),
    Row("crun", "(a container of crun)", "-", sample=container("crun")),
    Row("runsc", "(gVisor, its kernel started)", "-", sample=container("runsc")),
    Row("sustained", "new Python sandboxes, one core", ">= 75 /s", whole=sustained),
    Row("memory", "idle Python sandbox, all in", "<= 5 MiB", whole=idle_memory),
    Row("freeze", "freeze + thaw", "<= 0.5", whole=freeze_and_thaw),
    Row("warm", "warm invoke / raw bootstrap", ">= 0.6", whole=elsewhere("see make bench")),
    Row("burst", "idle sandboxes, then as many invokes", "all answered", whole=burst),
)
