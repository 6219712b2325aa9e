"""Recursive loops: counted in the trace header, ended after sixteen runs."""

import pytest

from fakes.invokes import FunctionTable, function_version, invoke_call
from hearth.frontend.lineage import (
    FUNCTIONS_MAX,
    RUNS_MAX,
    RecursiveInvocation,
    runs_so_far,
    with_run,
)
from hearth.frontend.resolve import resolve

F, G = function_version("f"), function_version("g")
TRACE = "Root=1-65000000-000000000000000000000000;Parent=0000000000000000;Sampled=0"


def after(runs: int, trace: str = TRACE) -> str:
    for _run in range(runs):
        trace = with_run(trace, F.key)
    return trace


def test_a_header_counts_the_runs_of_each_function_apart() -> None:
    trace = with_run(after(3), G.key)
    assert runs_so_far(trace, F.key) == 3
    assert runs_so_far(trace, G.key) == 1
    assert trace.startswith(f"{TRACE};Lineage=")


def test_the_seventeenth_run_of_a_chain_is_stopped() -> None:
    functions = FunctionTable(F, G)
    resolve(invoke_call("f", trace_id=after(RUNS_MAX - 1)), functions)
    with pytest.raises(RecursiveInvocation):
        resolve(invoke_call("f", trace_id=after(RUNS_MAX)), functions)
    resolve(invoke_call("g", trace_id=after(RUNS_MAX)), functions)


def test_a_function_that_may_loop_goes_on() -> None:
    functions = FunctionTable(F)
    functions.loops.add(F.key)
    resolve(invoke_call("f", trace_id=after(RUNS_MAX + 5)), functions)


@pytest.mark.parametrize(
    "lineage",
    ["", ":", "x", "x:y", "x:-1", "::1", "|", "x:99999999999999999999", "\u0661:\u0661"],
)
def test_a_lineage_that_is_none_of_ours_stops_nothing(lineage: str) -> None:
    trace = f"Root=1-2-3;Lineage={lineage};Sampled=0"
    assert runs_so_far(trace, F.key) == 0
    assert runs_so_far(with_run(trace, F.key), F.key) == 1


def test_a_chain_through_many_functions_keeps_a_header_that_is_accepted() -> None:
    trace = TRACE
    functions = [function_version(f"f{number}") for number in range(3 * FUNCTIONS_MAX)]
    for function in functions:
        for _run in range(RUNS_MAX):
            trace = with_run(trace, function.key)
    assert len(trace) <= 512
    assert runs_so_far(trace, functions[-1].key) == RUNS_MAX
    assert runs_so_far(trace, functions[0].key) == 0
