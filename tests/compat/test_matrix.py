"""Every language against everything that a function can do: one table, and AWS's answers.

Each language has one function, with a layer that brings a library and an extension; a second one
whose start fails, a third that has one second only, and a fourth that streams where its client can.
A language whose compiler or interpreter is not on the machine is skipped by name.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from compat.languages import LANGUAGES, PROVIDED, Built, Language, zipped
from compat.platform import Platform, create, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

RECORDER: Final = Path(__file__).parents[1] / "fakes" / "extensions" / "recorder.py"
GREETING: Final = "hello from outside"
TRACE: Final = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=[01](;.+)?"
PRELUDE_END: Final = bytes(8)
"""AWS's crate begins each stream as one for a function URL."""
REQUEST_BYTES_MAX: Final = 6_291_456


@dataclass(frozen=True, slots=True)
class Answer:
    payload: Any
    error: str | None
    request: str
    log: str
    trace: str


@dataclass(slots=True)
class Deployed:
    """One language on one platform; its functions are made when they are needed."""

    name: str
    language: Language
    built: Built
    platform: Platform
    client: "LambdaClient"
    layer: str
    _made: set[str] = field(default_factory=set)

    def function(self, suffix: str = "", **settings: Any) -> str:
        name = f"in-{self.name}{suffix}"
        if name in self._made:
            return name
        variables = {"GREETING": GREETING} | settings.pop("Variables", {})
        members: dict[str, Any] = {
            "Runtime": self.built.runtime,
            "Handler": self.language.handler,
            "Code": {"ZipFile": self.built.package},
            "Environment": {"Variables": variables},
            "Layers": [self.layer],
            "MemorySize": 1769,
            "Timeout": 60,
        }
        create(self.client, name, "", **(members | settings))
        # Counts need one process: whoever comes while it is not free yet is to come again.
        self.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
        self._made.add(name)
        return name

    def call(self, event: Any, name: str | None = None) -> Answer:
        text = event if isinstance(event, str) else json.dumps(event)
        got = self.once_free(
            lambda: self.client.invoke(
                FunctionName=name or self.function(), Payload=text, LogType="Tail"
            )
        )
        return Answer(
            json.loads(got["Payload"].read()),
            got.get("FunctionError"),
            got["ResponseMetadata"]["RequestId"],
            base64.b64decode(got["LogResult"]).decode(),
            got["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"],
        )

    def once_free(self, ask: Callable[[], Any]) -> Any:
        answers: list[Any] = []

        def is_answered() -> bool:
            with suppress(self.client.exceptions.TooManyRequestsException):
                answers.append(ask())
            return bool(answers)

        wait_until(is_answered, f"{self.name} is free")
        return answers[0]

    def good(self, event: Any) -> Any:
        answer = self.call(event)
        assert answer.error is None, answer.payload
        return answer.payload

    def failed(self, event: Any, name: str | None = None) -> Answer:
        answer = self.call(event, name)
        assert answer.error == "Unhandled", answer
        return answer

    def logged(self) -> list[str]:
        pages = self.platform.service("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=f"/aws/lambda/{self.function()}")
        return [event["message"].rstrip("\n") for page in found for event in page["events"]]

    def told(self) -> list[Any]:
        """The events that the extension beside the function got, from the function's log."""
        said = [json.loads(text) for text in self.logged() if text.startswith('{"extension"')]
        return [one["event"] for one in said if "event" in one]

    def delete(self) -> None:
        for name in self._made:
            self.client.delete_function(FunctionName=name)

    def streamed(self, name: str, event: Any) -> tuple[bytes, Any]:
        """What came bit by bit, and InvokeComplete."""
        got = self.once_free(
            lambda: self.client.invoke_with_response_stream(
                FunctionName=name, Payload=json.dumps(event)
            )
        )
        parts = list(got["EventStream"])
        chunks = [part["PayloadChunk"]["Payload"] for part in parts[:-1]]
        return b"".join(chunks), parts[-1]["InvokeComplete"]


def echo(at: Deployed) -> None:
    """The same process answers one event after the other, and every letter comes back."""
    event: dict[str, Any] = {
        "text": 'umlauts \u00e4\u00f6 "quoted" \\ and a\nnew line',
        "list": [1, 2.5, None, {}],
    }
    answers = [at.good(event) for _ in range(3)]
    first = answers[0]["count"]
    assert answers == [{"count": first + n, "greeting": GREETING, "event": event} for n in range(3)]


def error(at: Deployed) -> None:
    """What is thrown has AWS's form in this language, and costs no process."""
    before = at.good({})["count"]
    answer = at.failed({"fail": True})
    error_type, members = at.language.error
    assert answer.payload["errorType"] == error_type
    assert answer.payload["errorMessage"] == "asked to fail"
    assert answer.payload.keys() <= members
    assert answer.payload.get("requestId") == (answer.request if "requestId" in members else None)
    frame, payload = at.language.frame, answer.payload
    if frame is not None:
        assert any(frame in line for line in payload.get("stackTrace") or payload["trace"])
    assert at.good({})["count"] == before + 2


def timeout(at: Deployed) -> None:
    brief = at.function("-brief", Timeout=1)
    answer = at.failed({"sleep": True}, brief)
    assert answer.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {answer.request} Error: Task timed out after 1.00 seconds",
    }
    assert re.search(rf"REPORT RequestId: {answer.request}\t.*\tStatus: timeout\n", answer.log)


