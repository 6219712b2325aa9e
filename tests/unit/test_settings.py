import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from hearth.cli.main import cli
from hearth.settings import (
    OPTIONS,
    Auth,
    SandboxChoice,
    StartRefused,
    is_loopback,
    read_client_settings,
    read_duration_s,
    read_settings,
    read_state,
    read_surroundings,
    state_default,
)

HOME = {"HOME": "/home/ada"}


def test_without_flags_and_environment_the_defaults_hold() -> None:
    settings = read_settings({}, HOME)
    assert (settings.host, settings.port) == ("127.0.0.1", 4566)
    assert (settings.auth, settings.sandbox) == (Auth.OPEN, SandboxChoice.AUTO)
    assert settings.account_concurrency == 1_000
    assert (settings.keepalive_s, settings.drain_s) == (600.0, 10.0)
    assert settings.freeze_after_s == 0.5
    assert (settings.log_level, settings.region) == ("info", "us-east-1")
    assert settings.nats_server is None
    assert settings.state == state_default(HOME)


def test_a_flag_beats_the_environment_which_beats_the_default() -> None:
    environment = {"HEARTH_KEEPALIVE": "5m", "HEARTH_DRAIN": "3", **HOME}
    settings = read_settings({"keepalive_s": "7", "drain_s": None}, environment)
    assert (settings.keepalive_s, settings.drain_s) == (7.0, 3.0)


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert read_settings({}, {"HEARTH_LISTEN": "", **HOME}).port == 4566


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("localhost:80", "localhost", 80),
        ("[::1]:4566", "::1", 4566),
        ("9000", "127.0.0.1", 9000),
        ("127.9.9.9:1", "127.9.9.9", 1),
    ],
)
def test_where_to_listen(text: str, host: str, port: int) -> None:
    settings = read_settings({"listen": text}, HOME)
    assert (settings.host, settings.port) == (host, port)


