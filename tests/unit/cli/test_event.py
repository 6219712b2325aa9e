"""hearth event: sample events, and members of one's own."""

import base64
import gzip
import json
from typing import Any

import pytest
from click.testing import CliRunner

from hearth.cli.event import event
from hearth.cli.sample_events import SAMPLES


def printed(*arguments: str) -> Any:
    done = CliRunner().invoke(event, arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.mark.parametrize("source", SAMPLES)
def test_every_sample_is_json_and_names_its_source(source: str) -> None:
    made = printed(source, "--region", "eu-west-3")
    assert made
    if source not in {"apigw", "logs", "websocket"}:
        assert "eu-west-3" in json.dumps(made)


def test_the_sources_are_listed() -> None:
    listed = CliRunner().invoke(event, []).output
    assert all(f"\n{source} " in listed for source in SAMPLES)


def test_a_body_goes_where_its_sender_puts_it() -> None:
    assert printed("sqs", "--body", "b")["Records"][0]["body"] == "b"
    assert printed("sns", "--body", "b")["Records"][0]["Sns"]["Message"] == "b"
    assert printed("eventbridge", "--body", '{"a": 1}')["detail"] == {"a": 1}
    assert (
        base64.b64decode(printed("kinesis", "--body", "b")["Records"][0]["kinesis"]["data"]) == b"b"
    )
    data = gzip.decompress(base64.b64decode(printed("logs", "--body", "b")["awslogs"]["data"]))
    assert json.loads(data)["logEvents"][0]["message"] == "b"


def test_members_are_set_by_path() -> None:
    made = printed("s3", "--set", "Records.0.s3.object.size=7", "--set", "Records.0.awsRegion=x-1")
    assert made["Records"][0]["s3"]["object"]["size"] == 7
    assert made["Records"][0]["awsRegion"] == "x-1"


@pytest.mark.parametrize(
    "arguments",
    [
        ("sqs2",),
        ("sqs", "--set", "a"),
        ("sqs", "--set", "Records.9.body=1"),
        ("sqs", "--set", "=1"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(event, arguments)
    assert done.exit_code == 1
    assert done.output.startswith("hearth: ")
