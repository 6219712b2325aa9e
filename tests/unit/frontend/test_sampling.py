"""Who is traced, and what does the function see of it?"""

from itertools import count

import pytest

from fakes.invokes import function_version
from hearth.app.samplers import OtelSampler
from hearth.frontend.sampling import Sampling, completed

PLAIN = function_version("plain")
ACTIVE = function_version("active", is_traced=True)


def header(number: int, more: str = "") -> str:
    """Traces whose ids end in `number`."""
    return f"Root=1-6955b900-{number:024x}{more}"


class Scene:
    def __init__(self, sampler: OtelSampler | None = None) -> None:
        self.now_s = 100.0
        spans = count(1)
        self.sampling = Sampling(lambda: self.now_s, lambda: f"{next(spans):016x}", sampler)


REST = 0xFFFFFFFF
"""The end of a trace's id that is not among the 5 %."""


def test_an_active_function_has_one_request_a_second_and_a_twentieth_of_the_rest() -> None:
    scene = Scene()
    first, span = scene.sampling.decide(header(REST), ACTIVE)
    assert (first, span) == (header(REST, ";Parent=0000000000000001;Sampled=1"), "0" * 15 + "1")
    assert scene.sampling.decide(header(REST), ACTIVE) == (header(REST), None)
    of_the_rest = [
        scene.sampling.decide(header(n << 20), ACTIVE)[1] is not None for n in range(1 << 12)
    ]
    assert sum(of_the_rest) == pytest.approx((1 << 12) * 0.05, abs=1)
    scene.now_s += 1.0
    assert scene.sampling.decide(header(REST), ACTIVE)[1] is not None


def test_each_function_has_its_own_request_a_second() -> None:
    scene = Scene()
    other = function_version("other", is_traced=True)
    assert scene.sampling.decide(header(REST), ACTIVE)[1] is not None
    assert scene.sampling.decide(header(REST), other)[1] is not None


@pytest.mark.parametrize(("said", "sampled"), [(";Sampled=1", True), (";Sampled=0", False)])
def test_the_callers_decision_counts(said: str, sampled: bool) -> None:
    scene = Scene()
    for _ in range(3):
        assert (scene.sampling.decide(header(REST, said), ACTIVE)[1] is not None) is sampled


def test_pass_through_hands_the_callers_header_on() -> None:
    given = header(1, ";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1")
    assert Scene().sampling.decide(given, PLAIN) == (given, None)


def test_the_lineage_stays_and_the_parent_is_ours() -> None:
    given = header(1, ";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1")
    assert Scene().sampling.decide(given, ACTIVE) == (
        header(1, ";Parent=0000000000000001;Sampled=1;Lineage=a:1"),
        "0000000000000001",
    )


def test_what_names_no_trace_is_not_sampled() -> None:
    assert Scene(OtelSampler("always_on")).sampling.decide("given", ACTIVE) == ("given", None)


def test_with_an_exporter_the_sampler_decides_for_every_function() -> None:
    scene = Scene(OtelSampler())
    assert scene.sampling.decides_all
    assert scene.sampling.decide(header(REST), PLAIN)[1] is not None
    assert scene.sampling.decide(header(REST, ";Sampled=0"), PLAIN)[1] is None


def test_an_active_function_is_sampled_also_where_the_sampler_says_no() -> None:
    scene = Scene(OtelSampler("parentbased_always_off"))
    assert scene.sampling.decide(header(REST), PLAIN)[1] is None
    assert scene.sampling.decide(header(REST), ACTIVE)[1] is not None


LOW, HIGH = "f" * 16 + "0" * 16, "f" * 32


@pytest.mark.parametrize(
    ("name", "argument", "trace", "parent", "sampled"),
    [
        ("always_on", "", HIGH, False, True),
        ("always_off", "", LOW, True, False),
        ("traceidratio", "0.5", LOW, False, True),
        ("traceidratio", "0.5", HIGH, True, False),
        ("traceidratio", "", HIGH, None, True),
        ("parentbased_always_on", "", HIGH, None, True),
        ("parentbased_always_on", "", HIGH, False, False),
        ("parentbased_always_off", "", LOW, True, True),
        ("parentbased_traceidratio", "0", LOW, None, False),
    ],
)
def test_the_samplers_of_opentelemetry(
    name: str, argument: str, trace: str, parent: bool | None, sampled: bool
) -> None:
    assert OtelSampler(name, argument).samples(trace, parent) is sampled


@pytest.mark.parametrize(
    ("name", "argument", "said"),
    [
        ("jaeger_remote", "", "OTEL_TRACES_SAMPLER must be one of always_on"),
        ("traceidratio", "2", "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1"),
        ("traceidratio", "half", "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1"),
    ],
)
def test_a_sampler_that_there_is_not_is_refused(name: str, argument: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OtelSampler(name, argument)


REQUEST = "01234567-89ab-4cde-8f01-23456789abcd"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (header(1), header(1, ";Parent=8f0123456789abcd;Sampled=0")),
        (header(1, ";Parent=53995c3f42cd8ad8"), header(1, ";Parent=53995c3f42cd8ad8;Sampled=0")),
        (header(1, ";Sampled=1"), header(1, ";Sampled=1")),
        ("given", "given"),
    ],
)
def test_a_function_always_finds_a_parent_and_a_decision(given: str, shown: str) -> None:
    assert completed(given, REQUEST) == shown