def leaving(at: Deployed) -> None:
    """A process that ends is said to have ended; the next one takes its place."""
    answer = at.failed({"exit": True})
    words = "Runtime exited with error: exit status 3"
    assert answer.payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer.request} Error: {words}",
    }
    assert "Status: error\tError Type: Runtime.ExitError\n" in answer.log
    assert at.good({})["count"] == 1


def init_error(at: Deployed) -> None:
    failing = at.function("-failing", Variables={"FAIL_INIT": "1"})
    payload = at.failed({}, failing).payload
    assert payload["errorType"] == at.language.init_error
    assert payload["errorMessage"].endswith("asked to fail at the start")


def large_payload(at: Deployed) -> None:
    """The largest event that is taken, and an answer with all of it."""
    event = {"text": "x" * (REQUEST_BYTES_MAX - len('{"text": ""}'))}
    text = json.dumps(event)
    assert len(text) == REQUEST_BYTES_MAX
    assert at.good(text)["event"] == event


def environment(at: Deployed) -> None:
    """AWS's variables, with AWS's values, and no others."""
    answer = at.call({"environment": True})
    assert answer.error is None, answer.payload
    seen, name, runtime = answer.payload, at.function(), at.built.runtime
    for variable, value in {**COMMON, **of_runtime(runtime)}.items():
        found = seen.pop(variable, None)
        if variable == "PATH" and at.name == "erlang":  # erl puts its own folders before it
            found = found[-len(value) :]
        assert found == value, variable
    assert re.fullmatch(TRACE, answer.trace)
    trace = seen.pop("_X_AMZN_TRACE_ID", None)
    assert trace == (answer.trace if at.language.hears_of_traces else None)
    assert seen.pop("AWS_LAMBDA_FUNCTION_NAME") == name
    assert seen.pop("AWS_LAMBDA_LOG_GROUP_NAME") == f"/aws/lambda/{name}"
    assert seen.pop("_HANDLER") == at.language.handler
    assert at.language.adds_variables or not seen.keys() - ANY_VALUE


def layer(at: Deployed) -> None:
    assert at.good({"layer": True}) == "from a layer"


