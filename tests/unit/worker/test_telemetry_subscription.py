"""Which subscriptions are taken, and what is said of the others."""

import json
from typing import Any

import pytest

from hearth.worker.telemetry.subscription import (
    LOGS,
    TELEMETRY,
    InvalidSubscription,
    Subscription,
    parse,
)

HTTP = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/in?a=1"}
TCP = {"protocol": "TCP", "port": 9999}


def body(**changes: Any) -> bytes:
    whole = {"schemaVersion": "2022-12-13", "types": ["platform"], "destination": HTTP, **changes}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def test_what_is_not_given_is_lambdas_default() -> None:
    assert parse("ext", TELEMETRY, body()) == Subscription(
        name="ext",
        api=TELEMETRY,
        schema="2022-12-13",
        types=("platform",),
        items_max=10_000,
        bytes_max=262_144,
        timeout_s=1.0,
        protocol="HTTP",
        port=8080,
        path="/in?a=1",
    )


def test_what_is_given_counts() -> None:
    buffering = {"maxItems": 1000, "maxBytes": 300_000, "timeoutMs": 25}
    found = parse("ext", TELEMETRY, body(buffering=buffering, destination=TCP))
    assert (found.items_max, found.bytes_max, found.timeout_s) == (1000, 300_000, 0.025)
    assert (found.protocol, found.port) == ("TCP", 9999)


@pytest.mark.parametrize(
    ("api", "schema", "takes_objects"),
    [
        (TELEMETRY, "2022-07-01", False),
        (TELEMETRY, "2022-12-13", True),
        (TELEMETRY, "2025-01-29", True),
        (LOGS, "2020-08-15", False),
        (LOGS, "2021-03-18", False),
        (LOGS, None, False),
    ],
)
def test_every_schema_version(api: str, schema: str | None, takes_objects: bool) -> None:
    found = parse("ext", api, body(schemaVersion=schema))
    assert found.takes_objects is takes_objects
    assert found.schema == (schema or "2020-08-15")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schemaVersion": None}, "schemaVersion should not be empty"),
        ({"schemaVersion": "2020-08-15"}, "schemaVersion 2020-08-15 is not supported"),
        ({"types": []}, "types should not be empty"),
        ({"types": ["platform", "x"]}, "types contains an invalid value: x"),
        ({"destination": None}, "destination protocol is not provided"),
        ({"destination": {"protocol": "UDP"}}, "destination protocol UDP is not supported"),
        ({"destination": {"protocol": "HTTP"}}, "URI is not provided"),
        ({"destination": {**HTTP, "URI": "https://sandbox:1"}}, "URI scheme should be http"),
        (
            {"destination": {**HTTP, "URI": "http://example.com:80"}},
            "URI host should be sandbox.localdomain",
        ),
        ({"destination": {**HTTP, "URI": "http://sandbox:1/\r\nX: y"}}, "URI is invalid"),
        ({"destination": {**HTTP, "URI": "http://sandbox:99999"}}, "URI is invalid"),
        ({"destination": {"protocol": "TCP"}}, "destination port is not provided or invalid"),
        (
            {"buffering": {"maxItems": 999}},
            "buffering.maxItems should be between 1000 and 10000",
        ),
        (
            {"buffering": {"maxBytes": 2**20 + 1}},
            "buffering.maxBytes should be between 262144 and 1048576",
        ),
        ({"buffering": {"timeoutMs": 24}}, "buffering.timeoutMs should be between 25 and 30000"),
        ({"buffering": {"timeoutMs": "soon"}}, "buffering.timeoutMs should be an integer"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSubscription) as raised:
        parse("ext", TELEMETRY, body(**changes))
    assert str(raised.value) == message


def test_all_that_is_wrong_is_said_at_once() -> None:
    changes = {"types": [], "destination": {**HTTP, "URI": "http://sandbox.localdomain"}}
    with pytest.raises(InvalidSubscription) as raised:
        parse("ext", TELEMETRY, body(**changes))
    assert str(raised.value) == "URI port is not provided; types should not be empty"


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"types": 5}'])
def test_what_is_no_subscription_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidSubscription, match="Request body is invalid"):
        parse("ext", TELEMETRY, data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"buffering": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
        b'{"schemaVersion": "\xff"}',
        b"{",
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidSubscription, match="Request body is invalid"):
        parse("ext", TELEMETRY, data)
