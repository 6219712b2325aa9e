"""What does a client see of a function's response? An HTTP answer, or that there is none. Pure.

    {"statusCode": 201, "headers": {...}, "cookies": [...], "body": "...", "isBase64Encoded": false}

is taken apart. Any other JSON is the body of a 200 of type application/json. A streamed response
may say the same in its *prelude*: JSON without a body, eight zero bytes, and then the body.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-response-payload
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

JSON_TYPE: Final = "application/json"
STREAM_TYPE: Final = "application/octet-stream"
PRELUDE_TYPE: Final = "application/vnd.awslambda.http-integration-response"
PRELUDE_END: Final = bytes(8)
PRELUDE_BYTES_MAX: Final = 1_048_576

_STATUS_MIN: Final = 200
_STATUS_MAX: Final = 599
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DROPPED: Final = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-amzn-requestid",
        "x-amzn-trace-id",
    }
)
"""What is ours to say."""

_REMAPPED: Final = {
    "date": "x-amzn-Remapped-date",
    "server": "x-amzn-Remapped-server",
    "www-authenticate": "x-amzn-Remapped-www-authenticate",
}

Headers = list[tuple[str, str]]


class BadResponse(Exception):
    """The function's answer cannot be one of HTTP."""


@dataclass(frozen=True, slots=True)
class UrlAnswer:
    status: int
    headers: Headers
    body: bytes


def answer_of(payload: bytes, content_type: str | None = None) -> UrlAnswer:
    """What a whole response means; `content_type` is of one that was streamed and collected.

    Raises BadResponse.
    """
    media = (content_type or JSON_TYPE).partition(";")[0].strip().lower()
    if media == PRELUDE_TYPE:
        head, end, body = payload.partition(PRELUDE_END)
        if not end:
            raise BadResponse("the prelude does not end")
        status, headers = read_prelude(head)
        return UrlAnswer(status, headers, body)
    if media != JSON_TYPE:
        return UrlAnswer(200, [("Content-Type", content_type or STREAM_TYPE)], payload)
    document = _decoded(payload)
    if not isinstance(document, dict) or "statusCode" not in document:
        return UrlAnswer(200, [("Content-Type", JSON_TYPE)], payload)
    status, headers = _head(document, JSON_TYPE)
    return UrlAnswer(status, headers, _body(document))


def read_prelude(head: bytes) -> tuple[int, Headers]:
    """Raises BadResponse."""
    document = _decoded(head)
    if not isinstance(document, dict):
        raise BadResponse("the prelude is no object")
    return _head({"statusCode": 200} | document, STREAM_TYPE)


def _decoded(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadResponse("it is no JSON") from error


def _head(document: dict[str, Any], default_type: str) -> tuple[int, Headers]:
    headers: Headers = []
    given = document.get("headers")
    if given is not None and not isinstance(given, dict):
        raise BadResponse("its headers are no object")
    for name, value in (given or {}).items():
        headers += _header(name, value)
    cookies = document.get("cookies")
    if cookies is not None and not isinstance(cookies, list):
        raise BadResponse("its cookies are no list")
    headers += [("Set-Cookie", _field(cookie)) for cookie in cookies or ()]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", default_type))
    return _status(document["statusCode"]), headers


def _status(given: object) -> int:
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) == 3:
        given = int(given)
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int):
        raise BadResponse("its status is no number")
    if not _STATUS_MIN <= given <= _STATUS_MAX:
        raise BadResponse("its status is none that ends a request")
    return given


def _header(name: str, value: object) -> Headers:
    if value is None:
        return []
    if not _HEADER_NAME.fullmatch(name):
        raise BadResponse("the name of a header is none")
    if name.lower() in _DROPPED:
        return []
    return [(_REMAPPED.get(name.lower(), name), _field(value))]


def _field(value: object) -> str:
    """As it goes out: each byte of UTF-8 one character of latin-1."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise BadResponse("the value of a header is no text")
    text = str(value)
    if any(c in text for c in "\r\n\0"):
        raise BadResponse("the value of a header has a line break")
    return text.encode(errors="replace").decode("latin-1")


def _body(document: dict[str, Any]) -> bytes:
    body = document.get("body")
    if body is None:
        return b""
    if isinstance(body, bool):
        body = str(body).lower()
    if not isinstance(body, str | int | float):
        raise BadResponse("its body is no text")
    text = str(body)
    if document.get("isBase64Encoded") is not True:
        return text.encode(errors="replace")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadResponse("its body is no base64") from error
