import pytest
from click.testing import CliRunner

from hearth.cli import output
from hearth.cli.main import COMMANDS, cli


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.85, "850ms"),
        (42.4, "42s"),
        (59.9, "60s"),
        (187, "3m07s"),
        (3_599, "59m59s"),
        (18_720, "5h12m"),
        (273_600, "3d4h"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_what_a_function_printed_does_nothing_to_the_terminal() -> None:
    assert output.harmless("\x1b]0;t\x07\tplain\né\x9b\r") == "\\x1b]0;t\\x07\tplain\né\\x9b\\x0d"


def test_a_table_that_is_piped_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(["NAME", "AGE>"], [["a", "100s"], ["long-name", "2s"]])
    assert capsys.readouterr().out == ("NAME        AGE\na          100s\nlong-name    2s\n")


def test_every_command_has_help_with_an_example() -> None:
    runner = CliRunner()
    listed = runner.invoke(cli, ["--help"])
    assert listed.exit_code == 0
    commands = [*COMMANDS]
    assert {
        "up",
        "down",
        "status",
        "ps",
        "logs",
        "events",
        "mappings",
        "invoke",
        "deploy",
        "event",
        "executions",
        "doctor",
        "runtimes",
        "keys",
    } == {*commands}
    events = [["events", name] for name in ("list", "show", "redrive", "purge")]
    keys = [["keys", "add"], ["keys", "remove"]]
    for command in [*([c] for c in commands if c != "keys"), *events, *keys]:
        shown = runner.invoke(cli, [*command, "--help"])
        assert shown.exit_code == 0
        assert "Example" in shown.output, command


def test_a_misspelt_command_is_told_what_it_may_be() -> None:
    done = CliRunner().invoke(cli, ["stauts"])
    assert (done.exit_code, "Did you mean 'status'?" in done.output) == (2, True)
    assert "Did you mean" not in CliRunner().invoke(cli, ["zzz"]).output


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output.startswith("hearth ")
