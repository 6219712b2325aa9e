"""AWS's header and W3C's are two ways to write one thing."""

import pytest

from hearth.model.traces import TraceHeader, from_traceparent, parse

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
TRACE = "5759e988bd862e3fe1be46a994272793"


def test_a_header_is_taken_apart_and_goes_on_below_another_span() -> None:
    header = parse(f"Root={ROOT};Parent=53995C3F42CD8AD8;Sampled=1;Lineage=a:1|b:2;Self=x")
    assert header == TraceHeader(ROOT, "53995c3f42cd8ad8", True, ";Lineage=a:1|b:2")
    assert header.trace == TRACE
    assert header.sampled_as("00000000000000aa") == (
        f"Root={ROOT};Parent=00000000000000aa;Sampled=1;Lineage=a:1|b:2"
    )


@pytest.mark.parametrize(
    ("text", "sampled"), [("", None), (";Sampled=?", None), (";Sampled=0", False)]
)
def test_a_header_may_leave_the_decision_open(text: str, sampled: bool | None) -> None:
    header = parse(f"Root={ROOT}{text}")
    assert header is not None
    assert header.sampled is sampled


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "given",
        "Root=",
        "Root=1-2-3",
        "Root=1-5759e988-bd862e3fe1be46a99427279x",
        f"root={ROOT}",
        ";;=",
    ],
)
def test_what_names_no_trace_is_none(text: str | None) -> None:
    assert parse(text) is None


def test_a_parent_that_is_no_span_is_none() -> None:
    header = parse(f"Root={ROOT};Parent=xyz")
    assert header is not None
    assert header.parent is None


@pytest.mark.parametrize(("flags", "sampled"), [("01", 1), ("00", 0), ("03", 1)])
def test_a_traceparent_names_the_same_trace(flags: str, sampled: int) -> None:
    header = from_traceparent(f"00-{TRACE}-53995c3f42cd8ad8-{flags}")
    assert header == f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled={sampled}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{TRACE}-53995c3f42cd8ad8",
        f"ff-{TRACE}-53995c3f42cd8ad8-01",
        f"00-{'0' * 32}-53995c3f42cd8ad8-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-53995c3f42cd8ad8-01",
        f"00-{TRACE}-53995c3f42cd8ad8-01-more",
    ],
)
def test_a_traceparent_that_is_not_valid_is_none(text: str) -> None:
    assert from_traceparent(text) is None
