"""External extensions in real sandboxes: they start first, see each event, and end when told to.

The extension records what happens to it in the function's log; the runtime is a small script.
"""

import asyncio
import json
import shutil
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hearth.base.clock import Clock, SystemClock
from hearth.base.jobs import Jobs
from hearth.model.functions import Code, FunctionVersion, State
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region, RequestId, SandboxId
from hearth.model.invocations import Invocation, InvokeResult
from hearth.worker import lifecycle
from hearth.worker.environment import ExecutionEnvironment
from hearth.worker.program import Launch, NewProgram, RunningProgram
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.contract import Mount, Program, SandboxBackend, SandboxSpec
from hearth.worker.sandboxes.oci import OciBackend
from hearth.worker.sandboxes.process import ProcessBackend
from hearth.worker.sandboxes.zygote import ZygoteBackend
from hearth.worker.supervision import find_extensions
from hearth.worker.variables import Credentials, Place, extension_variables, variables

pytestmark = pytest.mark.integration
PYTHON = "/usr/bin/python3"
RECORDER = Path(__file__).parents[1] / "fakes" / "extensions" / "recorder.py"
EVENTUALLY_S = 60.0
NewBackend = Callable[[str, Path, Clock, Jobs], SandboxBackend]
BACKENDS: dict[str, NewBackend] = {
    "bubblewrap": BubblewrapBackend,
    "crun": partial(OciBackend, runtime="crun"),
    "process": ProcessBackend,
    "runsc": partial(OciBackend, runtime="runsc"),
    "zygote": ZygoteBackend,
}
RUNTIME = """
import http.client, json, os, signal, sys, time
def ended(*_):
    print("runtime got SIGTERM", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, ended)
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
root = "/2018-06-01/runtime/invocation/"
if "INTERNAL" in os.environ:
    import threading
    inner = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    names = {"Lambda-Extension-Name": "inner"}
    inner.request("POST", "/2020-01-01/extension/register", '{"events": []}', names)
    answer = inner.getresponse()
    answer.read()
    who = {"Lambda-Extension-Identifier": answer.headers["Lambda-Extension-Identifier"]}
    inner.request("GET", "/2020-01-01/extension/event/next", None, who)
print("runtime is started", flush=True)
while True:
    api.request("GET", root + "next")
    answer = api.getresponse()
    event = json.loads(answer.read())
    if event == "crash":
        os._exit(7)
    if event == "hang":
        time.sleep(600)
    request = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", f"{root}{request}/response", json.dumps(event))
    api.getresponse().read()
"""
FUNCTION = FunctionVersion(
    key=FunctionKey(AccountId("123456789012"), Region("us-east-1"), FunctionName("f")),
    runtime="provided.al2023",
    handler="app.handler",
    role="r",
    code=Code(sha256="0" * 64, size_bytes=1),
    state=State.ACTIVE,
    timeout_s=30,
    memory_mb=256,
    last_modified="",
    revision_id="v1",
    instance_id="i1",
)


class Scene:
    """An environment with the extensions `one` and `two`."""

    def __init__(self, environment: ExecutionEnvironment, lines: list[str]) -> None:
        self.environment = environment
        self.lines = lines
        self.released: list[bool] = []

    async def invoke(self, event: object = "hello", name: str = "r1") -> InvokeResult:
        invocation = Invocation(
            request=RequestId(name),
            function=self.environment.function,
            invoked_arn=FUNCTION.key.arn(),
            payload=json.dumps(event).encode(),
            trace_id="Root=1-2-3;Parent=4;Sampled=0",
            log_tail=True,
        )
        async with asyncio.timeout(EVENTUALLY_S):
            return await self.environment.run(invocation, self.released.append)

    async def ends(self) -> None:
        async with asyncio.timeout(EVENTUALLY_S):
            await self.environment.stop()

    def said(self, extension: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.lines if line.startswith('{"extension"')]
        return [said for said in found if said["extension"] == extension]

    def events(self, extension: str) -> list[dict[str, Any]]:
        return [said["event"] for said in self.said(extension) if "event" in said]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(EVENTUALLY_S):
            while not holds():  # noqa: ASYNC110 - another process sets no events
                await asyncio.sleep(0.01)


