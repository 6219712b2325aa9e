"""hearth invoke, up to where it asks somebody."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hearth.cli.main import cli


def refusal(tmp_path: Path, *arguments: str) -> str:
    """Of an invoke: nobody listens, so that any comes to an end."""
    environment = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_LAMBDA": None}
    state = ("--state", str(tmp_path / "state"))
    done = CliRunner().invoke(cli, ["invoke", "f", *state, *arguments], env=environment)
    assert done.exit_code == 1
    return done.stderr


@pytest.mark.parametrize("prefix", ["@", "file://", "fileb://"])
def test_a_payload_may_be_named(tmp_path: Path, prefix: str) -> None:
    event = tmp_path / "event.json"
    event.write_text('{"n": 1}')
    assert "Nothing answers at http://127.0.0.1:9" in refusal(tmp_path, "-p", f"{prefix}{event}")
    event.unlink()
    missing = refusal(tmp_path, "-p", f"{prefix}{event}")
    assert missing == f"hearth: {event} cannot be read: No such file or directory.\n"


def test_what_is_not_json_is_told_before_anybody_is_asked(tmp_path: Path) -> None:
    told = refusal(tmp_path, "-p", "event.json")
    assert told.startswith("hearth: The payload is not JSON: Expecting value: line 1 column 1")
    assert told.endswith("A file is given as -p @FILE.\n")
    event = tmp_path / "event.json"
    event.write_bytes(b'{"n": "\xff"}')
    told = refusal(tmp_path, "-f", str(event))
    assert told.startswith("hearth: The payload is not JSON: ")
    assert "@FILE" not in told


def test_an_empty_file_is_for_lambda_to_judge(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert "Nothing answers at" in refusal(tmp_path, "-f", str(tmp_path / "empty"))


def test_what_is_no_execution_is_told_with_how_to_find_one() -> None:
    done = CliRunner().invoke(cli, ["executions", "show", "order-7"])
    assert done.exit_code == 1
    assert done.stderr == (
        "hearth: 'order-7' is not the ARN of an execution. They are listed by: "
        "hearth executions list FUNCTION\n"
    )
