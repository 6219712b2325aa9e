"""How does AWS's Python runtime client reach the Runtime API? Over one raw socket.

`awslambdaric` does everything that a function can notice: handlers, errors, context, logging. Its
transport is a compiled module of this name around libcurl, which is most of what a warm invoke
costs (`make bench` shows both). This module takes its place, with the same four
functions. Being Python, it fits every version of Python, and signals reach the function's own
handlers while it waits.

The bytes of `next` must be one answer of a trusted server on the other end: Hearth's.

Hearth itself takes an answer and the question for the next event as one request, which saves both
sides a round trip. So an answer is held until AWS's client asks, which is what it does next. Who
stands between (some extensions do) listens at another address, and gets both as AWS documents them.
"""

from __future__ import annotations

import os
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, socket

ROOT = b"/2018-06-01/runtime/invocation/"
HEARTH = "169.254.100.1:9001"
"""In a sandbox that is us, or nobody: the address is taken."""
READ_BYTES = 65536
_DEADLINE = "Lambda-Runtime-Deadline-Ms"
_NAMES = (
    "Lambda-Runtime-Aws-Request-Id",
    "Lambda-Runtime-Trace-Id",
    "Lambda-Runtime-Invoked-Function-Arn",
    _DEADLINE,
    "Lambda-Runtime-Client-Context",
    "Lambda-Runtime-Cognito-Identity",
    "Lambda-Runtime-Aws-Tenant-Id",
    "Lambda-Runtime-Invocation-Id",
    "Content-Type",
)
_HEADERS = {name: name for name in _NAMES} | {name.lower(): name for name in _NAMES}
_NOT_POSTED = "Failed to post invocation response"


class _Connection:
    """One kept-alive HTTP/1.1 connection, made when it is first needed."""

    def __init__(self) -> None:
        self.question = self.agent = b""
        self.introduce(b"aws-lambda-python")
        self.head = b""
        self.is_direct = False
        """Whether Hearth itself is on the other end, as far as that is known."""
        self.held = b""
        """The answer that goes out with the question for the next event."""
        self._socket: socket | None = None
        self._buffer = b""

    def introduce(self, agent: bytes) -> None:
        self.agent = agent
        self.question = b"GET %snext HTTP/1.1\r\nHost: runtime\r\nUser-Agent: %s\r\n\r\n" % (
            ROOT,
            agent,
        )

    def exchange(self, request: bytes, body: bytes = b"") -> tuple[int, bytes]:
        """Send, and return status and body; the head stays in `self.head`."""
        connection = self._socket or self._connect()
        try:
            if len(body) < READ_BYTES:
                connection.sendall(request + body)
            else:
                connection.sendall(request)
                connection.sendall(body)
            return self._receive(connection)
        except BaseException:
            self.close()  # what is on the way belongs to nobody now
            raise

    def close(self) -> None:
        self.held = b""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _connect(self) -> socket:
        address = os.environ["AWS_LAMBDA_RUNTIME_API"]
        self.is_direct = address == HEARTH
        host, _, port = address.rpartition(":")
        self._socket = connection = socket(AF_INET, SOCK_STREAM)
        connection.connect((host, int(port)))
        connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._buffer = b""
        return connection

    def _receive(self, connection: socket) -> tuple[int, bytes]:
        buffer = self._buffer
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            buffer += _read(connection)
        self.head = head = buffer[:end]
        at = head.find(b"\r\nContent-Length:")
        if at < 0:
            at = head.lower().find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        body = buffer[end + 4 :]
        if len(body) < length:
            pieces, missing = [body], length - len(body)
            while missing > 0:
                pieces.append(_read(connection))
                missing -= len(pieces[-1])
            body = b"".join(pieces)
        self._buffer = body[length:]
        return int(head[9:12]), body[:length]


def _read(connection: socket) -> bytes:
    data = connection.recv(READ_BYTES)
    if not data:
        raise ConnectionError("the Runtime API closed the connection")
    return data


_connection = _Connection()


def initialize_client(user_agent: str) -> None:
    _connection.introduce(user_agent.encode("latin-1"))


def next() -> tuple[str, dict[str, str | int]]:  # noqa: A001 - AWS's name
    """The next event's text and headers, of which the deadline is a number; waits for it."""
    connection = _connection
    held, connection.held = connection.held, b""
    status, body = connection.exchange(held or connection.question)
    if status != 200:
        raise RuntimeError(_NOT_POSTED if held else "Failed to get next")
    headers: dict[str, str | int] = {}
    for line in connection.head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        known = _HEADERS.get(name) or _HEADERS.get(name.lower())
        if known is not None:
            headers[known] = value.strip()
    headers[_DEADLINE] = int(headers[_DEADLINE])
    return body.decode(), headers


def restore_next() -> bool:
    """SnapStart: wait until the environment is restored. False: it shall become one that others
    are forked from, if it can."""
    request = b"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: runtime\r\n\r\n"
    status, _ = _connection.exchange(request)
    if status == 202:
        _connection.close()  # no fork may have it
        return False
    if status != 200:
        raise RuntimeError("Failed to wait for the restore")
    return True


def post_invocation_result(
    invoke_id: str, payload: bytes, content_type: str, _invocation_id: str | None = None
) -> None:
    _post(b"response", invoke_id, payload, b"Content-Type: %s\r\n" % content_type.encode("latin-1"))


def post_error(
    invoke_id: str, payload: str, xray_fault: str, _invocation_id: str | None = None
) -> None:
    fault = xray_fault.encode("ascii", "backslashreplace").replace(b"\r", b"").replace(b"\n", b"")
    headers = b"Content-Type: application/json\r\n"
    if len(fault) < 32 * 1024:  # as much as fits a head
        headers += b"Lambda-Runtime-Function-XRay-Error-Cause: %s\r\n" % fault
    _post(b"error", invoke_id, payload.encode(), headers)


def _post(kind: bytes, invoke_id: str, payload: bytes, headers: bytes) -> None:
    connection = _connection
    is_held = connection.is_direct and len(payload) < READ_BYTES
    request = (
        b"POST %s%s/%s%s HTTP/1.1\r\nHost: runtime\r\nUser-Agent: %s\r\n"
        b"%sContent-Length: %d\r\n\r\n"
        % (
            ROOT,
            invoke_id.encode("latin-1"),
            kind,
            b"/next" if is_held else b"",
            connection.agent,
            headers,
            len(payload),
        )
    )
    if is_held:
        connection.held = request + payload
        return
    status, _ = connection.exchange(request, payload)
    if status != 202:
        raise RuntimeError(_NOT_POSTED)
