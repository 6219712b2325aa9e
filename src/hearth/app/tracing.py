"""Which spans does an invoke leave, and who notes them? Only where there is an exporter.

    invoke hello                 from the call to its answer; what the function tells hangs below
      concurrency                until it may run
      sandbox                    until it has one; cold, with what that took:
        prepare, create, launch, init
      run                        from the event to the answer
    queue hello                  an asynchronous event, from its 202 to an attempt
    deliver sqs                  telling a destination or a dead letter target

The invoker notes times for everybody anyway (Phases); spans are made of them afterwards, for what
was sampled. Where nothing is exported, none of this is in the way of an invoke.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from hearth.app.choices import new_span_id
from hearth.app.meter import Invoker, Meter, MeteredInvoker
from hearth.app.segments import of_function
from hearth.app.span_queue import Segment, SpanQueue
from hearth.base.clock import Clock
from hearth.events.contract import Targets
from hearth.model.errors import ServiceError
from hearth.model.events import AsyncEvent, Delivery
from hearth.model.functions import FunctionVersion
from hearth.model.invocations import Invocation, InvokeCall, InvokeResult, Phases, StartMarks
from hearth.model.traces import Attribute, Span, SpanKind, parse

EVENTS_REMEMBERED: Final = 10_000
MIB: Final = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Tracing:
    """Where spans go, and what is known of the events that are on their way."""

    queues: tuple[SpanQueue, ...]
    clock: Clock
    samples: Callable[[str, bool | None], bool]
    """Of a request that was refused before anybody decided."""
    accepted: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)
    """By request: when an event was accepted and when its attempt began, in nanoseconds."""
    ran: OrderedDict[str, tuple[str, str]] = field(default_factory=OrderedDict)
    """By request: trace and span of an event's last attempt that was sampled."""

    def add(self, spans: Iterable[Span | Segment]) -> None:
        for span in spans:
            for queue in self.queues:
                queue.add(span)

    def took(self, function: FunctionVersion, document: bytes) -> None:
        """From a function, by way of the X-Ray daemon's address."""
        self.add([Segment(document, function)])

    def now_ns(self) -> int:
        return int(self.clock.utc().timestamp() * 1e9)


class TracedInvoker:
    """Around the front end's."""

    __slots__ = ("_invoke", "_tracing", "accept", "dry_run")

    def __init__(self, invoker: Invoker, tracing: Tracing) -> None:
        self._invoke = invoker.invoke
        self._tracing = tracing
        self.dry_run = invoker.dry_run
        self.accept = invoker.accept

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """Raises ServiceError when the function was not run."""
        began_s = self._tracing.clock.monotonic_s()
        try:
            result = await self._invoke(call)
        except ServiceError as error:
            self._refused(call, error, began_s)
            raise
        invocation = result.phases.invocation
        if invocation is not None and invocation.span is not None:
            self._ran(call, invocation, result, began_s)
        elif call.is_event:
            self._tracing.accepted.pop(call.request, None)
        return result

    def _ran(
        self, call: InvokeCall, invocation: Invocation, result: InvokeResult, began_s: float
    ) -> None:
        tracing = self._tracing
        header = parse(invocation.trace_id)
        given = parse(call.trace_id)
        assert header is not None
        assert invocation.span is not None
        ended_ns, ended_s = tracing.now_ns(), tracing.clock.monotonic_s()

        def at(moment_s: float) -> int:
            return ended_ns - int((ended_s - moment_s) * 1e9)

        whole = Span(
            trace=header.trace,
            span=invocation.span,
            parent=None if given is None else given.parent,
            name=f"invoke {invocation.function.key.name}",
            start_ns=at(began_s),
            end_ns=ended_ns,
            kind=SpanKind.SERVER,
            attributes=_described(call, invocation, result.phases),
            error=result.function_error,
        )
        spans = [whole, *_phases(whole, result.phases, began_s, at)]
        if call.is_event:
            spans += self._queued(call, whole)
        tracing.add(spans)

    def _queued(self, call: InvokeCall, whole: Span) -> Iterable[Span]:
        """The wait before it; and it is remembered for what is delivered after it."""
        tracing = self._tracing
        _remember(tracing.ran, call.request, (whole.trace, whole.span))
        times = tracing.accepted.pop(call.request, None)
        if times is not None:
            name = f"queue {call.reference.name}"
            span = _child(whole, name, *times)
            span.kind = SpanKind.CONSUMER
            span.attributes["messaging.message.id"] = call.request
            yield span

    def _refused(self, call: InvokeCall, error: ServiceError, began_s: float) -> None:
        tracing = self._tracing
        tracing.accepted.pop(call.request, None)
        given = parse(call.trace_id)
        if given is None or not tracing.samples(given.trace, given.sampled):
            return
        ended_ns = tracing.now_ns()
        took_s = tracing.clock.monotonic_s() - began_s
        name = call.reference.name
        tracing.add(
            [
                Span(
                    trace=given.trace,
                    span=new_span_id(),
                    parent=given.parent,
                    name=f"invoke {name}",
                    start_ns=ended_ns - int(took_s * 1e9),
                    end_ns=ended_ns,
                    kind=SpanKind.SERVER,
                    attributes={
                        "faas.name": name,
                        "faas.invocation_id": call.request,
                        "cloud.account.id": call.reference.account or call.caller.account,
                        "cloud.region": call.caller.region,
                        "error.type": error.code,
                    },
                    error=f"{error.code}: {error.message}",
                    is_fault=error.status >= 500,
                )
            ]
        )


class TracedMeter(Meter):
    """Hears of an attempt before it is made."""

    def __init__(self, tracing: Tracing) -> None:
        super().__init__()
        self._tracing = tracing

    def started(self, event: AsyncEvent, age_s: float) -> None:
        super().started(event, age_s)
        times = (event.accepted_ms * 1_000_000, self._tracing.now_ns())
        _remember(self._tracing.accepted, event.call.request, times)


def metered(front: Invoker, tracing: Tracing | None) -> tuple[Meter, MeteredInvoker]:
    """Who counts what the front end does, and an invoker that tells it: traced, if anything is."""
    if tracing is None:
        meter = Meter()
        return meter, MeteredInvoker(front, meter)
    traced = TracedMeter(tracing)
    return traced, MeteredInvoker(TracedInvoker(front, tracing), traced)


class TracedTargets:
    """Around those that are told."""

    def __init__(self, targets: Targets, tracing: Tracing) -> None:
        self._targets = targets
        self._tracing = tracing

    async def deliver(self, delivery: Delivery) -> None:
        """Raises DeliveryFailed."""
        tracing = self._tracing
        settlement = delivery.settlement
        ran = tracing.ran.get(settlement.event.call.request)
        if ran is None:
            await self._targets.deliver(delivery)
            return
        trace, parent = ran
        span = Span(
            trace=trace,
            span=new_span_id(),
            parent=parent,
            name=f"deliver {_service(delivery.target)}",
            start_ns=tracing.now_ns(),
            end_ns=0,
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.destination.name": delivery.target,
                "faas.name": settlement.event.key.name,
                "cloud.region": settlement.event.key.region,
            },
        )
        try:
            await self._targets.deliver(delivery)
        except Exception as error:
            span.error = str(error)
            raise
        finally:
            span.end_ns = tracing.now_ns()
            tracing.add([span])


def _service(target: str) -> str:
    """`sqs`, of its ARN."""
    parts = target.split(":")
    return parts[2] if len(parts) > 2 else target


def _remember(known: OrderedDict[str, Any], name: str, value: Any) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > EVENTS_REMEMBERED:
        known.popitem(last=False)


def _described(call: InvokeCall, invocation: Invocation, phases: Phases) -> dict[str, Attribute]:
    function = invocation.function
    described = {
        **of_function(function),
        "aws.lambda.invoked_arn": invocation.invoked_arn,
        "cloud.provider": "aws",
        "cloud.platform": "aws_lambda",
        "faas.coldstart": phases.start_s is not None,
        "faas.invocation_id": invocation.request,
        "faas.max_memory": function.memory_mb * MIB,
        "faas.trigger": "pubsub" if call.is_event else "http",
    }
    if call.sink is not None:
        described["hearth.streamed"] = True
    return described


def _child(above: Span, name: str, start_ns: int, end_ns: int) -> Span:
    region = above.attributes["cloud.region"]
    return Span(
        trace=above.trace,
        span=new_span_id(),
        parent=above.span,
        name=name,
        start_ns=start_ns,
        end_ns=max(start_ns, end_ns),
        attributes={"cloud.region": region},
    )


def _phases(
    whole: Span, phases: Phases, began_s: float, at: Callable[[float], int]
) -> Iterable[Span]:
    """One after another, from the beginning."""
    from_s = began_s + (phases.resolve_s or 0.0)
    for name, took_s in (
        ("concurrency", phases.lease_s),
        ("sandbox", phases.wait_s),
        ("run", phases.run_s),
    ):
        if took_s is None:
            continue
        span = _child(whole, name, at(from_s), at(from_s + took_s))
        yield span
        if name == "sandbox" and phases.start_s is not None and phases.start is not None:
            yield from _start(span, phases.start, at)
        from_s += took_s


def _start(sandbox: Span, marks: StartMarks, at: Callable[[float], int]) -> Iterable[Span]:
    """A sandbox may have been started before this invoke came: another one wanted it."""
    from_s = marks.began_s
    for name, until_s in (
        ("prepare", marks.prepared_s),
        ("create", marks.created_s),
        ("launch", marks.launched_s),
        ("init", marks.initialised_s),
    ):
        if until_s is not None:
            yield _child(sandbox, name, at(from_s), at(until_s))
            from_s = until_s
