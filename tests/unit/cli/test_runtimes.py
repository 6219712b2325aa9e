"""hearth runtimes, over a machine that the test describes."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner, Result

from hearth.cli.main import cli
from hearth.control.validation import RUNTIMES
from hearth.model.errors import InvalidRuntime
from hearth.runtimes import survey
from hearth.runtimes.survey import RuntimeStatus
from hearth.settings import Surroundings

FOUND = [
    RuntimeStatus("python3.9", False, "too old", is_supported=False),
    RuntimeStatus("python3.12", True, "/usr/bin/python3.12 (3.12.4)"),
    RuntimeStatus("nodejs22.x", False, "not installed", "Add it with: nvm install 22"),
]


@dataclass
class Machine:
    prepared: list[str] = field(default_factory=list)

    async def survey_runtimes(self, surroundings: Surroundings) -> list[RuntimeStatus]:
        return FOUND

    async def prepare_runtime(self, name: str, surroundings: Surroundings) -> None:
        if name == "nodejs22.x":
            raise InvalidRuntime("nodejs22.x is not installed on this machine.")
        self.prepared.append(name)


def run(*arguments: str, machine: Machine | None = None) -> Result:
    return CliRunner().invoke(cli, ["runtimes", *arguments], obj=machine or Machine())


def test_each_runtime_is_listed_with_what_is_to_be_done() -> None:
    lines = [line.split() for line in run().stdout.splitlines()]
    assert lines[0] == ["RUNTIME", "STATE", "DETAIL", "TO", "DO"]
    assert [line[:2] for line in lines[1:]] == [
        ["python3.9", "unsupported"],
        ["python3.12", "available"],
        ["nodejs22.x", "missing"],
    ]
    assert lines[3][-3:] == ["nvm", "install", "22"]


def test_json_has_the_same() -> None:
    answer = json.loads(run("--json").stdout)
    assert [entry["name"] for entry in answer if entry["available"]] == ["python3.12"]
    assert answer[2]["fix"] == "Add it with: nvm install 22"


def test_runtimes_are_set_up_on_request() -> None:
    machine = Machine()
    arguments = ("--prepare", "python3.12", "--prepare", "python3.11", "--json")
    answer = run(*arguments, machine=machine)
    assert answer.exit_code == 0
    assert machine.prepared == ["python3.12", "python3.11"]
    refused = run("--prepare", "nodejs22.x")
    assert refused.exit_code == 1
    assert "hearth: nodejs22.x is not installed on this machine." in refused.stderr


def test_what_never_runs_is_refused_by_name_with_what_to_do() -> None:
    why = survey.why_never("python3.9")
    assert why.startswith("The runtime python3.9 cannot run on this version of Hearth: AWS's")
    assert why.endswith("needs python3.10 or newer. Use python3.10 or newer.")
    assert "AssemblyName bootstrap, as provided.al2023" in survey.why_never("dotnet8")
    assert survey.why_never("ruby4.0").startswith("The runtime ruby4.0 cannot run on this version")


def test_every_runtime_that_a_function_may_have_is_listed(tmp_path: Path) -> None:
    listed = [status.name for status in survey.survey(tmp_path / "cache", [], tmp_path)]
    assert set(listed) == RUNTIMES
    assert len(listed) == len(RUNTIMES)