Story = Callable[[Scene], Awaitable[None]]


class Stage:
    """Runs stories, each in an environment of its own, in one opened backend."""

    def __init__(self, kind: NewBackend, path: Path, name: str = "") -> None:
        self.name = name
        self._kind = kind
        self._path = path
        self.has_external = True
        # Lambda's are too short to assert on where other work may take the machine.
        self.new_program: NewProgram = partial(
            RunningProgram, internal_budget_s=EVENTUALLY_S, external_budget_s=EVENTUALLY_S
        )

    def play(
        self, story: Story, recorder: dict[str, dict[str, object]] | None = None, **changes: Any
    ) -> list[str]:
        """Returns the log."""
        variables_ = {"RECORDER": json.dumps(recorder or {}), "_PRIVATE": "1"}
        variables_ |= changes.pop("environment", {})
        function = replace(FUNCTION, environment=variables_, **changes)
        lines: list[str] = []
        try:
            asyncio.run(self._main(story, function, lines))
        finally:
            print(*lines, sep="\n")  # noqa: T201 - shown where a test fails
        return lines

    async def _main(self, story: Story, function: FunctionVersion, lines: list[str]) -> None:
        async with Jobs() as jobs:
            clock = SystemClock()
            backend = self._kind(uuid.uuid4().hex[:12], self._path / "run", clock, jobs)
            capabilities = await backend.open()
            if not capabilities.usable:
                pytest.skip(f"no {backend.name} here: {capabilities.why_not}")
            try:
                spec = SandboxSpec(sandbox=SandboxId("s1"), memory_mb=256, tmp_mb=16)
                sandbox = await backend.create(spec)
                launch = self._launch(sandbox, function)
                environment = ExecutionEnvironment(
                    sandbox, function, launch, Lines(lines), clock, jobs, self.new_program
                )
                async with asyncio.timeout(EVENTUALLY_S):
                    await environment.start()
                await story(Scene(environment, lines))
                async with asyncio.timeout(EVENTUALLY_S):
                    await environment.stop()
            finally:
                await backend.close()

    def _launch(self, sandbox: Any, function: FunctionVersion) -> Launch:
        layer = self._path / "opt"
        (layer / "extensions").mkdir(parents=True, exist_ok=True)
        for name in ("one", "two") if self.has_external else ():
            shutil.copy(RECORDER, layer / "extensions" / name)
        code = self._path / "task"
        code.mkdir(mode=0o755, exist_ok=True)
        task = Mount(code, "/var/task")
        opt = Mount(layer, "/opt")
        mounts = (task, opt)
        place = Place(
            api_address=sandbox.api_address,
            task=sandbox.inside(task),
            opt=sandbox.inside(opt),
            runtime="/var/runtime",
            lang="/var/lang",
            tmp=sandbox.tmp_directory,
        )
        environment = variables(function, place, Credentials.fresh(), "stream", {})
        program = Program(
            argv=(PYTHON, "-I", "-S", "-c", RUNTIME),
            environment=environment,
            working_directory=sandbox.inside(task),
            mounts=mounts,
        )
        extensions = find_extensions(sandbox, mounts, extension_variables(function, environment))
        return Launch(program=program, extensions=extensions)


class Lines:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def append(self, at_ms: int, lines: list[bytes]) -> None:
        self._lines += [line.decode().removesuffix("\n") for line in lines]


@pytest.fixture(name="stage", params=BACKENDS)
def stage_of_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not there to be run in a sandbox")
    return Stage(BACKENDS[request.param], tmp_path, request.param)


