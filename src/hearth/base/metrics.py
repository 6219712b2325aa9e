"""What does Hearth measure? Every metric there is, with its unit and meaning, in one table.

Names after `hearth_` are AWS's where AWS has the metric (AsyncEventAge is
`hearth_async_event_age_seconds`). Whoever counts adds to plain numbers; they become text when
somebody asks (`render`). `tests/unit/base/test_metrics.py` finds one that nobody supplies.

Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Labels = tuple[str, ...]


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Kind
    meaning: str
    labels: Labels = ()
    unit: str = ""
    """Empty: a number of things."""
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets."""


FUNCTION: Final = ("account", "region", "function")
SCOPE: Final = ("account", "region")
VERSION: Final = (*FUNCTION, "version")

_DURATION_S: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 300.0, 900.0)
_AGE_S: Final = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0)


def _counter(name: str, meaning: str, labels: Labels = FUNCTION) -> Metric:
    return Metric(name, Kind.COUNTER, meaning, labels)


def _gauge(name: str, meaning: str, labels: Labels = (), unit: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, meaning, labels, unit)


# --- invokes
INVOCATIONS: Final = _counter("invocations", "Times that the function's code was run.")
ERRORS: Final = _counter("errors", "Invocations that ended in a function error.")
THROTTLES: Final = _counter("throttles", "Invokes refused for want of concurrency; not run.")
DURATION: Final = Metric(
    "duration",
    Kind.HISTOGRAM,
    "From a sandbox that is ready for the event to the function's answer.",
    FUNCTION,
    "seconds",
    _DURATION_S,
)
COLD_STARTS: Final = _counter("cold_starts", "Invocations that had to wait for a new sandbox.")
REFUSALS: Final = _counter("invoke_refusals", "Invokes that were not run, by error.", ("code",))
RECURSIVE_DROPPED: Final = _counter(
    "recursive_invocations_dropped", "Invokes stopped because they were part of a loop."
)

# --- asynchronous invokes
ASYNC_RECEIVED: Final = _counter("async_events_received", "Events accepted and queued.")
ASYNC_AGE: Final = Metric(
    "async_event_age",
    Kind.HISTOGRAM,
    "Between accepting an event and beginning an attempt to run it.",
    FUNCTION,
    "seconds",
    _AGE_S,
)
ASYNC_SETTLED: Final = _counter(
    "async_events_settled", "Events that came to their end.", (*FUNCTION, "condition")
)
ASYNC_DROPPED: Final = _counter(
    "async_events_dropped",
    "Events that came to their end without success, told to a target or not.",
    (*FUNCTION, "condition"),
)
ASYNC_UNTOLD: Final = _counter(
    "async_events_untold",
    "Of them, those whose function names no target; kept for a while as dead events.",
    (*FUNCTION, "condition"),
)
DELIVERIES: Final = _counter(
    "event_deliveries", "Targets that were told how an event ended.", (*FUNCTION, "kind")
)
DESTINATION_FAILURES: Final = _counter(
    "destination_delivery_failures", "Destinations that could not be told, for good."
)
DEAD_LETTER_ERRORS: Final = _counter(
    "dead_letter_errors", "Dead letter targets that could not be told, for good."
)
EVENTS_KEPT: Final = _gauge(
    "async_events_kept",
    "Events that wait, are delayed, are dead, or whose target is to be told.",
    (*FUNCTION, "state"),
)
OLDEST_AGE: Final = _gauge(
    "async_oldest_event_age", "Of the event that waits longest.", FUNCTION, "seconds"
)

# --- event source mappings
MAPPING: Final = (*FUNCTION, "mapping")
MAPPING_RECORDS: Final = _counter(
    "event_source_records",
    "Records of an event source, by what was done: polled, filtered out, given to the function, "
    "failed, deleted from their queue, dropped from their stream, told to the failure destination.",
    (*MAPPING, "outcome"),
)
MAPPING_POLLERS: Final = _gauge(
    "event_source_pollers", "Pollers of a queue, or shards of a stream that are read.", MAPPING
)
ITERATOR_AGE: Final = Metric(
    "iterator_age",
    Kind.HISTOGRAM,
    "Of the last record of a stream's batch, when its function has it.",
    MAPPING,
    "seconds",
    _AGE_S,
)

