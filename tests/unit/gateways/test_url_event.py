"""What a function sees of a request to its URL, as tables."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from fakes.http import http_request
from hearth.gateways.url_address import address_of, is_for_url
from hearth.gateways.url_event import UrlRequest, event_of
from hearth.model.ids import AccountId, Caller, Region

ID = "0123456789abcdef0123456789abcdef"
HOST = f"{ID}.lambda-url.eu-central-1.localhost:4566"
CALLER = Caller(AccountId("123456789012"), Region("eu-central-1"), "AKIA", "arn:aws:iam::1:user/u")


def event(
    method: str = "GET",
    target: str = "/",
    body: bytes = b"",
    caller: Caller | None = None,
    **headers: str,
) -> Any:
    request = http_request(method, target, body=body, **{"host": HOST, **headers})
    return json.loads(
        event_of(
            UrlRequest(
                http=request,
                raw_path=target.partition("?")[0],
                url_id=ID,
                domain_name=HOST.partition(":")[0],
                port="4566",
                request_id="r1",
                trace_id="Root=1-2-3",
                at=datetime(2026, 3, 9, 19, 3, 58, 390_000, tzinfo=UTC),
                caller=caller,
            )
        )
    )


def test_a_plain_request_is_the_event_of_format_2() -> None:
    assert event(user_agent="curl/8") == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": {
            "host": HOST,
            "user-agent": "curl/8",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-proto": "http",
            "x-forwarded-port": "4566",
            "x-amzn-trace-id": "Root=1-2-3",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": ID,
            "domainName": HOST.partition(":")[0],
            "domainPrefix": ID,
            "http": {
                "method": "GET",
                "path": "/",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "curl/8",
            },
            "requestId": "r1",
            "routeKey": "$default",
            "stage": "$default",
            "time": "09/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1773083038390,
        },
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("a=1", {"a": "1"}),
        ("a=1&a=2&b=", {"a": "1,2", "b": ""}),
        ("a=%C3%A9+x%2Cy", {"a": "é x,y"}),
        ("flag", {"flag": ""}),
        ("a=1;b=2", {"a": "1;b=2"}),
        ("%61=1&a=2", {"a": "1,2"}),
    ],
)
def test_query_parameters_are_decoded_and_joined(query: str, parameters: dict[str, str]) -> None:
    got = event(target=f"/?{query}")
    assert got["queryStringParameters"] == parameters
    assert got["rawQueryString"] == query


def test_a_path_stays_as_it_was_sent() -> None:
    got = event(target="/a%2Fb%20c/%C3%A9?x=%20")
    assert got["rawPath"] == got["requestContext"]["http"]["path"] == "/a%2Fb%20c/%C3%A9"


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="fields"):
        event(target="/?" + "&".join("a=1" for _ in range(10_001)))


def test_cookies_are_a_list_and_no_header() -> None:
    got = event(cookie="a=1; b=2;c=3; ")
    assert got["cookies"] == ["a=1", "b=2", "c=3"]
    assert "cookie" not in got["headers"]


def test_headers_between_client_and_platform_are_not_passed_on() -> None:
    got = event(
        "POST",
        body=b"abc",
        connection="keep-alive",
        transfer_encoding="chunked",
        te="trailers",
        upgrade="x",
        x_forwarded_for="10.0.0.1",
        x_mine="1, 2",
    )
    assert not {"connection", "transfer-encoding", "te", "upgrade"} & got["headers"].keys()
    assert got["headers"]["content-length"] == "3"
    assert got["headers"]["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert got["headers"]["x-mine"] == "1, 2"


TEXT, BINARY = False, True


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64"),
    [
        ("application/json", b'{"a": 1}', TEXT),
        ("application/json; charset=utf-8", "é".encode(), TEXT),
        ("TEXT/PLAIN", b"a", TEXT),
        ("text/html", b"a", TEXT),
        ("application/xml", b"a", TEXT),
        ("application/javascript", b"a", TEXT),
        ("application/vnd.api+json", b"a", TEXT),
        ("image/svg+xml", b"a", TEXT),
        ("application/x-www-form-urlencoded", b"a=1", BINARY),
        ("multipart/form-data; boundary=x", b"a", BINARY),
        ("application/octet-stream", b"a", BINARY),
        ("", b"a", BINARY),
        ("text/plain", b"\xff\xfe", BINARY),
    ],
)
def test_a_body_is_text_or_base64(content_type: str, body: bytes, is_base64: bool) -> None:
    got = event("POST", body=body, content_type=content_type)
    assert got["isBase64Encoded"] is is_base64
    assert got["body"] == (base64.b64encode(body).decode() if is_base64 else body.decode())


def test_a_compressed_body_is_no_text() -> None:
    got = event("POST", body=b"a", content_type="text/plain", content_encoding="gzip")
    assert got["isBase64Encoded"] is True


def test_a_request_without_a_body_has_none() -> None:
    assert "body" not in event("POST", content_type="application/json")


def test_who_signed_is_in_the_context_and_his_signature_is_not_passed_on() -> None:
    got = event(caller=CALLER, authorization="AWS4-HMAC-SHA256 ...", x_amz_date="x")
    assert got["requestContext"]["accountId"] == "123456789012"
    assert got["requestContext"]["authorizer"]["iam"] == {
        "accessKey": "AKIA",
        "accountId": "123456789012",
        "callerId": "AKIA",
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": "arn:aws:iam::1:user/u",
        "userId": "AKIA",
    }
    assert "authorization" not in got["headers"]
    assert event(authorization="Bearer x")["headers"]["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("/a?b=1", HOST, (ID, "eu-central-1", "/a")),
        ("/", f"{ID.upper()}.lambda-url.eu-central-1.on.aws", (ID, "eu-central-1", "/")),
        ("/lambda-url/x", HOST, (ID, "eu-central-1", "/lambda-url/x")),
        (f"/lambda-url/{ID}", "127.0.0.1:4566", (ID, None, "/")),
        (f"/lambda-url/{ID}/", "127.0.0.1:4566", (ID, None, "/")),
        (f"/lambda-url/{ID}/a%2Fb/?c=/d", "127.0.0.1:4566", (ID, None, "/a%2Fb/")),
        (f"/lambda-url/{ID}?a=1", "127.0.0.1:4566", (ID, None, "/")),
        ("/lambda-url/short/a", "127.0.0.1:4566", None),
        ("/", "short.lambda-url.eu-central-1.localhost", None),
        ("/", f"{ID}.lambda-url.eu-central-1", None),
    ],
)
def test_a_url_is_named_by_host_or_by_path(
    target: str, host: str, expected: tuple[str, str | None, str] | None
) -> None:
    request = http_request(target=target, host=host)
    assert is_for_url(request)
    found = address_of(request)
    assert (found and (found.id, found.region, found.path)) == expected


def test_other_requests_are_for_no_url() -> None:
    assert not is_for_url(http_request(target="/2015-03-31/functions/", host="127.0.0.1:4566"))
    assert not is_for_url(http_request(target="/2015-03-31/functions/"))
