"""What the tools for asynchronous events share: a Hearth that can be killed, clients that remember
what was accepted, and functions that leave a durable trace of each run.

Functions run with `--sandbox process`, so that they can write down what they did in a file that no
kill can take back; the asynchronous path is the same for every sandbox.
"""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.config

HEARTH = Path(sys.executable).parent / "hearth"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
READY = "hearth ready "
START_S = 120.0

HANDLER = """
import os, time
TRACE = os.open(os.environ["TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
PAUSE_S = float(os.environ.get("PAUSE_S", "0"))
def handler(event, context):
    os.write(TRACE, f"{context.aws_request_id} {time.time():.6f}\\n".encode())
    if PAUSE_S:
        time.sleep(PAUSE_S)
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Hearth:
    """One `hearth up` at a fixed port, started again as often as wanted."""

    def __init__(self, state: Path, log: Path, *options: str) -> None:
        self.port = free_port()
        self._state = state
        self._options = options
        self._log = log.open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        self._process = process = subprocess.Popen(
            [
                HEARTH,
                *("up", "--listen", f"127.0.0.1:{self.port}", "--state", self._state),
                *("--sandbox", "process", "--log-level", "warning", *self._options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        assert process.stdout is not None
        line = (await asyncio.to_thread(process.stdout.readline)).decode()
        if not line.startswith(READY):
            process.wait(START_S)
            sys.exit(f"hearth up did not become ready: {line!r}; see {self._log.name}")

    async def kill(self) -> None:
        """kill -9 of the whole platform."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.wait()

    def halt(self) -> None:
        """Every process stands still, until `kill`."""
        for pid in [self.pid, *descendants(self.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    async def wait(self) -> None:
        assert self._process is not None
        await asyncio.to_thread(self._process.wait)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def children(self, word: str) -> list[int]:
        """Descendants in whose command line `word` is."""
        return [pid for pid in descendants(self.pid) if word in command_line(pid)]

    def memory_mb(self) -> float:
        """Resident, of Hearth itself and of its engine."""
        return sum(resident_mb(pid) for pid in [self.pid, *self.children("nats-server")])

    def client(self) -> Any:
        return boto3.client(
            "lambda",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=botocore.config.Config(read_timeout=60),
        )

    def create(self, name: str, trace: Path, pause_s: float = 0.0, **more: object) -> None:
        client = self.client()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("app.py", HANDLER)
        client.create_function(
            FunctionName=name,
            Runtime=PYTHON,
            Role="arn:aws:iam::000000000000:role/lambda",
            Handler="app.handler",
            Timeout=30,
            Code={"ZipFile": buffer.getvalue()},
            Environment={"Variables": {"TRACE": str(trace), "PAUSE_S": str(pause_s)}},
            **more,
        )
        client.get_waiter("function_active_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )


@contextlib.contextmanager
def ended(hearth: Hearth) -> Iterator[Hearth]:
    """Kill it in the end, whatever happens."""
    try:
        yield hearth
    finally:
        with contextlib.suppress(ProcessLookupError, AssertionError):
            os.killpg(hearth.pid, signal.SIGKILL)


@dataclass
class Accepted:
    """What clients were answered."""

    at_s: dict[str, float] = field(default_factory=dict)
    """By request id: when the 202 came (time.time)."""
    refused: Counter[str] = field(default_factory=Counter)


class Client:
    """One connection that sends events, one after the other."""

    def __init__(self, hearth: Hearth, function: str, accepted: Accepted) -> None:
        self._hearth = hearth
        body = b'{"n": 1}'
        self._request = (
            f"POST /2015-03-31/functions/{function}/invocations HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{hearth.port}\r\nX-Amz-Invocation-Type: Event\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._accepted = accepted
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self) -> bool:
        """Whether it was accepted."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._hearth.port)
            reader, writer = self._streams
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
            if length:
                await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            await asyncio.sleep(0.05)
            return False
        status = head.split(" ", 2)[1]
        if status != "202":
            self._accepted.refused[status] += 1
            await asyncio.sleep(0.05)
            return False
        request = head.partition("x-amzn-requestid:")[2].partition("\r\n")[0].strip()
        self._accepted.at_s[request] = time.time()
        return True

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def send_all(clients: list[Client], number: int) -> None:
    """So many accepted events, over all clients together."""
    left = iter(range(number))

    async def work(client: Client) -> None:
        for _ in left:
            while not await client.send():
                pass

    await asyncio.gather(*(work(client) for client in clients))


async def every(seconds: float) -> AsyncIterator[None]:
    while True:
        await asyncio.sleep(seconds)
        yield


def runs(trace: Path) -> dict[str, list[float]]:
    """When each request was run (time.time), from the functions' own trace."""
    found: dict[str, list[float]] = {}
    if trace.exists():
        for line in trace.read_text().splitlines():
            request, _, moment = line.partition(" ")
            found.setdefault(request, []).append(float(moment))
    return found


def descendants(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                children = [int(some) for some in (task / "children").read_text().split()]
                found += children
                todo += children
    return found


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def resident_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def say(**figures: object) -> None:
    print(json.dumps(figures), flush=True)
