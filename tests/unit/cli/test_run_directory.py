import os
import stat
from pathlib import Path

import pytest

from hearth.cli import run_directory
from hearth.cli.admin_client import AdminClient
from hearth.cli.output import Failure
from hearth.cli.run_directory import RunFile
from hearth.settings import StartRefused, StatePaths

RUN = RunFile(os.getpid(), "http://127.0.0.1:4566", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state")


def test_whoever_holds_it_is_known_by_pid(paths: StatePaths) -> None:
    assert run_directory.holder(paths) is None
    with run_directory.hold(paths):
        assert run_directory.holder(paths) == os.getpid()
    assert run_directory.holder(paths) is None


def test_a_second_one_is_refused_and_told_how_to_stop_the_first(paths: StatePaths) -> None:
    with run_directory.hold(paths):
        run_directory.announce(paths, RUN)
        with pytest.raises(StartRefused) as refused, run_directory.hold(paths):
            pass
        assert str(refused.value) == (
            f"Hearth is already running on this state directory (pid {os.getpid()}, "
            f"http://127.0.0.1:4566). Stop it with: hearth down --state {paths.state}"
        )
        assert run_directory.running(paths) == RUN, "the refused one must not touch its files"


def test_one_that_is_not_ready_is_said_to_start(paths: StatePaths) -> None:
    with run_directory.hold(paths):
        assert run_directory.running(paths) is None
        with (
            pytest.raises(StartRefused, match=r"\(pid \d+, still starting\)"),
            run_directory.hold(paths),
        ):
            pass


def test_what_a_killed_one_left_is_not_believed_and_is_replaced(paths: StatePaths) -> None:
    paths.run.mkdir(parents=True)
    paths.lock.write_text("1\n")
    run_directory.announce(paths, RunFile(1, "http://127.0.0.1:1", "long ago"))
    assert run_directory.running(paths) is None
    with run_directory.hold(paths):
        assert run_directory.running(paths) is None
        run_directory.announce(paths, RUN)
        assert run_directory.running(paths) == RUN


def test_nothing_is_said_after_the_end(paths: StatePaths) -> None:
    with run_directory.hold(paths):
        run_directory.announce(paths, RUN)
    assert run_directory.running(paths) is None
    assert not paths.run_file.exists()


def test_nobody_else_may_look_into_it(paths: StatePaths) -> None:
    with run_directory.hold(paths):
        assert paths.state.stat().st_mode & 0o077 == 0
        assert paths.run.stat().st_mode & 0o077 == 0


def test_children_do_not_inherit_the_lock(paths: StatePaths) -> None:
    with run_directory.hold(paths):
        held = [fd for fd in Path("/proc/self/fd").iterdir() if _leads_to(fd, paths.lock)]
        assert held
        assert not any(os.get_inheritable(int(fd.name)) for fd in held)


def test_a_state_directory_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    paths = StatePaths(tmp_path / "file" / "state")
    with (
        pytest.raises(StartRefused, match="cannot be used: Not a directory"),
        run_directory.hold(paths),
    ):
        pass


def test_a_directory_of_something_else_is_refused_and_left_alone(paths: StatePaths) -> None:
    (paths.state / "code").mkdir(parents=True)
    (paths.state / "code" / "app.py").write_text("precious")
    with (
        pytest.raises(
            StartRefused, match=r"is not empty, and no state directory of Hearth's\. Name"
        ),
        run_directory.hold(paths),
    ):
        pass
    assert [path.name for path in paths.state.iterdir()] == ["code"]


@pytest.mark.parametrize("name", ["lost+found", "run", "keys.json", "engine-credentials.json"])
def test_one_with_what_hearth_or_a_new_file_system_has_is_taken(
    paths: StatePaths, name: str
) -> None:
    paths.state.mkdir()
    if name.endswith(".json"):
        (paths.state / name).write_text("{}")
        (paths.state / "packages").mkdir()
    else:
        (paths.state / name).mkdir()
    with run_directory.hold(paths):
        pass
    with run_directory.hold(paths):
        pass


def _leads_to(link: Path, target: Path) -> bool:
    return link.is_symlink() and link.readlink() == target


def test_a_state_directory_that_takes_no_bytes_is_refused_in_words(paths: StatePaths) -> None:
    run_directory.make(paths)
    paths.lock.symlink_to("/dev/full")  # every write to it fails as on a full disk
    with (
        pytest.raises(StartRefused, match=r"cannot be used: .*Name another with --state DIR"),
        run_directory.hold(paths),
    ):
        pass


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    paths = StatePaths(file)
    with pytest.raises(StartRefused, match="cannot be used: it is a file"):
        run_directory.make(paths)
    with pytest.raises(Failure, match="file is no directory"):
        run_directory.holder(paths)
    with pytest.raises(Failure, match="file is no directory"):
        AdminClient(paths).status()


def test_others_may_not_write_to_a_directory_that_was_there(paths: StatePaths) -> None:
    paths.state.mkdir()
    paths.state.chmod(0o777)
    with run_directory.hold(paths):
        assert stat.S_IMODE(paths.state.stat().st_mode) == 0o755
        assert stat.S_IMODE(paths.run.stat().st_mode) & 0o022 == 0
