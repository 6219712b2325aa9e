"""What subscribers are told, and how it reaches them: over real sockets, from a fake program."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fakes.inside import Answer, ask
from fakes.runtime import FakeProgram, FakeSandbox, Programs, Script
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.model.functions import FunctionVersion
from hearth.model.ids import RequestId
from hearth.model.invocations import Invocation
from hearth.worker.environment import ExecutionEnvironment, Launch
from hearth.worker.sandboxes.contract import Exit, ExitKind
from hearth.worker.telemetry.hub import Telemetry, _object_or_text, iso
from unit.worker.test_environment import FUNCTION, PROGRAM

EVENTUALLY_S = 30.0
QUICK = {"timeoutMs": 25}


class OpenSandbox(FakeSandbox):
    """Its network is the test's own."""

    async def open_socket(self, *, datagrams: bool = False) -> socket.socket:
        opened = socket.socket()
        opened.setblocking(False)
        return opened


class Subscriber:
    """An HTTP server of the least kind, and what it was sent."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.refusals = 0
        """How many portions it answers with 500 at first."""
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                status = b"200 OK"
                if self.refusals:
                    self.refusals -= 1
                    status = b"500 No"
                else:
                    self.events += json.loads(body)
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def until(self, type_: str, count: int = 1) -> list[Any]:
        async with asyncio.timeout(EVENTUALLY_S):
            while len(found := self.of(type_)) < count:  # noqa: ASYNC110 - another task appends
                await asyncio.sleep(0.005)
        return found

    def of(self, type_: str) -> list[Any]:
        return [event["record"] for event in self.events if event["type"] == type_]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


class Scene:
    """An environment whose runtime subscribes as an internal extension."""

    def __init__(self, jobs: Jobs, subscriber: Subscriber) -> None:
        self.jobs = jobs
        self.subscriber = subscriber
        self.log: list[str] = []
        self.answers: list[Answer] = []
        self.released: list[bool] = []

    def append(self, at_ms: int, lines: list[bytes]) -> None:
        self.log += [line.decode().removesuffix("\n") for line in lines]

    def subscribe(
        self, program: FakeProgram, path: str = "/2022-07-01/telemetry", **changes: Any
    ) -> str:
        """Register and subscribe; the identifier."""
        found = next((e for e in program.extensions.all if e.name == "inner"), None)
        identifier = found.identifier if found else program.register("inner", "INVOKE")
        body = {
            "schemaVersion": "2022-12-13",
            "types": ["platform", "function", "extension"],
            "buffering": QUICK,
            "destination": {
                "protocol": "HTTP",
                "URI": f"http://sandbox.localdomain:{self.subscriber.port}/x",
            },
            **changes,
        }

        def handle(request: Any, responder: Any) -> None:
            assert program.telemetry.handle(
                request, responder, program.extensions, self.environment.telemetry_subscribed
            )

        headers = {"Lambda-Extension-Identifier": identifier}
        self.answers.append(ask(handle, "PUT", path, body, headers))
        return identifier

    async def start(self, *scripts: Script, function: FunctionVersion = FUNCTION) -> None:
        launch = Launch(
            program=PROGRAM,
            init_line="INIT_START Runtime Version: python:3.11.v1\tRuntime Version ARN: arn:x",
        )
        self.programs = Programs(*scripts)
        self.environment = ExecutionEnvironment(
            OpenSandbox(), function, launch, self, SystemClock(), self.jobs, self.programs
        )
        await self.environment.start()

    async def invoke(self, name: str = "r1", trace: str = "Root=1;Parent=2;Sampled=1") -> None:
        invocation = Invocation(
            request=RequestId(name),
            function=FUNCTION,
            invoked_arn=FUNCTION.key.arn(),
            payload=b'{"n": 1}',
            trace_id=trace,
        )
        releases = len(self.released)
        async with asyncio.timeout(EVENTUALLY_S):
            await self.environment.run(invocation, self.released.append)
            while len(self.released) == releases:  # noqa: ASYNC110 - a callback appends
                await asyncio.sleep(0.001)


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        subscriber = Subscriber()
        await subscriber.start()
        try:
            async with Jobs() as jobs:
                scene = Scene(jobs, subscriber)
                await story(scene)
                await scene.environment.stop()
        finally:
            subscriber.close()

    asyncio.run(main())


def runtime(scene: Scene, **changes: Any) -> Script:
    """Subscribes, prints, and echoes its events; its extension asks again at once."""

    async def script(program: FakeProgram) -> None:
        program.say_to_telemetry(b"early")
        identifier = scene.subscribe(program, **changes)

        async def extension() -> None:
            while True:
                await program.extension_next(identifier)

        async with asyncio.TaskGroup() as group:
            group.create_task(extension())
            while True:
                request, payload = await program.next()
                program.say_to_telemetry(b'{"level": "INFO"}')
                program.respond(request, payload)

    return script


def test_all_events_of_an_init_and_an_invoke_with_their_figures() -> None:
    async def story(scene: Scene) -> None:
        await scene.start(runtime(scene))
        await scene.invoke()
        await scene.subscriber.until("platform.report")
        assert scene.answers[0].body == b'"OK"'
        assert scene.subscriber.types == [
            "platform.initStart",
            "function",
            "platform.telemetrySubscription",
            "platform.initRuntimeDone",
            "platform.extension",
            "platform.initReport",
            "platform.start",
            "function",
            "platform.runtimeDone",
            "platform.report",
        ]
        of = scene.subscriber.of
        started = of("platform.initStart")[0]
        assert started["initializationType"] == "on-demand"
        assert (started["phase"], started["functionName"]) == ("init", "f")
        assert started["runtimeVersion"] == "python:3.11.v1"
        assert started["runtimeVersionArn"] == "arn:x"
        assert of("platform.initRuntimeDone")[0]["status"] == "success"
        assert of("platform.initReport")[0]["metrics"]["durationMs"] > 0
        assert of("platform.extension") == [
            {"name": "inner", "state": "Ready", "events": ["INVOKE"]}
        ]
        tracing = {
            "type": "X-Amzn-Trace-Id",
            "value": "Root=1;Parent=2;Sampled=1",
            "spanId": "2",
        }
        assert of("platform.start") == [
            {
                "requestId": "r1",
                "functionArn": FUNCTION.key.arn(),
                "version": "$LATEST",
                "tracing": tracing,
            }
        ]
        done = of("platform.runtimeDone")[0]
        assert (done["status"], done["tracing"]) == ("success", tracing)
        assert done["metrics"]["producedBytes"] == 8
        assert [span["name"] for span in done["spans"]] == [
            "responseLatency",
            "responseDuration",
            "runtimeOverhead",
        ]
        report = of("platform.report")[0]
        assert report["status"] == "success"
        assert report["metrics"].keys() == {
            "durationMs",
            "billedDurationMs",
            "memorySizeMB",
            "maxMemoryUsedMB",
            "initDurationMs",
        }
        assert [span["name"] for span in report["spans"]] == ["extensionOverhead"]
        assert of("function") == ["early", '{"level": "INFO"}']
        assert (
            "TELEMETRY\tName: inner\tState: Subscribed\tTypes: [Platform, Function, Extension]"
            in scene.log
        )

    play(story)


def test_what_is_not_traced_has_no_tracing_and_a_warm_invoke_no_init() -> None:
    async def story(scene: Scene) -> None:
        await scene.start(runtime(scene))
        for name in ("r1", "r2"):
            await scene.invoke(name, trace="Root=1;Sampled=0")
        _, report = await scene.subscriber.until("platform.report", 2)
        assert "tracing" not in report
        assert "initDurationMs" not in report["metrics"]

    play(story)


def test_types_choose() -> None:
    async def story(scene: Scene) -> None:
        await scene.start(runtime(scene, types=["function"]))
        await scene.invoke()
        await scene.subscriber.until("function", 2)
        assert set(scene.subscriber.types) == {"function"}

    play(story)


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ("2020-08-15", {"platform.end", "platform.report", "platform.start"}),
        (
            "2021-03-18",
            {"platform.end", "platform.report", "platform.runtimeDone", "platform.start"},
        ),
    ],
)
def test_the_logs_api_has_fewer_events(schema: str, types: set[str]) -> None:
    async def story(scene: Scene) -> None:
        changes = {"path": "/2020-08-15/logs", "schemaVersion": schema, "types": ["platform"]}
        await scene.start(runtime(scene, **changes))
        await scene.invoke()
        await scene.subscriber.until("platform.report")
        subscriptions = {"platform.extension", "platform.logsSubscription"}
        assert set(scene.subscriber.types) == types | subscriptions
        assert scene.subscriber.of("platform.report")[0].keys() == {"requestId", "metrics"}
        assert "LOGS\tName: inner\tState: Subscribed\tTypes: [Platform]" in scene.log

    play(story)


def test_a_subscriber_that_refuses_gets_it_again_and_nothing_twice() -> None:
    async def story(scene: Scene) -> None:
        scene.subscriber.refusals = 2
        await scene.start(runtime(scene))
        await scene.invoke()
        await scene.subscriber.until("platform.report")
        assert len(scene.subscriber.of("platform.initStart")) == 1

    play(story)


def test_failures_are_told_before_the_program_ends() -> None:
    async def story(scene: Scene) -> None:
        async def crashes(program: FakeProgram) -> None:
            identifier = scene.subscribe(program)
            asking = asyncio.ensure_future(program.extension_next(identifier))
            await program.next()
            await asking
            program.exit(Exit(ExitKind.EXITED, 3))

        await scene.start(crashes)
        telemetry = scene.programs.started[0].telemetry
        ended = scene.programs.started[0].end

        async def end(reason: str, *, for_good: bool = False) -> None:
            await telemetry.flush(EVENTUALLY_S)
            await ended(reason, for_good=for_good)

        scene.programs.started[0].end = end  # type: ignore[method-assign]
        await scene.invoke()
        done, report = (
            scene.subscriber.of("platform.runtimeDone")[0],
            scene.subscriber.of("platform.report")[0],
        )
        assert (done["status"], done["errorType"]) == ("error", "Runtime.ExitError")
        assert (report["status"], report["errorType"]) == ("error", "Runtime.ExitError")
        assert done["metrics"]["producedBytes"] == 0

    play(story)


def test_after_the_init_nobody_may_subscribe_and_nothing_is_kept() -> None:
    async def story(scene: Scene) -> None:
        async def late(program: FakeProgram) -> None:
            program.register("inner")
            asking = asyncio.ensure_future(
                program.extension_next(program.extensions.all[0].identifier)
            )
            try:
                await program.next()
            finally:
                asking.cancel()

        await scene.start(late)
        program = scene.programs.started[0]
        assert not program.telemetry.is_on
        scene.subscribe(program)
        scene.subscribe(program, "/2020-08-15/logs")
        assert [answer.error for answer in scene.answers] == [
            (403, "Telemetry.SubscriptionClosed"),
            (403, "Logs.SubscriptionClosed"),
        ]

    play(story)


def test_a_bad_subscription_is_refused_with_all_that_is_wrong() -> None:
    async def story(scene: Scene) -> None:
        async def wrong(program: FakeProgram) -> None:
            identifier = scene.subscribe(program, types=[])
            asking = asyncio.ensure_future(program.extension_next(identifier))
            try:
                await program.next()
            finally:
                asking.cancel()

        await scene.start(wrong)
        assert scene.answers[0].error == (400, "ValidationError")
        assert scene.answers[0].json["errorMessage"] == "types should not be empty"

    play(story)


def test_json_lines_are_objects_where_the_schema_has_them() -> None:
    async def main() -> None:
        subscriber = Subscriber()
        await subscriber.start()
        async with Jobs() as jobs:
            scene = Scene(jobs, subscriber)
            await scene.start(runtime(scene))
            telemetry = scene.programs.started[0].telemetry
            telemetry.has_json_lines = True
            telemetry.lines("function", [b'{"a": 1}', b"[1]", b"plain \xff"])
            found = await subscriber.until("function", 4)
            assert found[1:] == [{"a": 1}, "[1]", "plain \ufffd"]
            await scene.environment.stop()
        subscriber.close()

    asyncio.run(main())


def test_a_subscriber_that_is_not_there_costs_nothing_but_its_events() -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            scene = Scene(jobs, Subscriber())
            scene.subscriber.port = 1
            await scene.start(runtime(scene))
            await scene.invoke()
            assert scene.programs.started[0].telemetry.is_busy
            await scene.programs.started[0].telemetry.flush(0.01)
            await scene.environment.stop()

    asyncio.run(main())


def test_times_are_lambdas() -> None:
    assert iso(1_665_533_030_064) == "2022-10-12T00:03:50.064Z"


def test_what_is_kept_for_who_subscribes_later_is_bounded_and_odd_lines_are_text() -> None:
    deep = b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    line = b"x" * 200_000

    async def scenario() -> None:
        async with Jobs() as jobs:
            hub = Telemetry(OpenSandbox(), SystemClock(), jobs)
            hub.has_json_lines = True
            for _ in range(100):
                hub.lines("function", [line])
            kept = sum(len(event.record) for event in hub._early)
            assert 0 < kept <= 1 << 20
            hub.close_registration()
        assert _object_or_text(deep.decode()) == deep.decode()
        assert _object_or_text('{"a": 1}') == {"a": 1}

    asyncio.run(scenario())
