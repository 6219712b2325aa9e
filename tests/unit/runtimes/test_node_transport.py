"""The transport that takes the place of the native addon of AWS's Node.js client.

Real Node against a server whose every byte the test chooses.
"""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hearth.runtimes import nodes
from hearth.runtimes.kit import BOOTSTRAPS
from hearth.runtimes.survey import NODE

WAIT_S = 60.0
ROOT = "/2018-06-01/runtime/invocation/"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 16\r\n\r\n" + b'{"status":"OK"}\n'


@pytest.fixture(scope="module")
def node() -> Path:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for name in NODE:
        found = nodes.find(name, folders, Path.home())
        if found is not None:
            return found.executable
    pytest.skip("no Node.js on this machine")


def event(body: bytes, request: str = "r1") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Lambda-Runtime-Aws-Request-Id: " + request.encode() + b"\r\n"
        b"content-length: %d\r\n\r\n" % len(body)
    ) + body


@contextmanager
def running(node: Path, script: str) -> Iterator[tuple[socket.socket, "subprocess.Popen[str]"]]:
    """The script gets `transport`; the server is a socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WAIT_S)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        program = (
            f"const {{ Transport }} = require({json.dumps(str(BOOTSTRAPS / 'node_bootstrap.js'))});"
            f"const transport = new Transport({json.dumps(address)});"
            f"(async () => {{ {script} }})();"
        )
        process = subprocess.Popen(
            [node, "-e", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield server, process
        finally:
            process.kill()
            process.communicate()


def accept(server: socket.socket) -> socket.socket:
    connection, _ = server.accept()
    connection.settimeout(WAIT_S)
    return connection


def read_request(connection: socket.socket) -> tuple[str, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, "the connection was closed before a request came"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return first, headers, body


def said(process: "subprocess.Popen[str]") -> str:
    return process.communicate(timeout=WAIT_S)[0].strip()


def test_an_event_arrives_whatever_pieces_it_comes_in(node: Path) -> None:
    script = "const e = await transport.next(); console.log(JSON.stringify(e));"
    with running(node, script) as (server, process), accept(server) as connection:
        first, headers, _ = read_request(connection)
        assert first == f"GET {ROOT}next HTTP/1.1"
        assert headers["host"].startswith("127.0.0.1:")
        for byte in event('{"ü": 1}'.encode()):
            connection.sendall(bytes([byte]))
        answer = json.loads(said(process))
        assert answer["bodyJson"] == '{"ü": 1}'
        assert answer["headers"]["lambda-runtime-aws-request-id"] == "r1"


def test_answers_and_errors_go_out_and_the_connection_is_kept(node: Path) -> None:
    script = """
        await transport.next();
        transport.done("r1", '"ä"');
        await transport.next();
        transport.error("r2", '{"errorType":"T"}', "{}");
        await transport.next();
        transport.error("r3", "{}", "two\\nlines: 1");
        await transport.next();
        console.log("done");
    """
    with running(node, script) as (server, process), accept(server) as connection:
        read_request(connection)
        connection.sendall(event(b"1"))
        first, headers, body = read_request(connection)
        assert first == f"POST {ROOT}r1/response HTTP/1.1"
        assert headers["content-type"] == "application/json"
        assert body == '"ä"'.encode()
        connection.sendall(ACCEPTED)
        read_request(connection)
        connection.sendall(event(b"2", "r2"))
        first, headers, body = read_request(connection)
        assert (first, body) == (f"POST {ROOT}r2/error HTTP/1.1", b'{"errorType":"T"}')
        assert headers["lambda-runtime-function-xray-error-cause"] == "{}"
        connection.sendall(ACCEPTED)
        read_request(connection)
        connection.sendall(event(b"3", "r3"))
        _, headers, _ = read_request(connection)
        assert "lambda-runtime-function-xray-error-cause" not in headers, "a header was forged"
        connection.sendall(ACCEPTED)
        read_request(connection)
        connection.sendall(event(b"4"))
        assert said(process) == "done"


def test_a_refused_answer_and_a_closed_connection_do_not_end_the_runtime(node: Path) -> None:
    script = """
        await transport.next();
        transport.done("r1", "1");
        console.log((await transport.next()).bodyJson);
    """
    with running(node, script) as (server, process):
        with accept(server) as connection:
            read_request(connection)
            connection.sendall(event(b"1"))
            read_request(connection)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        with accept(server) as connection:
            read_request(connection)
            connection.sendall(event(b'"again"'))
            assert said(process) == '"again"'


def test_a_platform_that_is_gone_is_an_error(node: Path) -> None:
    script = "await transport.next().catch((e) => console.log(e.message));"
    with running(node, script) as (server, process):
        with accept(server) as connection:
            read_request(connection)
        assert said(process).startswith("Failed to get next invocation, error")
    with running(node, script) as (server, process), accept(server) as connection:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 500 Error\r\nContent-Length: 2\r\n\r\n{}")
        assert said(process) == "Failed to get next invocation, error 500"


def test_only_waiting_for_an_event_keeps_the_process_alive(node: Path) -> None:
    script = """
        process.on("beforeExit", () => console.log("empty"));
        await transport.next();
        await new Promise(() => {});
    """
    with running(node, script) as (server, process), accept(server) as connection:
        read_request(connection)
        connection.sendall(event(b"1"))
        assert said(process) == "empty"
