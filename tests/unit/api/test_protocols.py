"""What round trips with botocore do not show: formats of others, limits, malformed input."""

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.http import http_request
from hearth.api.protocols.json import Json
from hearth.api.protocols.query import DEPTH_MAX, Query, parse_form
from hearth.api.protocols.restjson import RestJson
from hearth.api.protocols.xml import element
from hearth.api.shapes import Kind, Ref, Shape, load_service, parse_model
from hearth.api.values import (
    ISO8601,
    RFC822,
    UNIX,
    from_text,
    timestamp_from_text,
    timestamp_to_wire,
    to_text,
)
from hearth.model.errors import (
    ResourceNotFound,
    SerializationFailed,
    ServiceError,
    UnknownOperation,
    ValidationFailed,
)

MOMENT = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026-11-23T15:04:05Z", ISO8601),
        ("2026-11-23T15:04:05.000Z", ISO8601),
        ("2026-11-23T16:04:05+01:00", ISO8601),
        ("2026-11-23T15:04:05", ISO8601),
        ("Mon, 23 Nov 2026 15:04:05 GMT", RFC822),
        ("1795446245", UNIX),
        ("1795446245.0", UNIX),
    ],
)
def test_a_timestamp_is_read_in_every_format(text: str, form: str) -> None:
    assert timestamp_from_text(text, form) == MOMENT


@pytest.mark.parametrize(
    ("moment", "form", "wire"),
    [
        (MOMENT, ISO8601, "2026-11-23T15:04:05Z"),
        (MOMENT + timedelta(milliseconds=7), ISO8601, "2026-11-23T15:04:05.007Z"),
        (MOMENT.astimezone(timezone(timedelta(hours=2))), ISO8601, "2026-11-23T15:04:05Z"),
        (MOMENT.replace(tzinfo=None), ISO8601, "2026-11-23T15:04:05Z"),
        (MOMENT, RFC822, "Mon, 23 Nov 2026 15:04:05 GMT"),
        (MOMENT, UNIX, 1795446245),
        (MOMENT + timedelta(milliseconds=250), UNIX, 1795446245.25),
    ],
)
def test_a_timestamp_is_written_in_every_format(
    moment: datetime, form: str, wire: str | float
) -> None:
    assert timestamp_to_wire(moment, form) == wire


