"""make bench-streaming: how late does a streamed byte reach the client, and what do 200 MB cost?

The function stamps each piece with the machine's monotonic clock; the client, on another socket,
looks when it has it. The floor is a relay that copies bytes from one loopback connection to another
in a uvloop process, with the same writer and the same reader; they take turns.

    python bench/streaming.py [--pieces 500] [--megabytes 199] [--turns 3]
"""

import argparse
import json
import multiprocessing
import multiprocessing.connection
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from loads import HERE
from platforms import Hearth, hearth, machine

MIB = 1024 * 1024
EVERY_S = 0.002
STAMP = re.compile(rb"@(\d{20})@")
LAST_CHUNK = b"\r\n0\r\n\r\n"
NAME = "streams"
TARGET_MS = 5.0
SAMPLE_S = 0.02
READ_BYTES = 262_144

Steps = list[list[Any]]
Open = Callable[[Steps], socket.socket]
"""A connection on which the answer to these steps comes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pieces", type=int, default=500)
    parser.add_argument("--megabytes", type=int, default=199, help="at most 200 are allowed")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{machine()}; {options.turns} turns of {options.pieces} pieces, {EVERY_S * 1000:.0f} ms "
        f"apart, and of {options.megabytes} MB\n"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hearth-streaming-")))
        platform = stack.enter_context(hearth(folder / "state", "open", None, "--stream-rate", "0"))
        relay = stack.enter_context(floor())
        url_id = prepare(platform)
        ways: dict[str, Open] = {
            "floor: a relay on loopback": lambda steps: opened_relay(relay, steps),
            "InvokeWithResponseStream": lambda steps: opened_api(platform, steps),
            "function URL": lambda steps: opened_url(platform, url_id, steps),
        }
        show(platform, ways, options.pieces, options.megabytes, options.turns)


def show(platform: Hearth, ways: dict[str, Open], pieces: int, megabytes: int, turns: int) -> None:
    late: dict[str, list[float]] = {name: [] for name in ways}
    speed: dict[str, list[float]] = {name: [] for name in ways}
    grown: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():  # sandboxes and connections are there, code is warm
        read_stamps(way([["stamp", 20, EVERY_S]]))
    for _ in range(turns):
        for name, way in ways.items():
            late[name] += read_stamps(way([["stamp", pieces, EVERY_S]]))
            before_mb = resident_mb(platform.pid)
            with peak(platform.pid) as peak_mb:
                began = time.perf_counter()
                count = read_all(way([["fill", megabytes * MIB]]))
                took_s = time.perf_counter() - began
            if count < megabytes * MIB:
                sys.exit(f"{name}: only {count} bytes came")
            speed[name].append(megabytes / took_s)
            grown[name].append(peak_mb() - before_mb)
    first = next(iter(ways))
    base_ms, base_speed = statistics.median(late[first]), statistics.median(speed[first])
    columns = ("p50 ms", "p99 ms", "x floor", "MB/s", "x floor", "RSS +MB")
    print(f"{'':28} " + " ".join(f"{column:>8}" for column in columns))
    for name in ways:
        p50, p99 = statistics.median(late[name]), quantile(late[name], 0.99)
        rate = statistics.median(speed[name])
        print(
            f"{name:28} {p50:8.3f} {p99:8.3f} {p50 / base_ms:8.2f} {rate:8.0f} "
            f"{rate / base_speed:8.2f} {max(grown[name]):8.1f}"
        )
    print(f"\ntarget: a written byte reaches the client within {TARGET_MS:.0f} ms")


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


# --- Hearth


def prepare(platform: Hearth) -> str:
    """The function and its URL; returns the URL's id."""
    runtime = HERE.parent / "tests" / "compat" / "streaming_runtime.py"
    platform.create(NAME, runtime.read_text())
    client = platform._client
    made = client.create_function_url_config(
        FunctionName=NAME, AuthType="NONE", InvokeMode="RESPONSE_STREAM"
    )
    for statement, action, condition in (
        ("url", "lambda:InvokeFunctionUrl", {"FunctionUrlAuthType": "NONE"}),
        ("run", "lambda:InvokeFunction", {"InvokedViaFunctionUrl": True}),
    ):
        client.add_permission(
            FunctionName=NAME, StatementId=statement, Action=action, Principal="*", **condition
        )
    return str(made["FunctionUrl"].split("/")[2].partition(".")[0])


