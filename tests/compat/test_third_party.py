"""Extensions and adapters of others, unmodified.

AWS's Lambda Web Adapter under a Flask application, and an extension made with AWS's crate for the
Extensions and the Telemetry API.

`make third-party` builds them; without it these tests are skipped by name.
"""

import http.client
import importlib.metadata
import json
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest

from compat.languages import zipped
from compat.platform import PYTHON, Platform, create, wait_until
from compat.test_function_urls import call, make_public
from third_party.build import find

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

FLASK: Final = ("flask", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "click", "blinker")
PAUSE_S: Final = 3.0
APPLICATION: Final = f"""
import signal, sys, time
from flask import Flask, Response, jsonify, redirect, request
from werkzeug.serving import WSGIRequestHandler
app = Flask(__name__)

@app.get("/")
def ready():
    return "ready"

@app.route("/echo/<name>", methods=["GET", "POST", "PUT"])
def echo(name):
    answer = jsonify(
        name=name, method=request.method, query=request.args.to_dict(flat=False),
        body=request.get_data(as_text=True), header=request.headers.get("X-Mine"),
        context="x-amzn-request-context" in request.headers,
        tenant=request.headers.get("X-Amz-Tenant-Id"),
    )
    answer.set_cookie("seen", "yes")
    return answer, 201

@app.get("/bytes")
def image():
    return Response(bytes(range(256)), mimetype="image/png")

@app.get("/away")
def away():
    return redirect("/echo/there")

@app.get("/stream")
def stream():
    def parts():
        yield "first "
        time.sleep({PAUSE_S})
        yield f"second at {{time.monotonic_ns()}}"
    return Response(parts(), mimetype="text/plain")

def leave(*_):
    print("the application was asked to leave", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
WSGIRequestHandler.protocol_version = "HTTP/1.1"
app.run("127.0.0.1", 8000, threaded=True)
"""
RUN: Final = "#!/bin/bash\nexec python3 app.py\n"
WRAPPER: Final = '#!/bin/bash\nexec -- "${LAMBDA_TASK_ROOT}/${_HANDLER}"\n'
"""As the adapter's own layer has it."""


def program(name: str) -> bytes:
    found = find(name)
    if found is None:
        pytest.skip(f"{name} is not built on this machine (make third-party)")
    return found.read_bytes()


def flask() -> dict[str, bytes]:
    """Flask and what it needs, as the tests themselves have it."""
    files: dict[str, bytes] = {}
    for name in FLASK:
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            if file.suffix in {".py", ".so"} or file.name in {"METADATA", "RECORD"}:
                files[str(file)] = Path(str(distribution.locate_file(file))).read_bytes()
    return files


def logged(platform: Platform, name: str) -> list[str]:
    pages = platform.service("logs").get_paginator("filter_log_events")
    found = pages.paginate(logGroupName=f"/aws/lambda/{name}")
    return [event["message"].rstrip("\n") for page in found for event in page["events"]]


def web(client: "LambdaClient", mode: str, **settings: Any) -> str:
    """A function that is a Flask application."""
    layer = {
        "extensions/lambda-adapter": program("lambda-adapter"),
        "bootstrap": WRAPPER.encode(),
    }
    name = f"web-{uuid.uuid4().hex[:8]}"
    arn = client.publish_layer_version(
        LayerName=name, Content={"ZipFile": zipped(layer, lambda _: True)}
    )
    code = {"app.py": APPLICATION.encode(), "run.sh": RUN.encode(), **flask()}
    create(
        client,
        name,
        "",
        Runtime=PYTHON,
        Handler="run.sh",
        Code={"ZipFile": zipped(code, lambda path: path == "run.sh")},
        Layers=[arn["LayerVersionArn"]],
        Environment={
            "Variables": {
                "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap",
                "AWS_LWA_PORT": "8000",
                "AWS_LWA_INVOKE_MODE": mode,
            }
        },
        MemorySize=1769,
        Timeout=60,
        **settings,
    )
    return name


