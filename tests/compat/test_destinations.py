"""Asynchronous invokes end at their targets: SQS, SNS, EventBridge, S3, functions, dead letters.

One Hearth, moto's server and rclone's S3. Functions are not retried here (that takes minutes, and
has its own tests in virtual time), so each event ends at its first error.
"""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import Platform, create, running, wait_until
from fakes.aws_server import ACCOUNT, REGION, Queue, aws_client, aws_server
from fakes.s3 import KEY, SECRET, rclone

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

WITHIN_S = 60
ECHO = "def handler(event, context): return event\n"
NOTHING = "def handler(event, context): pass\n"
FAIL = "def handler(event, context): raise ValueError('not today')\n"


@dataclass(frozen=True)
class Scene:
    platform: Platform
    client: "LambdaClient"
    aws: str
    buckets: Path
    metrics_url: str

    def queue(self, name: str) -> Queue:
        return Queue(self.aws, name)

    def events(self, *arguments: str) -> str:
        done = self.platform.command("events", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def backlog(self, function: str) -> dict[str, Any]:
        """None of anything, if nothing is kept."""
        for row in json.loads(self.events("list", "--json")):
            if row["function"] == function:
                return dict(row)
        return {"waiting": 0, "delayed": 0, "dead": 0, "deliveries": 0}

    def metric(self, name: str, function: str) -> float:
        with urllib.request.urlopen(self.metrics_url, timeout=60) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            if line.startswith(f"hearth_{name}{{") and f'function="{function}"' in line:
                return float(line.rpartition(" ")[2])
        return 0.0

    def wait_metric(self, name: str, function: str, value: float) -> None:
        """Counted when all that follows is on disk, so it may be there a moment later."""
        wait_until(lambda: self.metric(name, function) == value, f"{name} {value}", WITHIN_S)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("destinations")
    (root / "buckets/failures").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        environment.delenv("AWS_SESSION_TOKEN", raising=False)
        with aws_server() as aws, rclone(root / "buckets", root / "log") as store:
            endpoints = [f"{service}={aws}" for service in ("sqs", "sns", "eventbridge")]
            options = [part for at in (*endpoints, f"s3={store}") for part in ("--endpoint", at)]
            with running(root / "state", *options, "--metrics", "127.0.0.1:0") as platform:
                status = json.loads(platform.command("status", "--json").stdout)
                client = platform.client()
                yield Scene(platform, client, aws, root / "buckets", status["metrics"])


def make(scene: Scene, name: str, code: str, **destinations: str) -> str:
    """A function whose events are not retried. `on_success`, `on_failure`, `dead_letter`: ARNs."""
    dead_letter = destinations.pop("dead_letter", None)
    more = {"DeadLetterConfig": {"TargetArn": dead_letter}} if dead_letter else {}
    arn = create(scene.client, name, code, **more)
    names = {"on_success": "OnSuccess", "on_failure": "OnFailure"}
    config: Any = {names[at]: {"Destination": to} for at, to in destinations.items()}
    scene.client.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig=config,
    )
    return arn


def send(scene: Scene, name: str, payload: Any, **more: Any) -> str:
    answer = scene.client.invoke(
        FunctionName=name, InvocationType="Event", Payload=json.dumps(payload), **more
    )
    assert answer["StatusCode"] == 202
    request: str = answer["ResponseMetadata"]["RequestId"]
    return request


def received(queue: Queue) -> dict[str, Any]:
    (message,) = queue.receive(WITHIN_S)
    return message


