"""The table of operations says what is there, and the page says what the table says."""

import asyncio
from pathlib import Path

import pytest

from fakes.constraint_breakers import sound
from fakes.function_api import CREATE, MODEL
from fakes.http import FakeResponder
from fakes.whole_edge import AUTHORIZATION, whole_edge
from fakes.wire_requests import rest_request
from hearth.api.compatibility import SERVICES, page
from hearth.api.edge import OperationRow
from hearth.api.shapes import load_service
from hearth.api.support import Status

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"


def _rows(directory: Path) -> tuple[OperationRow, ...]:
    async def scene() -> tuple[OperationRow, ...]:
        async with whole_edge(directory) as stage:
            return stage.edge.operations_table()

    return asyncio.run(scene())


def test_every_operation_of_the_models_is_described_and_no_other() -> None:
    for service, table in SERVICES.items():
        assert set(table) == set(load_service(service).operation_names), service


def test_what_is_described_as_working_is_there_and_what_is_there_is_described(
    tmp_path: Path,
) -> None:
    there = {(row.service, row.name) for row in _rows(tmp_path) if row.is_implemented}
    described = {
        (service, name)
        for service, table in SERVICES.items()
        for name, support in table.items()
        if support.status is not Status.UNSUPPORTED
    }
    assert there == described


def test_all_but_what_works_fully_says_why() -> None:
    for table in SERVICES.values():
        for name, support in table.items():
            assert bool(support.note) is (support.status is not Status.WORKS), name


def test_the_page_is_the_tables() -> None:
    assert PAGE.read_text() == page(), "stale: run tools/compatibility.py"


@pytest.mark.parametrize(
    "name", [n for n, s in SERVICES["lambda"].items() if s.status is Status.UNSUPPORTED]
)
def test_what_is_not_supported_says_so_and_changes_nothing(name: str, tmp_path: Path) -> None:
    operation = MODEL.operation_model(name)
    members = sound(operation.input_shape) if operation.input_shape is not None else {}

    async def scene() -> FakeResponder:
        async with whole_edge(tmp_path) as stage:
            creation = rest_request(
                MODEL.operation_model("CreateFunction"), CREATE, authorization=AUTHORIZATION
            )
            assert (await stage.answer(creation)).status == 201
            await stage.plane.settled()
            before = stage.snapshot()
            answer = await stage.answer(
                rest_request(operation, members, authorization=AUTHORIZATION)
            )
            assert stage.snapshot() == before
        return answer

    answer = asyncio.run(scene())
    assert answer.status == 501
    assert answer.headers["x-amzn-ErrorType"] == "NotImplementedException"
    assert name in str(answer.json) or "URL" in str(answer.json)
