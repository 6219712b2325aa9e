"""make bench: warm, cold, CPU and idle figures, as ratios to a floor measured in the same run.

Everything, the load generator too, is pinned to one core, so that a figure is the work done and
not how it was spread. These machines are noisy: the floor and Hearth take turns, the median of the
turns is printed, and ratios say more than single figures.

    python bench/run.py [--seconds 3] [--turns 3] [--core N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.session

HERE = Path(__file__).parent
HEARTH = Path(sys.executable).parent / "hearth"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
PAYLOAD = b'{"n": 1}'
HANDLER = 'def handler(event, context):\n    return {"ok": True, "n": event["n"]}\n'
MEMORY_MB = 3538  # two CPUs' worth: the limit must not be what is measured
COLD_STARTS = 15
Pair = tuple[str, str]
"""An access key and its secret."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


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


def warm_table(open_: "Hearth", signed: "Hearth", kit: Path, seconds: float, turns: int) -> None:
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
    print("    (raw). `of floor` is against floor, ric. Signed requests go to a Hearth with --auth")
    print("    sigv4, which verifies each of them.")


def show_warm(name: str, turns: "list[Turn]", base: float) -> None:
    def median(field: str) -> float:
        return statistics.median(getattr(turn, field) for turn in turns)

    print(
        f"{name:34} {median('per_s'):9.0f} {median('per_s') / base:9.2f}"
        f" {median('p50_us'):8.0f} {median('p99_us'):8.0f}   {median('platform_us'):9.0f}"
        f" {median('runtime_us'):8.0f} {median('load_us'):6.0f}"
        + (f"  ERRORS {sum(t.errors for t in turns)}" if any(t.errors for t in turns) else "")
    )


@dataclass(frozen=True)
class Turn:
    per_s: float
    p50_us: float
    p99_us: float
    errors: int
    platform_us: float
    runtime_us: float
    load_us: float


def load(
    port: int, request: bytes, connections: int, seconds: float, server: int, runtimes: list[int]
) -> Turn:
    before = cpu_s([server]), cpu_s(runtimes)
    done = subprocess.run(
        [sys.executable, HERE / "load.py", f"127.0.0.1:{port}", str(connections), str(seconds)],
        input=request,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"load generator: {done.stderr.decode()}")
    result = json.loads(done.stdout)
    after = cpu_s([server]), cpu_s(runtimes)
    count = result["count"] * (seconds + result["warm_up_s"]) / seconds
    return Turn(
        result["per_s"],
        result["p50_us"],
        result["p99_us"],
        result["errors"],
        (after[0] - before[0]) / count * 1e6,
        (after[1] - before[1]) / count * 1e6,
        result["load_cpu_us"],
    )


def cpu_s(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * TICK_S


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


def plain_request(port: int) -> bytes:
    return http(port, "warm", {})


def http(port: int, name: str, headers: dict[str, str]) -> bytes:
    lines = [
        f"POST /2015-03-31/functions/{name}/invocations HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Content-Length: {len(PAYLOAD)}",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + PAYLOAD


# -- (b): cold ----------------------------------------------------------------------------------


def cold_table(platform: "Hearth") -> None:
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


# -- Hearth -------------------------------------------------------------------------------------


class Hearth:
    def __init__(self, process: "subprocess.Popen[str]", endpoint: str, pair: Pair | None) -> None:
        self.pid = process.pid
        self._pair = pair or ("test", "test")
        self.port = urlsplit(endpoint).port or 0
        self._client = botocore.session.get_session().create_client(
            "lambda",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=self._pair[0],
            aws_secret_access_key=self._pair[1],
            config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=60),
        )

    def create(self, name: str, code: str) -> None:
        sys.path.insert(0, str(HERE.parent / "tests"))
        from compat.platform import ROLE, package

        self._client.create_function(
            FunctionName=name,
            Runtime=PYTHON,
            Role=ROLE,
            Handler="app.handler",
            MemorySize=MEMORY_MB,
            Timeout=30,
            Code={"ZipFile": package({"app.py": code})},
        )
        while self._client.get_function(FunctionName=name)["Configuration"]["State"] == "Pending":
            time.sleep(0.01)

    def invoke(self, name: str) -> float:
        """Milliseconds of one invoke, the client included."""
        began = time.perf_counter()
        answer = self._client.invoke(FunctionName=name, Payload=PAYLOAD)
        answer["Payload"].read()
        took = (time.perf_counter() - began) * 1000
        if "FunctionError" in answer:
            sys.exit(f"{name} failed")
        return took

    def delete(self, name: str) -> None:
        self._client.delete_function(FunctionName=name)

    def prepare(self, name: str, sandboxes: int) -> None:
        """Have so many warm ones: concurrent load until they are there."""
        self.invoke(name)
        load(self.port, self.request(), sandboxes, 3.0, self.pid, [])

    def request(self) -> bytes:
        """The same bytes again and again: a signature is good for minutes, and verified each
        time."""
        url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/warm/invocations"
        request = botocore.awsrequest.AWSRequest("POST", url, data=PAYLOAD)
        credentials = botocore.credentials.Credentials(*self._pair)
        botocore.auth.SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
        return http(self.port, "warm", dict(request.headers.items()))

    def kits(self) -> Iterator[Path]:
        cache = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
        cache = Path(os.environ.get("XDG_CACHE_HOME", cache)) if os.geteuid() else cache
        return iter(sorted((cache / "hearth" / "runtimes").glob(f"{PYTHON}-*"), reverse=True))

    def processes(self) -> dict[str, int]:
        names = {"hearth": self.pid}
        for pid in children(self.pid):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            names["nats-server" if "nats" in command else "launcher"] = pid
        return names

    def runtimes(self) -> list[int]:
        """The processes that run functions: those below the launcher without children."""
        found, look = [], [pid for name, pid in self.processes().items() if name == "launcher"]
        while look:
            pid = look.pop()
            below = children(pid)
            look += below
            if not below:
                found.append(pid)
        return found


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


@contextmanager
def hearth(state: Path, auth: str, pair: Pair | None = None, *options: str) -> Iterator[Hearth]:
    log = state.parent / f"{state.name}.log"
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [HEARTH, "up", "--listen", "127.0.0.1:0", "--state", state, "--auth", auth, *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=as_installed(state.parent),
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("hearth ready "):
        sys.exit(f"hearth up: {line}{log.read_text()}")
    try:
        yield Hearth(process, line.split()[-1], pair)
    finally:
        process.terminate()
        process.wait(30)


def as_installed(folder: Path) -> dict[str, str]:
    """The environment, in which Hearth's modules are compiled once, as an installed package's are.
    Without that, which is how many a container runs tests, compiling them is half of a start."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**environment, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def key(state: Path) -> Pair:
    done = subprocess.run(
        [HEARTH, "keys", "add", "bench", "--state", state, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    made = json.loads(done.stdout)
    return made["access_key"], made["secret_key"]


def machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, Python {sys.version.split()[0]}"
    return f"Python {sys.version.split()[0]}"


if __name__ == "__main__":
    main()