def test_a_success_is_told_to_a_queue(scene: Scene) -> None:
    queue = scene.queue("successes")
    arn = make(scene, "to-queue", ECHO, on_success=queue.arn)
    request = send(scene, "to-queue", {"n": 1})
    message = received(queue)
    record = json.loads(message["Body"])
    assert record.keys() == {
        *("version", "timestamp", "requestContext", "requestPayload"),
        *("responseContext", "responsePayload"),
    }
    assert record["version"] == "1.0"
    assert record["requestContext"] == {
        "requestId": request,
        "functionArn": f"{arn}:$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert record["requestPayload"] == record["responsePayload"] == {"n": 1}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert "Lineage=" in message["Attributes"]["AWSTraceHeader"]


def test_an_alias_has_destinations_of_its_own(scene: Scene) -> None:
    queue, other = scene.queue("of-alias"), scene.queue("of-latest")
    arn = make(scene, "aliased", ECHO, on_success=other.arn)
    version = scene.client.publish_version(FunctionName="aliased")["Version"]
    scene.client.create_alias(FunctionName="aliased", Name="live", FunctionVersion=version)
    scene.client.put_function_event_invoke_config(
        FunctionName="aliased",
        Qualifier="live",
        DestinationConfig={"OnSuccess": {"Destination": queue.arn}},
    )
    scene.client.get_waiter("published_version_active").wait(
        FunctionName="aliased", Qualifier=version
    )
    send(scene, "aliased", 1, Qualifier="live")
    record = json.loads(received(queue)["Body"])
    assert record["requestContext"]["functionArn"] == f"{arn}:live"
    assert record["responseContext"]["executedVersion"] == version
    assert other.receive() == []


def test_a_failure_is_told_to_a_topic_and_its_event_to_the_dead_letter_queue(scene: Scene) -> None:
    told, letters = scene.queue("subscriber"), scene.queue("letters")
    sns = aws_client("sns", scene.aws)
    topic = sns.create_topic(Name="failures")["TopicArn"]
    raw = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=told.arn, Attributes=raw)
    make(scene, "to-topic", FAIL, on_failure=topic, dead_letter=letters.arn)
    request = send(scene, "to-topic", {"n": 2})
    record = json.loads(received(told)["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorMessage"] == "not today"
    letter = received(letters)
    assert json.loads(letter["Body"]) == {"n": 2}
    attributes = letter["MessageAttributes"]
    assert {name: value["StringValue"] for name, value in attributes.items()} == {
        "RequestID": request,
        "ErrorCode": "200",
        "ErrorMessage": "not today",
    }


def test_a_failure_is_told_to_a_bucket(scene: Scene) -> None:
    make(scene, "to-bucket", FAIL, on_failure="arn:aws:s3:::failures")
    request = send(scene, "to-bucket", {})
    folder = scene.buckets / "failures/aws/lambda/async/to-bucket"

    def objects() -> list[Path]:
        return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]

    wait_until(objects, "an object", WITHIN_S)
    (written,) = objects()
    assert json.loads(written.read_bytes())["requestContext"]["requestId"] == request


def test_a_success_is_told_to_a_bus(scene: Scene) -> None:
    queue, bridge = scene.queue("of-rule"), aws_client("events", scene.aws)
    bus = bridge.create_event_bus(Name="bus")["EventBusArn"]
    bridge.put_rule(Name="r", EventBusName="bus", EventPattern='{"source": ["lambda"]}')
    bridge.put_targets(Rule="r", EventBusName="bus", Targets=[{"Id": "1", "Arn": queue.arn}])
    arn = make(scene, "to-bus", ECHO, on_success=bus)
    send(scene, "to-bus", {"n": 3})
    event = json.loads(received(queue)["Body"])
    assert event["detail-type"] == "Lambda Function Invocation Result - Success"
    assert event["detail"]["responsePayload"] == {"n": 3}
    assert event["resources"] == [bus, f"{arn}:$LATEST"]


def test_functions_are_chained_by_their_records(scene: Scene) -> None:
    queue = scene.queue("end-of-chain")
    last = make(scene, "second", ECHO, on_success=queue.arn)
    make(scene, "first", ECHO, on_success=last)
    request = send(scene, "first", {"n": 4})
    record = json.loads(received(queue)["Body"])
    assert record["requestPayload"]["requestContext"]["requestId"] == request
    assert record["requestPayload"]["responsePayload"] == {"n": 4}
    assert record["requestContext"]["requestId"] != request


def test_a_loop_of_functions_is_stopped_and_its_owner_hears_of_it(scene: Scene) -> None:
    letters = scene.queue("loops")
    there = make(scene, "there", NOTHING, dead_letter=letters.arn)
    back = make(scene, "back", NOTHING, on_success=there)
    scene.client.update_function_event_invoke_config(
        FunctionName="there", DestinationConfig={"OnSuccess": {"Destination": back}}
    )
    send(scene, "there", 0)
    letter = received(letters)
    assert letter["MessageAttributes"]["ErrorCode"]["StringValue"] == "400"
    assert "recursive loop" in letter["MessageAttributes"]["ErrorMessage"]["StringValue"]
    assert scene.metric("invocations_total", "there") == 16
    assert scene.metric("invocations_total", "back") == 16
    assert scene.metric("recursive_invocations_dropped_total", "there") >= 1


