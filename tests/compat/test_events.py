"""Asynchronous invokes as boto3 sees them. Retries take minutes: here are the rows that do not."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from compat.platform import Platform, create, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient
    from types_boto3_lambda.type_defs import DestinationConfigTypeDef

pytestmark = pytest.mark.compat

WORK = """
def handler(event, context):
    print("worked", context.aws_request_id)
    if isinstance(event, dict) and event.get("fail"):
        raise ValueError("no luck")
    return {"size": len(str(event))}
"""

SINK = """
import json
def handler(event, context):
    print("RECORD " + json.dumps({k: v for k, v in event.items() if k != "requestPayload"}))
"""


class Scene:
    """A function that works or fails, and one that is told of it."""

    def __init__(self, platform: Platform) -> None:
        self.client: LambdaClient = platform.client()
        self._logs = platform.service("logs")
        self.sink = create(self.client, "events-sink", SINK)

    def close(self) -> None:
        """No socket is left for the garbage collector to warn of."""
        self.client.close()
        self._logs.close()

    def lines(self, function: str) -> list[str]:
        try:
            pages = self._logs.get_paginator("filter_log_events")
            return [
                event["message"]
                for page in pages.paginate(logGroupName=f"/aws/lambda/{function}")
                for event in page["events"]
            ]
        except self._logs.exceptions.ResourceNotFoundException:
            return []

    def record(self, request: str) -> dict[str, Any]:
        """What the sink was told about this event; waits for it."""
        wait_until(lambda: self._told(request), f"a record of {request}")
        (record,) = self._told(request)
        return record

    def _told(self, request: str) -> list[dict[str, Any]]:
        time.sleep(0.05)
        told = [
            json.loads(line.removeprefix("RECORD "))
            for line in self.lines("events-sink")
            if line.startswith("RECORD ")
        ]
        return [record for record in told if record["requestContext"]["requestId"] == request]

    def send(self, function: str, payload: Any = None, **more: Any) -> str:
        answer = self.client.invoke(
            FunctionName=function,
            InvocationType="Event",
            Payload=json.dumps({} if payload is None else payload),
            **more,
        )
        assert answer["StatusCode"] == 202
        assert answer["Payload"].read() == b""
        assert not answer.keys() & {"FunctionError"}
        return answer["ResponseMetadata"]["RequestId"]


@pytest.fixture(name="scene", scope="module")
def made_scene(platform: Platform) -> Iterator[Scene]:
    scene = Scene(platform)
    yield scene
    scene.client.delete_function(FunctionName="events-sink")
    scene.close()


def refusal(call: Any, **arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return (
        response["ResponseMetadata"]["HTTPStatusCode"],
        response["Error"]["Code"],
        response["Error"]["Message"],
    )


def test_an_event_runs_under_its_request_id_and_its_destination_is_told(scene: Scene) -> None:
    arn = create(scene.client, "events-work", WORK)
    scene.client.put_function_event_invoke_config(
        FunctionName="events-work",
        DestinationConfig={"OnSuccess": {"Destination": scene.sink}},
    )
    request = scene.send("events-work", {"n": 1})
    record = scene.record(request)
    assert record["requestContext"] == {
        "requestId": request,
        "functionArn": f"{arn}:$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert record["responsePayload"] == {"size": len("{'n': 1}")}
    lines = scene.lines("events-work")
    assert f"worked {request}" in "".join(lines)
    assert any(line.startswith(f"START RequestId: {request} ") for line in lines)

    # An alias resolves when the event runs; the deprecated operation does the same.
    version = scene.client.publish_version(FunctionName="events-work")["Version"]
    scene.client.create_alias(FunctionName="events-work", Name="live", FunctionVersion=version)
    scene.client.put_function_event_invoke_config(
        FunctionName="events-work",
        Qualifier="live",
        DestinationConfig={"OnSuccess": {"Destination": scene.sink}},
    )
    record = scene.record(scene.send("events-work", Qualifier="live"))
    assert record["requestContext"]["functionArn"] == f"{arn}:live"
    assert record["responseContext"]["executedVersion"] == version
    answer = scene.client.invoke_async(FunctionName="events-work", InvokeArgs=b'{"n": 2}')
    assert answer["Status"] == 202
    record = scene.record(answer["ResponseMetadata"]["RequestId"])
    assert record["requestContext"]["condition"] == "Success"


def test_the_ends_of_events_that_fail(scene: Scene) -> None:
    arn = create(scene.client, "events-fail", WORK)
    failure: DestinationConfigTypeDef = {"OnFailure": {"Destination": scene.sink}}
    put = scene.client.put_function_event_invoke_config
    put(FunctionName="events-fail", MaximumRetryAttempts=0, DestinationConfig=failure)
    exhausted = scene.record(scene.send("events-fail", {"fail": True}))
    assert exhausted["requestContext"]["condition"] == "RetriesExhausted"
    assert exhausted["requestContext"]["approximateInvokeCount"] == 1
    assert exhausted["requestContext"]["functionArn"] == f"{arn}:$LATEST"
    assert exhausted["responseContext"]["functionError"] == "Unhandled"
    assert exhausted["responsePayload"]["errorMessage"] == "no luck"

    put(FunctionName="events-fail", MaximumEventAgeInSeconds=60, DestinationConfig=failure)
    too_old = scene.record(scene.send("events-fail", {"fail": True}))
    assert too_old["requestContext"]["condition"] == "EventAgeExceeded"
    assert too_old["requestContext"]["approximateInvokeCount"] == 1

    scene.client.put_function_concurrency(
        FunctionName="events-fail", ReservedConcurrentExecutions=0
    )
    blocked = scene.record(scene.send("events-fail"))
    assert blocked["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert blocked["requestContext"]["approximateInvokeCount"] == 0


def test_what_is_no_event_is_refused_as_a_synchronous_invoke_is(scene: Scene) -> None:
    create(scene.client, "events-sizes", WORK)
    largest = json.dumps("x" * (1_048_576 - 2))
    scene.send("events-sizes", json.loads(largest))
    invoke = scene.client.invoke
    event = {"InvocationType": "Event"}
    assert refusal(invoke, FunctionName="events-sizes", Payload=largest + " ", **event) == (
        413,
        "RequestEntityTooLargeException",
        "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
    )
    status, code, _ = refusal(invoke, FunctionName="events-sizes", Payload="hello", **event)
    assert (status, code) == (400, "InvalidRequestContentException")
    status, code, _ = refusal(invoke, FunctionName="events-nobody", Payload="{}", **event)
    assert (status, code) == (404, "ResourceNotFoundException")
