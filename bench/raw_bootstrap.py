"""The least runtime: the Runtime API over one raw socket, for the floor's second figure."""

import importlib
import json
import os
import socket
import sys


def main() -> None:
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    module, _, name = os.environ["_HANDLER"].partition(".")
    handler = getattr(importlib.import_module(module), name)
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ask = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"
    buffer = b""

    def receive() -> tuple[bytes, bytes]:
        nonlocal buffer
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            buffer += connection.recv(65536) or sys.exit(0)
        head = buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        while len(buffer) < end + 4 + length:
            buffer += connection.recv(65536) or sys.exit(0)
        body, buffer = buffer[end + 4 : end + 4 + length], buffer[end + 4 + length :]
        return head, body

    while True:
        connection.sendall(ask)
        head, body = receive()
        at = head.find(b"lambda-runtime-aws-request-id:")
        request = head[at + 30 :].split(b"\r\n", 1)[0].strip()
        answer = json.dumps(handler(json.loads(body), None)).encode()
        connection.sendall(
            b"POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: %d\r\n\r\n" % (request, len(answer)) + answer
        )
        receive()


main()
