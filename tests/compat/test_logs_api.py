"""CloudWatch Logs with boto3 and the AWS CLI, on the logs of real functions and on others."""

import base64
import json
import re
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from compat.platform import Platform, create, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.compat

CODE = """
def handler(event, context):
    for word in event["words"]:
        print(word)
    return context.log_stream_name
"""


@pytest.fixture
def logs(platform: Platform) -> Any:
    return platform.service("logs")


@pytest.fixture
def group(logs: Any) -> str:
    name = f"/test/{uuid.uuid4().hex[:8]}"
    logs.create_log_group(logGroupName=name, tags={"team": "a"})
    return name


def refusal(call: "Callable[..., Any]", **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def invoked(platform: Platform, words: list[str]) -> tuple[str, str]:
    """A new function's log group, and the stream that it wrote the words to."""
    client, name = platform.client(), f"l-{uuid.uuid4().hex[:8]}"
    create(client, name, CODE)
    answer = client.invoke(FunctionName=name, Payload=json.dumps({"words": words}))
    return f"/aws/lambda/{name}", json.loads(answer["Payload"].read())


def test_what_a_function_printed_is_read_filtered_and_paged(platform: Platform, logs: Any) -> None:
    words = ["one", '{"level": "ERROR", "ms": 7}', '{"level": "INFO"}', "two ERROR"]
    group, stream = invoked(platform, words)

    found = logs.filter_log_events(logGroupName=group)["events"]
    messages = [event["message"].rstrip("\n") for event in found]
    assert [m for m in messages if m in words] == words
    assert messages[0].startswith(("INIT_START", "START RequestId"))
    assert {event["logStreamName"] for event in found} == {stream}
    assert len({event["eventId"] for event in found}) == len(found)

    def matching(pattern: str) -> list[str]:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=group,
            filterPattern=pattern,
            logStreamNamePrefix=stream[:12],
            PaginationConfig={"PageSize": 1},
        )
        return [e["message"].rstrip("\n") for page in pages for e in page["events"]]

    assert matching("ERROR") == [words[1], words[3]]
    assert matching('{ $.level = "ERROR" && $.ms > 5 }') == [words[1]]
    assert any("REPORT" in message for message in matching("REPORT"))

    whole = [e["message"] for e in found]
    head = logs.get_log_events(
        logGroupName=group, logStreamName=stream, startFromHead=True, limit=2
    )
    assert [e["message"] for e in head["events"]] == whole[:2]
    then = logs.get_log_events(
        logGroupName=group, logStreamName=stream, nextToken=head["nextForwardToken"]
    )
    assert [e["message"] for e in then["events"]] == whole[2:]
    end = logs.get_log_events(
        logGroupName=group, logStreamName=stream, nextToken=then["nextForwardToken"]
    )
    assert end["events"] == []
    assert end["nextForwardToken"] == then["nextForwardToken"]
    assert re.fullmatch(r"f/[0-9]{56}/s", end["nextForwardToken"])
    last = logs.get_log_events(logGroupName=group, logStreamName=stream, limit=2)
    assert [e["message"] for e in last["events"]] == whole[-2:]
    back = logs.get_log_events(
        logGroupName=group, logStreamName=stream, nextToken=last["nextBackwardToken"]
    )
    assert [e["message"] for e in back["events"]] == whole[:-2]

    (described,) = logs.describe_log_streams(
        logGroupName=group, orderBy="LastEventTime", descending=True
    )["logStreams"]
    assert described["logStreamName"] == stream
    assert described["firstEventTimestamp"] <= described["lastEventTimestamp"]
    (listed,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert listed["storedBytes"] > 0
    assert listed["arn"] == f"{listed['logGroupArn']}:*"


def test_messages_are_as_they_were_written(platform: Platform, logs: Any) -> None:
    client = platform.client()
    code = """
import logging, sys
def handler(event, context):
    print("one")
    logging.warning("two\\nlines")
    print("three")
    print("four", file=sys.stderr)
    sys.stdout.write("no end")
    raise ValueError("five")
"""
    create(client, "written", code)
    answer = client.invoke(FunctionName="written", LogType="Tail")
    request = answer["ResponseMetadata"]["RequestId"]
    events = logs.filter_log_events(logGroupName="/aws/lambda/written")["events"]
    start, one, two, three, four, no_end, five, end, report = [e["message"] for e in events[1:]]
    assert events[0]["message"].startswith("INIT_START ")
    assert start == f"START RequestId: {request} Version: $LATEST\n"
    assert (one, three, four, no_end) == ("one\n", "three\n", "four\n", "no end")
    assert two.startswith("[WARNING]\t")
    assert two.endswith("two\nlines\n")
    assert five.startswith("[ERROR] ValueError: five\nTraceback (most recent call last):\n")
    assert five.endswith('raise ValueError("five")')
    assert end == f"END RequestId: {request}\n"
    assert report.endswith(" ms\t\n")
    tail = "".join((start, one, two, three, four, no_end, five, end, report))
    assert base64.b64decode(answer["LogResult"]).decode() == tail


def test_groups_and_streams_are_made_described_and_deleted(logs: Any, group: str) -> None:
    assert refusal(logs.create_log_group, logGroupName=group) == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    for name in ("a", "b", "c"):
        logs.create_log_stream(logGroupName=group, logStreamName=name)
    assert refusal(logs.create_log_stream, logGroupName=group, logStreamName="a") == (
        "ResourceAlreadyExistsException",
        "The specified log stream already exists",
    )
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=group, PaginationConfig={"PageSize": 2}
    )
    assert [s["logStreamName"] for page in pages for s in page["logStreams"]] == ["a", "b", "c"]
    logs.delete_log_stream(logGroupName=group, logStreamName="b")
    assert refusal(logs.delete_log_stream, logGroupName=group, logStreamName="b") == (
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    arn = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupArn"]
    logs.tag_resource(resourceArn=arn, tags={"x": "1"})
    logs.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"x": "1"}
    (described,) = logs.describe_log_groups(logGroupNamePattern=group[-6:])["logGroups"]
    assert described["retentionInDays"] == 7
    logs.delete_retention_policy(logGroupName=group)
    logs.delete_log_group(logGroupName=group)
    missing = ("ResourceNotFoundException", "The specified log group does not exist.")
    assert refusal(logs.delete_log_group, logGroupName=group) == missing
    assert refusal(logs.describe_log_streams, logGroupName=group) == missing
    assert refusal(logs.filter_log_events, logGroupName=group) == missing


