"""`hearth deploy` and `hearth invoke` against an HTTP server that stands in for Lambda's API."""

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hearth.cli import run_directory
from hearth.cli.main import cli
from hearth.cli.run_directory import RunFile
from hearth.settings import StatePaths

pytestmark = pytest.mark.integration

ROOT = "/2015-03-31/functions"


class Lambda:
    """Functions that are Pending for one look and then Active; each returns what it got."""

    def __init__(self) -> None:
        self.functions: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.authorizations: list[str] = []
        self.reason = ""  # why functions fail to become Active
        self.refuses_keys = False

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.calls.append(f"{method} {path.removeprefix(ROOT)}")
        if self.refuses_keys:
            return _error(403, "UnrecognizedClientException", "The security token is invalid.")
        parts = path.removeprefix(ROOT).strip("/").split("/")
        if method == "POST" and parts == [""]:
            return self._create(json.loads(body))
        name, what = parts[0], "/".join(parts[1:])
        function = self.functions.get(name)
        if function is None:
            return _error(404, "ResourceNotFoundException", f"Function not found: {name}")
        match method, what:
            case "POST", "invocations":
                return self._invoke(function, body)
            case "PUT", "code":
                self._put_code(function, json.loads(body)["ZipFile"])
            case "PUT", "configuration":
                function |= json.loads(body)
        return _json(200, {"Configuration": self._look(function)} if not what else function)

    def _create(self, members: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        name = members["FunctionName"]
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
        code = members.pop("Code")["ZipFile"]
        function = {"MemorySize": 128, "FunctionArn": arn, "State": "Pending", **members}
        self.functions[name] = function
        self._put_code(function, code)
        return _json(201, function)

    def _put_code(self, function: dict[str, Any], code: str) -> None:
        package = base64.b64decode(code)
        self.packages[function["FunctionName"]] = package
        function["CodeSha256"] = hashlib.sha256(package).hexdigest()
        function["LastUpdateStatus"] = "InProgress"

    def _look(self, function: dict[str, Any]) -> dict[str, Any]:
        seen = dict(function)
        function["State"] = "Failed" if self.reason else "Active"
        function["StateReason"] = self.reason
        function["LastUpdateStatus"] = "Successful"
        return seen

    def _invoke(self, function: dict[str, Any], body: bytes) -> tuple[int, dict[str, str], bytes]:
        log = base64.b64encode(b"START\n\x1bhello\nEND\n").decode()
        headers = {"X-Amz-Log-Result": log, "X-Amz-Executed-Version": "$LATEST"}
        if function["Handler"] == "app.broken":
            return 200, {**headers, "X-Amz-Function-Error": "Unhandled"}, b'{"errorType": "E"}'
        return 200, headers, body


def _json(status: int, members: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(members).encode()


def _error(status: int, code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    _, headers, body = _json(status, {"Type": "User", "Message": message})
    return status, {**headers, "x-amzn-ErrorType": code}, body


def _handler(fake: Lambda) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            fake.authorizations.append(self.headers.get("Authorization", ""))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, answer = fake.answer(self.command, self.path.split("?")[0], body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class Scene:
    def __init__(self, fake: Lambda, endpoint: str, state: Path, function: Path) -> None:
        self.fake = fake
        self.endpoint = endpoint
        self.state = state
        self.function = function
        self.environment: dict[str, str | None] = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": None,
            "AWS_SECRET_ACCESS_KEY": None,
            "AWS_PROFILE": None,
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    def hearth(self, *arguments: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(
            cli, [*arguments, "--state", str(self.state)], input=stdin, env=self.environment
        )

    def deploy(self, *more: str) -> Result:
        return self.hearth("deploy", str(self.function), *more)

    def deployed(self) -> "Scene":
        result = self.deploy("--handler", "app.handler", "--runtime", "python3.11")
        assert result.exit_code == 0, result.stderr
        return self


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    function = tmp_path / "hello"
    function.mkdir()
    (function / "app.py").write_text("def handler(event, context): return event\n")
    fake = Lambda()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    host, port = server.server_address[:2]
    yield Scene(fake, f"http://{host!s}:{port}", tmp_path / "state", function)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_directory_becomes_an_active_function(scene: Scene) -> None:
    result = scene.deploy(
        *("--handler", "app.handler", "--runtime", "python3.11", "--memory", "256"),
        *("--timeout", "30", "-e", "STAGE=dev", "-e", "A=b=c"),
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "arn:aws:lambda:us-east-1:000000000000:function:hello\n"
    assert "Invoke it with: hearth invoke hello" in result.stderr
    function = scene.fake.functions["hello"]
    assert function["State"] == "Active"
    assert (function["MemorySize"], function["Timeout"]) == (256, 30)
    assert function["Environment"] == {"Variables": {"STAGE": "dev", "A": "b=c"}}
    assert function["Role"].startswith("arn:aws:iam::000000000000:role/")
    with zipfile.ZipFile(io.BytesIO(scene.fake.packages["hello"])) as package:
        assert package.namelist() == ["app.py"]


def test_deploying_again_updates_the_code_and_only_what_was_said(scene: Scene) -> None:
    scene.deployed()
    scene.fake.calls.clear()
    (scene.function / "app.py").write_text("changed = True\n")
    before = scene.fake.packages["hello"]
    assert scene.deploy().exit_code == 0
    assert scene.fake.packages["hello"] != before
    assert not any(call.endswith("PUT /hello/configuration") for call in scene.fake.calls)
    assert scene.deploy("--timeout", "9", "--json").exit_code == 0
    function = scene.fake.functions["hello"]
    assert (function["Timeout"], function["Handler"]) == (9, "app.handler")


def test_json_is_the_functions_configuration(scene: Scene) -> None:
    result = scene.deploy("--handler", "a.b", "--runtime", "python3.11", "--name", "n", "--json")
    assert json.loads(result.stdout)["FunctionArn"].endswith(":function:n")


def test_a_new_function_needs_a_handler_and_a_runtime(scene: Scene) -> None:
    result = scene.deploy("--runtime", "python3.11")
    assert (result.exit_code, scene.fake.functions) == (1, {})
    assert "'hello' is a new function: say --handler too." in result.stderr


def test_why_a_function_never_became_active_is_told(scene: Scene) -> None:
    scene.fake.reason = "The zip cannot be opened."
    result = scene.deploy("--handler", "app.handler", "--runtime", "python3.11")
    assert result.exit_code == 1
    assert result.stderr.endswith("hearth: hello cannot be used: The zip cannot be opened.\n")


def test_a_variable_without_a_name_is_refused(scene: Scene) -> None:
    result = scene.deploy("--handler", "a.b", "--runtime", "python3.11", "--env", "STAGE")
    assert "--env must be NAME=VALUE, not 'STAGE'." in result.stderr


def test_the_answer_is_on_stdout_and_the_log_on_stderr(scene: Scene) -> None:
    result = scene.deployed().hearth("invoke", "hello", "-p", '{"n": 1}', "--log")
    assert (result.exit_code, result.stdout) == (0, '{"n": 1}\n')
    assert result.stderr == "START\n\x1bhello\nEND\n"
    assert scene.hearth("invoke", "hello").stdout == "{}\n"


def test_the_event_may_come_from_a_file_or_from_stdin(scene: Scene, tmp_path: Path) -> None:
    scene.deployed()
    (tmp_path / "event.json").write_bytes(b"[1]")
    result = scene.hearth("invoke", "hello", "--payload-file", str(tmp_path / "event.json"))
    assert result.stdout == "[1]\n"
    assert scene.hearth("invoke", "hello", "-f", "-", stdin=b"[2]").stdout == "[2]\n"
    both = scene.hearth("invoke", "hello", "-f", "-", "-p", "{}")
    assert both.exit_code == 2


def test_a_failed_function_is_exit_code_1_and_its_error_is_the_answer(scene: Scene) -> None:
    scene.deployed()
    scene.fake.functions["hello"]["Handler"] = "app.broken"
    result = scene.hearth("invoke", "hello")
    assert (result.exit_code, result.stdout) == (1, '{"errorType": "E"}\n')
    assert result.stderr == "hearth: the function failed (Unhandled).\n"


def test_lambdas_own_error_is_one_sentence(scene: Scene) -> None:
    result = scene.hearth("invoke", "nobody")
    assert result.exit_code == 1
    assert result.stderr == "hearth: ResourceNotFoundException: Function not found: nobody\n"


def test_without_credentials_any_are_made_up_and_with_some_those_are_used(scene: Scene) -> None:
    scene.deployed()
    assert all("Credential=test/" in line for line in scene.fake.authorizations)
    scene.environment |= {"AWS_ACCESS_KEY_ID": "AKIAME", "AWS_SECRET_ACCESS_KEY": "secret"}
    assert scene.hearth("invoke", "hello").exit_code == 0
    assert "Credential=AKIAME/" in scene.fake.authorizations[-1]


def test_who_has_no_key_is_told_how_to_make_one(scene: Scene) -> None:
    scene.fake.refuses_keys = True
    assert "hearth keys add" in scene.hearth("invoke", "hello").stderr
    scene.environment |= {"AWS_ACCESS_KEY_ID": "AKIAME", "AWS_SECRET_ACCESS_KEY": "secret"}
    refused = scene.hearth("invoke", "hello").stderr
    assert refused == "hearth: UnrecognizedClientException: The security token is invalid.\n"


def test_without_an_endpoint_the_hearth_that_runs_here_is_meant(scene: Scene) -> None:
    scene.deployed()
    scene.environment["AWS_ENDPOINT_URL"] = None
    absent = scene.hearth("invoke", "hello")
    assert absent.exit_code == 1
    assert "Hearth is not running on" in absent.stderr
    paths = StatePaths(scene.state)
    with run_directory.hold(paths):
        run_directory.announce(paths, RunFile(1, scene.endpoint, "now"))
        assert scene.hearth("invoke", "hello").exit_code == 0


def test_an_endpoint_where_nothing_answers_is_said_so(scene: Scene) -> None:
    scene.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    result = scene.hearth("invoke", "hello")
    assert result.exit_code == 1
    assert result.stderr.startswith("hearth: Nothing answers at http://127.0.0.1:1.")