# --- durable executions
DURABLE_STARTED: Final = _counter("durable_execution_started", "Durable executions that began.")
DURABLE_ENDED: Final = _counter(
    "durable_execution_ended", "Durable executions that are over, by how.", (*FUNCTION, "status")
)
DURABLE_RUNNING: Final = _gauge(
    "approximate_running_durable_executions", "Durable executions that are not over.", FUNCTION
)

# --- concurrency
CONCURRENT: Final = _gauge("concurrent_executions", "Invokes that run.", SCOPE)
UNRESERVED: Final = _gauge(
    "unreserved_concurrent_executions", "Of functions without reserved concurrency.", SCOPE
)
LIMIT: Final = _gauge("concurrency_limit", "Invokes that may run at a time.", SCOPE)
PROVISIONED: Final = _gauge(
    "provisioned_concurrent_executions", "Invokes that run on provisioned concurrency.", VERSION
)
PROVISIONED_USED: Final = _gauge(
    "provisioned_concurrency_utilization", "Share of it that is in use, 0 to 1.", VERSION
)
PROVISIONED_INVOCATIONS: Final = _counter(
    "provisioned_concurrency_invocations", "Invokes that got provisioned concurrency.", VERSION
)
PROVISIONED_SPILLED: Final = _counter(
    "provisioned_concurrency_spillover_invocations",
    "Invokes of a version with provisioned concurrency that ran without.",
    VERSION,
)

# --- the platform
ENGINE: Final = _gauge("engine_works", "1 if the engine takes writes; else 0.")
SANDBOXES: Final = _gauge("sandboxes", "Sandboxes, by state.", ("state",))
MEMORY: Final = _gauge("sandbox_memory", "Of all sandboxes together.", (), "bytes")
FUNCTIONS: Final = _gauge("functions", "Functions that there are.")
LOG_LINES_LOST: Final = _counter("log_lines_lost", "Lines that could not be kept.", ())
SPANS: Final = _counter(
    "trace_spans",
    "Spans that were exported, failed to be, or were dropped for want of room.",
    ("exporter", "outcome"),
)
UPTIME: Final = _gauge("uptime", "Since the start.", (), "seconds")

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


class Histogram:
    """How often, and how much, in plain numbers."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, metric: Metric) -> None:
        self._bounds = metric.bounds
        self.counts = [0] * (len(metric.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


Values = Iterable[tuple[Labels, float | Histogram]]
"""Of the metric's labels, and of the metric."""


def render(values: Mapping[Metric, Values]) -> bytes:
    """Prometheus's text format. Every metric of the table must be there, if only empty."""
    from prometheus_client import generate_latest  # late: only who is scraped pays for it

    class Collector:
        def collect(self) -> Iterable[Any]:
            return [_family(metric, values[metric]) for metric in ALL]

    return generate_latest(Collector())


def _family(metric: Metric, values: Values) -> Any:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    name = f"hearth_{metric.name}" + (f"_{metric.unit}" if metric.unit else "")
    kinds: dict[Kind, Any] = {
        Kind.COUNTER: CounterMetricFamily,
        Kind.GAUGE: GaugeMetricFamily,
        Kind.HISTOGRAM: HistogramMetricFamily,
    }
    family = kinds[metric.kind](name, metric.meaning, labels=metric.labels)
    for labels, value in sorted(values, key=lambda item: item[0]):
        if isinstance(value, Histogram):
            family.add_metric(labels, _buckets(metric, value), value.total)
        else:
            family.add_metric(labels, value)
    return family


def _buckets(metric: Metric, histogram: Histogram) -> list[tuple[str, int]]:
    """Each with all that is in the smaller ones, as Prometheus has them."""
    so_far, buckets = 0, []
    for bound, count in zip((*metric.bounds, float("inf")), histogram.counts, strict=True):
        so_far += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), so_far))
    return buckets