def test_events_are_put_and_got_and_gone_with_their_stream(logs: Any, group: str) -> None:
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms + n, "message": f"event {n}"} for n in range(3)]
    arguments = {"logGroupName": group, "logStreamName": "s"}
    assert refusal(logs.put_log_events, **arguments, logEvents=events)[1] == (
        "The specified log stream does not exist."
    )
    logs.create_log_stream(**arguments)
    old = [{"timestamp": 0, "message": "old"}]
    assert refusal(logs.put_log_events, **arguments, logEvents=old + events)[0] == (
        "InvalidParameterException"
    ), "more than 24 hours"
    answer = logs.put_log_events(**arguments, logEvents=events)
    assert "rejectedLogEventsInfo" not in answer
    rejected = logs.put_log_events(**arguments, logEvents=old)["rejectedLogEventsInfo"]
    assert rejected == {"tooOldLogEventEndIndex": 1}
    got = logs.get_log_events(**arguments)["events"]
    assert [(e["timestamp"], e["message"]) for e in got] == [
        (e["timestamp"], e["message"]) for e in events
    ]
    backwards = list(reversed(events))
    assert refusal(logs.put_log_events, **arguments, logEvents=backwards)[0] == (
        "InvalidParameterException"
    )
    within = logs.filter_log_events(
        logGroupName=group, startTime=now_ms + 1, endTime=now_ms + 1, logStreamNames=["s"]
    )
    assert [e["message"] for e in within["events"]] == ["event 1"]
    wait_until(lambda: int(time.time() * 1000) > now_ms + 10, "time passes")
    logs.delete_log_stream(**arguments)
    logs.create_log_stream(**arguments)
    assert logs.get_log_events(**arguments)["events"] == []


