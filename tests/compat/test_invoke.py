"""A boto3 client sees what it would see from AWS: answers, errors and logs.

Expected texts are the recorded ones of AWS.
"""

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from compat.platform import PYTHON, ROLE, Platform, create, package, wait_active, wait_updated

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

MANY = """
import os, sys
kept = []
def handler(event, context):
    what = event.get("do")
    if what == "raise":
        raise ValueError("no luck")
    if what == "exit":
        sys.exit(event["code"])
    if what == "os_exit":
        os._exit(event["code"])
    if what == "eat":
        while True:
            kept.append(b"x" * (8 << 20))
    if what == "big":
        return "x" * event["size"]
    if what == "none":
        return None
    if what == "tmp":
        with open("/tmp/seen", "a") as file:
            file.write("x")
        return len(open("/tmp/seen").read())
    if what == "context":
        return {
            "name": context.function_name,
            "version": context.function_version,
            "arn": context.invoked_function_arn,
            "memory": context.memory_limit_in_mb,
            "request": context.aws_request_id,
            "group": context.log_group_name,
            "left": context.get_remaining_time_in_millis(),
            "client": context.client_context.custom if context.client_context else None,
        }
    print("handling", event)
    return {"echo": event}
"""


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    client = platform.client()
    create(client, "many", MANY, Timeout=10, MemorySize=512)
    return client


