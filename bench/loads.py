"""Load on a platform, and what it costs: requests as bytes, and CPU by process."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PAYLOAD = b'{"n": 1}'
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


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
