"""A function that streams: it takes its runtime over and speaks to the Runtime API by itself.

Packaged as `app.py` of a managed Python runtime: importing it never ends. Its event says what it
does, verb by verb:

    {"do": [["write", "text"], ["fill", bytes], ["sleep", seconds], ...], "type": "text/plain"}
"""

import base64
import json
import os
import socket
import sys
import time
from typing import Any

PREFIX = "/2018-06-01/runtime/invocation/"


class Api:
    def __init__(self) -> None:
        host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
        self.connection = socket.create_connection((host, int(port)))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def request(self, method: str, path: str, *headers: str) -> None:
        lines = [f"{method} {PREFIX}{path} HTTP/1.1", "Host: runtime", *headers]
        self.send("\r\n".join((*lines, "", "")).encode())

    def answer(self) -> tuple[dict[str, str], bytes]:
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])
        }
        self.buffer, length = rest, int(headers["content-length"])
        while len(self.buffer) < length:
            self.more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return headers, body

    def more(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            sys.exit("the platform hung up")
        self.buffer += data


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Response:
    """One streamed response; its methods are the verbs of an event."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.trailers: dict[str, str] = {}

    def write(self, text: str) -> None:
        self.api.send(chunk(text.encode()))

    def fill(self, count: int) -> None:
        piece = bytes(65536)
        for left in range(count, 0, -len(piece)):
            self.api.send(chunk(piece[:left]))

    def tick(self, count: int, every_s: float) -> None:
        for number in range(count):
            self.write(f"{number} ")
            time.sleep(every_s)

    def stamp(self, count: int, every_s: float) -> None:
        """When each piece was written, in nanoseconds of the machine's monotonic clock."""
        for _ in range(count):
            time.sleep(every_s)
            self.write(f"@{time.monotonic_ns():020}@")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def say(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201 -- what a function logs

    def prelude(self, document: dict[str, Any]) -> None:
        self.api.send(chunk(json.dumps(document).encode()))
        self.api.send(chunk(bytes(8)))

    def fail(self, text: str) -> None:
        error = json.dumps({"errorType": "Broken", "errorMessage": text}).encode()
        self.trailers = {
            "Lambda-Runtime-Function-Error-Type": "Function.Broken",
            "Lambda-Runtime-Function-Error-Body": base64.b64encode(error).decode(),
        }

    def exit(self, status: int) -> None:
        os._exit(status)

    def hold(self, start_of_chunk: str) -> None:
        """Say that a longer chunk comes than does."""
        self.api.send(b"ffff\r\n" + start_of_chunk.encode())
        time.sleep(600)

    def hang_up(self) -> None:
        self.api.connection.close()
        time.sleep(600)


def serve() -> None:
    api = Api()
    while True:
        api.request("GET", "next")
        headers, body = api.answer()
        path = headers["lambda-runtime-aws-request-id"] + "/response"
        event = json.loads(body)
        if "body" in event:  # by a function URL
            event = json.loads(event["body"])
        if "answer" in event:
            whole = json.dumps(event["answer"]).encode()
            api.request("POST", path, f"Content-Length: {len(whole)}")
            api.send(whole)
        else:
            api.request(
                "POST",
                path,
                "Lambda-Runtime-Function-Response-Mode: streaming",
                f"Content-Type: {event.get('type', 'application/octet-stream')}",
                "Transfer-Encoding: chunked",
                "Trailer: Lambda-Runtime-Function-Error-Type",
            )
            response = Response(api)
            for verb, *arguments in event["do"]:
                getattr(response, verb)(*arguments)
            lines = "".join(f"{name}: {value}\r\n" for name, value in response.trailers.items())
            api.send(b"0\r\n" + lines.encode() + b"\r\n")
        api.answer()


if __name__ != "compat.streaming_runtime":
    serve()
