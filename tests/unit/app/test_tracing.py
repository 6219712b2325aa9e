"""What becomes of an invoke, an event and a function's own segments, as spans."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fakes.invokes import function_version, invoke_call
from fakes.settlements import record_for, settlement
from fakes.virtual_time import VirtualClock
from hearth.app.otlp import OtlpExporter
from hearth.app.segments import document_of, spans_of
from hearth.app.span_queue import Item, NotAllTaken, Segment, SpanQueue
from hearth.app.tracing import TracedInvoker, TracedMeter, TracedTargets, Tracing
from hearth.base.clock import SystemClock
from hearth.events.contract import DeliveryFailed
from hearth.model.errors import ServiceError, TooManyRequests
from hearth.model.events import Delivery
from hearth.model.ids import FunctionKey
from hearth.model.invocations import Invocation, InvokeCall, InvokeResult, Phases, StartMarks
from hearth.model.traces import Span, SpanKind

F = function_version("f", memory_mb=256)
ROOT, TRACE = "1-6955b900-0123456789abcdef01234567", "6955b9000123456789abcdef01234567"
PARENT, OURS = "53995c3f42cd8ad8", "00000000000000aa"
GIVEN = f"Root={ROOT};Parent={PARENT};Sampled=1"


@dataclass
class Collected:
    """An exporter that keeps what it gets, and fails if it is told to."""

    name: str = "test"
    items: list[Item] = field(default_factory=list)
    error: Exception | None = None
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    def export(self, items: Sequence[Item]) -> None:
        assert self.may_go_on.wait(60)
        if self.error is not None:
            raise self.error
        self.items += items

    def close(self) -> None:
        self.may_go_on.set()

    def spans(self) -> dict[str, Span]:
        return {item.name: item for item in self.items if isinstance(item, Span)}


class Scene:
    def __init__(self, samples: bool = True) -> None:
        self.collected = Collected()
        self.queue = SpanQueue(self.collected, SystemClock(), collect_s=0.0)
        self.tracing = Tracing(
            queues=(self.queue,), clock=VirtualClock(), samples=lambda _trace, _parent: samples
        )

    def spans(self) -> dict[str, Span]:
        self.queue.close(flush_s=60.0)
        return self.collected.spans()


@dataclass
class Front:
    """An invoker whose invokes end as they are told to."""

    span: str | None = OURS
    error: ServiceError | None = None
    function_error: str | None = None
    phases: dict[str, Any] = field(default_factory=dict)

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        if self.error is not None:
            raise self.error
        ran = Invocation(
            request=call.request,
            function=F,
            invoked_arn=F.arn,
            payload=b"{}",
            trace_id=f"Root={ROOT};Parent={self.span or PARENT};Sampled=1;Lineage=a:1",
            span=self.span,
        )
        phases = Phases(lease_s=0.0, wait_s=0.25, run_s=0.5, invocation=ran, **self.phases)
        return InvokeResult(
            payload=b"{}",
            executed_version="1",
            function_error=self.function_error,
            phases=phases,
        )

    def dry_run(self, call: InvokeCall) -> None: ...

    def accept(self, call: InvokeCall) -> FunctionKey:
        return F.key


def traced(front: Front, scene: Scene, **call: Any) -> dict[str, Span]:
    invoker = TracedInvoker(front, scene.tracing)
    asyncio.run(invoker.invoke(invoke_call("f", trace_id=GIVEN, **call)))
    return scene.spans()


def test_a_sampled_invoke_is_a_span_below_its_callers_with_its_phases_below() -> None:
    spans = traced(Front(), Scene())
    assert list(spans) == ["invoke f", "concurrency", "sandbox", "run"]
    whole = spans["invoke f"]
    assert (whole.trace, whole.span, whole.parent) == (TRACE, OURS, PARENT)
    assert whole.kind is SpanKind.SERVER
    assert whole.attributes["faas.name"] == "f"
    assert whole.attributes["faas.coldstart"] is False
    assert whole.attributes["faas.max_memory"] == 256 * 1024 * 1024
    assert whole.attributes["aws.lambda.invoked_arn"] == F.arn
    assert {span.parent for name, span in spans.items() if name != "invoke f"} == {OURS}
    assert spans["sandbox"].end_ns - spans["sandbox"].start_ns == pytest.approx(25e7, abs=10)
    assert spans["run"].start_ns == spans["sandbox"].end_ns
    assert len({span.span for span in spans.values()}) == len(spans)


def test_a_cold_start_has_its_steps_below() -> None:
    marks = StartMarks(0.0, prepared_s=0.1, created_s=0.2, launched_s=0.3, initialised_s=0.7)
    spans = traced(Front(phases={"start_s": 0.7, "start": marks}), Scene())
    assert spans["invoke f"].attributes["faas.coldstart"] is True
    steps = [spans[name] for name in ("prepare", "create", "launch", "init")]
    assert {step.parent for step in steps} == {spans["sandbox"].span}
    lengths = [(step.end_ns - step.start_ns) / 1e9 for step in steps]
    assert lengths == pytest.approx([0.1, 0.1, 0.1, 0.4], abs=1e-6)


def test_what_is_not_sampled_leaves_nothing() -> None:
    assert traced(Front(span=None), Scene()) == {}


def test_a_function_error_is_the_spans() -> None:
    assert traced(Front(function_error="Unhandled"), Scene())["invoke f"].error == "Unhandled"


def test_a_refused_invoke_is_a_span_of_the_callers_fault() -> None:
    scene = Scene()
    front = Front(error=TooManyRequests("ConcurrentInvocationLimitExceeded"))
    with pytest.raises(TooManyRequests):
        traced(front, scene)
    span = scene.spans()["invoke f"]
    assert (span.trace, span.parent, span.is_fault) == (TRACE, PARENT, False)
    assert span.attributes["error.type"] == "TooManyRequestsException"


def test_an_event_has_its_wait_and_its_delivery_in_one_trace() -> None:
    scene = Scene()
    ended = settlement()
    call = ended.event.call

    class Targets:
        async def deliver(self, delivery: Delivery) -> None:
            raise DeliveryFailed("nobody there")

    async def main() -> None:
        TracedMeter(scene.tracing).started(ended.event, 1.0)
        await TracedInvoker(Front(), scene.tracing).invoke(replace(call, is_event=True))
        delivery = record_for("arn:aws:sqs:us-east-1:000000000000:q", ended)
        with pytest.raises(DeliveryFailed):
            await TracedTargets(Targets(), scene.tracing).deliver(delivery)

    asyncio.run(main())
    spans = scene.spans()
    assert spans["queue f"].kind is SpanKind.CONSUMER
    assert spans["queue f"].start_ns == ended.event.accepted_ms * 1_000_000
    assert spans["deliver sqs"].error == "nobody there"
    assert {spans[name].parent for name in ("queue f", "deliver sqs")} == {OURS}
    assert {span.trace for span in spans.values()} == {TRACE}


def test_events_that_never_run_are_forgotten() -> None:
    scene = Scene()
    with pytest.raises(ServiceError):
        traced(Front(error=ServiceError("no")), scene, is_event=True)
    assert not scene.tracing.accepted
    scene.queue.close()


def test_a_full_queue_drops_and_counts_and_a_failing_exporter_is_counted() -> None:
    collected = Collected(error=OSError("no route"))
    collected.may_go_on.clear()
    queue = SpanQueue(collected, SystemClock(), queue_max=3, collect_s=0.0)
    span = Span(trace=TRACE, span=OURS, parent=None, name="s", start_ns=1, end_ns=2)
    for _ in range(50):
        queue.add(span)
    # What the thread has taken, while it is held up, is no longer in the queue.
    collected.may_go_on.set()
    queue.close(flush_s=60.0)
    queue.add(span)
    assert queue.exported == 0
    assert queue.failed >= 3
    assert queue.failed + queue.dropped == 51
    assert queue.dropped > 1


SENT = {
    "name": "## handler",
    "id": "1111111111111111",
    "trace_id": ROOT,
    "parent_id": OURS,
    "type": "subsegment",
    "start_time": 10.0,
    "end_time": 11.5,
    "annotations": {"ColdStart": True},
    "subsegments": [
        {
            "name": "example.com",
            "id": "2222222222222222",
            "start_time": 10.5,
            "end_time": 11.0,
            "namespace": "remote",
            "fault": True,
            "http": {
                "request": {"url": "http://example.com/", "method": "GET"},
                "response": {"status": 500},
            },
        },
        {"name": "open", "id": "3333333333333333", "start_time": 10.5, "in_progress": True},
    ],
}


def test_what_a_function_sends_becomes_spans_that_say_whose_they_are() -> None:
    top, below = spans_of(Segment(json.dumps(SENT).encode(), F))
    assert (top.trace, top.span, top.parent) == (TRACE, "1" * 16, OURS)
    assert (top.start_ns, top.end_ns) == (10_000_000_000, 11_500_000_000)
    assert top.attributes["aws.xray.annotations.ColdStart"] is True
    assert top.attributes["faas.name"] == "f"
    assert (below.parent, below.error) == ("1" * 16, "fault")
    assert below.attributes["http.response.status_code"] == 500


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"\xff",
        json.dumps(SENT | {"trace_id": "none"}).encode(),
        json.dumps(SENT | {"id": "x"}).encode(),
        json.dumps(SENT | {"start_time": -1}).encode(),
        json.dumps(SENT | {"start_time": 1e300, "end_time": 1e300}).encode(),
        json.dumps(SENT | {"start_time": 1e15, "end_time": 1e15}).encode(),
        b'{"subsegments":[' * 5_000,
    ],
)
def test_what_is_no_segment_is_left_out(document: bytes) -> None:
    found = spans_of(Segment(document, F))
    assert [span.span for span in found if span.span == "1" * 16] == []


def test_numbers_that_no_exporter_can_write_are_left_out() -> None:
    big = 1 << 70
    document = SENT | {
        "annotations": {"big": big, "small": 7},
        "http": {"response": {"status": -big}},
    }
    top, _ = spans_of(Segment(json.dumps(document).encode(), F))
    assert top.attributes["aws.xray.annotations.small"] == 7
    assert "aws.xray.annotations.big" not in top.attributes
    assert "http.response.status_code" not in top.attributes


OURS_ALONE = Span(trace=TRACE, span=OURS, parent=None, name="s", start_ns=1, end_ns=2)


def test_a_flood_of_one_functions_documents_takes_nobody_elses_room() -> None:
    collected = Collected()
    queue = SpanQueue(collected, SystemClock(), documents_max=8_000, collect_s=60.0)
    for _ in range(50):
        queue.add(Segment(b"x" * 400, F))
    assert queue.dropped == 48, "an eighth of the bytes is its own"
    for number in range(7):
        queue.add(Segment(b"x" * 1_000, function_version(f"g{number}")))
    assert queue.dropped == 48
    queue.add(Segment(b"x" * 1_000, function_version("late")))
    assert queue.dropped == 49, "all of them together have a bound, too"
    queue.add(OURS_ALONE)
    queue.close(flush_s=60.0)
    assert (queue.exported, queue.dropped) == (2 + 7 + 1, 49)


def test_many_small_documents_leave_room_for_spans_and_for_other_functions() -> None:
    collected = Collected()
    queue = SpanQueue(collected, SystemClock(), queue_max=64, collect_s=60.0)
    for _ in range(50):
        queue.add(Segment(b"x", F))
    assert queue.dropped == 46, "an eighth of half of the queue is its own"
    for number in range(40):
        queue.add(Segment(b"x", function_version(f"g{number}")))
    assert queue.dropped == 46 + 12
    for _ in range(32):
        queue.add(OURS_ALONE)
    assert queue.dropped == 46 + 12
    queue.close(flush_s=60.0)
    assert queue.exported == 64


def test_what_has_gone_leaves_its_room_to_the_next() -> None:
    collected = Collected()
    queue = SpanQueue(collected, SystemClock(), queue_max=16, collect_s=0.0)
    for number in range(100):
        queue.add(Segment(b"x", F))
        while queue.exported <= number:
            assert not queue.dropped
            time.sleep(0.001)
    queue.close(flush_s=60.0)
    assert (queue.exported, queue.dropped) == (100, 0)


def test_what_an_exporter_says_it_lost_is_counted() -> None:
    queue = SpanQueue(Collected(error=NotAllTaken(2, "no")), SystemClock(), collect_s=60.0)
    for _ in range(5):
        queue.add(OURS_ALONE)
    queue.close(flush_s=60.0)
    assert (queue.exported, queue.failed) == (3, 2)


def test_spans_become_documents_of_xray() -> None:
    whole = traced(Front(), Scene())
    segment = document_of(whole["invoke f"])
    assert (segment["name"], segment["origin"]) == ("f", "AWS::Lambda::Function")
    assert (segment["trace_id"], segment["id"], segment["parent_id"]) == (ROOT, OURS, PARENT)
    part = document_of(whole["run"])
    assert (part["type"], part["parent_id"]) == ("subsegment", OURS)


def test_a_collector_that_is_not_there_is_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        exporter = OtlpExporter(f"http://127.0.0.1:{taken.getsockname()[1]}/v1/traces", "test")
        queue = SpanQueue(exporter, SystemClock(), collect_s=0.0)
        queue.add(Span(trace=TRACE, span=OURS, parent=PARENT, name="s", start_ns=1, end_ns=2))
        queue.close(flush_s=60.0)
    assert (queue.exported, queue.failed, queue.dropped) == (0, 1, 0)
