"""InvokeWithResponseStream through the edge, with an invoker that writes what each test says."""

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from fakes.http import FakeResponder, http_request
from fakes.invokes import CALLER
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.api.edge import SERVICES, Edge
from hearth.api.invoke import InvokeHandler
from hearth.api.invoke_stream import StreamInvokeHandler
from hearth.base.flow import Rate
from hearth.base.http1 import HttpRequest
from hearth.base.jobs import Jobs
from hearth.model.errors import InternalFailure, ResourceNotFound, TooManyRequests
from hearth.model.ids import Caller
from hearth.model.invocations import InvokeCall, InvokeResult, ResponseSink, StreamStart

PATH = "/2021-11-15/functions/f/response-streaming-invocations"
RATE = Rate(bytes_per_s=1_000.0, burst_bytes=1_000.0)
START = StreamStart("text/plain", "7")


class Believing:
    def verify(self, request: HttpRequest, service: str) -> Caller:
        return CALLER


class Source:
    def __init__(self) -> None:
        self.is_paused = False

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


Script = Callable[[ResponseSink, Source], Coroutine[Any, Any, InvokeResult]]


class Invoker:
    def __init__(self, script: Script) -> None:
        self.source = Source()
        self.calls: list[InvokeCall] = []
        self.dry_runs = 0
        self._script = script

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        self.calls.append(call)
        assert call.sink is not None
        return await self._script(call.sink, self.source)

    def dry_run(self, call: InvokeCall) -> None:
        self.dry_runs += 1


async def nobody_accepts(call: InvokeCall) -> None:
    raise AssertionError("a streamed invoke is no event")


def play(
    script: Script,
    meanwhile: Callable[[FakeResponder], None] = lambda _: None,
    **headers: str,
) -> tuple[FakeResponder, Invoker]:
    async def scenario() -> tuple[FakeResponder, Invoker]:
        responder, invoker, clock = FakeResponder(), Invoker(script), VirtualClock()
        invoke = InvokeHandler(invoker, clock, nobody_accepts)
        async with Jobs() as jobs:
            edge = Edge(
                SERVICES,
                (),
                Believing(),
                clock,
                jobs,
                request_ids=lambda: "01234567-89ab-cdef-0123-456789abcdef",
                invoke=invoke,
                invoke_stream=StreamInvokeHandler(invoke, RATE, clock),
            )
            edge.handle(http_request("POST", PATH, body=b"{}", **headers), responder)
            await asyncio.sleep(0.01)
            meanwhile(responder)
            await jobs.wait_idle()
        return responder, invoker

    return run_in_virtual_time(scenario())


def events(responder: FakeResponder) -> list[tuple[str, bytes]]:
    assert responder.stream is not None
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(responder.stream.pieces))
    decoded: Any = list(buffer)
    return [(event.headers[":event-type"], event.payload) for event in decoded]


def result(payload: bytes = b"", **more: Any) -> InvokeResult:
    return InvokeResult(payload=payload, executed_version="7", **more)


async def streams(sink: ResponseSink, source: Source) -> InvokeResult:
    sink.begin(source, START)
    sink.write(b"one")
    await asyncio.sleep(1)
    sink.write(b"two")
    return result(log_tail=b"START")


def test_pieces_are_events_and_the_end_is_one_too() -> None:
    got, _ = play(streams, x_amz_log_type="Tail")
    assert got.status == 200
    assert got.headers["Content-Type"] == "application/vnd.amazon.eventstream"
    assert got.headers["X-Amz-Executed-Version"] == "7"
    assert events(got) == [
        ("PayloadChunk", b"one"),
        ("PayloadChunk", b"two"),
        ("InvokeComplete", b'{"LogResult":"%s"}' % base64.b64encode(b"START")),
    ]
    assert got.stream is not None
    assert got.stream.ending == "end"


def test_the_first_piece_is_there_before_the_second_is_made() -> None:
    def meanwhile(responder: FakeResponder) -> None:
        assert events(responder) == [("PayloadChunk", b"one")]

    play(streams, meanwhile)


