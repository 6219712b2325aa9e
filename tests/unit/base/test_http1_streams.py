"""What happens to bodies that come and go bit by bit? On a fake transport, in virtual time."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fakes.http1_bench import Bench
from fakes.virtual_time import run_in_virtual_time
from hearth.base.http1 import HttpLimits, HttpRequest, Responder, ResponseStream

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /s HTTP/1.1\r\nHost: h\r\nStream: yes\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Taker:
    """Takes a body, and remembers what it was told."""

    def __init__(self) -> None:
        self.request: HttpRequest | None = None
        self.responder: Responder | None = None
        self.pieces: list[bytes] = []
        self.trailers: dict[str, str] | None = None
        self.broken = 0
        self.plain: list[HttpRequest] = []

    def handle(self, request: HttpRequest, responder: Responder) -> None:
        if request.stream is None:
            self.plain.append(request)
            responder.send(200)
            return
        self.request, self.responder = request, responder
        request.stream.receive(self)

    def body_data(self, data: bytes) -> None:
        self.pieces.append(data)

    def body_end(self, trailers: dict[str, str]) -> None:
        self.trailers = trailers

    def body_broken(self) -> None:
        self.broken += 1


def streaming(**limits: Any) -> tuple[Bench, Taker]:
    taker = Taker()
    bench = Bench(
        HttpLimits(**limits), streams=lambda _, headers: "stream" in headers, take=taker.handle
    )
    return bench, taker


def reads(bench: Bench) -> bool:
    return bench.transport.is_reading_now


def is_closing(bench: Bench) -> bool:
    return bench.transport.closing


def run(scenario: Coroutine[Any, Any, None]) -> None:
    run_in_virtual_time(scenario)


# --- requests


def test_a_chunked_body_is_handed_on_as_it_comes() -> None:
    async def scenario() -> None:
        bench, taker = streaming(body_bytes_max=4)
        bench.feed(CHUNKED)
        assert taker.pieces == []
        assert taker.request is not None
        assert taker.request.body == b""
        bench.feed(b"3\r\nab")
        bench.feed(b"c\r\n6\r\ndefghi\r\n0\r\n")
        assert taker.pieces == [b"ab", b"cdefghi"]
        assert not taker.trailers
        bench.feed(b"Why: because\r\n\r\n")
        assert taker.trailers == {"why": "because"}
        assert taker.broken == 0

    run(scenario())


def test_a_body_of_known_length_is_handed_on_too() -> None:
    async def scenario() -> None:
        bench, taker = streaming()
        bench.feed(POST + b"Content-Length: 5\r\n\r\nab")
        bench.feed(b"cde" + GET)
        assert taker.pieces == [b"ab", b"cde"]
        assert taker.trailers == {}
        assert taker.plain == []  # the first one is not answered yet
        assert taker.responder is not None
        taker.responder.send(202)
        assert len(taker.plain) == 1

    run(scenario())


def test_every_cut_of_the_bytes_gives_the_same_body() -> None:
    async def scenario() -> None:
        wire = CHUNKED + b"3\r\nabc\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\n" + GET
        for cut in range(1, len(wire)):
            bench, taker = streaming()
            bench.feed(wire[:cut])
            bench.feed(wire[cut:])
            assert b"".join(taker.pieces) == b"abcd"
            assert taker.trailers == {"t": "1"}
            assert taker.responder is not None
            taker.responder.send(202)
            assert len(taker.plain) == 1

    run(scenario())


def test_other_requests_have_their_bodies_whole() -> None:
    async def scenario() -> None:
        bench, taker = streaming()
        bench.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na")
        bench.feed(b"b" + POST + b"Content-Length: 0\r\n\r\n")
        assert [request.body for request in taker.plain] == [b"ab", b""]

    run(scenario())


def test_a_body_that_is_not_wanted_now_stays_with_the_client() -> None:
    async def scenario() -> None:
        bench, taker = streaming()
        bench.feed(CHUNKED + b"1\r\na\r\n")
        assert taker.request is not None
        assert taker.request.stream is not None
        taker.request.stream.pause()
        taker.request.stream.pause()
        assert not reads(bench)
        taker.request.stream.resume()
        assert reads(bench)
        taker.request.stream.pause()
        bench.feed(b"0\r\n\r\n")
        assert taker.trailers == {}
        assert reads(bench)  # what follows is another request's
        taker.request.stream.resume()

    run(scenario())


def test_a_client_that_waits_for_it_is_told_to_go_on() -> None:
    async def scenario() -> None:
        bench, taker = streaming()
        bench.feed(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert bench.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        bench.feed(b"1\r\na\r\n0\r\n\r\n")
        assert (taker.pieces, taker.trailers) == ([b"a"], {})

    run(scenario())


def test_a_client_that_leaves_breaks_its_body() -> None:
    async def scenario() -> None:
        bench, taker = streaming()
        bench.feed(CHUNKED + b"1\r\na\r\n")
        bench.connection.connection_lost(None)
        assert (taker.broken, taker.trailers) == (1, None)
        assert taker.responder is not None
        assert taker.responder.gone
        taker.responder.send(202)
        assert bench.server.in_flight == 0

    run(scenario())


def test_a_malformed_chunk_breaks_the_body_and_is_refused() -> None:
    async def scenario() -> None:
        bench, taker = streaming()
        bench.feed(CHUNKED + b"1\r\na\r\nzz\r\n")
        assert taker.broken == 1
        assert bench.transport.written.startswith(b"HTTP/1.1 400 ")
        assert bench.transport.eof
        assert bench.server.in_flight == 0

    run(scenario())


def test_an_answer_before_the_end_of_the_body_ends_the_connection() -> None:
    async def scenario() -> None:
        bench, taker = streaming()
        bench.feed(CHUNKED + b"1\r\na\r\n")
        assert taker.responder is not None
        taker.responder.send(413, (), b"no")
        assert b"Connection: close" in bench.transport.written
        assert bench.transport.eof
        bench.feed(b"1\r\nb\r\n0\r\n\r\n")
        assert taker.pieces == [b"a"]
        assert taker.broken == 0

    run(scenario())


# --- answers


def begun(bench: Bench, request: bytes = GET) -> ResponseStream:
    bench.feed(request)
    stream = bench.responders[-1].begin(200, [("A", "b")])
    assert bench.server.in_flight == 1
    return stream


def test_an_answer_goes_out_in_chunks() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        stream = begun(bench)
        stream.write(b"abc")
        stream.write(b"")
        stream.write(bytes(70_000))
        stream.end()
        head, _, body = bench.transport.written.partition(b"\r\n\r\n")
        assert head == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b"
        assert body == b"3\r\nabc\r\n11170\r\n" + bytes(70_000) + b"\r\n0\r\n\r\n"
        assert bench.server.in_flight == 0
        bench.feed(GET)
        assert len(bench.requests) == 2
        stream.write(b"too late")
        stream.end()
        assert bench.server.in_flight == 1

    run(scenario())


def test_a_request_behind_a_streamed_answer_waits_for_its_end() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        stream = begun(bench, GET + GET)
        stream.write(b"a")
        assert len(bench.requests) == 1
        stream.end()
        assert len(bench.requests) == 2

    run(scenario())


def test_an_old_client_gets_the_bare_body_and_the_connections_end() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        stream = begun(bench, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        stream.write(b"abc")
        assert not is_closing(bench)
        stream.end()
        assert bench.transport.written == b"HTTP/1.1 200 OK\r\nConnection: close\r\nA: b\r\n\r\nabc"
        assert is_closing(bench)

    run(scenario())


def test_an_answer_to_head_has_no_body() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        stream = begun(bench, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        stream.write(b"abc")
        stream.end()
        assert bench.transport.written.endswith(b"A: b\r\n\r\n")

    run(scenario())


def test_a_slow_client_is_told_of_and_so_is_room() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        stream = begun(bench)
        told: list[bool] = []
        stream.on_room(lambda: told.append(stream.is_full))
        bench.connection.pause_writing()
        assert stream.is_full
        bench.connection.resume_writing()
        assert told == [False]

    run(scenario())


def test_a_client_that_leaves_makes_room() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        stream = begun(bench)
        told: list[str] = []
        bench.responders[0].on_gone(lambda: told.append("gone"))
        stream.on_room(lambda: told.append("room"))
        bench.connection.pause_writing()
        bench.connection.connection_lost(None)
        assert told == ["room", "gone"]
        assert stream.gone
        assert not stream.is_full
        stream.write(b"a")
        stream.end()
        assert bench.server.in_flight == 0

    run(scenario())


def test_an_aborted_answer_is_cut_off() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        stream = begun(bench)
        stream.write(b"abc")
        stream.abort()
        await asyncio.sleep(0)
        assert is_closing(bench)
        assert not bench.transport.written.endswith(b"0\r\n\r\n")
        assert (bench.server.in_flight, bench.server.connections) == (0, 0)

    run(scenario())


def test_an_answer_is_either_sent_or_begun_once() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        stream = begun(bench)
        with pytest.raises(RuntimeError):
            bench.responders[0].begin(200)
        with pytest.raises(RuntimeError):
            bench.responders[0].send(200)
        stream.end()

    run(scenario())


def test_who_begins_an_answer_after_the_client_left_writes_to_nobody() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        bench.connection.connection_lost(None)
        stream = bench.responders[0].begin(200)
        stream.write(b"a")
        stream.end()
        assert stream.gone
        assert bench.transport.written == b""

    run(scenario())


def test_a_client_that_stops_reading_a_stream_is_cut_off_in_time() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(write_timeout_s=60.0))
        stream = begun(bench)
        bench.transport.stuck = 100
        for _ in range(4):  # the same number of bytes waits, but others than before
            await asyncio.sleep(40.0)
            stream.write(b"a")
        assert not is_closing(bench)
        await asyncio.sleep(80.0)
        assert is_closing(bench)
        assert stream.gone

    run(scenario())
