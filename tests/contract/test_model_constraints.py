"""For each operation, member and constraint of the model: break it alone, and see what is said.

The whole edge over a real control plane, without sockets. Each answer must be AWS's text for just
what is broken, at once, and nothing may have changed: no write to the engine, no file, no invoke.
Operations that Hearth does not have yet are held to the same, up to their handlers.
"""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from fakes.constraint_breakers import Broken, sound, structure_breaks
from fakes.function_api import CREATE, MODEL
from fakes.http import FakeResponder
from fakes.whole_edge import AUTHORIZATION, WholeEdge, whole_edge
from fakes.wire_requests import rest_request
from hearth.api.operation import Operation, OperationRequest, OperationResponse

NAMES = tuple(name for name in MODEL.operation_names if MODEL.operation_model(name).input_shape)
CASES_MIN = 30_000
"""Of all operations together: the generator must not run dry unseen."""

SHOWN_MAX = 5
OUTSIDE_BODY = frozenset({"uri", "querystring", "header"})


async def _never(request: OperationRequest) -> OperationResponse:
    raise AssertionError("a request that breaks a constraint reached its handler")


async def _stage(stage: WholeEdge) -> None:
    """Something of each kind is there under the names that the requests use."""
    for name, members in (
        ("CreateFunction", CREATE),
        ("PublishVersion", {"FunctionName": "f"}),
        ("CreateAlias", {"FunctionName": "f", "Name": "f", "FunctionVersion": "1"}),
        ("TagResource", {"Resource": _function_arn(), "Tags": {"f": "1"}}),
        ("PutFunctionConcurrency", {"FunctionName": "f", "ReservedConcurrentExecutions": 5}),
        ("PutFunctionEventInvokeConfig", {"FunctionName": "f", "MaximumRetryAttempts": 1}),
        (
            "AddPermission",
            {
                "FunctionName": "f",
                "StatementId": "f",
                "Action": "lambda:InvokeFunction",
                "Principal": "s3.amazonaws.com",
            },
        ),
    ):
        answer = await stage.answer(_request(MODEL.operation_model(name), dict(members)))
        assert answer.status in (200, 201, 204), (name, answer.body)
        await stage.plane.settled()


def _function_arn() -> str:
    return "arn:aws:lambda:eu-central-1:123456789012:function:f"


def _request(operation: OperationModel, members: dict[str, Any]) -> Any:
    return rest_request(operation, members, authorization=AUTHORIZATION)


def _can_be_sent(operation: OperationModel, case: Broken) -> bool:
    """A path has no empty or absent label, a query no null, a header only printable ASCII."""
    assert operation.input_shape is not None
    for name, shape in operation.input_shape.members.items():
        value = case.value.get(name)
        match shape.serialization.get("location"):
            case "uri" if value in (None, ""):
                return False
            case "querystring" if name in case.value and (value in (None, []) or _has_null(value)):
                return False
            case "header" if isinstance(value, str):
                if not (value.isascii() and value.isprintable() and value == value.strip()):
                    return False
    return True


def _has_null(value: Any) -> bool:
    return isinstance(value, list) and None in value


def _expected(case: Broken) -> tuple[str, str]:
    """(code, message)"""
    texts = [str(violation) for violation in case.violations]
    if case.special:
        return "InvalidParameterValueException", texts[0].replace("'", "", 2) + " or be a valid ARN"
    noun = "error" if len(texts) == 1 else "errors"
    return "ValidationException", f"{len(texts)} validation {noun} detected: {'; '.join(texts)}"


def _sorted_enums(text: str) -> str:
    """Value sets in the order of the alphabet: the order has tests of its own (`java.py`)."""

    def in_order(found: re.Match[str]) -> str:
        return f"enum value set: [{', '.join(sorted(found[1].split(', ')))}]"

    return re.sub(r"enum value set: \[([^\]]*)\]", in_order, text)


def _without_runtimes(text: str) -> str:
    """AWS's own list of runtimes is not the model's."""
    return re.sub(r"enum value set: \[[^\]]*python3[^\]]*\]", "enum value set: [RUNTIMES]", text)


def _fault(answer: FakeResponder, case: Broken) -> str | None:
    code, message = _expected(case)
    got = (answer.status, answer.headers.get("x-amzn-ErrorType"), answer.json.get("message"))
    wanted = (400, code, message)
    shown = tuple(_without_runtimes(_sorted_enums(str(part))) for part in got)
    if shown != tuple(_without_runtimes(_sorted_enums(str(part))) for part in wanted):
        return f"\n      got {shown}\n   wanted {wanted}"
    return None


def _cases(operation: OperationModel) -> Iterator[Broken]:
    shape = operation.input_shape
    assert isinstance(shape, StructureShape)
    for full in (False, True):
        for case in structure_breaks(shape, full=full):
            if _can_be_sent(operation, case):
                yield case


async def _try_all(stage: WholeEdge, operation: OperationModel) -> list[str]:
    faults = []
    before = stage.snapshot()
    for case in _cases(operation):
        answer = stage.send(_request(operation, case.value))
        if answer.status is not None:
            fault = _fault(answer, case)
        else:
            await stage.requests.wait_idle()
            fault = f"was let through: {answer.status} {answer.body!r}"
        if stage.snapshot() != before:
            fault = f"{fault or ''}, and changed something"
            before = stage.snapshot()
        if fault is not None:
            where = case.violations[0].path
            faults.append(f"{operation.name} {where} ({case.what}): {fault}")
    return faults


