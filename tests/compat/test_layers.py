"""Layers, as boto3 makes them and as functions find them at /opt; AWS Lambda Powertools in one."""

import base64
import hashlib
import importlib.metadata
import io
import json
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import PYTHON, Platform, create, package, running, wait_updated

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

POWERTOOLS = ("aws-lambda-powertools", "aws-xray-sdk")
NEEDED = ("jmespath", "typing-extensions", "wrapt")
LOOK = """
import os, subprocess, sys
def handler(event, context):
    import who
    return {
        "who": who.NAME,
        "file": who.__file__,
        "tool": subprocess.run(["tool"], capture_output=True, text=True).stdout,
        "lib": os.environ["LD_LIBRARY_PATH"].split(":")[-1],
        "listed": sorted(os.listdir(os.environ["PATH"].split(":")[-1])),
        "path": sys.path[:3],
        "argv": sys.argv[1:],
    }
"""
USE = """
import json
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor, EventType, process_partial_response,
)

logger, tracer = Logger(service="shop"), Tracer(service="shop")
metrics = Metrics(namespace="Shop", service="shop")
processor = BatchProcessor(event_type=EventType.SQS)

@tracer.capture_method
def record_handler(record):
    order = json.loads(record.body)
    if order["bad"]:
        raise ValueError("a bad order")
    logger.info("taken", extra={"order": order["id"]})
    metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)

@metrics.log_metrics(capture_cold_start_metric=True)
@logger.inject_lambda_context(log_event=False)
@tracer.capture_lambda_handler
def handler(event, context):
    return process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )
"""


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


def installed(names: tuple[str, ...], folder: str) -> bytes:
    """A layer of these distributions, as `pip install --target` would lay them out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            distribution = importlib.metadata.distribution(name)
            for file in distribution.files or ():
                source = Path(str(distribution.locate_file(file)))
                if file.parts[0] != ".." and file.suffix != ".pyc" and source.is_file():
                    archive.write(source, f"{folder}/{file}")
    return buffer.getvalue()


def publish(client: "LambdaClient", name: str, content: bytes, **members: Any) -> str:
    members |= {"LayerName": name, "CompatibleRuntimes": [PYTHON]}
    answer = client.publish_layer_version(Content={"ZipFile": content}, **members)
    return answer["LayerVersionArn"]


def layer(name: str) -> bytes:
    files = {
        "python/who.py": f"NAME = {name!r}\n",
        "bin/tool": f"#!/bin/sh\nprintf {name}\n",
        f"bin/only-{name}": "#!/bin/sh\n",
    }
    return package(files, executable=("bin/tool",))


def call(client: "LambdaClient", name: str, event: Any) -> tuple[Any, str]:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
    payload = answer["Payload"].read()
    assert not answer.get("FunctionError"), payload
    return json.loads(payload), base64.b64decode(answer["LogResult"]).decode()


def test_powertools_runs_unmodified_from_layers(client: "LambdaClient") -> None:
    site_packages = f"python/lib/{PYTHON}/site-packages"
    layers = [
        publish(client, "powertools", installed(POWERTOOLS, "python")),
        publish(client, "needed", installed(NEEDED, site_packages)),
    ]
    create(client, "shop", USE, Layers=layers, MemorySize=512, Timeout=60)
    records = [
        {"messageId": f"m{n}", "body": json.dumps({"id": n, "bad": n == 2})} for n in (1, 2, 3)
    ]
    answer, log = call(client, "shop", {"Records": records})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}]}
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    taken = [line for line in lines if line.get("message") == "taken"]
    assert [line["order"] for line in taken] == [1, 3]
    assert taken[0]["function_name"] == "shop"
    assert taken[0]["cold_start"] is True
    emitted = [line for line in lines if "Orders" in line]
    assert emitted[0]["Orders"] == [1.0, 1.0]
    assert emitted[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Shop"


def test_later_layers_cover_earlier_ones_and_deleted_ones_stay(client: "LambdaClient") -> None:
    arns = [publish(client, name, layer(name)) for name in ("low", "high")]
    create(client, "merged", LOOK, Layers=arns)
    seen, _ = call(client, "merged", {})
    assert seen == {
        "who": "high",
        "file": "/opt/python/who.py",
        "tool": "high",
        "lib": "/opt/lib",
        "listed": ["only-high", "only-low", "tool"],
        "path": ["/var/task", f"/opt/python/lib/{PYTHON}/site-packages", "/opt/python"],
        "argv": [],
    }
    for name in ("low", "high"):
        client.delete_layer_version(LayerName=name, VersionNumber=1)
    client.update_function_configuration(FunctionName="merged", MemorySize=192)
    wait_updated(client, "merged")
    seen, _ = call(client, "merged", {})
    assert seen["who"] == "high", "a function lost its layers with the layer versions"


def test_hearth_deploy_gives_a_function_layers(
    platform: Platform, client: "LambdaClient", tmp_path: Path
) -> None:
    arn = publish(client, "deployed", layer("deployed"))
    (tmp_path / "app.py").write_text(
        "def handler(event, context):\n    import who\n    return who.NAME\n"
    )
    flags = ("--handler", "app.handler", "--runtime", PYTHON, "--layer", arn)
    done = platform.command("deploy", str(tmp_path), "--name", "with-layer", *flags)
    assert done.returncode == 0, done.stderr
    assert call(client, "with-layer", {})[0] == "deployed"


def test_what_boto3_gets_of_a_layer_is_what_was_published(client: "LambdaClient") -> None:
    content = layer("kept")
    arn = publish(client, "kept", content, Description="d", LicenseInfo="MIT")
    got = client.get_layer_version_by_arn(Arn=arn)
    assert got["Version"] == 1
    assert got["LicenseInfo"] == "MIT"
    digest = hashlib.sha256(content).digest()
    assert got["Content"]["CodeSha256"] == base64.b64encode(digest).decode()
    with urllib.request.urlopen(got["Content"]["Location"], timeout=30) as response:
        assert response.read() == content
    added = client.add_layer_version_permission(
        LayerName="kept",
        VersionNumber=1,
        StatementId="all",
        Action="lambda:GetLayerVersion",
        Principal="*",
    )
    policy = client.get_layer_version_policy(LayerName="kept", VersionNumber=1)
    assert json.loads(policy["Policy"])["Statement"] == [json.loads(added["Statement"])]
    pages = client.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 1})
    assert "kept" in [shown["LayerName"] for page in pages for shown in page["Layers"]]
    with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
        client.get_layer_version(LayerName="kept", VersionNumber=2)
    assert refused.value.response["Error"]["Message"] == (
        "The resource you requested does not exist."
    )


def test_layers_are_there_without_a_sandbox_too(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--sandbox", "process") as platform:
        client = platform.client()
        arns = [publish(client, name, layer(name)) for name in ("low", "high")]
        create(client, "merged", LOOK, Layers=arns)
        seen, _ = call(client, "merged", {})
        assert (seen["who"], seen["tool"], seen["argv"]) == ("high", "high", [])
        assert seen["listed"] == ["only-high", "only-low", "tool"]
        assert platform.stop() == 0
