import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hearth.cli import run_directory
from hearth.cli.main import cli
from hearth.model.diagnosis import Diagnosis, Finding, Level
from hearth.settings import Settings, StartRefused, StatePaths, Surroundings

ENDPOINT = "http://127.0.0.1:41234"


class FakePlatform:
    """Is ready at once; then does what the test says, and waits for `stop`."""

    def __init__(
        self,
        *,
        then: Callable[[], None] = lambda: signal.raise_signal(signal.SIGTERM),
        error: Exception | None = None,
        diagnosis: Diagnosis | None = None,
    ) -> None:
        self.settings: Settings | None = None
        self.drained = False
        self._then = then
        self._error = error
        self._diagnosis = diagnosis

    async def run(
        self,
        settings: Settings,
        surroundings: Surroundings,
        *,
        ready: Callable[[str], None],
        stop: asyncio.Event,
    ) -> None:
        self.settings = settings
        if self._error is not None:
            async with asyncio.TaskGroup():
                raise self._error
        ready(ENDPOINT)
        self._then()
        await stop.wait()
        self.drained = True

    async def diagnose(self, settings: Settings, surroundings: Surroundings) -> Diagnosis:
        self.settings = settings
        assert self._diagnosis is not None
        return self._diagnosis


def run(platform: FakePlatform, *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, obj=platform)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_a_signal_drains_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    platform = FakePlatform(then=lambda: signal.raise_signal(number))
    result = run(platform, "up", "--state", str(tmp_path), "--drain", "3s")
    assert (result.exit_code, result.stdout) == (0, f"hearth ready {ENDPOINT}\n")
    assert platform.drained
    assert platform.settings is not None
    assert (platform.settings.state, platform.settings.drain_s) == (tmp_path, 3.0)


def test_while_it_runs_others_can_find_it_and_afterwards_not(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path)
    found: list[str] = []

    def look() -> None:
        run_file = run_directory.running(paths)
        assert run_file is not None
        found.append(run_file.endpoint)
        signal.raise_signal(signal.SIGTERM)

    assert run(FakePlatform(then=look), "up", "--state", str(tmp_path)).exit_code == 0
    assert found == [ENDPOINT]
    assert run_directory.running(paths) is None


def test_a_refusal_from_deep_inside_is_one_sentence(tmp_path: Path) -> None:
    platform = FakePlatform(error=StartRefused("There is no sandbox. Try --sandbox process."))
    result = run(platform, "up", "--state", str(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "hearth: There is no sandbox. Try --sandbox process.\n"
    assert run_directory.holder(StatePaths(tmp_path)) is None


def test_a_crash_is_said_to_be_hearths_own_fault(tmp_path: Path) -> None:
    result = run(FakePlatform(error=RuntimeError("oh")), "up", "--state", str(tmp_path))
    assert result.exit_code == 1
    assert "Hearth ended because of an error of its own" in result.stderr
    assert "RuntimeError: oh" in result.stderr


def test_two_on_one_state_directory_are_refused(tmp_path: Path) -> None:
    platform = FakePlatform()
    with run_directory.hold(StatePaths(tmp_path)):
        result = run(platform, "up", "--state", str(tmp_path))
    assert result.exit_code == 1
    assert "Hearth is already running on this state directory" in result.stderr
    assert platform.settings is None


def test_wrong_settings_start_nothing(tmp_path: Path) -> None:
    result = run(FakePlatform(), "up", "--state", str(tmp_path / "s"), "--listen", "0.0.0.0:80")
    assert result.exit_code == 1
    assert "--auth sigv4" in result.stderr
    assert not (tmp_path / "s").exists()


GOOD = Diagnosis((Finding(Level.OK, "sandbox", "bubblewrap works"),), True)
BETTER = Diagnosis(
    (
        Finding(Level.OK, "sandbox", "bubblewrap works"),
        Finding(Level.WARN, "memory limit", "watched only", "systemctl edit user@.service"),
    ),
    True,
)
BAD = Diagnosis((Finding(Level.FAIL, "sandbox", "no user namespaces", "sysctl -w x=1"),), False)


@pytest.mark.parametrize("option", ["--port", "--host", "-p"])
def test_what_others_call_the_address_is_answered_with_its_name_here(option: str) -> None:
    result = CliRunner().invoke(cli, ["up", option, "9000"], obj=FakePlatform())
    assert result.exit_code == 2
    assert f"No such option: {option}. The address is --listen HOST:PORT" in result.output


def test_other_options_that_there_are_not_are_told_as_ever() -> None:
    result = CliRunner().invoke(cli, ["up", "--lissen", "9000"], obj=FakePlatform())
    assert result.exit_code == 2
    assert "No such option" in result.output
    assert "Did you mean" in result.output


@pytest.mark.parametrize("arguments", [["events", "--state"], ["events", "list", "--state"]])
def test_the_events_of_a_hearth_that_does_not_run(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, [*arguments, str(tmp_path)], obj=FakePlatform())
    assert result.exit_code == 1
    assert f"Hearth is not running on {tmp_path}" in result.output
    before = ["events", "--state", str(tmp_path), "list"]
    assert CliRunner().invoke(cli, before, obj=FakePlatform()).output == result.output


@pytest.mark.parametrize(
    ("diagnosis", "code", "verdict"),
    [
        (GOOD, 0, "Everything is there."),
        (BETTER, 0, "the steps above make it better"),
        (BAD, 1, "Functions cannot be sandboxed here."),
    ],
)
def test_the_doctor_says_what_is_and_what_helps(
    diagnosis: Diagnosis, code: int, verdict: str
) -> None:
    result = run(FakePlatform(diagnosis=diagnosis), "doctor")
    assert result.exit_code == code
    assert verdict in result.stdout
    for finding in diagnosis.findings:
        assert finding.detail in result.stdout
        assert finding.fix in result.stdout


def test_the_doctor_looks_with_the_settings_of_up(tmp_path: Path) -> None:
    platform = FakePlatform(diagnosis=BAD)
    result = run(platform, "doctor", "--state", str(tmp_path), "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["functions_can_be_sandboxed"] is False
    assert told["findings"][0] == {
        "level": "fail",
        "what": "sandbox",
        "detail": "no user namespaces",
        "fix": "sysctl -w x=1",
    }
    assert platform.settings is not None
    assert platform.settings.state == tmp_path
