"""What a function sees from inside is Lambda, and nothing of the host."""

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import PYTHON, Platform, create

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

LOOK = """
import json, os, resource, socket, sys, urllib.request
def attempt(action):
    try:
        return action()
    except OSError as error:
        return type(error).__name__
def write(path):
    with open(path + "/probe", "w") as file:
        file.write("x")
    return "written"
def metadata(token):
    api = os.environ["AWS_LAMBDA_METADATA_API"]
    url = f"http://{api}/2026-01-15/metadata/execution-environment"
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)
def connect(port):
    socket.create_connection(("127.0.0.1", port), timeout=2).close()
    return "connected"
def handler(event, context):
    return {
        "env": dict(os.environ),
        "uid": os.getuid(),
        "cwd": os.getcwd(),
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "root": sorted(os.listdir("/")),
        "task": sorted(os.listdir("/var/task")),
        "homes": [attempt(lambda: os.listdir("/home")), attempt(lambda: os.listdir("/root"))],
        "writes": {p: attempt(lambda: write(p)) for p in event["paths"]},
        "interfaces": [name for _, name in socket.if_nameindex()],
        "edge": attempt(lambda: connect(event["port"])),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "path": sys.path[:3],
        "zone": metadata(os.environ["AWS_LAMBDA_METADATA_TOKEN"]),
        "no zone": attempt(lambda: metadata("x")),
        "modules": [name for name in ("pip", "hearth", "nats") if can_import(name)],
    }
def can_import(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
"""


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


def call(client: "LambdaClient", name: str, event: Any) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    payload = answer["Payload"].read()
    assert not answer.get("FunctionError"), payload
    return json.loads(payload)


def test_a_function_sees_lambdas_environment_and_nothing_else(
    platform: Platform, client: "LambdaClient"
) -> None:
    create(client, "look", LOOK, Environment={"Variables": {"MINE": "yes"}}, MemorySize=512)
    os.environ["HEARTH_TEST_SECRET"] = "must not be seen"
    port = int(platform.endpoint.rpartition(":")[2])
    paths = ["/", "/usr", "/etc", "/var/task", "/var/runtime", "/opt", "/proc", "/tmp"]
    seen = call(client, "look", {"port": port, "paths": paths})
    env = seen["env"]
    for name, value in {
        "MINE": "yes",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_NAME": "look",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/look",
        "AWS_LAMBDA_METADATA_API": "169.254.100.1:9001",
        "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": "app.handler",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    }.items():
        assert env.pop(name) == value
    assert env.keys() == {
        "AWS_ACCESS_KEY_ID",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_METADATA_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LC_CTYPE",
        "LD_LIBRARY_PATH",
        "PWD",
        "PYTHONPATH",
        "_AWS_XRAY_DAEMON_ADDRESS",
        "_AWS_XRAY_DAEMON_PORT",
        "_X_AMZN_TRACE_ID",
    }
    assert seen["zone"] == {"AvailabilityZoneID": "use1-az1"}
    assert seen["no zone"] == "HTTPError"
    assert seen["uid"] not in {0, os.getuid()} or os.getuid() != 0
    assert seen["uid"] == 993
    assert seen["cwd"] == "/var/task"
    assert len(seen["pids"]) <= 3, "no processes of the host"
    assert seen["task"] == ["__pycache__", "app.py"]
    assert seen["homes"] == ["FileNotFoundError", "FileNotFoundError"]
    assert {path for path, what in seen["writes"].items() if what == "written"} == {"/tmp"}
    assert seen["interfaces"] == ["lo"]
    assert seen["edge"] in {"ConnectionRefusedError", "TimeoutError"}, "the host is not there"
    assert seen["files"] == 1024
    assert seen["path"][0] == "/var/task"
    assert seen["modules"] == [], "nothing that the host has installed"


def test_two_functions_do_not_see_each_other(client: "LambdaClient") -> None:
    code = """
import os
def handler(event, context):
    if event.get("leave"):
        open("/tmp/left", "w").write("secret")
    return os.path.exists("/tmp/left")
"""
    for name in ("one", "two"):
        create(client, name, code)
    assert call(client, "one", {"leave": True}) is True
    assert call(client, "one", {}) is True, "an environment keeps its /tmp"
    assert call(client, "two", {}) is False


def test_tmp_is_as_large_as_asked_for_and_no_larger(client: "LambdaClient") -> None:
    code = """
def handler(event, context):
    written = 0
    try:
        with open("/tmp/full", "wb") as file:
            while written < 700:
                file.write(bytes(1 << 20))
                file.flush()
                written += 1
    except OSError as error:
        return [written, error.strerror]
    return [written, ""]
"""
    create(client, "fills", code, MemorySize=1024, Timeout=60)
    written, why = call(client, "fills", {})
    assert 500 <= written <= 512
    assert why == "No space left on device"
