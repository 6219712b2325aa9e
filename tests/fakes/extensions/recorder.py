#!/usr/bin/env python3
"""An extension that records every event: one JSON line each on stdout, so in the function's log.

RECORDER, a variable of the function, holds JSON that changes what it does: see HABITS.
"""

import http.client
import http.server
import json
import os
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any

HABITS = {
    "events": ["INVOKE", "SHUTDOWN"],
    "linger_s": 0,  # after each INVOKE, before it asks for the next event
    "exit_at": None,  # "start", "registered" or "invoke": ends there, with status 3
    "error_at": None,  # "init" or "invoke": reports an error, then ends with status 1
    "sleep_at_shutdown_s": 0,
    "subscribe": None,  # [path, body]: a PUT, before the first `next`
    "listen": None,  # ["HTTP" or "TCP", port]: records what comes in there
}
NAME = Path(sys.argv[0]).name
ROOT = "/2020-01-01/extension/"


def say(**what: Any) -> None:
    print(json.dumps({"extension": NAME, **what}), flush=True)  # noqa: T201 - what it is for


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        for event in events:
            say(telemetry=event)

    def log_message(self, *_: Any) -> None: ...


class Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            say(telemetry=json.loads(line))


def listen(protocol: str, port: int) -> None:
    handler = Http if protocol == "HTTP" else Tcp
    server = socketserver.ThreadingTCPServer(("sandbox.localdomain", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Recorder:
    def __init__(self, habits: dict[str, Any]) -> None:
        self.habits = habits
        self.api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        self.headers: dict[str, str] = {}

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        text = None if body is None else json.dumps(body)
        self.api.request(method, path, text, {**self.headers, **(headers or {})})
        answer = self.api.getresponse()
        return answer.status, json.loads(answer.read() or b"null"), answer.headers

    def register(self) -> None:
        headers = {"Lambda-Extension-Name": NAME, "Lambda-Extension-Accept-Feature": "accountId"}
        body = {"events": self.habits["events"]}
        status, told, answered = self.ask("POST", ROOT + "register", body, headers)
        identifier = answered["Lambda-Extension-Identifier"] or ""
        self.headers = {"Lambda-Extension-Identifier": identifier}
        say(registered=status, told=told, variables=sorted(os.environ))

    def report(self, where: str) -> None:
        error = {"errorMessage": "as told", "errorType": "Extension.Test"}
        headers = {"Lambda-Extension-Function-Error-Type": "Extension.Test"}
        status, _, _ = self.ask("POST", f"{ROOT}{where}/error", error, headers)
        say(reported=where, status=status)
        sys.exit(1)

    def pause(self, where: str, error: str) -> None:
        """Between two steps: what it does instead of the next one."""
        if self.habits["exit_at"] == where:
            sys.exit(3)
        if self.habits["error_at"] == where:
            self.report(error)

    def run(self) -> None:
        self.register()
        self.pause("registered", "init")
        if self.habits["listen"]:
            listen(*self.habits["listen"])
        if self.habits["subscribe"]:
            path, body = self.habits["subscribe"]
            status, told, _ = self.ask("PUT", path, body)
            say(subscribed=status, told=told)
        while True:
            status, event, headers = self.ask("GET", ROOT + "event/next")
            say(event=event, status=status, id=headers["Lambda-Extension-Event-Identifier"])
            if event["eventType"] == "SHUTDOWN":
                time.sleep(self.habits["sleep_at_shutdown_s"])
                say(done=True)
                return
            self.pause("invoke", "exit")
            time.sleep(self.habits["linger_s"])


chosen = {**HABITS, **json.loads(os.environ.get("RECORDER", "{}")).get(NAME, {})}
if chosen["exit_at"] == "start":
    sys.exit(3)
Recorder(chosen).run()
