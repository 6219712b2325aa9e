"""The floor: the least that a Python program can do to put an HTTP invoke through a runtime.

One asyncio protocol (on uvloop) takes `POST /2015-03-31/functions/NAME/invocations`, hands the
body to an idle runtime process over the Runtime API, in the same process, and sends the answer
back. No authentication, no validation, no limits, no logs, no state, no sandbox, no errors:
whatever Hearth adds to this is the price of being Lambda.

    python floor.py ric|kit|raw RUNTIMES KIT   prints "ready PORT PID..." and serves until killed

ric: AWS's client as it is published, with its compiled transport; kit: AWS's client on Hearth's
transport, as functions get it; raw: the least client there can be.
"""

import asyncio
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

RAW = Path(__file__).parent / "raw_bootstrap.py"
HANDLER = 'def handler(event, context):\n    return {"ok": True, "n": event["n"]}\n'


class Runtime(asyncio.Protocol):
    """The Runtime API of one runtime process."""

    idle: "deque[Runtime]" = deque()
    started = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.buffer = b""
        self.caller: Caller | None = None
        Runtime.started += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            if head.startswith(b"get"):
                Runtime.idle.append(self)
                if Caller.waiting:
                    Caller.waiting.popleft().serve()
            else:
                self.transport.write(
                    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
                    b'Content-Length: 16\r\n\r\n{"status":"OK"}\n'
                )
                assert self.caller is not None
                self.caller.answer(body)

    def run(self, caller: "Caller", body: bytes) -> None:
        self.caller = caller
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Lambda-Runtime-Aws-Request-Id: 8f507cfc-0000-4697-b07a-ac58fc914c95\r\n"
            b"Lambda-Runtime-Deadline-Ms: 4102444800000\r\n"
            b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:0:function:f\r\n"
            b"Lambda-Runtime-Trace-Id: Root=1-5e1b4151-43a0913a12345678901234567\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )


class Caller(asyncio.Protocol):
    """The front door."""

    waiting: "deque[Caller]" = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) < end + 4 + length:
            return
        self.body = self.buffer[end + 4 : end + 4 + length]
        self.buffer = self.buffer[end + 4 + length :]
        if Runtime.idle:
            self.serve()
        else:
            Caller.waiting.append(self)

    def serve(self) -> None:
        Runtime.idle.pop().run(self, self.body)

    def answer(self, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )


def system_python() -> str:
    """The interpreter that functions get; Hearth's own if the system has none of that version."""
    path = Path(f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}")
    return str(path) if path.exists() else sys.executable


async def main(kind: str, count: int, kit: str) -> None:
    loop = asyncio.get_running_loop()
    api = await loop.create_server(Runtime, "127.0.0.1", 0)
    front = await loop.create_server(Caller, "127.0.0.1", 0)
    task = tempfile.mkdtemp()
    published = sysconfig.get_path("purelib")
    (Path(task) / "app.py").write_text(HANDLER)
    address = f"127.0.0.1:{api.sockets[0].getsockname()[1]}"
    environment = {
        "AWS_LAMBDA_RUNTIME_API": address,
        "LAMBDA_TASK_ROOT": task,
        "_HANDLER": "app.handler",
        "PYTHONPATH": published if kind == "ric" else kit,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
        "LC_CTYPE": "C.UTF-8",
    }
    commands = {
        "ric": ["-m", "awslambdaric", "app.handler"],
        "kit": [str(Path(kit) / "bootstrap.py")],
        "raw": [str(RAW)],
    }
    python = system_python()
    processes = [
        subprocess.Popen([python, "-S", *commands[kind]], env=environment, cwd=task)
        for _ in range(count)
    ]
    while Runtime.started < count or len(Runtime.idle) < count:
        await asyncio.sleep(0.01)
    pids = " ".join(str(process.pid) for process in processes)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print(f"ready {front.sockets[0].getsockname()[1]} {os.getpid()} {pids}", flush=True)
    try:
        await stop.wait()
    finally:  # before their API goes, or each of them complains at length
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
