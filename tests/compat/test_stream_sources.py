"""Streams feed functions: Kinesis and DynamoDB streams of moto's server, through boto3."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import ROLE, Platform, create, running, wait_until
from fakes.aws_server import ACCOUNT, REGION, Queue, aws_client, aws_server

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

WITHIN_S = 60
TELL = """
import base64, json
def handler(event, context):
    print("GOT " + json.dumps(event))
    for record in event["Records"]:
        if base64.b64decode(record.get("kinesis", {}).get("data", "")) == b"break":
            raise ValueError("not this one")
"""


@dataclass(frozen=True)
class Scene:
    platform: Platform
    client: "LambdaClient"
    aws: str

    def map(self, function: str, source: str, **more: Any) -> str:
        """A mapping that is Enabled and from its source's beginning on: its UUID."""
        position: Any = {"StartingPosition": "TRIM_HORIZON"}
        answer = self.client.create_event_source_mapping(
            FunctionName=function, EventSourceArn=source, **position | more
        )
        uuid = answer["UUID"]

        def is_enabled() -> bool:
            return self.client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled"

        wait_until(is_enabled, "Enabled", WITHIN_S)
        return uuid

    def records(self, function: str) -> list[dict[str, Any]]:
        """What the function got so far."""
        logs = self.platform.service("logs")
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{function}", filterPattern="GOT"
        )
        try:
            lines = [event["message"] for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []
        events = [json.loads(line.partition("GOT ")[2]) for line in lines]
        return [record for event in events for record in event["Records"]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    state: Path = tmp_path_factory.mktemp("streams") / "state"
    with aws_server() as aws:
        names = ("sqs", "kinesis", "dynamodbstreams")
        options = [part for name in names for part in ("--endpoint", f"{name}={aws}")]
        with running(state, *options) as platform:
            yield Scene(platform, platform.client(), aws)


def test_kinesis_feeds_a_function_and_goes_on_after_a_kill(scene: Scene) -> None:
    kinesis = aws_client("kinesis", scene.aws)
    kinesis.create_stream(StreamName="s", ShardCount=2)
    arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/s"
    create(scene.client, "of-kinesis", TELL)

    def put(*bodies: str) -> None:
        for body in bodies:
            kinesis.put_record(StreamName="s", PartitionKey=body, Data=body.encode())

    def seen(at: Scene) -> list[str]:
        return [record["kinesis"]["partitionKey"] for record in at.records("of-kinesis")]

    put("a", "b", "c")
    uuid = scene.map("of-kinesis", arn, BatchSize=2)
    wait_until(lambda: set(seen(scene)) == {"a", "b", "c"}, "three records", WITHIN_S)
    record = next(r for r in scene.records("of-kinesis") if r["kinesis"]["partitionKey"] == "a")
    sequence = record["kinesis"].pop("sequenceNumber")
    assert record["kinesis"].pop("approximateArrivalTimestamp") > 1_700_000_000
    shard = record["eventID"].partition(":")[0]
    assert record == {
        "kinesis": {"kinesisSchemaVersion": "1.0", "partitionKey": "a", "data": "YQ=="},
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": ROLE,
        "awsRegion": REGION,
        "eventSourceARN": arn,
    }
    shown = scene.client.get_event_source_mapping(UUID=uuid)
    assert (shown["ParallelizationFactor"], shown["MaximumRetryAttempts"]) == (1, -1)
    scene.platform.kill_group()
    put("d")
    scene.platform.start()
    again = Scene(scene.platform, scene.platform.client(), scene.aws)
    wait_until(lambda: "d" in seen(again), "what came meanwhile", WITHIN_S)
    again.client.delete_event_source_mapping(UUID=uuid)


def test_what_cannot_be_taken_is_given_up_and_told(scene: Scene) -> None:
    client = scene.platform.client()
    kinesis = aws_client("kinesis", scene.aws)
    kinesis.create_stream(StreamName="bad", ShardCount=1)
    failures = Queue(scene.aws, "given-up")
    create(client, "picky", TELL)
    again = Scene(scene.platform, client, scene.aws)
    arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/bad"
    for body in (b"x", b"break", b"y"):
        kinesis.put_record(StreamName="bad", PartitionKey="p", Data=body)
    again.map(
        "picky",
        arn,
        MaximumRetryAttempts=0,
        BisectBatchOnFunctionError=True,
        DestinationConfig={"OnFailure": {"Destination": failures.arn}},
    )
    (told,) = failures.receive(WITHIN_S)
    body = json.loads(told["Body"])
    assert body["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert body["KinesisBatchInfo"]["batchSize"] == 1
    assert body["KinesisBatchInfo"]["streamArn"] == arn

    def has_all() -> bool:
        seen = {record["kinesis"]["data"] for record in again.records("picky")}
        return {"eA==", "eQ=="} <= seen

    wait_until(has_all, "the other records", WITHIN_S)


def test_changes_of_a_table_feed_a_function_through_a_filter(scene: Scene) -> None:
    client = scene.platform.client()
    tables = aws_client("dynamodb", scene.aws)
    made = tables.create_table(
        TableName="tab",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    arn = made["TableDescription"]["LatestStreamArn"]
    create(client, "of-table", TELL)
    again = Scene(scene.platform, client, scene.aws)
    pattern = json.dumps({"eventName": ["INSERT"], "dynamodb": {"Keys": {"id": {"S": ["k2"]}}}})
    again.map("of-table", arn, FilterCriteria={"Filters": [{"Pattern": pattern}]})
    for name in ("k1", "k2"):
        tables.put_item(TableName="tab", Item={"id": {"S": name}, "b": {"B": b"\x00"}})
    wait_until(lambda: again.records("of-table"), "a record", WITHIN_S)
    (record,) = again.records("of-table")
    assert record.pop("eventID")
    change = record.pop("dynamodb")
    assert record == {
        "eventName": "INSERT",
        "eventVersion": "1.0",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "eventSourceARN": arn,
    } | {"eventVersion": record["eventVersion"]}
    assert change["NewImage"] == {"id": {"S": "k2"}, "b": {"B": "AA=="}}
    assert change["Keys"] == {"id": {"S": "k2"}}
    assert change["StreamViewType"] == "NEW_AND_OLD_IMAGES"


def test_a_stream_that_is_not_there_is_refused(scene: Scene) -> None:
    client = scene.platform.client()
    create(client, "dry", TELL)
    arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/nowhere"
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        client.create_event_source_mapping(
            FunctionName="dry", EventSourceArn=arn, StartingPosition="LATEST"
        )
    assert caught.value.response["Error"]["Message"] == f"Stream not found: {arn}"