def ref(kind: Kind) -> Ref:
    return Ref(Shape("Made", kind))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.INTEGER, "-12", -12),
        (Kind.DOUBLE, "1e3", 1000.0),
        (Kind.DOUBLE, "-Infinity", -math.inf),
        (Kind.BOOLEAN, "True", True),
        (Kind.BLOB, "aGk=", b"hi"),
        (Kind.STRING, "", ""),
    ],
)
def test_a_text_is_read_as_its_shape_says(kind: Kind, text: str, value: object) -> None:
    assert from_text(ref(kind), text, ISO8601) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.INTEGER, "1.5"),
        (Kind.INTEGER, "1_000"),
        (Kind.INTEGER, " 1"),
        (Kind.INTEGER, "١"),
        (Kind.INTEGER, "9" * 5_000),
        (Kind.DOUBLE, "nan"),
        (Kind.DOUBLE, "1_0"),
        (Kind.DOUBLE, ""),
        (Kind.BOOLEAN, "1"),
        (Kind.BLOB, "a"),
        (Kind.TIMESTAMP, "yesterday"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(kind: Kind, text: str) -> None:
    with pytest.raises(SerializationFailed, match="STRING_VALUE can not be converted to a"):
        from_text(ref(kind), text, ISO8601)


def test_what_a_shape_cannot_hold_is_a_bug_not_a_text() -> None:
    wrong: Any = {"a": 1}
    with pytest.raises(TypeError):
        to_text(ref(Kind.STRING), wrong, ISO8601)


# --- rest-json

MADE = RestJson(
    parse_model(
        "made",
        b"""{"metadata": {"apiVersion": "1", "protocol": "rest-json", "endpointPrefix": "made"},
    "operations": {
      "Get": {"http": {"method": "GET", "requestUri": "/{Name}"},
              "input": {"shape": "In"}, "output": {"shape": "Out"}},
      "Put": {"http": {"method": "PUT", "requestUri": "/"}, "input": {"shape": "PutIn"}},
      "Text": {"http": {"method": "PUT", "requestUri": "/text"}, "input": {"shape": "TextIn"}}},
    "shapes": {
      "In": {"type": "structure", "members": {
        "Name": {"shape": "S", "location": "uri", "locationName": "Name"},
        "Names": {"shape": "L", "location": "querystring", "locationName": "name"},
        "Meta": {"shape": "M", "location": "headers", "locationName": "x-meta-"},
        "When": {"shape": "T", "location": "header", "locationName": "X-When"},
        "Flags": {"shape": "L", "location": "header", "locationName": "X-Flags"}}},
      "Out": {"type": "structure", "members": {
        "Meta": {"shape": "M", "location": "headers", "locationName": "x-meta-"},
        "Flags": {"shape": "L", "location": "header", "locationName": "X-Flags"}}},
      "PutIn": {"type": "structure", "payload": "Body", "members": {"Body": {"shape": "B"}}},
      "TextIn": {"type": "structure", "payload": "Body", "members": {"Body": {"shape": "S"}}},
      "B": {"type": "structure", "members": {"X": {"shape": "S"}}},
      "S": {"type": "string"}, "T": {"type": "timestamp"},
      "L": {"type": "list", "member": {"shape": "S"}},
      "M": {"type": "map", "key": {"shape": "S"}, "value": {"shape": "S"}}}}""",
    )
)


def test_members_are_read_from_wherever_the_model_puts_them() -> None:
    request = http_request(
        "GET",
        "/a%2Fb?name=x&name=y%20z",
        x_meta_color="red",
        x_when="Mon, 23 Nov 2026 15:04:05 GMT",
        x_flags="p, q",
    )
    assert MADE.decode(MADE.match(request), request) == {
        "Name": "a/b",
        "Names": ["x", "y z"],
        "Meta": {"color": "red"},
        "When": MOMENT,
        "Flags": ["p", "q"],
    }


def test_header_maps_and_lists_are_written() -> None:
    answer = MADE.encode(
        MADE.model.operation("Get"), {"Meta": {"a": "1"}, "Flags": ["p", "q"]}, "r"
    )
    assert dict(answer.headers)["x-meta-a"] == "1"
    assert dict(answer.headers)["X-Flags"] == "p, q"
    assert answer.body == b"{}"


def test_a_payload_member_is_the_whole_body() -> None:
    for body, members in [(b'{"X": "x"}', {"Body": {"X": "x"}}), (b"", {})]:
        request = http_request("PUT", "/", body=body)
        assert MADE.decode(MADE.match(request), request) == members
    request = http_request("PUT", "/text", body="größer".encode())
    assert MADE.decode(MADE.match(request), request) == {"Body": "größer"}
    with pytest.raises(SerializationFailed):
        MADE.decode(MADE.match(request), http_request("PUT", "/text", body=b"\xff"))


def test_too_many_query_parameters_are_refused() -> None:
    with pytest.raises(SerializationFailed):
        MADE.match(http_request("GET", "/a?" + "name=x&" * 2_000))


# --- json


def test_json_names_the_operation_in_a_header_and_the_error_in_the_body() -> None:
    json = Json(load_service("stepfunctions"))
    request = http_request(
        "POST", "/", body={"stateMachineArn": "a"}, x_amz_target="AWSStepFunctions.StartExecution"
    )
    match = json.match(request)
    assert match.operation.name == "StartExecution"
    assert json.decode(match, request) == {"stateMachineArn": "a"}
    answer = json.encode_error(ValidationFailed("no"), "r")
    assert dict(answer.headers)["Content-Type"] == "application/x-amz-json-1.0"
    assert answer.body == b'{"__type":"ValidationException","message":"no"}'


@pytest.mark.parametrize("target", ["", "AWSStepFunctions.Nope", "Other.StartExecution"])
def test_an_unknown_target_is_400_without_a_message(target: str) -> None:
    json = Json(load_service("stepfunctions"))
    with pytest.raises(UnknownOperation) as caught:
        json.match(http_request("POST", "/", x_amz_target=target))
    answer = json.encode_error(caught.value, "r")
    assert answer.status == 400
    assert answer.body == b'{"__type":"UnknownOperationException"}'


# --- query


def decoded(form: bytes) -> dict[str, Any]:
    query = Query(load_service("sts"))
    request = http_request("POST", "/", body=b"Action=AssumeRole&" + form)
    return query.decode(query.match(request), request)


def test_a_list_is_in_the_order_of_its_numbers_whatever_the_order_of_the_fields() -> None:
    form = b"Tags.member.10.Key=c&Tags.member.2.Key=b&Tags.member.1.Key=a"
    assert [tag["Key"] for tag in decoded(form)["Tags"]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("form", "tags"),
    [
        (b"Tags=", []),
        (b"Tags.member.x.Key=a", []),
        (b"Tags..1.Key=a", []),
        (b"Tags.=a", []),
        (b"Tags.member.1=a", [{}]),
        (b"Tags.member.1.Key=a&Tags.member.1.Key.x=b", [{"Key": "a"}]),
    ],
)
def test_odd_names_of_fields_break_nothing(form: bytes, tags: list[Any]) -> None:
    assert decoded(form) == {"Tags": tags}


def test_the_depth_of_a_name_is_bounded() -> None:
    with pytest.raises(SerializationFailed):
        parse_form({".".join("a" * (DEPTH_MAX + 1)): "x"})


def test_the_number_of_fields_is_bounded() -> None:
    with pytest.raises(SerializationFailed):
        decoded(b"a=b&" * 20_000)


def test_a_number_that_is_none_is_refused_by_the_protocols_own_code() -> None:
    query = Query(load_service("sts"))
    with pytest.raises(SerializationFailed) as caught:
        decoded(b"DurationSeconds=long")
    assert b"<Code>MalformedInput</Code>" in query.encode_error(caught.value, "r").body


@pytest.mark.parametrize(
    ("error", "kind"), [(ResourceNotFound("a"), "Sender"), (ServiceError("b"), "Receiver")]
)
def test_an_error_in_xml_says_whose_fault_it_is(error: ServiceError, kind: str) -> None:
    body = Query(load_service("sts")).encode_error(error, "r").body.decode()
    assert f"<Type>{kind}</Type>" in body


@given(st.dictionaries(st.text("a.1\x00é", max_size=6), st.text(max_size=3), max_size=5))
def test_any_form_gives_members_of_the_right_types(form: dict[str, str]) -> None:
    fields = {f"Tags.member.1{name}": text for name, text in form.items()}
    fields |= {f"Tags{name}": text for name, text in form.items()}
    tags = decoded(urlencode(fields).encode()).get("Tags", [])
    assert all(isinstance(text, str) for tag in tags for text in tag.values())


def test_text_in_xml_is_escaped_and_what_xml_cannot_hold_is_left_out() -> None:
    assert element("a", '<&>"\r\x00\x1f\ud800é', is_text=True) == (
        "<a>&lt;&amp;&gt;&quot;&#13;é</a>"
    )
