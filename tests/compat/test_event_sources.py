"""Queues feed functions: event source mappings, with boto3, moto's server and real sandboxes.

Functions log what they get, and the tests read that.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import Platform, create, running, wait_until
from fakes.aws_server import ACCOUNT, REGION, aws_client, aws_server

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

WITHIN_S = 60
TELL = """
import json
def handler(event, context):
    print("GOT " + json.dumps(event))
    bodies = [record["body"] for record in event["Records"]]
    if any("break" in body for body in bodies):
        raise ValueError("not this one")
    failed = [r["messageId"] for r in event["Records"] if "fail" in r["body"]]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}
"""


@dataclass(frozen=True)
class Scene:
    platform: Platform
    client: "LambdaClient"
    aws: str

    def queue(self, name: str, **attributes: str) -> "Source":
        return Source(self.aws, name, attributes)

    def map(self, function: str, source: str, **more: Any) -> str:
        """A mapping that is Enabled: its UUID."""
        answer = self.client.create_event_source_mapping(
            FunctionName=function, EventSourceArn=source, **more
        )
        assert answer["State"] == "Creating"
        self.wait_state(answer["UUID"], "Enabled")
        return answer["UUID"]

    def wait_state(self, uuid: str, state: str) -> None:
        def is_so() -> bool:
            return self.client.get_event_source_mapping(UUID=uuid)["State"] == state

        wait_until(is_so, f"{state}", WITHIN_S)

    def events(self, function: str) -> list[dict[str, Any]]:
        """What the function got so far."""
        logs = self.platform.service("logs")
        found: list[str] = []
        try:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=f"/aws/lambda/{function}", filterPattern="GOT"
            )
            found = [event["message"] for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [json.loads(line.partition("GOT ")[2]) for line in found]

    def bodies(self, function: str) -> list[str]:
        return [record["body"] for event in self.events(function) for record in event["Records"]]

    def wait_result(self, uuid: str, result: str) -> None:
        def is_so() -> bool:
            shown = self.client.get_event_source_mapping(UUID=uuid)
            return shown.get("LastProcessingResult") == result

        wait_until(is_so, result, WITHIN_S)

    def wait_bodies(self, function: str, *wanted: str) -> None:
        wait_until(lambda: set(wanted) <= set(self.bodies(function)), f"{wanted}", WITHIN_S)


class Source:
    """A queue that feeds a function, as its producers see it."""

    def __init__(self, endpoint: str, name: str, attributes: dict[str, str]) -> None:
        self.client = aws_client("sqs", endpoint)
        created = self.client.create_queue(
            QueueName=name, Attributes={"VisibilityTimeout": "120"} | attributes
        )
        self.url = created["QueueUrl"]
        self.arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def send(self, body: str, **more: Any) -> str:
        sent = self.client.send_message(QueueUrl=self.url, MessageBody=body, **more)
        return str(sent["MessageId"])

    def count(self) -> int:
        """Messages in it, received or not."""
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        attributes = found["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]) + int(
            attributes["ApproximateNumberOfMessagesNotVisible"]
        )

    def bring_back(self, record: dict[str, Any]) -> None:
        """Let the message be received again at once, not when its visibility timeout ends."""
        self.client.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0
        )

    def wait_empty(self) -> None:
        wait_until(lambda: self.count() == 0, "an empty queue", WITHIN_S)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with aws_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def scene(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    state: Path = tmp_path_factory.mktemp("sources") / "state"
    with running(state, "--endpoint", f"sqs={aws}") as platform:
        yield Scene(platform, platform.client(), aws)


def make(scene: Scene, name: str) -> None:
    create(scene.client, name, TELL, Timeout=3)


def test_a_message_comes_to_its_function_as_at_aws_and_is_deleted(scene: Scene) -> None:
    queue = scene.queue("exact")
    make(scene, "exact")
    uuid = scene.map("exact", queue.arn)
    attributes = {"n": {"DataType": "Number", "StringValue": "7"}}
    message = queue.send("hello", MessageAttributes=attributes)
    scene.wait_bodies("exact", "hello")
    queue.wait_empty()
    (event,) = scene.events("exact")
    (record,) = event["Records"]
    assert record["attributes"].keys() >= {
        *("ApproximateReceiveCount", "SentTimestamp"),
        *("SenderId", "ApproximateFirstReceiveTimestamp"),
    }
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    for varies in ("attributes", "receiptHandle", "md5OfMessageAttributes"):
        assert record.pop(varies)
    assert record == {
        "messageId": message,
        "body": "hello",
        "messageAttributes": {
            "n": {
                "stringValue": "7",
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": "Number",
            }
        },
        "md5OfBody": "5d41402abc4b2a76b9719d911017c592",
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": REGION,
    }
    scene.wait_result(uuid, "OK")
    (row,) = json.loads(scene.platform.command("mappings", "exact", "--json").stdout)
    assert (row["uuid"], row["state"], row["polled"], row["result"]) == (uuid, "Enabled", 1, "OK")
    assert "exact" in scene.platform.command("mappings").stdout


def test_what_failed_comes_again_and_what_was_reported_good_does_not(scene: Scene) -> None:
    queue = scene.queue("partial")
    make(scene, "partial")
    for body in ("good", "fail-1"):
        queue.send(body)
    scene.map("partial", queue.arn, FunctionResponseTypes=["ReportBatchItemFailures"])
    scene.wait_bodies("partial", "good", "fail-1")
    wait_until(lambda: queue.count() == 1, "one message that is left", WITHIN_S)
    records = [record for event in scene.events("partial") for record in event["Records"]]
    queue.bring_back(next(record for record in records if record["body"] == "fail-1"))
    wait_until(lambda: scene.bodies("partial").count("fail-1") == 2, "a second try", WITHIN_S)
    assert scene.bodies("partial").count("good") == 1
    assert queue.count() == 1


def test_a_batch_whose_function_failed_is_left_to_its_dead_letter_queue(scene: Scene) -> None:
    letters = scene.queue("letters")
    redrive = json.dumps({"deadLetterTargetArn": letters.arn, "maxReceiveCount": "1"})
    queue = scene.queue("failing", RedrivePolicy=redrive)
    make(scene, "failing")
    uuid = scene.map("failing", queue.arn)
    queue.send("break")
    scene.wait_result(uuid, "PROBLEM: Function call failed")
    scene.wait_bodies("failing", "break")
    assert queue.count() == 1
    queue.bring_back(scene.events("failing")[0]["Records"][0])
    wait_until(lambda: letters.count() == 1, "a dead letter", WITHIN_S)
    assert scene.bodies("failing") == ["break"]


def test_groups_keep_their_order(scene: Scene) -> None:
    queue = scene.queue("ordered.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    make(scene, "ordered")
    sent = [f"{group}{number}" for number in range(5) for group in "ab"]
    for body in sent:
        queue.send(body, MessageGroupId=body[0])
    scene.map("ordered", queue.arn, BatchSize=3)
    scene.wait_bodies("ordered", *sent)
    queue.wait_empty()
    seen = list(dict.fromkeys(scene.bodies("ordered")))
    for group in "ab":
        assert [body for body in seen if body[0] == group] == [b for b in sent if b[0] == group]
    record = scene.events("ordered")[0]["Records"][0]
    assert record["attributes"].keys() >= {"MessageGroupId", "MessageDeduplicationId"}


def test_what_no_filter_lets_through_is_deleted(scene: Scene) -> None:
    queue = scene.queue("filtered")
    make(scene, "filtered")
    pattern = json.dumps({"body": {"kind": [{"prefix": "or"}]}})
    scene.map("filtered", queue.arn, FilterCriteria={"Filters": [{"Pattern": pattern}]})
    for body in ('{"kind": "order"}', '{"kind": "other"}', "no JSON"):
        queue.send(body)
    scene.wait_bodies("filtered", '{"kind": "order"}')
    queue.wait_empty()
    assert scene.bodies("filtered") == ['{"kind": "order"}']


def test_a_mapping_is_disabled_enabled_and_deleted(scene: Scene) -> None:
    queue = scene.queue("switched")
    make(scene, "switched")
    uuid = scene.map("switched", queue.arn)
    answer = scene.client.update_event_source_mapping(UUID=uuid, Enabled=False)
    assert answer["State"] == "Disabling"
    scene.wait_state(uuid, "Disabled")
    queue.send("later")
    assert scene.client.update_event_source_mapping(UUID=uuid, Enabled=True)["State"] == "Enabling"
    scene.wait_bodies("switched", "later")
    assert scene.client.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"

    def is_gone() -> bool:
        listed = scene.client.list_event_source_mappings(FunctionName="switched")
        return not listed["EventSourceMappings"]

    wait_until(is_gone, "no mapping", WITHIN_S)
    with pytest.raises(scene.client.exceptions.ResourceNotFoundException):
        scene.client.get_event_source_mapping(UUID=uuid)


def test_a_queue_that_is_not_there_is_refused_in_its_services_words(scene: Scene) -> None:
    make(scene, "lonely")
    with pytest.raises(scene.client.exceptions.InvalidParameterValueException) as caught:
        scene.client.create_event_source_mapping(
            FunctionName="lonely", EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:nowhere"
        )
    assert caught.value.response["Error"]["Message"] == (
        "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService."
        "NonExistentQueue. SQS Error Message: The specified queue does not exist."
    )


def test_nothing_is_lost_when_hearth_is_killed_in_between(scene: Scene) -> None:
    """Last in this module: it restarts the platform."""
    queue = scene.queue("survivors", VisibilityTimeout="4")
    make(scene, "survivors")
    uuid = scene.map("survivors", queue.arn, BatchSize=2)
    sent = [f"m{number}" for number in range(30)]
    for body in sent[:15]:
        queue.send(body)
    wait_until(lambda: scene.bodies("survivors"), "a first batch", WITHIN_S)
    scene.platform.kill_group()
    for body in sent[15:]:
        queue.send(body)
    scene.platform.start()
    again = Scene(scene.platform, scene.platform.client(), scene.aws)
    again.wait_bodies("survivors", *sent[15:])
    queue.wait_empty()
    again.wait_state(uuid, "Enabled")
    assert set(again.bodies("survivors")) <= set(sent)