def invoke(client: "LambdaClient", event: Any, name: str = "many", **more: Any) -> dict[str, Any]:
    """Status, error, executed version, payload and the log tail of one invoke."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail", **more)
    return {
        "status": answer["StatusCode"],
        "error": answer.get("FunctionError"),
        "version": answer.get("ExecutedVersion"),
        "payload": json.loads(answer["Payload"].read()),
        "log": base64.b64decode(answer["LogResult"]).decode(),
        "request": answer["ResponseMetadata"]["RequestId"],
    }


def test_an_answer_its_log_and_its_request_id(client: "LambdaClient") -> None:
    got = invoke(client, {"n": 1})
    assert (got["status"], got["error"], got["version"]) == (200, None, "$LATEST")
    assert got["payload"] == {"echo": {"n": 1}}
    request = re.escape(got["request"])
    assert re.search(
        rf"START RequestId: {request} Version: \$LATEST\n"
        rf"handling {{'n': 1}}\n"
        rf"END RequestId: {request}\n"
        rf"REPORT RequestId: {request}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\t"
        rf"Memory Size: 512 MB\tMax Memory Used: [1-9]\d* MB\t",
        got["log"],
    )


def test_the_context_is_lambdas(client: "LambdaClient") -> None:
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    got = invoke(client, {"do": "context"}, ClientContext=context)
    payload = got["payload"]
    assert 0 < payload.pop("left") <= 10_000
    assert payload == {
        "name": "many",
        "version": "$LATEST",
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:many",
        "memory": "512",
        "request": got["request"],
        "group": "/aws/lambda/many",
        "client": {"k": "v"},
    }


def test_an_exception_is_an_unhandled_error_with_its_trace(client: "LambdaClient") -> None:
    got = invoke(client, {"do": "raise"})
    assert (got["status"], got["error"]) == (200, "Unhandled")
    payload = got["payload"]
    assert payload["errorType"] == "ValueError"
    assert payload["errorMessage"] == "no luck"
    assert payload["requestId"] == got["request"]
    assert any("raise ValueError" in line for line in payload["stackTrace"])
    assert "[ERROR] ValueError: no luck" in got["log"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"do": "exit", "code": 0}, "Runtime exited without providing a reason"),
        ({"do": "os_exit", "code": 127}, "Runtime exited with error: exit status 127"),
    ],
)
def test_an_exit_is_told_in_lambdas_words(
    client: "LambdaClient", event: dict[str, Any], words: str
) -> None:
    got = invoke(client, event)
    assert got["error"] == "Unhandled"
    assert got["payload"] == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {got['request']} Error: {words}",
    }
    assert got["log"].endswith("Status: error\tError Type: Runtime.ExitError\n")


def test_out_of_memory_is_killed_and_told(client: "LambdaClient") -> None:
    # 128 MB come with 7 % of a CPU: touching all of it takes a second or two.
    create(client, "hungry", MANY, Timeout=60, MemorySize=128)
    got = invoke(client, {"do": "eat"}, "hungry")
    assert got["error"] == "Unhandled"
    assert got["payload"] == {
        "errorType": "Runtime.ExitError",
        "errorMessage": (
            f"RequestId: {got['request']} Error: Runtime exited with error: signal: killed"
        ),
    }
    assert got["log"].endswith("Status: error\tError Type: Runtime.OutOfMemory\n")


def test_after_a_failure_tmp_is_kept_and_the_process_is_new(client: "LambdaClient") -> None:
    before = invoke(client, {"do": "tmp"})["payload"]
    invoke(client, {"do": "os_exit", "code": 1})
    after = invoke(client, {"do": "tmp"})
    assert after["payload"] == before + 1
    assert "Init Duration" not in after["log"], "a suppressed init is part of Duration"


def test_a_response_one_byte_too_large_is_refused(client: "LambdaClient") -> None:
    limit = 6_291_556
    fits = client.invoke(FunctionName="many", Payload=json.dumps({"do": "big", "size": limit - 2}))
    assert not fits.get("FunctionError")
    assert len(fits["Payload"].read()) == limit
    got = invoke(client, {"do": "big", "size": limit - 1})
    assert got["error"] == "Unhandled"
    assert got["payload"] == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": (
            "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        ),
    }


def test_a_request_one_byte_too_large_is_413(client: "LambdaClient") -> None:
    payload = b'"' + b"x" * (6_291_556 - 1) + b'"'
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.invoke(FunctionName="many", Payload=payload)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_none_is_null(client: "LambdaClient") -> None:
    assert invoke(client, {"do": "none"})["payload"] is None


def test_a_payload_that_is_not_json_is_refused_before_anything_runs(
    client: "LambdaClient",
) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.invoke(FunctionName="many", Payload=b"{not json")
    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidRequestContentException"
    assert error["Message"].startswith("Could not parse request body into json: ")


def test_a_dry_run_runs_nothing(client: "LambdaClient") -> None:
    answer = client.invoke(FunctionName="many", InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert answer["Payload"].read() == b""


def test_an_unknown_function_is_404_with_its_arn(client: "LambdaClient") -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.invoke(FunctionName="nobody")
    assert caught.value.response["Error"]["Message"] == (
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody:$LATEST"
    )


@pytest.mark.parametrize(
    ("name", "handler", "code", "error_type", "words"),
    [
        (
            "no-module",
            "nothing.handler",
            "",
            "Runtime.ImportModuleError",
            "Unable to import module",
        ),
        ("no-handler", "app.nothing", "x = 1", "Runtime.HandlerNotFound", "missing on module"),
        ("bad-name", "app", "x = 1", "Runtime.MalformedHandlerName", "Bad handler"),
        ("bad-syntax", "app.handler", "def (", "Runtime.UserCodeSyntaxError", "Syntax error"),
        ("init-raises", "app.handler", "1 / 0", "ZeroDivisionError", "division by zero"),
    ],
)
def test_an_init_error_is_told_at_invoke(
    client: "LambdaClient", name: str, handler: str, code: str, error_type: str, words: str
) -> None:
    create(client, name, code, Handler=handler)
    got = invoke(client, {}, name)
    assert got["error"] == "Unhandled"
    assert got["payload"]["errorType"] == error_type
    assert words in got["payload"]["errorMessage"]
    assert "Status: error" in got["log"]


def test_an_init_that_exits_is_told_at_invoke(client: "LambdaClient") -> None:
    create(client, "init-exits", "import os; os._exit(4)")
    got = invoke(client, {}, "init-exits")
    assert got["payload"] == {
        "errorType": "Runtime.ExitError",
        "errorMessage": (
            f"RequestId: {got['request']} Error: Runtime exited with error: exit status 4"
        ),
    }


def test_new_code_runs_after_an_update_and_nothing_after_a_delete(client: "LambdaClient") -> None:
    create(client, "changes", "def handler(e, c): return 'old'")
    assert invoke(client, {}, "changes")["payload"] == "old"
    client.update_function_code(
        FunctionName="changes",
        ZipFile=package({"app.py": "def handler(e, c): return 'new'"}),
    )
    wait_updated(client, "changes")
    assert invoke(client, {}, "changes")["payload"] == "new"
    client.update_function_configuration(
        FunctionName="changes", Environment={"Variables": {"GREETING": "hi"}}
    )
    wait_updated(client, "changes")
    assert invoke(client, {}, "changes")["payload"] == "new"
    client.delete_function(FunctionName="changes")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="changes")


def test_a_custom_runtime_is_its_bootstrap(client: "LambdaClient") -> None:
    bootstrap = """#!/bin/sh
