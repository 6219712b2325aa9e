"""Versions and aliases on the invoke path: which one runs, and how it was addressed."""

import math
from collections import Counter

import pytest

from fakes.invokes import FunctionTable, function_key, function_version, invoke_call
from hearth.frontend.resolve import resolve
from hearth.model.errors import ResourceConflict, ResourceNotFound
from hearth.model.functions import Alias, FunctionVersion, State

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
LATEST = function_version()
V1 = function_version(version="1", revision_id="r1")
V2 = function_version(version="2", revision_id="r2")


def alias(name: str, version: str, **weights: float) -> Alias:
    return Alias(
        key=function_key("f"),
        name=name,
        version=version,
        weights={number.removeprefix("v"): share for number, share in weights.items()},
        revision_id="a",
    )


def table(*published: FunctionVersion | Alias, seed: int = 1) -> FunctionTable:
    functions = FunctionTable(LATEST, seed=seed)
    for one in (V1, V2, *published):
        functions.publish(one)
    return functions


@pytest.mark.parametrize(
    ("reference", "qualifier", "version"),
    [
        ("f", "1", V1),
        ("f:2", None, V2),
        (f"{ARN}:2", "2", V2),
        ("f", "live", V2),
        ("f:live", "live", V2),
        (f"{ARN}:live", None, V2),
        ("f:edge", None, LATEST),
    ],
)
def test_a_qualifier_finds_its_version_and_stays_in_the_arn(
    reference: str, qualifier: str | None, version: FunctionVersion
) -> None:
    functions = table(alias("live", "2"), alias("edge", "$LATEST"))
    name = qualifier or reference.rsplit(":", 1)[1]
    call = invoke_call(reference, qualifier=qualifier)
    assert resolve(call, functions) == (version, f"{ARN}:{name}")


@pytest.mark.parametrize(("version", "qualifier"), [("9", "live"), ("9", "9")])
def test_an_alias_or_number_without_a_version_is_not_found(version: str, qualifier: str) -> None:
    with pytest.raises(ResourceNotFound) as missing:
        resolve(invoke_call("f", qualifier=qualifier), table(alias("live", version)))
    assert missing.value.message == f"Function not found: {ARN}:{qualifier}"


def test_a_version_that_is_pending_cannot_be_invoked_though_latest_can() -> None:
    functions = table(function_version(version="3", state=State.PENDING))
    assert resolve(invoke_call(), functions) == (LATEST, ARN)
    with pytest.raises(ResourceConflict, match="state: Pending"):
        resolve(invoke_call("f:3"), functions)


def runs(functions: FunctionTable, invokes: int) -> Counter[str]:
    return Counter(resolve(invoke_call("f:live"), functions)[0].version for _ in range(invokes))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.01])
def test_a_share_of_the_invokes_goes_to_the_other_version(share: float, seed: int) -> None:
    invokes = 5_000
    got = runs(table(alias("live", "1", v2=share), seed=seed), invokes)
    error = math.sqrt(share * (1 - share) / invokes)
    assert got.total() == invokes
    assert abs(got["2"] / invokes - share) < 4 * error


@pytest.mark.parametrize(("share", "version"), [(0.0, "1"), (1.0, "2")])
def test_no_share_and_the_whole_share_are_exact(share: float, version: str) -> None:
    assert runs(table(alias("live", "1", v2=share)), 2_000) == {version: 2_000}


def test_the_same_seed_routes_the_same_way() -> None:
    split = alias("live", "1", v2=0.5)
    one, two = table(split, seed=7), table(split, seed=7)
    call = invoke_call("f:live")
    assert [resolve(call, one) for _ in range(50)] == [resolve(call, two) for _ in range(50)]