def extension(at: Deployed) -> None:
    """It hears of each invoke, and why its environment is reset."""
    good = at.call({})
    bad = at.failed({"exit": True})
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{at.function()}"

    def since() -> list[Any]:
        told = at.told()
        requests = [event.get("requestId") for event in told]
        return told[requests.index(good.request) :] if good.request in requests else []

    wait_until(lambda: len(since()) >= 3, "three events are logged")
    wanted = [("INVOKE", good.request), ("INVOKE", bad.request), ("SHUTDOWN", None)]
    assert [(event["eventType"], event.get("requestId")) for event in since()[:3]] == wanted
    assert since()[0]["invokedFunctionArn"] == arn
    assert since()[2]["shutdownReason"] == "failure"
    line = "EXTENSION\tName: recorder\tState: Ready\tEvents: [INVOKE,SHUTDOWN]"
    assert line in at.logged()


def streaming(at: Deployed) -> None:
    """Bit by bit where the language can; else the answer as a whole, as AWS streams it."""
    if at.language.streams is None:
        body, end = at.streamed(at.function(), {"a": 1})
        assert (json.loads(body)["event"], end.get("ErrorCode")) == ({"a": 1}, None)
        body, end = at.streamed(at.function(), {"fail": True})
        assert (body, end["ErrorCode"]) == (b"", "Unhandled")
        assert "asked to fail" in end["ErrorDetails"]
        return
    name = at.function("-streams", Handler=at.language.streams)
    body, end = at.streamed(name, {})
    assert (body.rpartition(PRELUDE_END)[2], end.get("ErrorCode")) == (b"first,second", None)
    body, end = at.streamed(name, {"fail": True})
    at.language.break_off(body.rpartition(PRELUDE_END)[2], end)


COMMON: Final[Mapping[str, str]] = {
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_METADATA_API": "169.254.100.1:9001",
    "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
    "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
    "_AWS_XRAY_DAEMON_PORT": "2000",
    "GREETING": GREETING,
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "LANG": "en_US.UTF-8",
    "LD_LIBRARY_PATH": (
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:"
        "/opt/lib"
    ),
    "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    "TZ": ":UTC",
}
ANY_VALUE: Final = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_METADATA_TOKEN",
    "_LAMBDA_TELEMETRY_LOG_FD",
    # Of the shell that executes it.
    "OLDPWD",
    "PWD",
    "SHLVL",
    "_",
}


def of_runtime(runtime: str) -> Mapping[str, str]:
    """What is not the same everywhere."""
    if runtime == PROVIDED:
        return {
            name: COMMON[name].removeprefix("/var/lang/lib:").removeprefix("/var/lang/bin:")
            for name in ("LD_LIBRARY_PATH", "PATH")
        }
    own = {"AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}"}
    if runtime.startswith("python"):
        return own | {"PYTHONPATH": "/var/runtime", "LC_CTYPE": "C.UTF-8"}
    if runtime.startswith("nodejs"):
        major = runtime.removeprefix("nodejs").removesuffix(".x")
        path = f"/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules"
        return own | {
            "NODE_PATH": f"{path}:/var/runtime/node_modules:/var/runtime:/var/task",
        }
    return own


CASES: Final[Mapping[str, Callable[[Deployed], None]]] = {
    "echo": echo,
    "error": error,
    "timeout": timeout,
    "exit": leaving,
    "init-error": init_error,
    "large-payload": large_payload,
    "environment": environment,
    "layer": layer,
    "extension": extension,
    "streaming": streaming,
}


@pytest.fixture(scope="module", params=LANGUAGES)
def deployed(
    request: pytest.FixtureRequest, platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    name: str = request.param
    built = LANGUAGES[name].build(tmp_path_factory.mktemp(name))
    files = {"extensions/recorder": RECORDER.read_bytes(), **built.layer}
    client = platform.client()
    content = zipped(files, lambda path: path.startswith(("extensions/", "bin/")))
    arn = client.publish_layer_version(LayerName=f"for-{name}", Content={"ZipFile": content})
    made = Deployed(name, LANGUAGES[name], built, platform, client, arn["LayerVersionArn"])
    yield made
    made.delete()


@pytest.mark.parametrize("case", CASES)
def test_matrix(deployed: Deployed, case: str) -> None:
    CASES[case](deployed)