def test_extensions_see_each_event_from_registration_to_shutdown(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        assert scene.environment.lifecycle.state is lifecycle.State.READY
        assert (await scene.invoke("a", "r1")).payload == b'"a"'
        assert (await scene.invoke("b", "r2")).payload == b'"b"'
        await scene.ends()
        for name in ("one", "two"):
            first, *_ = scene.said(name)
            assert first["registered"] == 200
            assert first["told"] == {
                "functionName": "f",
                "functionVersion": "$LATEST",
                "handler": "app.handler",
                "accountId": "123456789012",
            }
            assert "AWS_LAMBDA_FUNCTION_NAME" in first["variables"]
            assert not {"_HANDLER", "LAMBDA_TASK_ROOT"} & set(first["variables"])
            invokes = scene.events(name)[:2] if name == "one" else []
            for number, event in enumerate(invokes, start=1):
                assert event.pop("deadlineMs") > 1_700_000_000_000
                assert event == {
                    "eventType": "INVOKE",
                    "requestId": f"r{number}",
                    "invokedFunctionArn": FUNCTION.key.arn(),
                    "tracing": {
                        "type": "X-Amzn-Trace-Id",
                        "value": "Root=1-2-3;Parent=4;Sampled=0",
                    },
                }
            last = scene.events(name)[-1]
            assert (last["eventType"], last["shutdownReason"]) == ("SHUTDOWN", "spindown")
        assert scene.said("one")[-1] == {"extension": "one", "done": True}
        assert scene.released == [True, True]

    log = stage.play(story, {"two": {"events": ["SHUTDOWN"]}})
    started = log.index("runtime is started")
    assert all(started > at for at, line in enumerate(log) if '"registered": 200' in line)
    assert "EXTENSION\tName: one\tState: Ready\tEvents: [INVOKE,SHUTDOWN]" in log
    assert "EXTENSION\tName: two\tState: Ready\tEvents: [SHUTDOWN]" in log
    assert "runtime got SIGTERM" in log


def test_a_crash_resets_the_environment_and_tells_the_extensions(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        result = await scene.invoke("crash", "r1")
        assert json.loads(result.payload)["errorType"] == "Runtime.ExitError"
        assert "exit status 7" in result.payload.decode()
        assert scene.events("one")[-1]["shutdownReason"] == "failure"
        assert scene.environment.lifecycle.state is lifecycle.State.RESET
        assert (await scene.invoke("again", "r2")).payload == b'"again"'
        registrations = [said for said in scene.said("one") if "registered" in said]
        assert len(registrations) == 2

    stage.play(story)


def test_a_timeout_resets_the_environment_and_tells_the_extensions(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        result = await scene.invoke("hang", "r1")
        assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"
        assert scene.environment.lifecycle.state is lifecycle.State.RESET
        assert scene.events("one")[-1]["shutdownReason"] == "timeout"

    Stage(BubblewrapBackend, tmp_path).play(story, timeout_s=1)


@pytest.mark.parametrize(
    ("habits", "error_type", "message", "state"),
    [
        ({"exit_at": "start"}, "Extension.Crash", "exit status 3", "Exited"),
        ({"exit_at": "registered"}, "Extension.Crash", "exit status 3", "Exited"),
        ({"error_at": "registered"}, "Extension.InitError", "exit status 1", "InitError"),
    ],
)
def test_an_extension_that_fails_in_init_fails_the_init_and_the_invoke(
    tmp_path: Path, habits: dict[str, object], error_type: str, message: str, state: str
) -> None:
    async def story(scene: Scene) -> None:
        assert scene.environment.lifecycle.state is lifecycle.State.RESET
        result = await scene.invoke("a", "r1")
        told = json.loads(result.payload)
        assert told == {
            "errorType": error_type,
            "errorMessage": f"RequestId: r1 Error: {message}",
        }
        assert result.function_error == "Unhandled"

    log = Stage(BubblewrapBackend, tmp_path).play(story, {"one": habits})
    assert any(
        line.startswith("INIT_REPORT") and line.endswith(f"Error Type: {error_type}")
        for line in log
    )
    assert any(line.startswith(f"EXTENSION\tName: one\tState: {state}\t") for line in log)


@pytest.mark.parametrize(
    ("habits", "error_type"),
    [({"exit_at": "invoke"}, "Extension.Crash"), ({"error_at": "invoke"}, "Extension.ExitError")],
)
def test_an_extension_that_ends_in_an_invoke_resets_the_environment(
    tmp_path: Path, habits: dict[str, object], error_type: str
) -> None:
    async def story(scene: Scene) -> None:
        await scene.invoke("a", "r1")
        await scene.until(lambda: scene.released)
        assert scene.environment.lifecycle.state is lifecycle.State.RESET
        report = next(line for line in scene.lines if line.startswith("REPORT RequestId: r1"))
        assert report.endswith(f"Status: error\tError Type: {error_type}")
        assert scene.events("two")[-1]["shutdownReason"] == "failure"

    Stage(BubblewrapBackend, tmp_path).play(story, {"one": habits})


def test_a_file_that_cannot_be_executed_is_a_launch_error(tmp_path: Path) -> None:
    layer = tmp_path / "opt" / "extensions"
    layer.mkdir(parents=True)
    (layer / "broken").write_text("no program")
    (layer / "broken").chmod(0o644)

    async def story(scene: Scene) -> None:
        result = await scene.invoke("a", "r1")
        assert json.loads(result.payload) == {
            "errorType": "Extension.LaunchError",
            "errorMessage": "RequestId: r1 Error: fork/exec /opt/extensions/broken: "
            "permission denied",
        }

    log = Stage(BubblewrapBackend, tmp_path).play(story)
    line = "EXTENSION\tName: broken\tState: LaunchError\tEvents: []\tError Type: PermissionDenied"
    assert line in log


def test_an_extension_that_lingers_keeps_the_environment_busy(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        began_s = scene.environment.lifecycle.history[-1].at_s
        await scene.invoke("a", "r1")
        assert scene.environment.lifecycle.history[-1].at_s - began_s >= 0.5
        assert scene.released == [True]

    Stage(BubblewrapBackend, tmp_path).play(story, {"one": {"linger_s": 0.5}})


def test_who_does_not_end_after_shutdown_is_killed_at_the_end_of_its_budget(
    tmp_path: Path,
) -> None:
    async def story(scene: Scene) -> None:
        await scene.invoke("a", "r1")
        await scene.ends()
        assert not [said for said in scene.said("one") if "done" in said]

    stage = Stage(BubblewrapBackend, tmp_path)
    stage.new_program = RunningProgram
    stage.play(story, {"one": {"sleep_at_shutdown_s": 600}})


def test_a_runtime_with_an_internal_extension_is_asked_to_end(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        assert (await scene.invoke("a", "r1")).payload == b'"a"'

    if stage.name == "runsc":
        pytest.skip("nothing outside can signal a program of a kernel of its own")
    stage.has_external = False
    log = stage.play(story, environment={"INTERNAL": "1"})
    assert "EXTENSION\tName: inner\tState: Ready\tEvents: []" in log
    assert log[-1] == "runtime got SIGTERM"


def test_telemetry_reaches_subscribers_inside_by_http_and_by_tcp(tmp_path: Path) -> None:
    def subscribed(api: str, protocol: str, port: int, **changes: object) -> dict[str, object]:
        uri = {"URI": f"http://sandbox.localdomain:{port}/events"}
        body = {
            "types": ["platform", "function"],
            "buffering": {"timeoutMs": 25},
            "destination": {
                "protocol": protocol,
                **(uri if protocol == "HTTP" else {"port": port}),
            },
            **changes,
        }
        return {"listen": [protocol, port], "subscribe": [api, body]}

    def told(scene: Scene, extension: str) -> list[dict[str, Any]]:
        return [said["telemetry"] for said in scene.said(extension) if "telemetry" in said]

    async def story(scene: Scene) -> None:
        await scene.invoke("a", "r1")
        for name in ("one", "two"):
            await scene.until(partial(reported, scene, name))
            assert [said for said in scene.said(name) if said.get("subscribed") == 200]
        assert types(told(scene, "one"))[0] == "platform.initStart"
        lines = [e["record"] for e in told(scene, "two") if e["type"] == "function"]
        assert lines == ["runtime is started\n"]
        assert "platform.end" in types(told(scene, "two"))

    def reported(scene: Scene, name: str) -> bool:
        return "platform.report" in types(told(scene, name))

    def types(events: list[dict[str, Any]]) -> list[str]:
        return [event["type"] for event in events]

    recorder = {
        "one": subscribed("/2022-07-01/telemetry", "HTTP", 4243, schemaVersion="2022-12-13"),
        "two": subscribed("/2020-08-15/logs", "TCP", 4244),
    }
    log = Stage(BubblewrapBackend, tmp_path).play(story, recorder)
    assert "TELEMETRY\tName: one\tState: Subscribed\tTypes: [Platform, Function]" in log
    assert "LOGS\tName: two\tState: Subscribed\tTypes: [Platform, Function]" in log
