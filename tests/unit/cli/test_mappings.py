"""hearth mappings, over an admin socket that says what the test wants."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from fakes.admin import administered
from hearth.api.admin_mappings import MappingRow, mapping_routes
from hearth.cli.main import cli


def row(function: str, source: str) -> MappingRow:
    return MappingRow(
        uuid="u-1",
        account="000000000000",
        region="us-east-1",
        function=function,
        source=source,
        state="Enabled",
        result="PROBLEM: \x1b[2J",
        pollers=1,
        running=2,
        polled=3,
        filtered=0,
        invoked=3,
        failed=1,
        dropped=0,
    )


class Table:
    def __init__(self, *rows: MappingRow) -> None:
        self._rows = rows

    def rows(self) -> tuple[MappingRow, ...]:
        return self._rows


def run(state: Path, table: Table, *arguments: str) -> Result:
    with administered(state, mapping_routes(table)):
        return CliRunner().invoke(cli, ["mappings", "--state", str(state), *arguments])


def test_mappings_are_listed_and_do_no_harm_to_a_terminal(tmp_path: Path) -> None:
    queue, stream = "arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:kinesis:r:0:stream/s"
    table = Table(row("f:live", queue), row("g", stream))
    lines = run(tmp_path, table).stdout.splitlines()
    assert lines[0].split()[:3] == ["FUNCTION", "SOURCE", "STATE"]
    assert lines[1].split()[:6] == ["f:live", "sqs:q", "Enabled", "3", "1", "2"]
    assert lines[2].split()[1] == "kinesis:stream/s"
    assert "\x1b" not in lines[1]
    found = json.loads(run(tmp_path, table, "f", "--json").stdout)
    assert [one["function"] for one in found] == ["f:live"]


def test_none_is_said(tmp_path: Path) -> None:
    assert "No event source mappings." in run(tmp_path, Table()).output
    assert "None of f." in run(tmp_path, Table(row("g", "a:b:c:d:e:q")), "f").output
