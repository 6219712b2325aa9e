"""What does a connection do with requests, answers and time?

On a fake transport, in virtual time; real sockets are in tests/integration/test_http1_server.py.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fakes.http1_bench import Bench, FakeTransport
from fakes.virtual_time import run_in_virtual_time
from hearth.base.http1 import HttpLimits, HttpRefusal, HttpRequest, HttpServer, Responder
from hearth.base.http1_connection import LINGER_BYTES_MAX, LINGER_S, PENDING_BYTES_MAX
from hearth.base.http1_exchange import JOIN_BYTES_MAX

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
EMPTY_200 = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LATE = 1.3
"""A time limit may be exceeded by a quarter of the shortest one."""


def run(scenario: Coroutine[Any, Any, None]) -> None:
    run_in_virtual_time(scenario)


def test_a_response_is_one_write_with_its_length() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        bench.responders[0].send(404, [("A", "b\xe9")], b"no")
        assert bench.transport.writes == [
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nA: b\xe9\r\n\r\nno"
        ]

    run(scenario())


def test_a_large_body_is_not_copied_behind_its_head() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        bench.responders[0].send(200, (), bytes(JOIN_BYTES_MAX + 1))
        assert len(bench.transport.writes) == 2

    run(scenario())


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("HEAD", 200, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
        ("GET", 204, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", 304, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"),
        ("GET", 299, b"HTTP/1.1 299 \r\nContent-Length: 3\r\n\r\nabc"),
    ],
)
def test_some_responses_have_no_body(method: str, status: int, expected: bytes) -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET.replace(b"GET", method.encode()))
        bench.responders[0].send(status, (), b"abc")
        assert bench.transport.written == expected

    run(scenario())


def test_the_next_pipelined_request_waits_for_the_answer() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET * 3)
        assert (len(bench.requests), bench.server.in_flight) == (1, 1)
        bench.responders[0].send(200)
        assert len(bench.requests) == 2
        bench.responders[1].send(200)
        bench.responders[2].send(200)
        assert bench.transport.writes == [EMPTY_200] * 3
        assert bench.server.in_flight == 0

    run(scenario())


def test_thousands_of_pipelined_requests_answered_at_once_do_not_nest() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(), answers_at_once=True)
        bench.feed(GET * 5_000)
        assert len(bench.requests) == 5_000

    run(scenario())


def test_pipelined_bytes_are_bounded() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        count = PENDING_BYTES_MAX // len(GET) + 2
        bench.feed(GET * count)
        assert not bench.transport.is_reading_now
        bench.answers_at_once = True
        bench.responders[0].send(200)
        assert len(bench.requests) == count
        assert bench.transport.is_reading_now

    run(scenario())


def test_pipelined_bytes_that_come_while_a_request_is_worked_on_are_bounded() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        bench.feed(GET)
        assert bench.transport.is_reading_now
        bench.feed(GET * (PENDING_BYTES_MAX // len(GET)))
        assert not bench.transport.is_reading_now

    run(scenario())


def test_a_second_answer_is_a_bug() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        bench.responders[0].send(200)
        with pytest.raises(RuntimeError):
            bench.responders[0].send(200)

    run(scenario())


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "\u20ac"])
def test_a_header_that_would_split_the_response_is_refused_and_can_be_mended(value: str) -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        with pytest.raises(ValueError, match=r"line break|latin-1"):
            bench.responders[0].send(200, [("A", value)])
        assert bench.transport.writes == []
        bench.responders[0].send(200)
        assert bench.transport.written == EMPTY_200

    run(scenario())


def test_a_handler_that_raises_costs_a_500_and_tells_nothing() -> None:
    def handler(request: HttpRequest, responder: Responder) -> None:
        raise LookupError("secret")

    async def scenario() -> None:
        transport, connection = FakeTransport(), HttpServer(handler, HttpLimits())._accept()
        connection.connection_made(transport)
        connection.data_received(GET * 2)
        assert transport.written.count(b"HTTP/1.1 500 Internal Server Error\r\n") == 2
        assert transport.written.endswith(b'\r\n\r\n{"message":"Internal server error"}')
        assert b"secret" not in transport.written

    run(scenario())


def test_a_handler_that_raises_after_its_answer_spoils_nothing() -> None:
    def handler(request: HttpRequest, responder: Responder) -> None:
        responder.send(200)
        raise LookupError("too late")

    async def scenario() -> None:
        transport, connection = FakeTransport(), HttpServer(handler, HttpLimits())._accept()
        connection.connection_made(transport)
        connection.data_received(GET)
        assert transport.written == EMPTY_200

    run(scenario())


def test_the_last_response_says_so_and_closes() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(), answers_at_once=True)
        bench.feed(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + GET)
        assert b"\r\nConnection: close\r\n" in bench.transport.written
        assert bench.transport.closing
        assert len(bench.requests) == 1

    run(scenario())


def test_http_1_0_lives_on_only_when_both_say_so() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(), answers_at_once=True)
        bench.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert b"\r\nConnection: keep-alive\r\n" in bench.transport.written
        assert not bench.transport.closing
        bench.feed(b"GET / HTTP/1.0\r\n\r\n")
        assert bench.transport.closing

    run(scenario())


def test_continue_is_sent_once_and_only_for_a_body_that_is_welcome() -> None:
    start = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "

    async def scenario() -> None:
        bench = Bench(HttpLimits(body_bytes_max=5), answers_at_once=True)
        bench.feed(start + b"5\r\n\r\n")
        assert bench.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        bench.feed(b"abc")
        bench.feed(b"de")
        assert bench.transport.writes[1:] == [EMPTY_200]
        bench.feed(start + b"6\r\n\r\n")
        assert bench.transport.writes[2].startswith(b"HTTP/1.1 413 ")

    run(scenario())


# A client that goes away


def test_a_client_that_goes_away_is_told_of_once() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        told: list[str] = []
        responder = bench.responders[0]
        responder.on_gone(lambda: told.append("first"))
        responder.on_gone(lambda: told.append("second"))
        gone = [responder.gone]
        bench.connection.connection_lost(None)
        gone.append(responder.gone)
        assert gone == [False, True]
        assert told == ["first", "second"]
        responder.on_gone(lambda: told.append("late"))
        await asyncio.sleep(0)
        assert told[2:] == ["late"]
        responder.send(200)
        assert bench.transport.writes == []
        with pytest.raises(RuntimeError):
            responder.send(200)
        assert (bench.server.in_flight, bench.server.connections) == (0, 0)

    run(scenario())


def test_a_client_that_goes_away_after_its_answer_is_not_told_of() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        told: list[str] = []
        bench.responders[0].on_gone(lambda: told.append("gone"))
        bench.responders[0].send(200)
        bench.connection.connection_lost(None)
        assert told == []
        assert not bench.responders[0].gone

    run(scenario())


def test_a_callback_that_raises_does_not_keep_the_others_in_the_dark() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        told: list[str] = []
        bench.responders[0].on_gone(lambda: told.remove("never there"))
        bench.responders[0].on_gone(lambda: told.append("told"))
        bench.connection.connection_lost(None)
        assert told == ["told"]

    run(scenario())


def test_an_answer_to_a_connection_that_is_being_aborted_goes_nowhere() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        bench.connection.abort()
        bench.responders[0].send(200)
        assert bench.transport.writes == []

    run(scenario())


# Refusals


def test_a_refused_client_is_answered_and_its_rest_thrown_away() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n" + GET)
        assert bench.transport.written == (
            b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 41\r\n"
            b"Connection: close\r\nContent-Type: application/json\r\n\r\n"
            b'{"message": "Request body is too large."}'
        )
        assert bench.transport.eof
        bench.feed(GET)
        assert bench.requests == []
        assert not bench.transport.closing
        await asyncio.sleep(LINGER_S * LATE)
        assert bench.transport.closing

    run(scenario())


def test_throwing_away_has_an_end() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(b"nonsense\r\n\r\n")
        piece = bytes(1_048_576)
        for _ in range(LINGER_BYTES_MAX // len(piece)):
            bench.feed(piece)
        assert not bench.transport.closing
        bench.feed(piece)
        assert bench.transport.closing

    run(scenario())


def test_the_owner_of_the_server_words_the_refusals() -> None:
    def on_error(refusal: HttpRefusal) -> tuple[int, list[tuple[str, str]], bytes]:
        return refusal.status, [("X", refusal.reason)], b"<no/>"

    async def scenario() -> None:
        server = HttpServer(lambda request, responder: None, HttpLimits(), on_error=on_error)
        transport, connection = FakeTransport(), server._accept()
        connection.connection_made(transport)
        connection.data_received(b"GET / HTTP/3.0\r\n\r\n")
        assert transport.written == (
            b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 5\r\n"
            b"Connection: close\r\nX: HTTP version not supported.\r\n\r\n<no/>"
        )

    run(scenario())


def test_a_refusal_that_cannot_be_worded_is_a_500() -> None:
    def on_error(refusal: HttpRefusal) -> tuple[int, list[tuple[str, str]], bytes]:
        raise LookupError("secret")

    async def scenario() -> None:
        server = HttpServer(lambda request, responder: None, HttpLimits(), on_error=on_error)
        transport, connection = FakeTransport(), server._accept()
        connection.connection_made(transport)
        connection.data_received(b"nonsense\r\n\r\n")
        assert transport.written.startswith(b"HTTP/1.1 500 ")
        assert transport.eof

    run(scenario())


@pytest.mark.parametrize("makes_room", [True, False])
def test_a_client_too_many_is_sent_away(makes_room: bool) -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(connections_max=1, closes_idle_for_new=makes_room))
        if makes_room:
            bench.feed(GET)
        transport, _ = bench.connect()
        assert transport.written.startswith(b"HTTP/1.1 503 ")
        await asyncio.sleep(0)
        assert bench.server.connections == 1
        assert not bench.transport.closing

    run(scenario())


def test_who_is_silent_makes_room_for_who_comes() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(connections_max=3), answers_at_once=True)
        busy, arriving = bench.connect(), bench.connect()
        bench.answers_at_once = False
        busy[1].data_received(GET)
        arriving[1].data_received(b"POST / HT")
        newcomers = [bench.connect()]
        await asyncio.sleep(0)
        assert [bench.transport.closing, busy[0].closing, arriving[0].closing] == [
            True,
            False,
            False,
        ]
        for _ in range(5):  # each is silent, and makes room for the next
            newcomers.append(bench.connect())
            assert not newcomers[-1][0].closing
            await asyncio.sleep(0)
        bench.answers_at_once = True
        newcomers[-1][1].data_received(GET)
        assert newcomers[-1][0].written == EMPTY_200
        assert [one.closing for one, _ in newcomers] == [True] * 5 + [False]
        assert bench.server.connections == 3

    run(scenario())


def test_bodies_that_arrive_together_are_bounded() -> None:
    start = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"

    async def scenario() -> None:
        bench = Bench(HttpLimits(held_bytes_max=150))
        other_transport, other = bench.connect()
        bench.feed(start + b"x" * 90)
        other.data_received(start + b"x" * 60)
        assert bench.server.held_bytes == 150
        other.data_received(b"x")
        assert other_transport.written.startswith(b"HTTP/1.1 503 ")
        assert bench.server.held_bytes == 90
        bench.feed(b"x" * 10)
        assert len(bench.requests) == 1
        assert bench.server.held_bytes == 0
        bench.responders[0].send(200)
        bench.feed(start + b"x" * 50)
        bench.connection.connection_lost(None)
        assert bench.server.held_bytes == 0

    run(scenario())


# Time


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(idle_timeout_s=40), answers_at_once=True)
        await asyncio.sleep(39)
        bench.feed(GET)
        await asyncio.sleep(39)
        closing = [bench.transport.closing]
        await asyncio.sleep(40 * LATE - 39)
        closing.append(bench.transport.closing)
        assert closing == [False, True]
        assert bench.transport.written == EMPTY_200

    run(scenario())


def test_a_head_must_be_whole_in_time_however_busily_it_drips() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(head_timeout_s=30))
        for _ in range(30):
            bench.feed(b"G")
            assert bench.transport.writes == []
            await asyncio.sleep(1)
        await asyncio.sleep(30 * LATE - 30)
        assert bench.transport.written.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert bench.transport.eof

    run(scenario())


def test_a_body_may_take_long_as_long_as_it_comes() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(body_timeout_s=60))
        bench.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(59)
            bench.feed(b"x")
        assert bench.transport.writes == []
        await asyncio.sleep(60 * LATE)
        assert bench.transport.written.startswith(b"HTTP/1.1 408 ")

    run(scenario())


def test_a_handler_may_take_for_ever() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        await asyncio.sleep(900)
        bench.responders[0].send(200)
        assert bench.transport.written == EMPTY_200

    run(scenario())


def test_a_client_that_does_not_read_holds_up_only_itself_and_not_for_ever() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits(write_timeout_s=20), answers_at_once=True)
        bench.connection.pause_writing()
        bench.transport.stuck = 100
        bench.feed(GET)
        assert bench.requests == []
        await asyncio.sleep(19)
        bench.transport.stuck = 50
        await asyncio.sleep(19)
        closing = [bench.transport.closing]
        bench.connection.resume_writing()
        assert bench.transport.written == EMPTY_200
        await asyncio.sleep(20 * LATE)
        closing.append(bench.transport.closing)
        assert closing == [False, True]

    run(scenario())


def test_an_idle_server_wakes_nobody() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.connection.connection_lost(None)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="deadlock"):
        run(scenario())


# The end


def test_drain_lets_requests_end_and_closes_the_idle() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        idle, _ = bench.connect()
        arriving, arriving_connection = bench.connect()
        arriving_connection.data_received(GET[:9])
        bench.feed(GET)
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(bench.server.drain(10))
            await asyncio.sleep(1)
            assert idle.closing
            assert not draining.done()
            bench.responders[0].send(200)
            arriving_connection.data_received(GET[9:])
            bench.responders[1].send(200)
            await asyncio.sleep(0.1)
            assert draining.done()
        for transport in (bench.transport, arriving):
            assert transport.written == (
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        late, _ = bench.connect()
        assert late.written.startswith(b"HTTP/1.1 503 ")

    run(scenario())


def test_drain_does_not_wait_for_ever() -> None:
    async def scenario() -> None:
        bench = Bench(HttpLimits())
        bench.feed(GET)
        before_s = asyncio.get_running_loop().time()
        await bench.server.drain(7)
        assert asyncio.get_running_loop().time() - before_s == pytest.approx(7, abs=0.1)
        assert bench.responders[0].gone
        assert bench.server.connections == 0

    run(scenario())