def test_a_function_that_does_not_stream_is_one_piece() -> None:
    async def answers(sink: ResponseSink, source: Source) -> InvokeResult:
        return result(b'{"a":1}')

    got, _ = play(answers)
    assert events(got) == [("PayloadChunk", b'{"a":1}'), ("InvokeComplete", b"{}")]


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_functions_error_is_in_the_last_event(has_begun: bool) -> None:
    async def fails(sink: ResponseSink, source: Source) -> InvokeResult:
        if has_begun:
            sink.begin(source, START)
            sink.write(b"some")
        return result(b'{"errorType":"E"}', function_error="Unhandled")

    got, _ = play(fails)
    assert got.status == 200
    kind, payload = events(got)[-1]
    assert (kind, json.loads(payload)) == (
        "InvokeComplete",
        {"ErrorCode": "Unhandled", "ErrorDetails": '{"errorType":"E"}'},
    )
    assert len(events(got)) == 1 + has_begun


def test_what_stops_an_invoke_before_it_runs_is_an_ordinary_error() -> None:
    async def refuses(sink: ResponseSink, source: Source) -> InvokeResult:
        raise TooManyRequests("ConcurrentInvocationLimitExceeded")

    got, _ = play(refuses)
    assert (got.status, got.stream) == (429, None)
    assert got.headers["x-amzn-ErrorType"] == "TooManyRequestsException"


def test_what_stops_it_in_the_middle_is_told_in_the_stream() -> None:
    async def breaks(sink: ResponseSink, source: Source) -> InvokeResult:
        sink.begin(source, START)
        raise InternalFailure("The execution environment was stopped.")

    got, _ = play(breaks)
    kind, payload = events(got)[-1]
    assert kind == "InvokeComplete"
    assert json.loads(payload)["ErrorCode"] == "ServiceException"
    assert "was stopped" in json.loads(payload)["ErrorDetails"]


def test_a_bug_in_the_middle_is_told_without_its_reason() -> None:
    async def breaks(sink: ResponseSink, source: Source) -> InvokeResult:
        sink.begin(source, START)
        raise KeyError("secret")

    got, _ = play(breaks)
    assert b"ServiceException" in events(got)[-1][1]
    assert b"secret" not in events(got)[-1][1]


def test_a_function_of_nobody_is_not_found() -> None:
    async def refuses(sink: ResponseSink, source: Source) -> InvokeResult:
        raise ResourceNotFound("Function not found: f")

    assert play(refuses)[0].status == 404


def test_a_dry_run_runs_nothing() -> None:
    got, invoker = play(streams, x_amz_invocation_type="DryRun")
    assert (got.status, got.body, invoker.dry_runs, invoker.calls) == (204, b"", 1, [])


def test_there_is_no_event_invocation_of_a_stream() -> None:
    got, invoker = play(streams, x_amz_invocation_type="Event")
    assert (got.status, invoker.calls) == (400, [])
    assert "Member must satisfy enum value set: [DryRun, RequestResponse]" in got.json["message"]


def test_a_slow_client_holds_the_function_back_and_one_that_left_does_not() -> None:
    held: list[bool] = []

    async def floods(sink: ResponseSink, source: Source) -> InvokeResult:
        sink.begin(source, START)
        await asyncio.sleep(0.1)
        sink.write(b"a")
        held.append(source.is_paused)
        await asyncio.sleep(1)
        held.append(source.is_paused)
        return result()

    def fills(responder: FakeResponder) -> None:
        assert responder.stream is not None
        responder.stream.is_full = True

    def leaves(responder: FakeResponder) -> None:
        fills(responder)
        responder.leave()

    play(floods, fills)
    assert held == [True, True]
    held.clear()
    play(floods, leaves)
    assert held == [False, False]


def test_what_is_faster_than_the_rate_waits() -> None:
    held: list[bool] = []

    async def floods(sink: ResponseSink, source: Source) -> InvokeResult:
        sink.begin(source, START)
        sink.write(bytes(3_000))
        held.append(source.is_paused)
        await asyncio.sleep(2.1)
        held.append(source.is_paused)
        return result()

    play(floods)
    assert held == [True, False]