@pytest.mark.parametrize(
    ("field", "flag", "text"),
    [
        ("listen", "--listen", "127.0.0.1"),
        ("listen", "--listen", "127.0.0.1:"),
        ("listen", "--listen", ":4566"),
        ("listen", "--listen", "127.0.0.1:65536"),
        ("listen", "--listen", "127.0.0.1:-1"),
        ("listen", "--listen", "http://127.0.0.1:4566"),
        ("listen", "--listen", "::1:4566"),
        ("listen", "--listen", "[nonsense]:4566"),
        ("auth", "--auth", "none"),
        ("sandbox", "--sandbox", "docker"),
        ("account_concurrency", "--account-concurrency", "0"),
        ("account_concurrency", "--account-concurrency", "many"),
        ("keepalive_s", "--keepalive", "soon"),
        ("keepalive_s", "--keepalive", "-1"),
        ("drain_s", "--drain", "2h"),
        ("memory_fraction", "--memory-fraction", "80%"),
        ("memory_fraction", "--memory-fraction", "nan"),
        ("log_group_mb", "--log-mb", "1.5"),
        ("log_level", "--log-level", "loud"),
        ("region", "--region", "../.."),
        ("state", "--state", ""),
        ("nats_server", "--nats-server", ""),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_flag(field: str, flag: str, text: str) -> None:
    with pytest.raises(StartRefused) as refused:
        read_settings({field: text}, HOME)
    assert str(refused.value).startswith(f"{flag} must be ")
    assert repr(text) in str(refused.value)


def test_choices_are_named_as_one_says_them() -> None:
    with pytest.raises(
        StartRefused, match=r"must be auto, bubblewrap, .*runsc or process, not 'docker'"
    ):
        read_settings({"sandbox": "docker"}, HOME)


def test_a_wrong_variable_is_refused_by_its_own_name_too() -> None:
    with pytest.raises(StartRefused, match=r"^--auth \(from HEARTH_AUTH\) must be open or sigv4"):
        read_settings({}, {"HEARTH_AUTH": "iam", **HOME})


@pytest.mark.parametrize("listen", ["0.0.0.0:4566", "[::]:4566", "10.0.0.1:1", "example.com:80"])
def test_a_door_to_the_network_needs_signatures(listen: str) -> None:
    with pytest.raises(StartRefused, match="--auth sigv4"):
        read_settings({"listen": listen}, HOME)
    assert read_settings({"listen": listen, "auth": "sigv4"}, HOME).auth is Auth.SIGV4


def test_what_is_loopback() -> None:
    assert [h for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::") if is_loopback(h)] == [
        "127.0.0.1",
        "::1",
        "localhost",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5h", 5_400), ("250ms", 0.25), ("2d", 172_800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration_s(text) == seconds


def test_the_state_of_root_and_of_others() -> None:
    if os.geteuid() == 0:
        assert state_default(HOME) == Path("/var/lib/hearth")
    else:
        assert state_default(HOME) == Path("/home/ada/.local/share/hearth")
        assert state_default({"XDG_DATA_HOME": "/data", **HOME}) == Path("/data/hearth")
        assert state_default({"XDG_DATA_HOME": "data", **HOME}).is_relative_to("/home/ada")


def test_what_can_be_made_again_is_kept_where_it_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    nowhere = {"HOME": str(file), "XDG_CACHE_HOME": str(file / "cache")}
    with_cache = read_surroundings({"HOME": str(tmp_path)}, state=tmp_path / "state")
    without = read_surroundings(nowhere, state=tmp_path / "state")
    if os.geteuid() == 0:
        assert with_cache.cache == without.cache == Path("/var/cache/hearth")
    else:
        assert with_cache.cache == tmp_path / ".cache" / "hearth"
        assert without.cache == tmp_path / "state" / "cache"
        assert read_surroundings(nowhere).cache == file / "cache" / "hearth", "the user said so"


def test_the_state_directory_is_absolute_wherever_it_comes_from() -> None:
    assert read_settings({"state": "here"}, HOME).state == Path.cwd() / "here"
    assert read_state("here", HOME).state == Path.cwd() / "here"
    assert read_state(None, {"HEARTH_STATE": "/there"}).run_file == Path("/there/run/hearth.json")
    assert read_state("/here", {"HEARTH_STATE": "/there"}).state == Path("/here")


def test_a_state_directory_without_a_name_is_refused_by_every_command() -> None:
    with pytest.raises(StartRefused, match="--state must be a path, not ''"):
        read_state("", {"HEARTH_STATE": "/there"})
    assert read_state(None, {"HEARTH_STATE": "", **HOME}).state == state_default(HOME)
    for command in ("status", "down", "ps", "logs"):
        refused = CliRunner().invoke(cli, [command, "--state", ""])
        assert (refused.exit_code, refused.stderr) == (
            1,
            "hearth: --state must be a path, not ''.\n",
        )


def test_finding_the_state_does_not_depend_on_any_other_setting() -> None:
    assert read_state("/here", {"HEARTH_AUTH": "nonsense"}).state == Path("/here")


def test_every_flag_has_its_variable() -> None:
    assert [option.variable for option in OPTIONS][:2] == ["HEARTH_LISTEN", "HEARTH_STATE"]
    assert len({option.variable for option in OPTIONS}) == len(OPTIONS)


def test_what_an_aws_client_is_told() -> None:
    client = read_client_settings(
        {
            "AWS_ENDPOINT_URL": "http://one",
            "AWS_ENDPOINT_URL_LAMBDA": "http://two",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "",
        }
    )
    assert (client.endpoint, client.region, client.access_key) == ("http://two", "eu-west-1", None)


def test_networks_that_nat_opens_are_a_list() -> None:
    assert read_settings({}, HOME).nat_allow == ()
    settings = read_settings({"nat_allow": "10.1.0.0/16, 192.168.7.0/24", "network": "nat"}, HOME)
    assert settings.nat_allow == ("10.1.0.0/16", "192.168.7.0/24")
    assert settings.network == "nat"
    for wrong in ("10.1.0.1/16", "everything", "fd00::/8"):
        with pytest.raises(StartRefused, match="--nat-allow must be IPv4 networks"):
            read_settings({"nat_allow": wrong}, HOME)
