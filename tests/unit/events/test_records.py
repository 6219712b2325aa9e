"""What targets are told: every kind of record, letter by letter."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.settlements import (
    FAILED,
    KEY,
    REQUEST,
    dead_letter_for,
    record_for,
    settlement,
    succeeded,
)
from hearth.events.records import (
    ERROR_MESSAGE_BYTES_MAX,
    body,
    dead_letter_attributes,
    detail_type,
    object_key,
    record,
)
from hearth.model.events import Condition, Response, Settlement

QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"


def test_the_record_of_a_failure_has_awss_members_in_awss_order() -> None:
    assert record(settlement()) == (
        b'{"version":"1.0","timestamp":"2026-11-28T19:41:40.186Z",'
        b'"requestContext":{"requestId":"11111111-2222-4333-8444-555555555555",'
        b'"functionArn":"arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST",'
        b'"condition":"RetriesExhausted","approximateInvokeCount":3},'
        b'"requestPayload":{"n": 1.10},'
        b'"responseContext":{"statusCode":200,"executedVersion":"$LATEST",'
        b'"functionError":"Unhandled"},'
        b'"responsePayload":{"errorMessage": "no", "errorType": "E"}}'
    )


def test_the_record_of_a_success_names_no_error() -> None:
    told = json.loads(record(succeeded()))
    assert told["requestContext"]["condition"] == "Success"
    assert told["requestContext"]["approximateInvokeCount"] == 1
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert told["responsePayload"] == "done"


@pytest.mark.parametrize(
    "condition", [Condition.ZERO_RESERVED_CONCURRENCY, Condition.EVENT_AGE_EXCEEDED]
)
def test_an_event_that_never_ran_has_no_response(condition: Condition) -> None:
    told = json.loads(record(settlement(condition, None, count=0)))
    assert told["requestContext"]["condition"] == str(condition)
    assert told["requestContext"]["approximateInvokeCount"] == 0
    assert told.keys() == {"version", "timestamp", "requestContext", "requestPayload"}


@pytest.mark.parametrize("qualifier", ["7", "live", "$LATEST"])
def test_the_arn_has_the_qualifier_that_was_invoked(qualifier: str) -> None:
    told = json.loads(record(settlement(qualifier=qualifier)))
    assert told["requestContext"]["functionArn"] == KEY.arn(qualifier)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", None),
        (b"not json", "not json"),
        (b'"\xff"', '"\ufffd"'),
        (b"[" * 5_000, "[" * 5_000),
        (b" {} ", {}),
    ],
)
def test_the_record_is_json_whatever_the_runtime_answered(payload: bytes, told: Any) -> None:
    assert json.loads(record(succeeded(payload)))["responsePayload"] == told


def test_numbers_keep_all_their_digits() -> None:
    number = b"0.10000000000000000000000000000000000001"
    assert number in record(succeeded(number, payload=b"[" + number + b"]"))


@given(st.text())
def test_no_character_that_queues_refuse_is_sent(text: str) -> None:
    ended = succeeded(payload=json.dumps(text, ensure_ascii=False).encode(errors="replace"))
    for delivery in (record_for(QUEUE, ended), dead_letter_for(QUEUE, ended)):
        sent = body(delivery)
        assert not re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", sent)
        json.loads(sent)


def test_a_dead_letter_is_the_event_as_it_came() -> None:
    ended = settlement()
    assert body(dead_letter_for(QUEUE, ended)) == '{"n": 1.10}'
    assert dead_letter_attributes(ended) == {
        "RequestID": ("String", REQUEST),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "no"),
    }


@pytest.mark.parametrize(
    ("ended", "code", "message"),
    [
        (
            settlement(
                response=Response(payload=b'{"message": "Rate Exceeded."}', status_code=429)
            ),
            "429",
            "Rate Exceeded.",
        ),
        (settlement(response=Response(payload=b'"plain"')), "200", '"plain"'),
        (settlement(response=Response(payload=b"")), "200", "Unknown error"),
        (settlement(response=Response(payload=b"{}")), "200", "{}"),
        (
            settlement(Condition.ZERO_RESERVED_CONCURRENCY, None, count=0),
            "429",
            "The function's reserved concurrency is zero.",
        ),
        (
            settlement(Condition.EVENT_AGE_EXCEEDED, None, count=0),
            "500",
            "The event reached its maximum age before the function could be run.",
        ),
    ],
)
def test_the_attributes_say_what_went_wrong(ended: Settlement, code: str, message: str) -> None:
    attributes = dead_letter_attributes(ended)
    assert attributes["ErrorCode"] == ("Number", code)
    assert attributes["ErrorMessage"] == ("String", message)


@given(st.text())
def test_the_message_is_cut_at_a_kilobyte_and_never_empty(text: str) -> None:
    payload = json.dumps({"errorMessage": text * 100}).encode()
    response = Response(payload=payload, executed_version="1", function_error="Unhandled")
    message = dead_letter_attributes(settlement(response=response))["ErrorMessage"][1]
    assert 0 < len(message.encode()) <= ERROR_MESSAGE_BYTES_MAX
    assert not re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", message)


def test_buses_are_told_the_outcome_in_the_detail_type() -> None:
    assert detail_type(succeeded()) == "Lambda Function Invocation Result - Success"
    assert detail_type(settlement()) == "Lambda Function Invocation Result - Failure"


def test_objects_are_named_by_function_day_second_and_delivery() -> None:
    assert object_key(settlement(), "u-1") == (
        "aws/lambda/async/f/2026/11/28/2026-11-28T19.41.40-u-1"
    )


def test_a_refusal_is_told_as_its_client_would_see_it() -> None:
    refused = Response(
        payload=b'{"Type":"User","message":"loop"}',
        status_code=400,
        function_error="RecursiveInvocationException",
    )
    told = json.loads(record(settlement(response=refused)))
    assert told["responseContext"] == {
        "statusCode": 400,
        "functionError": "RecursiveInvocationException",
    }
    assert FAILED.status_code == 200
