"""What are all metrics now? Collected from the parts when somebody asks."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from hearth.app.durable import of_durable
from hearth.app.event_sources import of_sources
from hearth.app.meter import FunctionCounts, Name
from hearth.app.parts import Parts
from hearth.app.tracing import Tracing
from hearth.base import metrics
from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.base.metrics import Histogram, Labels, Metric, Values, render
from hearth.counting.counter import Counter
from hearth.engine.contract import EngineUnavailable
from hearth.model.events import Backlog, Condition
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

ENGINE_S: Final = 5.0
"""How long a scrape waits for what is in the queues."""

log = Log("metrics")

Numbers = dict[Labels, float]


class MetricsView:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._meter = parts.meter
        self._began_s = parts.clock.monotonic_s()

    async def text(self) -> bytes:
        """Prometheus's text format."""
        parts = self._parts
        backlogs = await self._backlogs()
        text = render(
            {
                **of_functions(self._meter),
                **of_events(backlogs, parts.clock),
                **of_concurrency(parts.counter),
                **of_sources(parts.sources),
                **of_durable(parts.durable),
                **self._of_platform(),
            }
        )
        self._forget_gone()
        return text

    async def _backlogs(self) -> tuple[Backlog, ...]:
        """None of any, if the engine does not answer: all else is told all the same."""
        try:
            async with asyncio.timeout(ENGINE_S):
                return await self._parts.events.desk.backlogs()
        except (EngineUnavailable, TimeoutError) as error:
            log.warning("metrics without events: the engine does not answer", error=error)
            return ()

    def _of_platform(self) -> Mapping[Metric, Values]:
        parts = self._parts
        sandboxes: Numbers = {}
        for status in parts.manager.sandboxes():
            sandboxes[status.state,] = sandboxes.get((status.state,), 0) + 1
        memory = sum(used.used_bytes for used in parts.worker.memory().values())
        return {
            metrics.ENGINE: [((), parts.engine_health.is_working)],
            metrics.SANDBOXES: sandboxes.items(),
            metrics.MEMORY: [((), memory)],
            metrics.FUNCTIONS: [((), len(parts.replica.everything()))],
            metrics.LOG_LINES_LOST: [((), parts.logs.lines_lost)],
            metrics.SPANS: _of_spans(parts.tracing),
            metrics.UPTIME: [((), parts.clock.monotonic_s() - self._began_s)],
            metrics.REFUSALS: [((code,), n) for code, n in self._meter.refusals.items()],
        }

    def _forget_gone(self) -> None:
        """What a deleted function did was told once more."""
        for name in [name for name, _ in self._meter]:
            if self._parts.replica.get(_key(name)) is None:
                self._meter.forget(name)


def _of_spans(tracing: Tracing | None) -> Values:
    queues = () if tracing is None else tracing.queues
    return [
        ((queue.name, outcome), getattr(queue, outcome))
        for queue in queues
        for outcome in ("exported", "failed", "dropped")
    ]


def of_functions(counted: Iterable[tuple[Name, FunctionCounts]]) -> Mapping[Metric, Values]:
    functions = dict(counted)

    def each(read: Callable[[FunctionCounts], float | Histogram]) -> Values:
        return [(name, read(counts)) for name, counts in functions.items()]

    def by(read: Callable[[FunctionCounts], Mapping[str, int]]) -> Values:
        return [
            ((*name, label), number)
            for name, counts in functions.items()
            for label, number in read(counts).items()
        ]

    return {
        metrics.INVOCATIONS: each(lambda counts: counts.invocations),
        metrics.ERRORS: each(lambda counts: counts.errors),
        metrics.THROTTLES: each(lambda counts: counts.throttles),
        metrics.COLD_STARTS: each(lambda counts: counts.cold_starts),
        metrics.DURATION: each(lambda counts: counts.duration),
        metrics.RECURSIVE_DROPPED: each(lambda counts: counts.recursive_dropped),
        metrics.ASYNC_RECEIVED: each(lambda counts: counts.received),
        metrics.ASYNC_AGE: each(lambda counts: counts.event_age),
        metrics.ASYNC_SETTLED: by(lambda counts: counts.settled),
        metrics.ASYNC_DROPPED: by(lambda counts: _failed(counts.settled)),
        metrics.ASYNC_UNTOLD: by(lambda counts: counts.untold),
        metrics.DELIVERIES: by(lambda counts: counts.deliveries),
        metrics.DESTINATION_FAILURES: each(lambda counts: counts.destination_failures),
        metrics.DEAD_LETTER_ERRORS: each(lambda counts: counts.dead_letter_errors),
    }


def of_events(backlogs: Iterable[Backlog], clock: Clock) -> Mapping[Metric, Values]:
    kept: Numbers = {}
    oldest: Numbers = {}
    now_ms = clock.epoch_ms()
    for backlog in backlogs:
        name = (backlog.key.account, backlog.key.region, backlog.key.name)
        for state, number in (
            ("waiting", backlog.waiting),
            ("delayed", backlog.delayed),
            ("dead", backlog.dead),
            ("delivery", backlog.deliveries),
        ):
            kept[*name, state] = number
        if backlog.oldest_ms is not None:
            oldest[name] = max(0, now_ms - backlog.oldest_ms) / 1000
    return {metrics.EVENTS_KEPT: kept.items(), metrics.OLDEST_AGE: oldest.items()}


def of_concurrency(counter: Counter) -> Mapping[Metric, Values]:
    used: Numbers = {}
    unreserved: Numbers = {}
    limits: Numbers = {}
    for account, region in counter.scopes:
        usage = counter.usage(account, region)
        used[account, region] = usage.in_use
        unreserved[account, region] = usage.unreserved_in_use
        limits[account, region] = usage.limit
    provisions = [
        ((of.function.account, of.function.region, of.function.name, of.version), of)
        for of in counter.provisions()
    ]
    return {
        metrics.CONCURRENT: used.items(),
        metrics.UNRESERVED: unreserved.items(),
        metrics.LIMIT: limits.items(),
        metrics.PROVISIONED: [(name, of.in_use) for name, of in provisions],
        metrics.PROVISIONED_USED: [(n, of.utilization) for n, of in provisions],
        metrics.PROVISIONED_INVOCATIONS: [(n, of.invocations) for n, of in provisions],
        metrics.PROVISIONED_SPILLED: [(n, of.spilled) for n, of in provisions],
    }


def _failed(settled: Mapping[str, int]) -> Mapping[str, int]:
    return {name: number for name, number in settled.items() if name != Condition.SUCCESS}


def _key(name: Name) -> FunctionKey:
    account, region, function = name
    return FunctionKey(AccountId(account), Region(region), FunctionName(function))
