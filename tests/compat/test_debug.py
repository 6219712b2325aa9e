"""`hearth invoke --debug` with real debuggers: debugpy over DAP, Node.js's inspector."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from compat.platform import HEARTH, Platform, create, package
from hearth.runtimes import nodes, survey

pytestmark = pytest.mark.compat

WITHIN_S = 60.0
CODE = """
def handler(event, context):
    doubled = event["n"] * 2
    return {"doubled": doubled, "left_s": context.get_remaining_time_in_millis() // 1000}
"""
LINE = 4  # the return


class Invoking:
    """A `hearth invoke --debug` that waits for its debugger."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stderr is not None
        text = ""
        for line in process.stderr:
            text += line
            if line.startswith("Its timeout is suspended"):
                break
        found = re.search(r"waits for a debugger at 127\.0\.0\.1:(\d+)", text)
        assert found, text
        self.port = int(found[1])
        self.configuration = json.loads(text[text.index("{") : text.rindex("}") + 1])

    def answer(self) -> Any:
        out, err = self.process.communicate(timeout=WITHIN_S)
        assert self.process.returncode == 0, (out, err)
        return json.loads(out)


@contextmanager
def debugging(platform: Platform, name: str, *options: str) -> Iterator[Invoking]:
    # A test run in the background of a shell ignores interrupts; its children would too.
    command = ["env", "--default-signal=INT", str(HEARTH), "invoke", name, "-p", '{"n": 21}']
    command += ["--debug", "--debug-port", "0", "--state", str(platform.state), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield Invoking(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=WITHIN_S)


class Dap:
    """A client of the Debug Adapter Protocol: as much of one as a test needs."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), WITHIN_S)
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._seen: list[dict[str, Any]] = []

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str, **arguments: Any) -> int:
        self._number += 1
        message = {"seq": self._number, "type": "request", "command": command}
        body = json.dumps(message | {"arguments": arguments}).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        return self._number

    def answer(self, number: int) -> Any:
        answered = self._wait(lambda m: m.get("request_seq") == number)
        assert answered["success"], answered
        return answered.get("body")

    def event(self, name: str) -> Any:
        return self._wait(lambda m: m.get("event") == name).get("body")

    def _wait(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            for message in self._seen:
                if is_it(message):
                    self._seen.remove(message)
                    return message
            length = 0
            while line := self._file.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert length, "the debugger has hung up"
            self._seen.append(json.loads(self._file.read(length)))


def attached(invoking: Invoking) -> Dap:
    """As VS Code does with the configuration that was printed."""
    dap = Dap(invoking.port)
    dap.answer(dap.ask("initialize", adapterID="debugpy", pathFormat="path"))
    dap.ask("attach", pathMappings=invoking.configuration["pathMappings"])
    dap.event("initialized")
    return dap


def test_a_breakpoint_in_a_python_function_stops_it(platform: Platform) -> None:
    create(platform.client(), "debugged", CODE, Timeout=1)
    with debugging(platform, "debugged", "--source", "/home/me/project") as invoking:
        assert invoking.configuration["pathMappings"] == [
            {"localRoot": "/home/me/project", "remoteRoot": "/var/task"}
        ]
        dap = attached(invoking)
        source = {"path": "/home/me/project/app.py"}
        dap.answer(dap.ask("setBreakpoints", source=source, breakpoints=[{"line": LINE}]))
        dap.answer(dap.ask("configurationDone"))
        thread = dap.event("stopped")["threadId"]
        [frame, *_] = dap.answer(dap.ask("stackTrace", threadId=thread))["stackFrames"]
        assert (frame["source"]["path"], frame["line"]) == (source["path"], LINE)
        told = dap.answer(dap.ask("evaluate", expression="doubled", frameId=frame["id"]))
        assert told["result"] == "42"
        time.sleep(1.2)  # longer than its timeout, which is what must not matter
        dap.ask("continue", threadId=thread)  # its answer may be cut off by the end
        answer = invoking.answer()
        dap.close()
    assert answer["doubled"] == 42
    assert answer["left_s"] > 3_600
    assert (
        platform.client().invoke(FunctionName="debugged", Payload=b'{"n": 1}')["StatusCode"] == 200
    )


def test_ctrl_c_ends_it_and_nothing_is_left(platform: Platform) -> None:
    client = platform.client()
    create(client, "given-up", CODE, Timeout=1)
    client.put_function_concurrency(FunctionName="given-up", ReservedConcurrentExecutions=1)
    with debugging(platform, "given-up") as invoking:
        invoking.process.send_signal(signal.SIGINT)
        assert invoking.process.wait(WITHIN_S) == 130
        assert not is_open(invoking.port)
    answer = client.invoke(FunctionName="given-up", Payload=b'{"n": 1}')
    assert json.loads(answer["Payload"].read())["doubled"] == 2


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except ConnectionRefusedError:
        return False
    return True


NODE = "exports.handler = async (event) => ({ tripled: event.n * 3 });\n"


def test_nodes_inspector_can_be_attached_to(platform: Platform) -> None:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    there = [name for name in survey.NODE if nodes.find(name, folders, Path.home()) is not None]
    if not there:
        pytest.skip("there is no Node.js here")
    create(
        platform.client(),
        "inspected",
        "",
        Runtime=there[-1],
        Handler="index.handler",
        Code={"ZipFile": package({"index.js": NODE})},
    )
    with debugging(platform, "inspected") as invoking:
        assert invoking.configuration["type"] == "node"
        with urllib.request.urlopen(
            f"http://127.0.0.1:{invoking.port}/json/list", timeout=WITHIN_S
        ) as listed:
            [target] = json.load(listed)
        with socket.create_connection(("127.0.0.1", invoking.port), WITHIN_S) as inspector:
            path = "/" + target["webSocketDebuggerUrl"].split("/", 3)[3]
            inspector.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{invoking.port}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert inspector.recv(12) == b"HTTP/1.1 101"
            for number, method in enumerate(
                (
                    "Runtime.enable",
                    "Debugger.enable",
                    "Runtime.runIfWaitingForDebugger",
                    "Debugger.resume",
                    "Debugger.disable",
                )
            ):
                inspector.sendall(frame({"id": number + 1, "method": method}))
            assert invoking.answer() == {"tripled": 63}


def frame(message: dict[str, Any]) -> bytes:
    """Of a WebSocket: a short text, masked."""
    body = json.dumps(message).encode()
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
    assert len(body) < 126
    return bytes((0x81, 0x80 | len(body))) + mask + masked


def test_what_cannot_be_debugged_is_said(platform: Platform) -> None:
    create(platform.client(), "compiled", "", Runtime="provided.al2023", Handler="x")
    done = platform.command("invoke", "compiled", "--debug")
    assert done.returncode == 1
    assert "provided.al2023 cannot be debugged here" in done.stderr
