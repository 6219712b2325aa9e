"""What does the fuzzer try of streams and of function URLs? See fuzz_targets.py for the rules."""

import random
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from fakes.http import http_request
from fuzz_mutations import mutate, mutate_text
from hearth.base.http1_fields import HttpRefusal
from hearth.base.http1_parser import HttpLimits, RequestParser
from hearth.gateways.url_address import address_of
from hearth.gateways.url_event import UrlRequest, event_of
from hearth.gateways.url_response import PRELUDE_TYPE, BadResponse, answer_of

HEAD: Final = b"POST /s HTTP/1.1\r\nHost: h\r\nStream: 1\r\n"
CHUNKS: Final = b"3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\n"
SEEDS: Final = (
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    HEAD + b"Content-Length: 5\r\n\r\nabcde",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
)
ANSWERS: Final = (
    b'{"statusCode": 200, "headers": {"a": "b"}, "cookies": ["c=d"], "body": "aGk="}',
    b'{"statusCode": 200, "body": "aGk=", "isBase64Encoded": true}',
    b'{"statusCode": 404, "body": "no"}' + bytes(8) + b"rest",
    b'"text"',
)
URL_ID: Final = "0123456789abcdef0123456789abcdef"


class Unequal(Exception):
    """Where the bytes were cut has mattered, or an answer is none of HTTP."""


async def try_stream(rng: random.Random) -> None:
    """Bodies that are handed on as they come: the same, however the bytes are cut."""
    data = b"".join(rng.choice(SEEDS) for _ in range(rng.choice((1, 1, 2, 3))))
    data = mutate(rng, data)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    if _taken(pieces) != _taken([data]):
        raise Unequal(f"pieces matter: {pieces}")


def _taken(pieces: list[bytes]) -> list[object]:
    parser = RequestParser(
        HttpLimits(head_bytes_max=4_096, body_bytes_max=65_536),
        streams=lambda _, headers: "stream" in headers,
    )
    found: list[object] = []
    body = b""
    try:
        for piece in pieces:
            if piece:
                parser.feed(piece)
            while True:
                if parser.is_streaming:
                    part, trailers = parser.next_piece()
                    body += part
                    if trailers is None:
                        break
                    found.append((body, trailers))
                    body = b""
                request = parser.next_request()
                if request is None:
                    break
                found.append((request, parser.is_streaming, parser.keep_alive))
    except HttpRefusal as refusal:
        return [*found, (refusal.status, refusal.reason)]  # what came before may have come
    return [*found, body]


async def try_url(rng: random.Random) -> None:
    """Requests to URLs become events, and answers become HTTP or are bad."""
    headers = {
        "host": mutate_text(rng, f"{URL_ID}.lambda-url.us-east-1.localhost:4566"),
        "cookie": mutate_text(rng, "a=1; b=2"),
        "content_type": rng.choice(("application/json", "text/plain", mutate_text(rng, "a/b"))),
        "x_forwarded_for": mutate_text(rng, "10.0.0.1"),
    }
    target = mutate_text(rng, f"/lambda-url/{URL_ID}/a%20b?c=d&c=%C3%A9")
    request = http_request("POST", target, body=mutate(rng, b'{"a": "\xc3\xa9"}'), **headers)
    address = address_of(request)
    event: Any = msgspec.json.decode(
        event_of(
            UrlRequest(
                http=request,
                raw_path="/" if address is None else address.path,
                url_id=URL_ID,
                domain_name="h",
                port="80",
                request_id="r",
                trace_id="t",
                at=datetime(2026, 1, 1, tzinfo=UTC),
                caller=None,
            )
        )
    )
    if event["version"] != "2.0":
        raise Unequal(f"no event: {event}")
    payload = mutate(rng, rng.choice(ANSWERS))
    try:
        answer = answer_of(payload, rng.choice((None, PRELUDE_TYPE, "text/plain")))
    except BadResponse:
        return
    lines = "".join(f"{name}: {value}\n" for name, value in answer.headers)
    lines.encode("latin-1")
    if not 200 <= answer.status <= 599 or lines.count("\n") != len(answer.headers) or "\r" in lines:
        raise Unequal(f"no answer: {answer}")
