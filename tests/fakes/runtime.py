"""A runtime without a process: scripts that speak to the real Runtime API, in virtual time."""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fakes.inside import ask
from hearth.base.http1 import BodySink, HttpRequest, IncomingBody
from hearth.model.ids import SandboxId
from hearth.worker.extension_api import EXTENSION_ROOT, ExtensionApi
from hearth.worker.program import Launch, ProgramEvents, Surroundings
from hearth.worker.report import exit_failure
from hearth.worker.runtime_api import Event, RuntimeApi
from hearth.worker.sandboxes.contract import (
    Channels,
    Exit,
    Mount,
    Program,
    SandboxFailed,
    Usage,
)
from hearth.worker.telemetry.hub import Telemetry

MIB = 1024 * 1024
ROOT = "/2018-06-01/runtime/"


class FakeSandbox:
    """A Sandbox that runs nothing; remembers what was asked of it."""

    def __init__(self, name: str = "s1") -> None:
        self._id = SandboxId(name)
        self.cpu: list[int | None] = []
        self.destroyed = 0
        self.peak = 40 * MIB
        self.usage_error: OSError | None = None
        self.thaw_error: SandboxFailed | None = None
        self.is_frozen = False

    @property
    def id(self) -> SandboxId:
        return self._id

    api_address = "169.254.100.1:9001"
    tmp_directory = "/tmp"

    def inside(self, mount: Mount) -> str:
        return mount.destination

    async def start(self, program: Program) -> Channels:
        raise NotImplementedError("FakeProgram runs instead")

    async def wait(self) -> Exit:
        raise NotImplementedError("FakeProgram ends instead")

    async def terminate(self) -> None: ...

    async def open_socket(self, *, datagrams: bool = False) -> socket.socket:
        raise SandboxFailed("a fake has no network")

    async def kill(self) -> None:
        self.is_frozen = False

    async def destroy(self) -> None:
        self.destroyed += 1

    def freeze(self) -> None:
        self.is_frozen = True

    def thaw(self) -> None:
        if self.thaw_error is not None:
            raise self.thaw_error
        self.is_frozen = False

    def limit_cpu(self, memory_mb: int | None) -> None:
        self.cpu.append(memory_mb)

    def usage(self) -> Usage:
        peak = self.peak_bytes()
        return Usage(peak, peak, 0.0)

    def peak_bytes(self) -> int:
        if self.usage_error is not None:
            raise self.usage_error
        return self.peak

    def reset_peak(self) -> None:
        self.peak = 40 * MIB