def test_bad_input_gets_the_errors_of_cloudwatch(logs: Any, group: str) -> None:
    assert refusal(logs.create_log_group, logGroupName="no spaces") == (
        "InvalidParameterException",
        "1 validation error detected: Value 'no spaces' at 'logGroupName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+",
    )
    assert refusal(logs.put_retention_policy, logGroupName=group, retentionInDays=2)[0] == (
        "InvalidParameterException"
    )
    assert refusal(logs.filter_log_events, logGroupName=group, filterPattern="{ $.a }")[0] == (
        "InvalidParameterException"
    )
    assert refusal(logs.filter_log_events, logGroupName=group, nextToken="x")[0] == (
        "InvalidParameterException"
    )
    assert refusal(logs.get_log_events, logGroupName=group, logStreamName="none", nextToken="q/1")[
        0
    ] == ("ResourceNotFoundException")
    assert refusal(logs.start_query, logGroupName=group, startTime=0, endTime=1, queryString="f")[
        0
    ] == ("NotImplementedException")


def test_the_command_line_reads_logs(platform: Platform) -> None:
    group, _ = invoked(platform, ["hello from the command line"])
    answer = platform.aws("logs", "filter-log-events", "--log-group-name", group)
    assert "hello from the command line" in answer


LOGGING = """
import logging
def handler(event, context):
    logging.getLogger().info("quiet")
    logging.getLogger().error("loud", extra={"k": 1})
    return [context.log_group_name, context.log_stream_name]
"""


def test_json_logs_go_to_a_group_of_one_s_own(platform: Platform, logs: Any) -> None:
    client, name = platform.client(), f"l-{uuid.uuid4().hex[:8]}"
    settings = {"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "LogGroup": f"/shared/{name}"}
    create(client, name, LOGGING, LoggingConfig=settings)
    answer = json.loads(client.invoke(FunctionName=name)["Payload"].read())
    found = logs.filter_log_events(logGroupName=f"/shared/{name}")["events"]
    assert answer == [f"/shared/{name}", found[0]["logStreamName"]]
    assert f"/{name}[$LATEST]" in answer[1]
    lines = [json.loads(event["message"]) for event in found]
    said = [line["message"] for line in lines if "message" in line]
    assert said == ["loud"]
    types = [line["type"] for line in lines if "type" in line]
    assert types == ["platform.initStart", "platform.start", "platform.report"]
    assert lines[-1]["record"]["metrics"]["memorySizeMB"] == 128


def test_a_live_tail_gets_what_is_written_and_matches(
    platform: Platform, logs: Any, group: str
) -> None:
    config = Config(inject_host_prefix=False, read_timeout=60, retries={"total_max_attempts": 1})
    tailing = platform.service("logs", config=config)
    logs.create_log_stream(logGroupName=group, logStreamName="a")
    arn = next(
        found["logGroupArn"]
        for found in logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    )

    def put(*messages: str) -> None:
        now_ms = int(time.time() * 1000)
        events = [{"timestamp": now_ms, "message": text} for text in messages]
        logs.put_log_events(logGroupName=group, logStreamName="a", logEvents=events)

    put("ERROR from before")
    answer = tailing.start_live_tail(
        logGroupIdentifiers=[arn], logStreamNamePrefixes=["b", "a"], logEventFilterPattern="ERROR"
    )
    with closing(answer["responseStream"]) as stream:
        events = iter(stream)
        start = next(events)["sessionStart"]
        assert start["logGroupIdentifiers"] == [arn]
        assert start["logEventFilterPattern"] == "ERROR"
        put("ERROR one", "INFO", "ERROR two")
        results: list[dict[str, Any]] = []
        while len(results) < 2:
            update = next(events)["sessionUpdate"]
            assert update["sessionMetadata"] == {"sampled": False}
            results += update["sessionResults"]
        assert [event["message"] for event in results] == ["ERROR one", "ERROR two"]
        assert {(e["logStreamName"], e["logGroupIdentifier"]) for e in results} == {("a", arn)}
    assert refusal(tailing.start_live_tail, logGroupIdentifiers=[f"{arn}-not"]) == (
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )
