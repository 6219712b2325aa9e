"""What functions do is counted in plain numbers, and becomes the metrics of AWS's names."""

import asyncio
from dataclasses import replace
from typing import Any

from fakes.invokes import function_key, invoke_call
from fakes.settlements import KEY, dead_letter_for, record_for, settlement, succeeded
from hearth.app.meter import Meter, MeteredInvoker
from hearth.app.metrics_view import of_concurrency, of_events, of_functions
from hearth.base import metrics
from hearth.base.clock import SystemClock
from hearth.base.metrics import Histogram, Metric, Values
from hearth.counting.counter import Counter
from hearth.frontend.lineage import stopped
from hearth.model.errors import InternalFailure, ServiceError, TooManyRequests
from hearth.model.events import Backlog, Condition
from hearth.model.ids import FunctionKey
from hearth.model.invocations import InvokeCall, InvokeResult, Phases

F = function_key("f")
QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"


class FrontEnd:
    """Answers what it is told to."""

    def __init__(self, *outcomes: InvokeResult | ServiceError) -> None:
        self._outcomes = list(outcomes)

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    def dry_run(self, call: InvokeCall) -> None: ...

    def accept(self, call: InvokeCall) -> FunctionKey:
        return F


def answer(error: str | None = None, **phases: Any) -> InvokeResult:
    return InvokeResult(
        payload=b"{}", executed_version="1", function_error=error, phases=Phases(**phases)
    )


def numbers(values: Values) -> dict[tuple[str, ...], Any]:
    return dict(values)


def of(found: Any, metric: Metric, *more: str, key: FunctionKey = F) -> Any:
    return numbers(found[metric]).get((key.account, key.region, key.name, *more))


def test_invokes_are_counted_by_how_they_ended() -> None:
    meter = Meter()
    outcomes = (
        answer(run_s=0.002),
        answer(run_s=2.0, start_s=0.1),
        answer("Unhandled", run_s=0.002),
        TooManyRequests("ConcurrentInvocationLimitExceeded"),
        InternalFailure("Gone."),
        stopped(),
    )

    async def scene() -> None:
        invoker = MeteredInvoker(FrontEnd(*outcomes), meter)
        for _outcome in outcomes:
            try:
                await invoker.invoke(invoke_call("f"))
            except ServiceError:
                continue

    asyncio.run(scene())
    found = of_functions(meter)
    assert of(found, metrics.INVOCATIONS) == 3
    assert of(found, metrics.ERRORS) == 1
    assert of(found, metrics.COLD_STARTS) == 1
    assert of(found, metrics.THROTTLES) == 1
    assert of(found, metrics.RECURSIVE_DROPPED) == 1
    duration = of(found, metrics.DURATION)
    assert isinstance(duration, Histogram)
    assert sum(duration.counts) == 3
    assert meter.refusals == {
        "TooManyRequestsException": 1,
        "ServiceException": 1,
        "RecursiveInvocationException": 1,
    }


def test_a_function_is_the_same_however_it_is_named() -> None:
    meter = Meter()

    async def scene() -> None:
        invoker = MeteredInvoker(FrontEnd(answer(), answer()), meter)
        call = invoke_call("f")
        await invoker.invoke(call)
        whole = replace(call.reference, account=F.account, region=F.region, qualifier="$LATEST")
        await invoker.invoke(replace(call, reference=whole))

    asyncio.run(scene())
    assert of(of_functions(meter), metrics.INVOCATIONS) == 2


def test_who_does_not_exist_is_counted_by_code_alone() -> None:
    meter = Meter()

    async def scene() -> None:
        invoker = MeteredInvoker(FrontEnd(InternalFailure("x")), meter)
        try:
            await invoker.invoke(invoke_call("nobody"))
        except ServiceError:
            return

    asyncio.run(scene())
    assert list(meter) == []


def test_events_are_counted_from_acceptance_to_delivery() -> None:
    meter = Meter()
    ended = settlement()
    meter.received(KEY)
    meter.started(ended.event, 0.5)
    meter.settled(KEY, Condition.RETRIES_EXHAUSTED)
    meter.settled(KEY, Condition.SUCCESS)
    meter.dropped(KEY, Condition.RETRIES_EXHAUSTED)
    meter.delivered(record_for(QUEUE, succeeded()))
    meter.delivery_failed(record_for(QUEUE, ended))
    meter.delivery_failed(dead_letter_for(QUEUE, ended))
    found = of_functions(meter)
    assert of(found, metrics.ASYNC_RECEIVED, key=KEY) == 1
    assert of(found, metrics.ASYNC_AGE, key=KEY).total == 0.5
    assert of(found, metrics.ASYNC_SETTLED, "Success", key=KEY) == 1
    assert of(found, metrics.ASYNC_DROPPED, "RetriesExhausted", key=KEY) == 1
    assert of(found, metrics.ASYNC_DROPPED, "Success", key=KEY) is None
    assert of(found, metrics.ASYNC_UNTOLD, "RetriesExhausted", key=KEY) == 1
    assert of(found, metrics.DELIVERIES, "destination", key=KEY) == 1
    assert of(found, metrics.DESTINATION_FAILURES, key=KEY) == 1
    assert of(found, metrics.DEAD_LETTER_ERRORS, key=KEY) == 1


def test_a_function_that_is_gone_is_forgotten() -> None:
    meter = Meter()
    meter.received(F)
    meter.forget((F.account, F.region, F.name))
    assert list(meter) == []


def test_backlogs_are_told_by_state_and_by_the_oldest() -> None:
    clock = SystemClock()
    backlog = Backlog(key=F, waiting=3, dead=1, oldest_ms=clock.epoch_ms() - 5_000)
    found = of_events([backlog, Backlog(key=KEY, deliveries=2)], clock)
    assert of(found, metrics.EVENTS_KEPT, "waiting") == 3
    assert of(found, metrics.EVENTS_KEPT, "dead") == 1
    assert of(found, metrics.EVENTS_KEPT, "delivery", key=KEY) == 2
    assert of(found, metrics.OLDEST_AGE) >= 5.0
    assert of(found, metrics.OLDEST_AGE, key=KEY) is None


def test_concurrency_is_told_by_account_and_by_version() -> None:
    counter = Counter(10)
    counter.provision(F, "1", requested=2, available=2)
    leases = [counter.acquire(F, "1", 0.0) for _ in range(3)]
    found = of_concurrency(counter)
    scope = (F.account, F.region)
    assert numbers(found[metrics.CONCURRENT])[scope] == 3
    assert numbers(found[metrics.UNRESERVED])[scope] == 1
    assert numbers(found[metrics.LIMIT])[scope] == 10
    assert of(found, metrics.PROVISIONED, "1") == 2
    assert of(found, metrics.PROVISIONED_USED, "1") == 1.0
    assert of(found, metrics.PROVISIONED_INVOCATIONS, "1") == 2
    assert of(found, metrics.PROVISIONED_SPILLED, "1") == 1
    for lease in leases:
        lease.release()
    assert of(of_concurrency(counter), metrics.PROVISIONED_INVOCATIONS, "1") == 2
