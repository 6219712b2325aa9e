"""Does the HTTP parser find the requests in the bytes, however they are cut, and no others?"""

import time
from collections.abc import Iterable
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth.base.http1 import HttpLimits, HttpRefusal, HttpRequest
from hearth.base.http1_parser import Phase, RequestParser

LIMITS = HttpLimits()
SMALL = HttpLimits(head_bytes_max=100, body_bytes_max=20)

Outcome = tuple[list[HttpRequest], int | None]


def parse(pieces: Iterable[bytes], limits: HttpLimits = LIMITS) -> Outcome:
    """All requests, and the status with which the rest was refused, if it was."""
    parser = RequestParser(limits, "127.0.0.1:1")
    requests: list[HttpRequest] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (request := parser.next_request()) is not None:
                requests.append(request)
    except HttpRefusal as refusal:
        return requests, refusal.status
    return requests, None


def only(data: bytes) -> HttpRequest:
    requests, status = parse([data])
    assert status is None
    assert len(requests) == 1
    return requests[0]


def refused(data: bytes, limits: HttpLimits = LIMITS) -> int | None:
    requests, status = parse([data], limits)
    assert requests == []
    return status


def head(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


GET = head("GET / HTTP/1.1", "Host: h")


def test_a_request_is_handed_over_as_it_was_sent() -> None:
    request = only(
        head("POST /a%2Fb?c=d&e HTTP/1.1", "Host: h:1", "X-One:  a b\t", "Content-Length: 3")
        + b"\x00\r\n"
    )
    assert request == HttpRequest(
        method="POST",
        target="/a%2Fb?c=d&e",
        headers={"host": "h:1", "x-one": "a b", "content-length": "3"},
        body=b"\x00\r\n",
        trailers={},
        peer="127.0.0.1:1",
    )


def test_repeated_headers_are_joined() -> None:
    assert only(head("GET / HTTP/1.1", "Host: h", "A: 1", "a: 2")).headers["a"] == "1,2"


def test_header_bytes_above_ascii_come_through_as_latin_1() -> None:
    assert only(head("GET / HTTP/1.1", "Host: h", "A: \xe9\x85")).headers["a"] == "\xe9\x85"


def test_a_chunked_body_is_put_together_and_its_trailers_are_kept_apart() -> None:
    request = only(
        head("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: Chunked", "Trailer: X-Error")
        + b'5;name="v"\r\nhello\r\n6 ;x\r\n world\r\n00\r\nX-Error: boom\r\nX-Error: bang\r\n\r\n'
    )
    assert request.body == b"hello world"
    assert request.trailers == {"x-error": "boom,bang"}
    assert "x-error" not in request.headers


def test_an_absolute_target_becomes_path_and_host() -> None:
    request = only(head("GET http://example.com:80/a?b HTTP/1.1", "Host: other"))
    assert (request.target, request.headers["host"]) == ("/a?b", "example.com:80")
    assert only(head("GET HTTP://e?b HTTP/1.1", "Host: e")).target == "/?b"
    assert only(head("GET http://e HTTP/1.1", "Host: e")).target == "/"


def test_empty_lines_before_a_request_are_skipped() -> None:
    assert only(b"\r\n\r\n" + GET).method == "GET"


def test_pipelined_requests_come_one_by_one() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(GET + GET)
    assert parser.next_request() is not None
    assert parser.buffered == len(GET)
    assert parser.next_request() is not None
    assert parser.next_request() is None
    assert parser.buffered == 0


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "Upgrade, CLOSE", False),
        ("1.1", "keep-alive", True),
        ("1.0", None, False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
        ("1.2", None, True),
    ],
)
def test_a_connection_lives_on_as_its_version_and_header_say(
    version: str, connection: str | None, keeps: bool
) -> None:
    parser = RequestParser(LIMITS)
    more = [] if connection is None else [f"Connection: {connection}"]
    parser.feed(head(f"GET / HTTP/{version}", "Host: h", *more))
    assert parser.next_request() is not None
    assert parser.keep_alive is keeps