def opened_api(platform: Hearth, steps: Steps) -> socket.socket:
    return opened(
        platform.port, f"/2021-11-15/functions/{NAME}/response-streaming-invocations", steps
    )


def opened_url(platform: Hearth, url_id: str, steps: Steps) -> socket.socket:
    return opened(platform.port, f"/lambda-url/{url_id}/", steps)


def opened(port: int, path: str, steps: Steps) -> socket.socket:
    body = json.dumps({"do": steps}).encode()
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


# --- reading


def read_stamps(connection: socket.socket) -> list[float]:
    """How late each stamped piece was, in milliseconds."""
    late, rest = [], b""
    with connection:
        while not rest.endswith(LAST_CHUNK):
            data = connection.recv(READ_BYTES)
            now = time.monotonic_ns()
            if not data:
                break
            rest += data
            at = 0
            for found in STAMP.finditer(rest):
                late.append((now - int(found[1])) / 1e6)
                at = found.end()
            rest = rest[at:]
    if not late:
        sys.exit(f"no stamps came: {rest[:500]!r}")
    return late


def read_all(connection: socket.socket) -> int:
    count, tail = 0, b""
    with connection:
        while not tail.endswith(LAST_CHUNK):
            data = connection.recv(READ_BYTES)
            if not data:
                break
            count += len(data)
            tail = (tail + data)[-len(LAST_CHUNK) :]
    return count


# --- the floor


@contextmanager
def floor() -> Iterator[tuple[int, multiprocessing.connection.Connection]]:
    """A relay in a process of its own, and a writer in another; answers where both are asked."""
    ours, theirs = multiprocessing.Pipe()
    source = socket.create_server(("127.0.0.1", 0))
    door = socket.create_server(("127.0.0.1", 0))
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=relay, args=(source.getsockname()[1], door), daemon=True),
        context.Process(target=write, args=(source, theirs), daemon=True),
    ]
    for process in processes:
        process.start()
    port = door.getsockname()[1]
    door.close()
    source.close()
    try:
        yield port, ours
    finally:
        for process in processes:
            process.terminate()
            process.join()


def opened_relay(
    where: tuple[int, multiprocessing.connection.Connection], steps: Steps
) -> socket.socket:
    port, writer = where
    writer.send(steps)
    return socket.create_connection(("127.0.0.1", port))


def write(source: socket.socket, orders: multiprocessing.connection.Connection) -> None:
    """What the function does, without a platform."""
    while True:
        ((verb, *arguments),) = orders.recv()
        connection, _ = source.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if verb == "stamp":
            for _ in range(arguments[0]):
                time.sleep(arguments[1])
                connection.sendall(b"14\r\n@%020d@\r\n" % time.monotonic_ns())
        else:
            piece = bytes(65536)
            for left in range(arguments[0], 0, -len(piece)):
                connection.sendall(b"10000\r\n" + piece[:left] + b"\r\n")
        connection.close()


def relay(source_port: int, door: socket.socket) -> None:
    """Copies, holding the source back while the client is slow: no framing, no function."""
    import asyncio

    import uvloop

    class Client(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.source: Any = None  # once it is open
            loop = asyncio.get_running_loop()
            self.opening = loop.create_task(
                loop.create_connection(lambda: Source(self), "127.0.0.1", source_port)
            )

        def pause_writing(self) -> None:
            self.source.pause_reading()

        def resume_writing(self) -> None:
            self.source.resume_reading()

    class Source(asyncio.Protocol):
        def __init__(self, client: Client) -> None:
            self.client = client

        def connection_made(self, transport: Any) -> None:
            self.client.source = transport

        def data_received(self, data: bytes) -> None:
            self.client.transport.write(data)

        def connection_lost(self, _: Exception | None) -> None:
            self.client.transport.close()

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Client, sock=door)
        await server.serve_forever()

    uvloop.run(serve())


# --- memory


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / MIB


@contextmanager
def peak(pid: int) -> Iterator[Callable[[], float]]:
    """Looks at a process while the block runs; its highest resident memory after that."""
    seen, over = [resident_mb(pid)], threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE_S):
            seen.append(resident_mb(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: max(seen)
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
