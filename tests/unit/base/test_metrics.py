"""The table of metrics, how they are counted, and that somebody supplies each of them."""

import ast
from pathlib import Path

import pytest

import hearth
from hearth.api.metrics import METRICS_TYPE
from hearth.base import metrics
from hearth.base.metrics import ALL, Histogram, Kind, render

ORDER = ("account", "region", "function", "le")
SOURCE = Path(hearth.__file__).parent


def names_used() -> set[str]:
    """Every `metrics.NAME` outside of the table itself."""
    used = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "metrics"
            ):
                used.add(node.attr)
    return used


def test_every_metric_is_supplied_by_somebody() -> None:
    declared = {name for name, value in vars(metrics).items() if value in ALL}
    assert declared - names_used() == set()


def test_every_metric_has_a_name_of_its_own_and_a_meaning() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)
    for metric in ALL:
        assert metric.meaning.endswith("."), metric.name
        assert bool(metric.bounds) is (metric.kind is Kind.HISTOGRAM), metric.name
        assert metric.bounds == tuple(sorted(metric.bounds)), metric.name


def test_all_metrics_are_text_that_prometheus_reads() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    duration = Histogram(metrics.DURATION)
    for value in (0.001, 0.0015, 3.0, 1_000.0):
        duration.add(value)
    values: dict[metrics.Metric, metrics.Values] = {metric: [] for metric in ALL}
    values[metrics.INVOCATIONS] = [(("1", "r", "f"), 4)]
    values[metrics.DURATION] = [(("1", "r", "f"), duration)]
    values[metrics.UPTIME] = [((), 2.5)]
    text = render(values).decode()
    samples = {
        (sample.name, *(sample.labels[n] for n in ORDER if n in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["hearth_invocations_total", "1", "r", "f"] == 4
    assert samples["hearth_uptime_seconds",] == 2.5
    assert samples["hearth_duration_seconds_count", "1", "r", "f"] == 4
    assert samples["hearth_duration_seconds_sum", "1", "r", "f"] == pytest.approx(1_003.0025)
    assert samples["hearth_duration_seconds_bucket", "1", "r", "f", "0.001"] == 1
    assert samples["hearth_duration_seconds_bucket", "1", "r", "f", "5.0"] == 3
    assert samples["hearth_duration_seconds_bucket", "1", "r", "f", "+Inf"] == 4
    assert "# HELP hearth_async_events_dropped_total" in text


def test_the_format_is_named_as_its_library_names_it() -> None:
    from prometheus_client import CONTENT_TYPE_LATEST

    assert METRICS_TYPE == CONTENT_TYPE_LATEST


def test_a_metric_that_nobody_supplies_is_an_error() -> None:
    with pytest.raises(KeyError):
        render({})