def test_a_flask_application_behind_a_url_with_the_web_adapter(platform: Platform) -> None:
    client = platform.client()
    name = web(client, "buffered")
    host = make_public(client, name)
    answer = call(platform, host, "POST", "/echo/a%20b?x=1&x=2", b"some text", {"X-Mine": "yes"})
    assert answer.status == 201, answer.body
    assert answer.json == {
        "name": "a b",
        "method": "POST",
        "query": {"x": ["1", "2"]},
        "body": "some text",
        "header": "yes",
        "context": True,
        "tenant": None,
    }
    assert answer.headers["Set-Cookie"] == "seen=yes; Path=/"
    assert call(platform, host, target="/bytes").body == bytes(range(256))
    away = call(platform, host, target="/away")
    assert (away.status, away.headers["Location"]) == (302, "/echo/there")
    assert call(platform, host, target="/nowhere").status == 404
    client.delete_function(FunctionName=name)
    wait_until(
        lambda: "the application was asked to leave" in logged(platform, name),
        "the application gets SIGTERM at the end of its environment",
    )


def test_the_web_adapter_says_for_whom_a_request_is(platform: Platform) -> None:
    client = platform.client()
    name = web(client, "buffered", TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/echo/x",
        "rawQueryString": "",
        "headers": {"host": "example.com"},
        "requestContext": {
            "http": {"method": "GET", "path": "/echo/x", "protocol": "HTTP/1.1"},
            "timeEpoch": 0,
        },
        "isBase64Encoded": False,
    }
    for tenant in ("blue", "green"):
        answer = client.invoke(FunctionName=name, TenantId=tenant, Payload=json.dumps(event))
        payload = json.loads(answer["Payload"].read())
        assert payload["statusCode"] == 201, payload
        assert json.loads(payload["body"])["tenant"] == tenant
    client.delete_function(FunctionName=name)


def test_a_flask_application_streams_through_the_web_adapter(platform: Platform) -> None:
    client = platform.client()
    name = web(client, "response_stream")
    host = make_public(client, name, InvokeMode="RESPONSE_STREAM")

    def is_early() -> bool:
        """Whether the first part was here before the application made the second."""
        connection = http.client.HTTPConnection(urlsplit(platform.endpoint).netloc, timeout=60)
        try:
            connection.request("GET", "/stream", headers={"Host": host})
            response = connection.getresponse()
            assert response.status == 200
            first = response.read(6)
            came_ns = time.monotonic_ns()
            rest = response.read()
        finally:
            connection.close()
        assert first == b"first "
        assert response.headers["Content-Type"].startswith("text/plain")
        return came_ns < int(rest.rpartition(b" ")[2])

    wait_until(is_early, "a part comes before the next one is made", within_s=120.0)
    client.delete_function(FunctionName=name)


def test_an_extension_of_aws_s_crate_is_told_everything(platform: Platform) -> None:
    client, name = platform.client(), f"crate-{uuid.uuid4().hex[:8]}"
    layer = zipped({"extensions/aws-crate": program("aws-crate")}, lambda _: True)
    arn = client.publish_layer_version(LayerName=name, Content={"ZipFile": layer})
    code = "def handler(event, context):\n    print('said inside')\n    return event"
    create(client, name, code, Layers=[arn["LayerVersionArn"]], MemorySize=512, Timeout=60)
    requests = []
    for number in range(2):
        answer = client.invoke(FunctionName=name, Payload=json.dumps(number))
        assert json.loads(answer["Payload"].read()) == number
        requests.append(answer["ResponseMetadata"]["RequestId"])
    client.delete_function(FunctionName=name)
    wanted = {"initStart", "initReport", "function said inside", "SHUTDOWN spindown"}
    for request in requests:
        wanted |= {
            f"INVOKE {request}",
            f"start {request}",
            f"runtimeDone {request} Success",
            f"report {request} 512",
        }

    def missing() -> set[str]:
        return wanted - {line.removeprefix("aws-crate ") for line in logged(platform, name)}

    wait_until(lambda: not missing(), "the extension was told all of it")
