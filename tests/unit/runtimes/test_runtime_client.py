"""Our transport under AWS's runtime client, against a Runtime API on a loopback socket."""

import importlib.util
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from hearth.runtimes.kit import BOOTSTRAPS
from hearth.worker.sandboxes.jail_steps import API_HOST, API_PORT

SOURCE: Path = BOOTSTRAPS / "runtime_client.py"


class Server:
    """Answers each request with the next of `answers`, in pieces of `piece` bytes."""

    def __init__(self, listener: socket.socket, answers: list[bytes], piece: int) -> None:
        self._listener = listener
        self._answers = answers
        self._piece = piece
        self.requests: list[bytes] = []
        self.connections = 0

    def run(self) -> None:
        while self._answers:
            connection, _ = self._listener.accept()
            self.connections += 1
            with connection:
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        while self._answers and (request := self._receive(connection)):
            self.requests.append(request)
            answer = self._answers.pop(0)
            if not answer:
                return  # hang up
            for at in range(0, len(answer), self._piece):
                connection.sendall(answer[at : at + self._piece])

    def _receive(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


@contextmanager
def client_of(answers: list[bytes], piece: int = 1 << 20) -> Iterator[tuple[ModuleType, Server]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener, answers, piece)
        thread = threading.Thread(target=server.run)
        thread.start()
        before = os.environ.get("AWS_LAMBDA_RUNTIME_API")
        os.environ["AWS_LAMBDA_RUNTIME_API"] = f"127.0.0.1:{listener.getsockname()[1]}"
        spec = importlib.util.spec_from_file_location("runtime_client_under_test", SOURCE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            yield module, server
        finally:
            module._connection.close()
            thread.join(10)
            if before is None:
                del os.environ["AWS_LAMBDA_RUNTIME_API"]
            else:
                os.environ["AWS_LAMBDA_RUNTIME_API"] = before


def answer(status: int, body: bytes = b"", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


EVENT = answer(
    200,
    b'{"n": "\xc3\xa9"}',
    "Content-Type: application/json\r\nlambda-runtime-aws-request-id: r1\r\n"
    "Lambda-Runtime-Deadline-Ms: 1700000000000\r\nLambda-Runtime-Client-Context: {}\r\n",
)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_an_event_is_read_however_it_arrives(piece: int) -> None:
    with client_of([EVENT, answer(202), EVENT], piece) as (client, server):
        for _ in range(2):
            body, headers = client.next()
            assert body == '{"n": "é"}'
            assert headers == {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": "r1",
                "Lambda-Runtime-Deadline-Ms": 1700000000000,
                "Lambda-Runtime-Client-Context": "{}",
            }
            if len(server.requests) == 1:
                client.post_invocation_result("r1", b"{}", "application/json", None)
        assert server.connections == 1, "one connection serves them all"
        assert server.requests[1].startswith(
            b"POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1\r\n"
        )
        assert server.requests[1].endswith(b"\r\n\r\n{}")


def test_an_answer_goes_to_hearth_itself_with_the_question_for_the_next_event() -> None:
    with client_of([EVENT, EVENT, EVENT, answer(413)]) as (client, server):
        client.next()
        client._connection.is_direct = True
        client.post_invocation_result("r1", b"{}", "application/json", None)
        assert client.next()[0] == '{"n": "é"}'
        client.post_error("r2", "{}", "{}", None)
        client.next()
        client.post_invocation_result("r3", b"{}", "application/json", None)
        with pytest.raises(RuntimeError, match="Failed to post invocation response"):
            client.next()
        assert server.connections == 1
    targets = [request.split(b" ")[1].decode() for request in server.requests]
    root = "/2018-06-01/runtime/invocation"
    assert targets == [
        f"{root}/next",
        f"{root}/r1/response/next",
        f"{root}/r2/error/next",
        f"{root}/r3/response/next",
    ]
    assert server.requests[1].endswith(b"\r\n\r\n{}")


def test_a_large_answer_waits_for_no_question() -> None:
    with client_of([EVENT, answer(413)]) as (client, server):
        client.next()
        client._connection.is_direct = True
        with pytest.raises(RuntimeError, match="Failed to post invocation response"):
            client.post_invocation_result("r1", bytes(70_000), "application/json", None)
    assert b"/r1/response HTTP/1.1" in server.requests[1]


def test_only_the_address_in_a_sandbox_is_hearths() -> None:
    with client_of([EVENT]) as (client, _):
        client.next()
        assert not client._connection.is_direct, "somebody stands between, most likely"
        assert f"{API_HOST}:{API_PORT}" == client.HEARTH


def test_a_large_result_goes_out_whole() -> None:
    payload = os.urandom(3_000_000)
    with client_of([answer(202)]) as (client, server):
        client.post_invocation_result("r1", payload, "application/json", None)
    assert server.requests[0].partition(b"\r\n\r\n")[2] == payload


def test_an_error_carries_its_cause_on_one_line() -> None:
    with client_of([answer(202)]) as (client, server):
        client.post_error("r1", '{"errorMessage": "é"}', '{"working_directory":\r\n "/"}', None)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b'XRay-Error-Cause: {"working_directory": "/"}' in head
    assert body == '{"errorMessage": "é"}'.encode()


@pytest.mark.parametrize(
    ("refusal", "call", "words"),
    [
        (answer(403), ("next",), "Failed to get next"),
        (
            answer(413, b"too large"),
            ("post_invocation_result", "r1", b"x", "a/b", None),
            "Failed to post invocation response",
        ),
    ],
)
def test_a_refusal_is_raised_as_awss_transport_raises_it(
    refusal: bytes, call: tuple[str, ...], words: str
) -> None:
    with client_of([refusal]) as (client, _), pytest.raises(RuntimeError, match=words):
        getattr(client, call[0])(*call[1:])


def test_a_connection_that_broke_is_made_anew_for_the_next_call() -> None:
    with client_of([b"", EVENT]) as (client, server):
        with pytest.raises(ConnectionError):
            client.next()
        assert client.next()[0] == '{"n": "é"}'
        assert server.connections == 2