@pytest.fixture(scope="module")
def missing() -> tuple[Operation, ...]:
    """What the edge does not answer yet."""

    async def table(directory: Path) -> tuple[Operation, ...]:
        async with whole_edge(directory) as stage:
            rows = stage.edge.operations_table()
        lacking = (row for row in rows if row.service == "lambda" and not row.is_implemented)
        return tuple(Operation("lambda", row.name, _never) for row in lacking)

    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(table(Path(directory)))


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_constraint_is_refused_in_awss_words_and_changes_nothing(
    name: str, tmp_path: Path, missing: tuple[Operation, ...]
) -> None:
    async def scene() -> list[str]:
        async with whole_edge(tmp_path, *missing) as stage:
            await _stage(stage)
            return await _try_all(stage, MODEL.operation_model(name))

    faults = asyncio.run(scene())
    assert not faults, f"{len(faults)} faults, among them:\n" + "\n".join(faults[:SHOWN_MAX])


def test_there_are_as_many_cases_as_the_model_has_constraints() -> None:
    count = sum(1 for name in NAMES for _ in _cases(MODEL.operation_model(name)))
    assert count >= CASES_MIN, count


# --- values of the wrong type

LIST = "Start of list found where not expected"
OBJECT = "Start of structure or map found where not expected."
KINDS = {
    "string": "a String",
    "integer": "an Integer",
    "long": "a Long",
    "float": "a Float",
    "double": "a Double",
    "boolean": "a Boolean",
    "blob": "a Blob",
    "timestamp": "a Timestamp",
}


def _wrong_types(shape: Shape) -> Iterator[tuple[Any, str]]:
    """(value, AWS's text): what JSON can hold and the shape cannot."""
    match shape:
        case StructureShape():
            yield from (([], LIST), ("x", "Expected null"), (1, "Expected null"))
        case ListShape():
            yield from (({}, OBJECT), ("x", "Expected list or null"), (1, "Expected list or null"))
        case MapShape():
            yield from (([], LIST), ("x", "Expected map or null"), (True, "Expected map or null"))
        case _:
            kind = shape.type_name
            yield [], LIST
            yield {}, OBJECT
            if kind != "boolean":
                yield True, f"TRUE_VALUE can not be converted to {KINDS[kind]}"
                yield False, f"FALSE_VALUE can not be converted to {KINDS[kind]}"
            if kind in ("string", "boolean", "blob"):
                yield 7, f"NUMBER_VALUE can not be converted to {KINDS[kind]}"
            if kind != "string":
                yield "?", f"STRING_VALUE can not be converted to {KINDS[kind]}"


def _mistyped(shape: Shape, depth: int = 0) -> Iterator[tuple[Any, str]]:
    """The same at every depth."""
    yield from _wrong_types(shape)
    if depth > 4:
        return
    match shape:
        case StructureShape():
            base = sound(shape, depth=1)
            for name, member in shape.members.items():
                for value, text in _mistyped(member, depth + 1):
                    yield {**base, name: value}, text
        case ListShape():
            yield from (([value], text) for value, text in _mistyped(shape.member, depth + 1))
        case MapShape():
            key = sound(shape.key)
            yield from (({key: value}, text) for value, text in _mistyped(shape.value, depth + 1))


def _mistyped_requests(operation: OperationModel) -> Iterator[tuple[dict[str, Any], str]]:
    assert isinstance(operation.input_shape, StructureShape)
    base = sound(operation.input_shape)
    payload = operation.input_shape.serialization.get("payload")
    for name, member in operation.input_shape.members.items():
        location = member.serialization.get("location")
        if name == payload or location == "header":
            continue
        if location == "querystring" and member.type_name in ("integer", "long", "timestamp"):
            text = f"STRING_VALUE can not be converted to {KINDS[member.type_name]}"
            yield from (({**base, name: wrong}, text) for wrong in ("x", "1.5", "", "１"))
        elif location is None:
            yield from (({**base, name: value}, text) for value, text in _mistyped(member))


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_the_wrong_type_is_refused_in_awss_words_and_changes_nothing(
    name: str, tmp_path: Path, missing: tuple[Operation, ...]
) -> None:
    operation = MODEL.operation_model(name)

    async def scene() -> list[str]:
        faults = []
        async with whole_edge(tmp_path, *missing) as stage:
            await _stage(stage)
            before = stage.snapshot()
            for members, text in _mistyped_requests(operation):
                answer = stage.send(_request(operation, members))
                wanted = (400, "SerializationException", text)
                if answer.status is None:
                    await stage.requests.wait_idle()
                got = (
                    answer.status,
                    answer.headers.get("x-amzn-ErrorType"),
                    answer.json.get("message"),
                )
                if got != wanted or stage.snapshot() != before:
                    faults.append(f"{members}\n      got {got}\n   wanted {wanted}")
                    before = stage.snapshot()
        return faults

    faults = asyncio.run(scene())
    assert not faults, f"{len(faults)} faults, among them:\n" + "\n".join(faults[:SHOWN_MAX])