class Reply:
    """A Responder that hands its answer to whoever awaits it."""

    gone = False

    def __init__(self, answered: Callable[[int, bytes, dict[str, str]], None]) -> None:
        self._answered = answered

    def on_gone(self, callback: Callable[[], None]) -> None: ...

    def send(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        self._answered(status, body, dict(headers))


class Upload:
    """A response on its way: what the connection does with the runtime's request body."""

    def __init__(self) -> None:
        self.body = IncomingBody(self)
        self.paused = False
        self.statuses: list[int] = []

    @property
    def sink(self) -> BodySink:
        assert self.body.sink is not None, f"refused: {self.statuses}"
        return self.body.sink

    def write(self, data: bytes) -> None:
        self.sink.body_data(data)

    def end(self, trailers: dict[str, str] | None = None) -> None:
        self.sink.body_end(trailers or {})

    def breaks(self) -> None:
        self.body.close()
        self.sink.body_broken()

    def pause_body(self) -> None:
        self.paused = True

    def resume_body(self) -> None:
        self.paused = False


class FakeProgram:
    """What stands for a process: `script` runs when it starts, and is cancelled when it ends."""

    def __init__(
        self,
        script: "Script",
        around: Surroundings,
        events: ProgramEvents,
        error: Exception | None = None,
    ) -> None:
        self._script = script
        self._events = events
        self._jobs = around.jobs
        self._error = error
        self._task: Any = None
        self.api = RuntimeApi(events)
        self.extensions = ExtensionApi(around.function, self)
        self.telemetry = Telemetry(around.sandbox, around.clock, around.jobs)
        self.ended: str | None = None
        """Why, once it is."""
        self.end_takes_s = 0.0

    async def start(self, launch: Launch) -> None:
        if self._error is not None:
            raise self._error
        self._task = self._jobs.spawn(self._script(self), name="runtime")

    def deliver(self, event: Event) -> None:
        self.api.deliver(event)

    def drain_output(self) -> None: ...

    async def end(self, reason: str, *, for_good: bool = False) -> None:
        self.ended = reason
        self.telemetry.close()
        if self._task is not None:
            self._task.cancel()
        await asyncio.sleep(self.end_takes_s)

    def extension_registered(self) -> None: ...

    def extension_ready(self) -> None:
        self._events.extension_ready()

    # -- for scripts -----------------------------------------------------------------------------

    async def next(self) -> tuple[str, bytes]:
        """Ask for the next event; returns its request id and payload."""
        return await self._next(_request("GET", "invocation/next"))

    async def respond_and_next(self, request: str, payload: bytes) -> tuple[str, bytes]:
        """Both at once, as our own clients do."""
        return await self._next(_request("POST", f"invocation/{request}/response/next", payload))

    async def _next(self, asked: HttpRequest) -> tuple[str, bytes]:
        got: asyncio.Future[tuple[str, bytes]] = asyncio.get_running_loop().create_future()

        def answered(status: int, body: bytes, headers: dict[str, str]) -> None:
            assert status == 200
            got.set_result((headers["Lambda-Runtime-Aws-Request-Id"], body))

        self.api.handle(asked, Reply(answered))
        return await got

    def respond(self, request: str, payload: bytes) -> int:
        return self._post(f"invocation/{request}/response", payload)

    def stream(self, request: str, mode: str = "streaming", **headers: str) -> Upload:
        """Begin to answer bit by bit."""
        upload = Upload()
        reply = Reply(lambda status, _body, _headers: upload.statuses.append(status))
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        posted = _request(
            "POST",
            f"invocation/{request}/response",
            headers={"lambda-runtime-function-response-mode": mode} | named,
        )
        posted.stream = upload.body
        self.api.handle(posted, reply)
        return upload

    def fail(self, request: str, payload: bytes) -> int:
        return self._post(f"invocation/{request}/error", payload)

    def init_error(self, payload: bytes, error_type: str) -> int:
        return self._post("init/error", payload, {"lambda-runtime-function-error-type": error_type})

    def register(self, name: str, *events: str) -> str:
        """Register an internal extension; returns its identifier."""
        headers = {"Lambda-Extension-Name": name}
        path = EXTENSION_ROOT + "register"
        answer = ask(self.extensions.handle, "POST", path, {"events": events}, headers)
        assert answer.status == 200
        return answer.headers["Lambda-Extension-Identifier"]

    async def extension_next(self, identifier: str) -> dict[str, Any]:
        """Ask for an extension's next event."""
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        headers = {"lambda-extension-identifier": identifier}
        request = HttpRequest("GET", EXTENSION_ROOT + "event/next", headers, b"", {}, "")
        self.extensions.handle(request, Reply(lambda _status, body, _headers: got.set_result(body)))
        event: dict[str, Any] = json.loads(await got)
        return event

    def say(self, *lines: bytes) -> None:
        self._events.program_wrote([line + b"\n" for line in lines])

    def say_to_telemetry(self, *lines: bytes) -> None:
        self.telemetry.lines("function", lines)
        self.say(*lines)

    def exit(self, exit_: Exit) -> None:
        self._events.program_exited(self, exit_failure(exit_))

    def _post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> int:
        statuses: list[int] = []
        reply = Reply(lambda status, _body, _headers: statuses.append(status))
        self.api.handle(_request("POST", path, body, headers), reply)
        return statuses[0]


Script = Callable[[FakeProgram], Coroutine[Any, Any, None]]


class Programs:
    """Makes the programs of one environment: one script after another, the last one for ever."""

    def __init__(self, *scripts: Script, errors: tuple[Exception | None, ...] = ()) -> None:
        self._scripts = scripts
        self._errors = errors
        self.started: list[FakeProgram] = []

    def __call__(self, around: Surroundings, events: ProgramEvents) -> FakeProgram:
        number = len(self.started)
        script = self._scripts[min(number, len(self._scripts) - 1)]
        error = self._errors[number] if number < len(self._errors) else None
        program = FakeProgram(script, around, events, error)
        self.started.append(program)
        return program


def _request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> HttpRequest:
    return HttpRequest(method, ROOT + path, headers or {}, body, {}, "")
