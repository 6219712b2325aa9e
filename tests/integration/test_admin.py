"""The admin API on a real unix socket, asked by the real commands."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fakes.admin import AdminPlatform, administered
from hearth.api.admin import SandboxRow, listen
from hearth.base.clock import SystemClock
from hearth.cli import run_directory
from hearth.cli.admin_client import AdminClient
from hearth.cli.main import cli
from hearth.cli.output import Failure
from hearth.model.ids import AccountId, Region
from hearth.model.logs import LogGroup
from hearth.settings import StatePaths

pytestmark = pytest.mark.integration

JANUARY_MS = 1_767_225_600_000


def group(name: str, region: str = "us-east-1") -> LogGroup:
    return LogGroup(AccountId("000000000000"), Region(region), f"/aws/lambda/{name}")


HELLO = group("hello")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[AdminPlatform]:
    with administered(tmp_path) as found:
        yield found


def hearth(platform: AdminPlatform, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--state", str(platform.paths.state)])


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to be")


def test_nobody_but_its_owner_can_reach_the_socket(platform: AdminPlatform) -> None:
    assert platform.paths.admin_socket.stat().st_mode & 0o777 == 0o600


def test_status_says_where_and_how_much(platform: AdminPlatform) -> None:
    result = hearth(platform, "status")
    assert result.exit_code == 0
    assert "endpoint     http://127.0.0.1:4566\n" in result.stdout
    assert "up for       2m05s\n" in result.stdout
    assert "sandboxes    2 (1 busy)\n" in result.stdout
    assert json.loads(hearth(platform, "status", "--json").stdout)["invokes"] == 42


def test_ps_lists_the_sandboxes(platform: AdminPlatform) -> None:
    assert hearth(platform, "ps").stdout == ""
    platform.sandboxes = [
        SandboxRow(
            sandbox="s1",
            account="000000000000",
            region="us-east-1",
            function="hello",
            version="$LATEST",
            state="idle",
            age_s=61.0,
            memory_bytes=40 * 1_048_576,
            memory_max_bytes=128 * 1_048_576,
            invokes=7,
        )
    ]
    _, row = hearth(platform, "ps").stdout.splitlines()
    assert " ".join(row.split()) == "hello $LATEST idle 1m01s 40 MB of 128 MB 7 s1"
    assert json.loads(hearth(platform, "ps", "--json").stdout)[0]["invokes"] == 7


def test_the_log_is_printed_with_times_or_raw(platform: AdminPlatform) -> None:
    platform.append(HELLO, JANUARY_MS + 7, b"one", b"\xfftwo\x1b")
    result = hearth(platform, "logs", "hello")
    assert result.stdout == (
        "2026-01-01T00:00:00.007Z  one\n2026-01-01T00:00:00.007Z  \ufffdtwo\x1b\n"
    )
    assert hearth(platform, "logs", "hello", "-n", "1", "--raw").stdout == "\ufffdtwo\x1b\n"


def test_an_event_of_several_lines_is_shown_as_lines_unless_raw(platform: AdminPlatform) -> None:
    platform.append(HELLO, JANUARY_MS, b"Traceback:\r  one\r  two")
    shown = hearth(platform, "logs", "hello").stdout
    assert shown == "2026-01-01T00:00:00.000Z  Traceback:\n  one\n  two\n"
    raw = hearth(platform, "logs", "hello", "--raw").stdout_bytes
    assert raw == b"Traceback:\r  one\r  two\n"


def test_the_log_can_be_asked_for_from_a_time_on(platform: AdminPlatform) -> None:
    now_ms = SystemClock().epoch_ms()
    for n in range(2_500):  # more than one page
        platform.append(HELLO, JANUARY_MS + n, b"%d" % n)
    platform.append(HELLO, now_ms, b"now")

    def since(time: str) -> list[str]:
        result = hearth(platform, "logs", "hello", "--raw", "--since", time)
        assert result.exit_code == 0
        return result.stdout.splitlines()

    assert since("2026-01-01T00:00:00Z") == [*map(str, range(2_500)), "now"]
    assert since("2026-01-01T00:00:02.499+00:00") == ["2499", "now"]
    assert since("5m") == ["now"]
    assert "--since must be a time like" in hearth(platform, "logs", "hello", "--since", "x").stderr


def test_functions_of_one_name_are_told_apart(platform: AdminPlatform) -> None:
    platform.append(HELLO, 1, b"here")
    platform.append(group("hello", "eu-west-1"), 1, b"there")
    both = hearth(platform, "logs", "hello")
    assert both.exit_code == 1
    assert "--account 000000000000 --region eu-west-1" in both.stderr
    assert hearth(platform, "logs", "hello", "--raw", "--region", "eu-west-1").stdout == "there\n"
    arn = "arn:aws:lambda:us-east-1:000000000000:function:hello"
    assert hearth(platform, "logs", arn, "--raw").stdout == "here\n"


def test_a_function_without_a_log_is_said_so(platform: AdminPlatform) -> None:
    assert "There is no log of a function 'nobody'" in hearth(platform, "logs", "nobody").stderr
    assert "neither a function's name nor an ARN" in hearth(platform, "logs", "a/b").stderr


def test_following_shows_what_comes_until_hearth_ends(platform: AdminPlatform) -> None:
    platform.append(HELLO, 1, b"before")
    client = AdminClient(platform.paths)
    until(lambda: client.groups() == [HELLO])
    results: list[Result] = []
    follower = threading.Thread(
        target=lambda: results.append(hearth(platform, "logs", "hello", "-f", "--raw", "-n", "0"))
    )
    follower.start()
    for n in range(50):
        platform.append(HELLO, n, b"%d" % n)
        follower.join(timeout=0.01)
    assert follower.is_alive()
    last = client.last_logs(HELLO, limit=1)
    assert last.events[0].message == "49"
    platform.end()
    follower.join(timeout=60)
    [result] = results
    assert (result.exit_code, result.stderr) == (0, "The log ends here: Hearth has stopped.\n")
    shown = [int(line) for line in result.stdout.splitlines()]
    assert shown == list(range(50))[50 - len(shown) :]


def test_waiting_for_lines_ends_with_the_next_line(platform: AdminPlatform) -> None:
    platform.append(HELLO, 1, b"one")
    client = AdminClient(platform.paths)
    until(lambda: client.groups() == [HELLO])
    cursor = client.last_logs(HELLO, limit=1).cursor
    timer = threading.Timer(0.05, platform.append, (HELLO, 2, b"two"))
    timer.start()
    assert [line.message for line in client.next_logs(HELLO, after=cursor).events] == ["two"]
    timer.join()


def test_down_stops_it_and_says_so(platform: AdminPlatform) -> None:
    result = hearth(platform, "down")
    assert (result.exit_code, result.stderr) == (0, "Hearth has stopped.\n")
    again = hearth(platform, "down")
    assert again.exit_code == 0
    assert again.stderr == f"Hearth is not running on {platform.paths.state}.\n"
    assert hearth(platform, "status").exit_code == 1


def test_a_bug_behind_the_socket_is_no_traceback_in_front_of_it(platform: AdminPlatform) -> None:
    platform.broken = True
    assert hearth(platform, "status").stderr == "hearth: Internal error; see Hearth's log.\n"
    platform.broken = False
    assert hearth(platform, "status").exit_code == 0


def test_what_is_no_question_is_refused(platform: AdminPlatform) -> None:
    client = AdminClient(platform.paths)
    for method, path, words in [
        ("GET", "/nothing", "There is nothing at /nothing."),
        ("POST", "/status", "/status wants GET."),
        ("GET", "/stop", "/stop wants POST."),
        ("GET", "/logs?group=x", "not a log group"),
        ("GET", "/logs?account=000000000000&region=r&group=g&limit=x", "limit must be"),
        ("GET", "/logs?account=000000000000&region=r&group=g&after=x", "not an event id"),
    ]:
        with pytest.raises(Failure, match=words.replace("?", r"\?")):
            client._ask(method, path, dict[str, str])


def test_a_state_directory_deeper_than_a_sockets_path_may_be_long_works(tmp_path: Path) -> None:
    state = tmp_path / ("x" * 200) / "state"
    with administered(state) as platform:
        assert hearth(platform, "status").exit_code == 0


def test_a_socket_that_a_killed_one_left_is_replaced(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path)
    run_directory.make(paths)
    listen(paths.admin_socket).close()  # the file stays
    with administered(tmp_path) as platform:
        assert hearth(platform, "status").exit_code == 0
