"""What does a function see of an HTTP request? The event of payload format 2.0. Pure.

- Header names in lower case; `cookie` is taken apart into `cookies`.
- A query parameter that comes more than once has its values joined by commas, decoded; the raw path
  and the raw query are as they were sent.
- A body is text if its content type says so and it is UTF-8, else base64. A form is not text.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from hearth.base.http1 import HttpRequest
from hearth.model.ids import Caller

QUERY_FIELDS_MAX: Final = 10_000
_TEXTS: Final = frozenset({"application/json", "application/javascript", "application/xml"})
_NOT_PASSED_ON: Final = frozenset(
    {
        "connection",
        "cookie",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Between the client and us, or found elsewhere in the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRequest:
    """One request to a function URL."""

    http: HttpRequest
    raw_path: str
    url_id: str
    domain_name: str
    port: str
    request_id: str
    trace_id: str
    at: datetime
    """Aware, UTC."""
    caller: Caller | None
    """Who signed it; None where nobody has to."""


def event_of(request: UrlRequest) -> bytes:
    """As JSON. Raises ValueError if it has too many query parameters."""
    http = request.http
    source_ip = address_of(http.peer)
    query = http.target.partition("?")[2]
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.raw_path,
        "rawQueryString": query,
    }
    if cookie := http.headers.get("cookie"):
        event["cookies"] = [part.strip() for part in cookie.split(";") if part.strip()]
    event["headers"] = _headers(request, source_ip)
    if parameters := _parameters(query):
        event["queryStringParameters"] = parameters
    event["requestContext"] = _context(request, source_ip)
    body, is_base64 = _body(http)
    if body is not None:
        event["body"] = body
    event["isBase64Encoded"] = is_base64
    return msgspec.json.encode(event)


def address_of(peer: str) -> str:
    """`127.0.0.1` of `127.0.0.1:1234`, `::1` of `[::1]:1234`."""
    return peer.rpartition(":")[0].strip("[]") or peer


def _headers(request: UrlRequest, source_ip: str) -> dict[str, str]:
    given = request.http.headers
    headers = {name: value for name, value in given.items() if name not in _NOT_PASSED_ON}
    if request.caller is not None:
        headers.pop("authorization", None)
    if "transfer-encoding" in given:
        headers["content-length"] = str(len(request.http.body))
    forwarded = given.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{forwarded}, {source_ip}" if forwarded else source_ip
    headers["x-forwarded-proto"] = "http"
    headers["x-forwarded-port"] = request.port
    headers["x-amzn-trace-id"] = request.trace_id
    return headers


def _parameters(query: str) -> dict[str, str]:
    """Raises ValueError."""
    if not query:
        return {}
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _context(request: UrlRequest, source_ip: str) -> dict[str, Any]:
    http, caller = request.http, request.caller
    context: dict[str, Any] = {
        "accountId": "anonymous" if caller is None else caller.account,
        "apiId": request.url_id,
    }
    if caller is not None:
        context["authorizer"] = {
            "iam": {
                "accessKey": caller.access_key,
                "accountId": caller.account,
                "callerId": caller.access_key,
                "cognitoIdentity": None,
                "principalOrgId": None,
                "userArn": caller.user_arn,
                "userId": caller.access_key,
            }
        }
    return context | {
        "domainName": request.domain_name,
        "domainPrefix": request.url_id,
        "http": {
            "method": http.method,
            "path": request.raw_path,
            "protocol": "HTTP/1.1",
            "sourceIp": source_ip,
            "userAgent": http.headers.get("user-agent", ""),
        },
        "requestId": request.request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": request.at.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": int(request.at.timestamp() * 1000),
    }


def _body(http: HttpRequest) -> tuple[str | None, bool]:
    """The body, if any, and whether it is in base64."""
    if not http.body:
        return None, False
    if _is_text(http.headers):
        try:
            return http.body.decode(), False
        except UnicodeDecodeError:
            pass  # whatever its type says, it is none
    return base64.b64encode(http.body).decode(), True


def _is_text(headers: dict[str, str]) -> bool:
    if headers.get("content-encoding", "identity").lower() != "identity":
        return False
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media.startswith("text/") or media in _TEXTS or media.endswith(("+json", "+xml"))
