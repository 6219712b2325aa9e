"""What a client sees of a function's response, as tables."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.gateways.url_response import BadResponse, answer_of, read_prelude

JSON = ("Content-Type", "application/json")
PRELUDE = "application/vnd.awslambda.http-integration-response"


def structured(**document: Any) -> Any:
    answer = answer_of(json.dumps({"statusCode": 200} | document).encode())
    return answer.status, answer.headers, answer.body


@pytest.mark.parametrize(
    "payload",
    [b'"Hello"', b'{"a": 1}', b"[1]", b"null", b"5", b'{"statuscode": 1}', '"é"'.encode()],
)
def test_json_without_a_status_is_the_body_itself(payload: bytes) -> None:
    answer = answer_of(payload)
    assert (answer.status, answer.headers, answer.body) == (200, [JSON], payload)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, (200, [JSON], b"")),
        ({"body": "é"}, (200, [JSON], "é".encode())),
        ({"body": None, "headers": None, "cookies": None}, (200, [JSON], b"")),
        ({"statusCode": "404"}, (404, [JSON], b"")),
        ({"statusCode": 201.0}, (201, [JSON], b"")),
        ({"body": 5}, (200, [JSON], b"5")),
        ({"body": True}, (200, [JSON], b"true")),
        ({"body": "aGk=", "isBase64Encoded": True}, (200, [JSON], b"hi")),
        ({"body": "aGk=", "isBase64Encoded": False}, (200, [JSON], b"aGk=")),
        (
            {"headers": {"content-type": "text/html", "X-N": 5, "X-B": True, "X-Z": None}},
            (200, [("content-type", "text/html"), ("X-N", "5"), ("X-B", "true")], b""),
        ),
        (
            {"cookies": ["a=1", "b=2"]},
            (200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), JSON], b""),
        ),
        ({"headers": {"X": "é"}}, (200, [("X", "Ã©"), JSON], b"")),
        (
            {"headers": {"Connection": "x", "Content-Length": "9", "x-amzn-RequestId": "mine"}},
            (200, [JSON], b""),
        ),
        (
            {"headers": {"WWW-Authenticate": "Basic"}},
            (200, [("x-amzn-Remapped-www-authenticate", "Basic"), JSON], b""),
        ),
        ({"unknown": 1}, (200, [JSON], b"")),
    ],
)
def test_a_response_with_a_status_is_taken_apart(document: Any, expected: Any) -> None:
    assert structured(**document) == expected


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"text",
        b"{",
        b"\xff",
        b'{"statusCode": "ok"}',
        b'{"statusCode": null}',
        b'{"statusCode": true}',
        b'{"statusCode": 99}',
        b'{"statusCode": 101}',
        b'{"statusCode": 600}',
        b'{"statusCode": 200.5}',
        b'{"statusCode": 200, "headers": []}',
        b'{"statusCode": 200, "headers": {"a b": "c"}}',
        b'{"statusCode": 200, "headers": {"": "c"}}',
        b'{"statusCode": 200, "headers": {"a": "b\\r\\nc: d"}}',
        b'{"statusCode": 200, "headers": {"a": ["b"]}}',
        b'{"statusCode": 200, "cookies": "a=1"}',
        b'{"statusCode": 200, "cookies": ["a\\nb"]}',
        b'{"statusCode": 200, "body": {"a": 1}}',
        b'{"statusCode": 200, "body": "%", "isBase64Encoded": true}',
    ],
)
def test_what_is_no_answer_of_http_is_bad(payload: bytes) -> None:
    with pytest.raises(BadResponse):
        answer_of(payload)


def test_a_collected_stream_has_its_prelude_cut_off() -> None:
    head = b'{"statusCode": 418, "headers": {"X": "1"}, "cookies": ["c=1"]}'
    answer = answer_of(head + bytes(8) + b"body\0", PRELUDE)
    assert (answer.status, answer.body) == (418, b"body\0")
    assert answer.headers == [
        ("X", "1"),
        ("Set-Cookie", "c=1"),
        ("Content-Type", "application/octet-stream"),
    ]
    with pytest.raises(BadResponse):
        answer_of(head + bytes(7), PRELUDE)


def test_a_collected_stream_without_a_prelude_is_a_body_of_its_type() -> None:
    answer = answer_of(b"\x00\x01", "image/png")
    assert (answer.status, answer.headers) == (200, [("Content-Type", "image/png")])


def test_a_prelude_without_a_status_is_a_200() -> None:
    assert read_prelude(b"{}")[0] == 200
    with pytest.raises(BadResponse):
        read_prelude(b"[]")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(values, values, values, values, values)
def test_whatever_a_function_answers_is_an_answer_or_bad(
    status: Any, headers: Any, cookies: Any, body: Any, flag: Any
) -> None:
    document = {
        "statusCode": status,
        "headers": headers,
        "cookies": cookies,
        "body": body,
        "isBase64Encoded": flag,
    }
    try:
        answer = answer_of(json.dumps(document).encode())
    except BadResponse:
        return
    for name, value in answer.headers:
        line = f"{name}: {value}"
        assert "\r" not in line
        assert "\n" not in line
        line.encode("latin-1")
    assert 200 <= answer.status <= 599


@given(st.binary())
def test_bytes_survive_base64(body: bytes) -> None:
    encoded = base64.b64encode(body).decode()
    assert structured(body=encoded, isBase64Encoded=True)[2] == body