echo "started in $PWD by $_HANDLER"
exec /usr/bin/env -i A="$AWS_LAMBDA_RUNTIME_API" T="$LAMBDA_TASK_ROOT" bash /var/task/loop.sh
"""
    loop = r"""
api=${A%:*}; port=${A#*:}; root=/2018-06-01/runtime/invocation
common='HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
while true; do
  exec 3<>/dev/tcp/$api/$port
  printf "GET $root/next $common\r\n" >&3
  id=''; while IFS=$'\r' read -r line rest <&3; do
    case "${line,,}" in lambda-runtime-aws-request-id:*) id=${line#*: };; '') break;; esac
  done
  event=$(cat <&3); exec 3>&-
  exec 3<>/dev/tcp/$api/$port
  body="{\"from\":\"bash\",\"event\":$event}"
  printf "POST $root/$id/response ${common}Content-Length: ${#body}\r\n\r\n" >&3
  printf '%s' "$body" >&3
  cat <&3 >/dev/null; exec 3>&-
done
"""
    client.create_function(
        FunctionName="custom",
        Runtime="provided.al2023",
        Role=ROLE,
        Handler="any.thing",
        Code={"ZipFile": package({"bootstrap": bootstrap, "loop.sh": loop}, ("bootstrap",))},
    )
    wait_active(client, "custom")
    got = invoke(client, {"n": 7}, "custom")
    assert got["payload"] == {"from": "bash", "event": {"n": 7}}
    assert "started in /var/task by any.thing" in got["log"]


@pytest.mark.parametrize(
    ("files", "executable", "words"),
    [
        ({"x": "1"}, (), "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        ({"bootstrap": "#!/bin/sh"}, (), "fork/exec /var/task/bootstrap: permission denied"),
        ({"bootstrap": "text"}, ("bootstrap",), "fork/exec /var/task/bootstrap: exec format error"),
        (
            {"bootstrap": "#!/no/such/shell"},
            ("bootstrap",),
            "fork/exec /var/task/bootstrap: no such file or directory",
        ),
    ],
)
def test_a_custom_runtime_without_a_usable_bootstrap_says_so(
    client: "LambdaClient", files: dict[str, str], executable: tuple[str, ...], words: str
) -> None:
    name = "custom-" + "".join(c for c in words if c.isalnum())
    client.create_function(
        FunctionName=name,
        Runtime="provided.al2",
        Role=ROLE,
        Handler="x",
        Code={"ZipFile": package(files, executable)},
    )
    wait_active(client, name)
    got = invoke(client, {}, name)
    assert got["payload"] == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": f"RequestId: {got['request']} Error: {words}",
    }
    assert got["log"].endswith("Status: error\tError Type: Runtime.InvalidEntrypoint\n")


def test_a_runtime_that_this_hearth_cannot_run_says_so_when_invoked(
    client: "LambdaClient",
) -> None:
    for runtime, words in (
        ("dotnet8", "it has no client that loads .NET class libraries. Publish it self-contained"),
        ("nodejs16.x", "nodejs16.x cannot run on this version of Hearth. It runs python3.10 to"),
    ):
        name = runtime.replace(".", "-")
        create(client, name, "", Runtime=runtime, Handler="app.handler")
        with pytest.raises(client.exceptions.InvalidRuntimeException) as caught:
            client.invoke(FunctionName=name)
        assert words in caught.value.response["Error"]["Message"]


def test_an_operation_that_is_not_there_yet_says_so_by_name(client: "LambdaClient") -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.get_function_scaling_config(FunctionName="f", Qualifier="1")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "GetFunctionScalingConfig" in caught.value.response["Error"]["Message"]


def test_the_same_environment_serves_one_client_after_another(client: "LambdaClient") -> None:
    create(client, "counter", "n = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return n")
    assert [invoke(client, {}, "counter")["payload"] for _ in range(20)] == list(range(1, 21))


def test_the_managed_python_is_the_version_that_was_asked_for(client: "LambdaClient") -> None:
    code = "import sys, boto3\ndef handler(e, c): return list(sys.version_info[:2])"
    create(client, "version", code)
    major, minor = PYTHON.removeprefix("python").split(".")
    assert invoke(client, {}, "version")["payload"] == [int(major), int(minor)]
