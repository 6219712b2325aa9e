import click
import pytest
from click.testing import CliRunner

from hearth.cli import output
from hearth.cli.main import COMMANDS, cli
from hearth.settings import read_colour


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


WIDE = ["FUNCTION", "SOURCE", "POLLED>", "DETAIL~"]
ROW = ["hello", "stream/orders", "12", "a path of /several/long/parts/that/may/be/broken"]


def test_a_table_fits_where_no_word_is_broken_that_may_not_be() -> None:
    needed = len("FUNCTION") + len("stream/orders") + len("POLLED") + 22 + 4 * 2
    assert output.fits(WIDE, [ROW], needed)
    assert not output.fits(WIDE, [ROW], needed - 1)
    assert output.fits(["NAME"], [], 80)


def test_a_table_that_does_not_fit_is_shown_row_by_row() -> None:
    shown = click.unstyle(
        output.stacked(["FUNCTION", "SOURCE", "RESULT"], [["f", "q", ""], ["g", "s", "OK"]])
    )
    assert shown == "f\n  source  q\n\ng\n  source  s\n  result  OK"


@pytest.mark.parametrize(
    ("environment", "colour"),
    [({}, None), ({"NO_COLOR": ""}, None), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_who_wants_no_colours_gets_none(environment: dict[str, str], colour: bool | None) -> None:
    assert read_colour(environment) is colour


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert f"_HEARTH_COMPLETE={shell}_complete" in done.output


def test_every_command_has_help_with_an_example() -> None:
    runner = CliRunner()
    listed = runner.invoke(cli, ["--help"])
    assert listed.exit_code == 0
    commands = [*COMMANDS]
    for name in commands:
        assert f"  {name} " in listed.output
    assert "..." not in listed.output.partition("Functions:")[2], "no sentence is cut off"
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
