import json
from pathlib import Path

from click.testing import CliRunner, Result

from hearth.cli.main import cli


def keys(state: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["keys", *arguments, "--state", str(state)])


def test_a_key_is_made_listed_and_removed(tmp_path: Path) -> None:
    made = keys(tmp_path, "add", "ada", "--account", "111122223333", "--json")
    assert made.exit_code == 0
    key = json.loads(made.stdout)
    listed = json.loads(keys(tmp_path, "list", "--json").stdout)
    assert listed == [
        {
            "access_key": key["access_key"],
            "account": "111122223333",
            "user_arn": "arn:aws:iam::111122223333:user/ada",
        }
    ]
    assert keys(tmp_path, "remove", key["access_key"]).exit_code == 0
    assert json.loads(keys(tmp_path, "list", "--json").stdout) == []


def test_the_shell_can_take_a_new_key_as_it_is_printed(tmp_path: Path) -> None:
    lines = keys(tmp_path, "add", "ada").stdout.splitlines()
    assert [line.split("=")[0] for line in lines] == [
        "export AWS_ACCESS_KEY_ID",
        "export AWS_SECRET_ACCESS_KEY",
    ]


def test_the_secret_is_shown_once(tmp_path: Path) -> None:
    secret = json.loads(keys(tmp_path, "add", "ada", "--json").stdout)["secret_key"]
    for arguments in (["list"], ["list", "--json"]):
        assert secret not in keys(tmp_path, *arguments).output


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    assert "12 digits" in keys(tmp_path, "add", "ada", "--account", "me").stderr
    unknown = keys(tmp_path, "remove", "AKIANOBODY")
    assert (unknown.exit_code, unknown.stderr) == (
        1,
        "hearth: There is no key AKIANOBODY. See them with: hearth keys list\n",
    )
    (tmp_path / "keys.json").write_text("{")
    assert "Repair it or move it away." in keys(tmp_path, "list").stderr