def test_an_event_without_a_target_is_kept_and_can_be_redriven(scene: Scene) -> None:
    make(scene, "untold", FAIL)
    request = send(scene, "untold", {"n": 5})
    wait_until(lambda: scene.backlog("untold")["dead"] == 1, "a dead event", WITHIN_S)
    (dead,) = json.loads(scene.events("list", "untold", "--only", "dead", "--json"))
    assert (dead["request"], dead["condition"]) == (request, "RetriesExhausted")
    assert dead["attempts"] == 1
    assert "not today" in scene.events("show", "untold", request)
    scene.wait_metric("async_events_dropped_total", "untold", 1)
    queue = scene.queue("after-all")
    scene.client.update_function_event_invoke_config(
        FunctionName="untold", DestinationConfig={"OnFailure": {"Destination": queue.arn}}
    )
    scene.events("redrive", "untold", "--all", "--yes")
    record = json.loads(received(queue)["Body"])
    assert record["requestContext"]["requestId"] == request
    wait_until(lambda: scene.backlog("untold")["dead"] == 0, "no dead event", WITHIN_S)


def test_a_target_that_is_gone_is_reported_and_told_once_it_is_back(scene: Scene) -> None:
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:later"
    make(scene, "gone", ECHO, on_success=arn)
    request = send(scene, "gone", {"n": 6})
    wait_until(lambda: scene.backlog("gone")["dead"] == 1, "a dead event", WITHIN_S)
    (dead,) = json.loads(scene.events("list", "gone", "--json"))
    assert (dead["request"], dead["condition"], dead["target"]) == (request, "Success", arn)
    scene.wait_metric("destination_delivery_failures_total", "gone", 1)
    assert "target of an event could not be told" in scene.platform.said()
    queue = scene.queue("later")
    scene.events("redrive", "gone", request)
    assert json.loads(received(queue)["Body"])["requestPayload"] == {"n": 6}
    assert scene.metric("invocations_total", "gone") == 1


def test_no_concurrency_at_all_ends_events_at_once(scene: Scene) -> None:
    queue, letters = scene.queue("zero"), scene.queue("zero-letters")
    make(scene, "idle", ECHO, on_failure=queue.arn, dead_letter=letters.arn)
    scene.client.put_function_concurrency(FunctionName="idle", ReservedConcurrentExecutions=0)
    send(scene, "idle", {"n": 7})
    record = json.loads(received(queue)["Body"])
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert received(letters)["MessageAttributes"]["ErrorCode"]["StringValue"] == "429"


def test_a_service_without_an_address_is_refused_when_it_is_named(platform: Platform) -> None:
    client = platform.client()
    create(client, "nowhere", ECHO)
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        client.put_function_event_invoke_config(
            FunctionName="nowhere",
            DestinationConfig={
                "OnFailure": {"Destination": f"arn:aws:sns:{REGION}:{ACCOUNT}:topic"}
            },
        )
    assert "--endpoint sns=URL" in caught.value.response["Error"]["Message"]


def test_a_target_that_does_not_answer_is_told_again_and_can_be_seen(platform: Platform) -> None:
    """Nobody listens where this Hearth was told that SQS is."""
    client, queue = platform.client(), f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
    create(client, "unheard", ECHO)
    client.put_function_event_invoke_config(
        FunctionName="unheard", DestinationConfig={"OnSuccess": {"Destination": queue}}
    )
    answer = client.invoke(FunctionName="unheard", InvocationType="Event", Payload=b"1")
    request = answer["ResponseMetadata"]["RequestId"]

    seen: list[Any] = []

    def waits() -> bool:
        """A delivery that is tried again later; it is not, in the moment of a try."""
        listed = platform.command("events", "list", "unheard", "--only", "delivery", "--json")
        assert listed.returncode == 0, listed.stderr
        seen[:] = [row for row in json.loads(listed.stdout) if row["due_ms"] is not None]
        return bool(seen)

    wait_until(waits, "a delivery that is tried again later", WITHIN_S)
    (row,) = seen
    assert (row["request"], row["condition"], row["target"]) == (request, "Success", queue)
    assert f"target={queue}" in platform.said()
    assert row["tries"] >= 1
    shown = json.loads(platform.command("events", "show", "unheard", request, "--json").stdout)
    assert "EndpointConnectionError" in shown["reason"]
    client.delete_function(FunctionName="unheard")