def test_http_1_0_needs_no_host() -> None:
    assert only(head("GET / HTTP/1.0")).headers == {}


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, head("GET /")),
        (400, head("GET  / HTTP/1.1", "Host: h")),
        (400, head(" GET / HTTP/1.1", "Host: h")),
        (400, head("G(T / HTTP/1.1", "Host: h")),
        (400, head(f"{'G' * 33} / HTTP/1.1", "Host: h")),
        (400, head("GET / http/1.1", "Host: h")),
        (400, head("GET / HTTP/1.\xb2", "Host: h")),
        (505, head("GET / HTTP/2.0", "Host: h")),
        (400, head("GET foo HTTP/1.1", "Host: h")),
        (400, head("GET /\t HTTP/1.1", "Host: h")),
        (400, head("GET * HTTP/1.1", "Host: h")),
        (400, head("CONNECT h:1 HTTP/1.1", "Host: h")),
        (400, head("GET http://user@h/ HTTP/1.1", "Host: h")),
        (400, head("GET / HTTP/1.1")),
        (400, head("GET / HTTP/1.1", "Host: h", "Host: h")),
        (400, head("GET / HTTP/1.1", "Host: h", " folded")),
        (400, head("GET / HTTP/1.1", "Host: h", "A : b")),
        (400, head("GET / HTTP/1.1", "Host: h", "A")),
        (400, head("GET / HTTP/1.1", "Host: h", ": b")),
        (400, head("GET / HTTP/1.1", "Host: h", "A: b\x00")),
        (400, head("GET / HTTP/1.1", "Host: h", "A: b\nC: d")),
        (400, head("GET / HTTP/1.1", "Host: h", "A: b\rC: d")),
        (400, head("GET / HTTP/1.1", "Host: h", "A\xe9: b")),
        (400, b"\x16\x03\x01\x02\x00"),
        (400, b"GET / HTTP/1.1\nHost: h\n\nGET / HTTP/1.1\r\n\r\n"),
        (417, head("GET / HTTP/1.1", "Host: h", "Expect: miracles")),
    ],
)
def test_what_is_no_request_is_refused(status: int, data: bytes) -> None:
    assert refused(data) == status


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (400, ["Content-Length: 1", "Transfer-Encoding: chunked"]),
        (400, ["Content-Length: 1", "Content-Length: 1"]),
        (400, ["Content-Length: 1, 1"]),
        (400, ["Content-Length: +1"]),
        (400, ["Content-Length: 1_0"]),
        (400, ["Content-Length: \xb2"]),
        (400, ["Content-Length: -1"]),
        (400, ["Content-Length: 0x1"]),
        (400, ["Content-Length:"]),
        (400, [f"Content-Length: {'0' * 30}"]),
        (400, ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
        (501, ["Transfer-Encoding: gzip, chunked"]),
        (501, ["Transfer-Encoding: identity"]),
    ],
)
def test_a_body_of_doubtful_length_is_refused(status: int, fields: list[str]) -> None:
    assert refused(head("POST / HTTP/1.1", "Host: h", *fields) + b"1\r\nx\r\n0\r\n\r\n") == status


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    assert refused(head("POST / HTTP/1.0", "Transfer-Encoding: chunked")) == 400


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"\r\n",
        b"0x1\r\nx\r\n",
        b"+1\r\nx\r\n",
        b"1\r\nxx\r\n",
        b"1 x\r\n",
        b"1\nx\r\n",
        b"1;\x00\r\nx\r\n",
        b"f" * 17 + b"\r\n",
        b"1;" + b"e" * 5000,
        b"0\r\nbad trailer\r\n\r\n",
    ],
)
def test_a_malformed_chunk_is_refused(chunks: bytes) -> None:
    assert refused(head("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + chunks) == 400


def test_chunk_extensions_cannot_carry_traffic() -> None:
    chunk = b"1;" + b"e" * 4000 + b"\r\nx\r\n"
    start = head("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked")
    assert refused(start + chunk * 20) == 400


def test_sizes_are_bounded() -> None:
    start = head("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked")
    assert refused(head("POST / HTTP/1.1", "Host: h", "Content-Length: 21"), SMALL) == 413
    assert refused(start + b"14\r\n" + b"x" * 20 + b"\r\n1\r\n", SMALL) == 413
    assert refused(start + b"0\r\n" + b"a: " + b"x" * 120, SMALL) == 431
    assert refused(head("GET / HTTP/1.1", "A: " + "x" * 100), SMALL) == 431
    assert refused(b"GET /" + b"x" * 100, SMALL) == 431
    assert refused(head("GET / HTTP/1.1", "Host: h", *(["A: b"] * 300))) == 431


def test_a_refusal_is_final() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(b"nonsense\r\n\r\n")
    for _ in range(2):
        with pytest.raises(HttpRefusal):
            parser.next_request()
        parser.feed(GET)


def test_the_parser_says_what_it_waits_for() -> None:
    parser = RequestParser(LIMITS)
    phases = [parser.phase]
    for piece in (b"POST", b" / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n", b"a", b"b"):
        parser.feed(piece)
        parser.next_request()
        phases.append(parser.phase)
    assert phases == [Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.BODY, Phase.IDLE]


def test_continue_is_wanted_only_while_no_byte_of_a_body_has_come() -> None:
    start = head("POST / HTTP/1.1", "Host: h", "Content-Length: 2", "Expect: 100-Continue")
    parser = RequestParser(LIMITS)
    wants = []
    for piece in (start, b"a", b"b" + start + b"a", b"b" + start, b"ab"):
        parser.feed(piece)
        while parser.next_request() is not None:
            pass
        wants.append(parser.wants_continue)
    assert wants == [True, False, False, True, False]


@pytest.mark.parametrize("framing", ["fixed", "chunked"])
def test_the_largest_body_in_small_pieces_costs_linear_time(framing: str) -> None:
    size, piece = LIMITS.body_bytes_max, bytes(65_536)
    parser = RequestParser(LIMITS)
    before_s = time.process_time()
    if framing == "fixed":
        parser.feed(head("POST / HTTP/1.1", "Host: h", f"Content-Length: {size}"))
    else:
        parser.feed(head("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"))
        parser.feed(b"%x\r\n" % size)
    for start in range(0, size, len(piece)):
        assert parser.next_request() is None
        parser.feed(piece[: size - start])
    if framing == "chunked":
        parser.feed(b"\r\n0\r\n\r\n")
    request = parser.next_request()
    assert request is not None
    assert len(request.body) == size
    # Copying what is there for each piece would move 38 GB: far more than ten seconds.
    assert time.process_time() - before_s < 3.0


def test_a_large_head_byte_by_byte_costs_linear_time() -> None:
    data = head("GET / HTTP/1.1", "Host: h", *(f"A{n}: {'x' * 300}" for n in range(200)))
    before_s = time.process_time()
    requests, status = parse(data[at : at + 1] for at in range(len(data)))
    assert (len(requests), status) == (1, None)
    assert time.process_time() - before_s < 3.0


# Any cut of the same bytes gives the same requests, and h11 sees the same ones.

TOKEN = st.text("abcXYZ019-_!~", min_size=1, max_size=8)
VALUE = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.just("\t"), max_size=12
).map(lambda text: text.strip(" \t"))
FIELD = st.tuples(TOKEN.map(lambda name: "x-" + name), VALUE)
TARGET = st.text("abc/%20?&=.~", max_size=12).map(lambda text: "/" + text)
METHOD = st.sampled_from(["GET", "POST", "HEAD", "PURGE"])
PADDING = st.sampled_from(["", " ", "\t "])


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    parts = []
    for chunk in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
        extension = draw(st.sampled_from([b"", b";a=b"]))
        parts.append(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk))
    trailers = "".join(f"{name}: {value}\r\n" for name, value in draw(st.lists(FIELD, max_size=2)))
    return b"".join(parts) + b"0\r\n" + trailers.encode() + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One valid request that lets the connection live on."""
    lines = [f"{draw(METHOD)} {draw(TARGET)} HTTP/1.1", "Host: example.com"]
    lines += [f"{name}:{draw(PADDING)}{value}" for name, value in draw(st.lists(FIELD, max_size=4))]
    match draw(st.sampled_from(["none", "fixed", "chunked"])):
        case "fixed":
            body = draw(st.binary(max_size=60))
            lines.append(f"Content-Length: {len(body)}")
        case "chunked":
            body = draw(chunked())
            lines.append("Transfer-Encoding: chunked")
        case _:
            body = b""
    return head(*lines) + body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a != b]


@given(st.lists(requests(), max_size=4).map(b"".join), st.lists(st.integers(0, 2000)))
def test_any_cut_of_valid_requests_gives_the_same(data: bytes, places: list[int]) -> None:
    whole = parse([data] if data else [])
    assert whole[1] is None
    assert parse(cut(data, places)) == whole
    assert parse(data[at : at + 1] for at in range(len(data))) == whole


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=2))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 2))
        piece = draw(st.binary(max_size=2) | st.sampled_from([b"\r\n", b"\r", b"\n", b":", b"0"]))
        data[at : at + length] = piece
    return bytes(data)


@settings(max_examples=300)
@given(damaged(), st.lists(st.integers(0, 2000)), st.sampled_from([LIMITS, SMALL]))
def test_any_cut_of_damaged_requests_gives_the_same(
    data: bytes, places: list[int], limits: HttpLimits
) -> None:
    whole = parse([data] if data else [], limits)
    assert parse(cut(data, places), limits) == whole
    assert parse((data[at : at + 1] for at in range(len(data))), limits) == whole


def seen_by_h11(data: bytes) -> list[tuple[str, str, dict[str, str], bytes, dict[str, str]]]:
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(data)
    seen = []
    while isinstance(request := oracle.next_event(), h11.Request):
        body = b""
        while isinstance(event := oracle.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        seen.append(
            (
                request.method.decode(),
                request.target.decode(),
                joined(request.headers),
                body,
                joined(event.headers),
            )
        )
        oracle.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        oracle.send(h11.EndOfMessage())
        oracle.start_next_cycle()
    assert request is h11.NEED_DATA
    return seen


def joined(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    result: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        result[name] = f"{result[name]},{value}" if name in result else value
    return result


@given(st.lists(requests(), min_size=1, max_size=4).map(b"".join))
def test_h11_sees_the_same_requests(data: bytes) -> None:
    ours, status = parse([data] if data else [])
    assert status is None
    assert [(r.method, r.target, r.headers, r.body, r.trailers) for r in ours] == seen_by_h11(data)


def test_a_head_that_comes_again_means_the_same_and_nothing_of_what_came_between() -> None:
    poll = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
    post = b"POST /answer HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi"
    requests, status = parse([poll, post, poll, poll + post, poll])
    assert status is None
    assert [r.target for r in requests] == [
        "/next",
        "/answer",
        "/next",
        "/next",
        "/answer",
        "/next",
    ]
    assert [r.body for r in requests] == [b"", b"hi", b"", b"", b"hi", b""]
    requests[2].headers["host"] = "changed by who got it"
    assert requests[3].headers == {"host": "a"}


def test_a_head_that_comes_again_ends_the_connection_only_if_it_says_so() -> None:
    parser = RequestParser(LIMITS)
    poll = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    old = b"GET / HTTP/1.0\r\n\r\n"
    kept = []
    for data in (poll, last, last, poll, old, old, poll, poll):
        parser.feed(data)
        assert parser.next_request() is not None
        kept.append((parser.keep_alive, parser.is_old))
    stays, goes, old_one = (True, False), (False, False), (False, True)
    assert kept == [stays, goes, goes, stays, old_one, old_one, stays, stays]


FIELDS = b"\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
SIMILAR = (
    b"POST /1" + b" HTTP/1.1" + FIELDS + b"hi",
    b"POST /2" + b" HTTP/1.1" + FIELDS + b"yo",
    b"PUT /3" + b" HTTP/1.1\r\nX: y" + FIELDS + b"hi",
    b"POST /4" + b" HTTP/1.1\r\nContent-Length: 2" + FIELDS + b"hi",
    b"POST /5" + b" HTTP/1.1\r\nTransfer-Encoding: chunked" + FIELDS + b"hi",
    b"POST /6" + b" HTTP/1.1\r\nConnection: close" + FIELDS + b"hi",
    b"POST /7" + b" HTTP/1.1\r\nHost: b" + FIELDS + b"hi",
    b"POST /8" + b" HTTP/1.0" + FIELDS + b"hi",
    b"POST /9" + b" HTTP/2.0" + FIELDS + b"hi",
    b"POST /a b" + b" HTTP/1.1" + FIELDS + b"hi",
    b"POST /\x01" + b" HTTP/1.1" + FIELDS + b"hi",
    b"POST /\t" + b" HTTP/1.1" + FIELDS + b"hi",
    b"POST http://b/c" + b" HTTP/1.1" + FIELDS + b"hi",
    b"po(st /d" + b" HTTP/1.1" + FIELDS + b"hi",
    b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nhey",
    b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /g HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /h HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
)
"""Requests whose fields end alike; some are none."""


@given(st.lists(st.sampled_from(SIMILAR), max_size=6))
def test_what_a_request_means_does_not_depend_on_those_before_it(sent: list[bytes]) -> None:
    parser = RequestParser(LIMITS)
    for data in sent:
        alone = RequestParser(LIMITS)
        outcomes: list[tuple[object, ...]] = []
        for one in (parser, alone):
            one.feed(data)
            try:
                request = one.next_request()
            except HttpRefusal as refusal:
                outcomes.append((refusal.status, refusal.reason))
            else:
                outcomes.append((request, one.keep_alive, one.is_old, one.buffered))
        assert outcomes[0] == outcomes[1]
        if not isinstance(outcomes[0][0], HttpRequest):
            return  # nothing is taken after a refusal
