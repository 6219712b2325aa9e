"""Senders against servers that speak SQS, SNS, EventBridge (moto's) and S3 (rclone)."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.aws_server import ACCOUNT, REGION, Queue, aws_client, aws_server
from fakes.s3 import KEY as S3_KEY
from fakes.s3 import SECRET, rclone, scripted_s3
from fakes.settlements import (
    KEY,
    REQUEST,
    SEEN,
    SETTLED_MS,
    dead_letter_for,
    record_for,
    settlement,
    succeeded,
)
from hearth.app.senders import Senders
from hearth.events.contract import DeliveryFailed
from hearth.events.records import record
from hearth.model.endpoints import Endpoint, Endpoints
from hearth.model.errors import InternalFailure, ResourceNotFound, ServiceError
from hearth.model.events import Condition, Delivery
from hearth.model.invocations import InvokeCall
from hearth.settings import ClientSettings

pytestmark = pytest.mark.integration

TOLD = ClientSettings(
    endpoint=None,
    region=None,
    access_key=S3_KEY,
    secret_key=SECRET,
    session_token=None,
    profile=None,
)
WAIT_S = 60.0


class Invokes:
    """Takes what functions are told."""

    def __init__(self, error: ServiceError | None = None) -> None:
        self.calls: list[InvokeCall] = []
        self._error = error

    async def __call__(self, call: InvokeCall) -> None:
        if self._error is not None:
            raise self._error
        self.calls.append(call)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with aws_server() as endpoint:
        yield endpoint


def senders(invokes: Invokes | None = None, **urls: str) -> Senders:
    return senders_at(urls, invokes)


def senders_at(urls: Mapping[str, str], invokes: Invokes | None = None) -> Senders:
    table = {service: Endpoint(service, url) for service, url in urls.items()}
    return Senders(Endpoints(table), TOLD, invokes or Invokes())


def deliver(to: Senders, *deliveries: Delivery) -> None:
    async def scene() -> None:
        async with asyncio.timeout(WAIT_S):
            for delivery in deliveries:
                await to.deliver(delivery)

    try:
        asyncio.run(scene())
    finally:
        to.close()


def failure(to: Senders, delivery: Delivery) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(to, delivery)
    return caught.value


def test_a_queue_gets_the_record_and_the_trace(server: str) -> None:
    queue, ended = Queue(server, "records"), succeeded()
    deliver(senders(sqs=server), record_for(queue.arn, ended))
    (message,) = queue.receive()
    assert message["Body"].encode() == record(ended)
    assert "MessageAttributes" not in message
    assert message["Attributes"]["AWSTraceHeader"] == SEEN


def test_a_queue_gets_a_dead_letter_with_its_attributes(server: str) -> None:
    queue = Queue(server, "letters")
    deliver(senders(sqs=server), dead_letter_for(queue.arn, settlement()))
    (message,) = queue.receive()
    assert message["Body"] == '{"n": 1.10}'
    assert message["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": REQUEST},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "no"},
    }


def test_a_topic_passes_records_and_dead_letters_on(server: str) -> None:
    queue, sns = Queue(server, "subscriber"), aws_client("sns", server)
    topic = sns.create_topic(Name="t")["TopicArn"]
    raw = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn, Attributes=raw)
    ended = settlement()
    deliver(senders(sns=server), record_for(topic, ended), dead_letter_for(topic, ended))
    told, letter = sorted(queue.receive(), key=lambda message: len(message["Body"]), reverse=True)
    assert told["Body"].encode() == record(ended)
    assert letter["Body"] == '{"n": 1.10}'
    assert letter["MessageAttributes"]["ErrorCode"]["StringValue"] == "200"


def test_a_bus_gets_an_event_with_awss_envelope(server: str) -> None:
    queue, events = Queue(server, "rule"), aws_client("events", server)
    bus = events.create_event_bus(Name="b")["EventBusArn"]
    pattern = json.dumps({"source": ["lambda"]})
    events.put_rule(Name="r", EventBusName="b", EventPattern=pattern)
    events.put_targets(Rule="r", EventBusName="b", Targets=[{"Id": "1", "Arn": queue.arn}])
    ended = settlement()
    deliver(senders(eventbridge=server), record_for(bus, ended))
    (message,) = queue.receive()
    event = json.loads(message["Body"])
    assert event["detail"] == json.loads(record(ended))
    assert event["detail-type"] == "Lambda Function Invocation Result - Failure"
    assert event["resources"] == [bus, KEY.arn("$LATEST")]


def test_a_bucket_gets_one_object_however_often_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "buckets/failures").mkdir(parents=True)
    ended = settlement()
    delivery = record_for("arn:aws:s3:::failures", ended)
    with rclone(tmp_path / "buckets", tmp_path / "log") as store:
        deliver(senders(s3=store), delivery, delivery)
    (written,) = [path for path in (tmp_path / "buckets").rglob("*") if path.is_file()]
    assert written.read_bytes() == record(ended)
    folder = tmp_path / "buckets/failures/aws/lambda/async/f/2026/11/28"
    assert written.parent == folder
    assert written.name.startswith("2026-11-28T19.41.40-")


def test_a_function_is_invoked_with_the_record_and_the_lineage() -> None:
    invokes, ended = Invokes(), succeeded()
    target = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:g:live"
    delivery = record_for(target, ended)
    other = record_for(target, succeeded(request="another"))
    deliver(senders(invokes), delivery, delivery, other)
    first, again, third = invokes.calls
    assert first.payload == record(ended)
    assert (first.reference.name, first.reference.qualifier) == ("g", "live")
    assert first.caller.account == ACCOUNT
    assert first.trace_id == SEEN
    assert first.request == again.request, "the queue must know the second try from a new event"
    assert len({first.request, third.request, REQUEST}) == 3


@pytest.mark.parametrize(
    ("error", "is_final"),
    [(ResourceNotFound("Function not found: g"), True), (InternalFailure("Later."), False)],
)
def test_a_function_that_cannot_be_invoked_is_a_failure(
    error: ServiceError, is_final: bool
) -> None:
    target = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:g"
    failed = failure(senders(Invokes(error)), record_for(target, succeeded()))
    assert failed.is_final is is_final
    assert error.message in str(failed)


def test_what_never_ran_carries_its_callers_lineage_unchanged() -> None:
    invokes = Invokes()
    never = settlement(Condition.ZERO_RESERVED_CONCURRENCY, None, count=0, trace_id="Root=1-a")
    target = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:g"
    deliver(senders(invokes), record_for(target, never))
    assert invokes.calls[0].trace_id == "Root=1-a"


@pytest.mark.parametrize("service", ["sqs", "sns"])
def test_what_is_not_there_will_not_be_there_at_the_next_try(server: str, service: str) -> None:
    target = f"arn:aws:{service}:{REGION}:{ACCOUNT}:nobody"
    failed = failure(senders_at({service: server}), record_for(target, succeeded()))
    assert failed.is_final, str(failed)


def test_a_bus_that_is_not_there_is_final_too(server: str) -> None:
    target = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/nobody"
    assert failure(senders(eventbridge=server), record_for(target, succeeded())).is_final


@pytest.mark.parametrize(
    "target",
    [
        f"arn:aws:sqs:{REGION}:{ACCOUNT}:q",
        f"arn:aws:sns:{REGION}:{ACCOUNT}:t",
        f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/b",
        "arn:aws:s3:::b",
    ],
)
def test_whom_nobody_answers_for_is_tried_again(target: str) -> None:
    delivery = record_for(target, settlement())
    nobody = "http://127.0.0.1:9"
    unreachable = senders(sqs=nobody, sns=nobody, eventbridge=nobody, s3=nobody)
    assert not failure(unreachable, delivery).is_final
    unknown = failure(senders(), delivery)
    assert not unknown.is_final
    assert "--endpoint" in str(unknown)


def test_an_error_is_final_if_the_next_try_would_end_the_same() -> None:
    delivery = record_for("arn:aws:s3:::b", settlement())

    async def scene() -> None:
        for status, code, is_final in (
            (500, "InternalError", False),
            (503, "SlowDown", False),
            (429, "Whatever", False),
            (400, "ExpiredToken", False),
            (403, "AccessDenied", True),
            (404, "NoSuchBucket", True),
        ):
            store.refuse(status, code, "why")
            with pytest.raises(DeliveryFailed, match=f"^{code}: ") as caught:
                await to.deliver(delivery)
            assert caught.value.is_final is is_final, code

    with scripted_s3() as store:
        to = senders(s3=store.endpoint)
        asyncio.run(scene())
        to.close()
    assert {headers["x-amzn-trace-id"] for _path, headers in store.seen} == {SEEN}
    assert len(store.seen) == 6, "whoever calls tries again, the client does not"


def test_a_message_that_is_too_large_is_refused_before_it_is_sent() -> None:
    large = json.dumps("x" * 262_000).encode()
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:t"
    failed = failure(senders(sns="http://127.0.0.1:9"), record_for(topic, succeeded(large)))
    assert failed.is_final
    assert "sns takes 262144" in str(failed)


def test_no_target_at_all_is_final() -> None:
    ended: Any = succeeded()
    assert failure(senders(), record_for("arn:aws:kinesis:x:y:z", ended)).is_final
    assert ended.settled_ms == SETTLED_MS
