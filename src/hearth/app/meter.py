"""Who counts what functions do? Plain numbers by function, added to while it happens.

A warm invoke pays one look-up and a few additions; nothing becomes text before somebody asks
(`app/metrics_view.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from hearth.base import metrics
from hearth.base.metrics import Histogram
from hearth.model.errors import ServiceError, TooManyRequests
from hearth.model.events import AsyncEvent, Condition, Delivery, TargetKind
from hearth.model.ids import FunctionKey
from hearth.model.invocations import InvokeCall, InvokeResult

Name = tuple[str, str, str]
"""Account, region and name of a function."""

CODES_MAX: Final = 100


class FunctionCounts:
    """What one function did since the start."""

    __slots__ = (
        "cold_starts",
        "dead_letter_errors",
        "deliveries",
        "destination_failures",
        "duration",
        "errors",
        "event_age",
        "invocations",
        "received",
        "recursive_dropped",
        "settled",
        "throttles",
        "untold",
    )

    def __init__(self) -> None:
        self.invocations = 0
        self.errors = 0
        self.throttles = 0
        self.cold_starts = 0
        self.duration = Histogram(metrics.DURATION)
        self.recursive_dropped = 0
        self.received = 0
        self.event_age = Histogram(metrics.ASYNC_AGE)
        self.settled: dict[str, int] = {}
        self.untold: dict[str, int] = {}
        self.deliveries: dict[str, int] = {}
        self.destination_failures = 0
        self.dead_letter_errors = 0


class Meter:
    """The Meter of `events/contract.py`, and what invokes are counted by."""

    def __init__(self) -> None:
        self._functions: dict[Name, FunctionCounts] = {}
        self.refusals: dict[str, int] = {}
        """By the error's code."""

    def __iter__(self) -> Iterator[tuple[Name, FunctionCounts]]:
        return iter(self._functions.items())

    def forget(self, name: Name) -> None:
        """Of a function that is gone."""
        self._functions.pop(name, None)

    def of(self, account: str, region: str, name: str) -> FunctionCounts:
        known = self._functions.get((account, region, name))
        if known is None:
            known = self._functions[account, region, name] = FunctionCounts()
        return known

    def invoked(self, call: InvokeCall, result: InvokeResult) -> None:
        if result.execution_arn is not None:
            return  # its execution's invocations are counted one by one
        counts = self._of_call(call)
        counts.invocations += 1
        phases = result.phases
        if result.function_error is not None:
            counts.errors += 1
        if phases.start_s is not None:
            counts.cold_starts += 1
        if phases.run_s is not None:
            counts.duration.add(phases.run_s)

    def refused(self, call: InvokeCall, error: ServiceError) -> None:
        if isinstance(error, TooManyRequests):
            self._of_call(call).throttles += 1
        elif error.code == "RecursiveInvocationException":
            self._of_call(call).recursive_dropped += 1
        _add(self.refusals, error.code)

    # --- asynchronous events

    def received(self, key: FunctionKey) -> None:
        self._of_key(key).received += 1

    def started(self, event: AsyncEvent, age_s: float) -> None:
        self._of_key(event.key).event_age.add(age_s)

    def settled(self, key: FunctionKey, condition: Condition) -> None:
        _add(self._of_key(key).settled, condition)

    def dropped(self, key: FunctionKey, condition: Condition) -> None:
        """And its function names no target for it."""
        _add(self._of_key(key).untold, condition)

    def stopped_recursion(self, key: FunctionKey) -> None:
        """Counted where it was refused, like those of synchronous invokes."""

    def delivered(self, delivery: Delivery) -> None:
        _add(self._of_key(delivery.settlement.event.key).deliveries, delivery.kind)

    def delivery_failed(self, delivery: Delivery) -> None:
        counts = self._of_key(delivery.settlement.event.key)
        if delivery.kind is TargetKind.DEAD_LETTER:
            counts.dead_letter_errors += 1
        else:
            counts.destination_failures += 1

    def _of_key(self, key: FunctionKey) -> FunctionCounts:
        return self.of(key.account, key.region, key.name)

    def _of_call(self, call: InvokeCall) -> FunctionCounts:
        reference, caller = call.reference, call.caller
        return self.of(reference.account or caller.account, caller.region, reference.name)


class Invoker(Protocol):
    async def invoke(self, call: InvokeCall) -> InvokeResult: ...

    def dry_run(self, call: InvokeCall) -> None: ...

    def accept(self, call: InvokeCall) -> FunctionKey: ...


class MeteredInvoker:
    """The front end's invoker, counted: for whoever invokes, synchronously or from the queue."""

    __slots__ = ("_invoke", "_meter", "accept", "dry_run")

    def __init__(self, invoker: Invoker, meter: Meter) -> None:
        self._invoke = invoker.invoke
        self._meter = meter
        self.dry_run = invoker.dry_run
        self.accept = invoker.accept

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """Raises ServiceError when the function was not run."""
        try:
            result = await self._invoke(call)
        except ServiceError as error:
            self._meter.refused(call, error)
            raise
        self._meter.invoked(call, result)
        return result


def _add(counts: dict[str, int], name: str) -> None:
    counts[str(name)] = counts.get(name, 0) + 1


Counts = Mapping[Name, FunctionCounts]
