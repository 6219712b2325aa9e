"""An extension in a layer, through all of Hearth; and what is one log event."""

import importlib.metadata
import json
import uuid
from pathlib import Path

import pytest

from compat.platform import Platform, create, package, wait_until

pytestmark = pytest.mark.compat

CODE = """
import logging, os
logging.getLogger().setLevel("INFO")
def handler(event, context):
    logging.info("a record\\nof two lines")
    if event.get("raise"):
        raise ValueError("with\\ntwo lines")
    return sorted(os.environ)
"""


TOLD = """
import lambda_sigterm
lambda_sigterm.register()
def handler(event, context):
    return "here"
"""


def messages(platform: Platform, name: str) -> list[str]:
    logs = platform.service("logs")
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
    return [event["message"].rstrip("\n") for page in pages for event in page["events"]]


def test_somebody_elses_extension_runs_unmodified(platform: Platform) -> None:
    """lambda-sigterm registers within the runtime, which for this gets SIGTERM at its end."""
    client, name = platform.client(), f"x-{uuid.uuid4().hex[:8]}"
    source = importlib.metadata.distribution("lambda-sigterm")
    files = {
        f"python/{file}": Path(str(source.locate_file(file))).read_text()
        for file in source.files or ()
        if file.suffix == ".py"
    }
    assert files
    arn = client.publish_layer_version(LayerName=name, Content={"ZipFile": package(files)})
    create(client, name, TOLD, Layers=[arn["LayerVersionArn"]], MemorySize=256, Timeout=60)
    answer = client.invoke(FunctionName=name, Payload=b"{}")
    assert json.loads(answer["Payload"].read()) == "here"
    line = "EXTENSION\tName: lambda-sigterm\tState: Ready\tEvents: []"
    wait_until(lambda: line in messages(platform, name), "the extension is logged")


def test_a_record_of_several_lines_is_one_log_event(platform: Platform) -> None:
    client, name = platform.client(), f"x-{uuid.uuid4().hex[:8]}"
    create(client, name, CODE)
    answer = client.invoke(FunctionName=name, Payload=b'{"raise": true}')
    assert answer["FunctionError"] == "Unhandled"

    def found(*words: str) -> list[str]:
        return [m for m in messages(platform, name) if all(word in m for word in words)]

    wait_until(lambda: found("REPORT"), "the invoke is logged")
    (record,) = found("a record")
    assert record.startswith("[INFO]\t")
    assert record.endswith("\ta record\nof two lines")
    (error,) = found("ValueError")
    assert "Traceback" in error
    assert "\n" in error
