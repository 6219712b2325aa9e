"""Does a Hearth run on this state directory, and which? A lock, and a file that says where.

    run/hearth.lock   held with flock for life; holds the pid of who holds it
    run/hearth.json   RunFile, from when it is ready until it ends

The kernel gives the lock back however its holder ends, so after a kill -9 the files are just
stale: whoever gets the lock writes them anew.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from hearth.cli.output import Failure
from hearth.settings import StartRefused, StatePaths

TRIES: Final = 6
RETRY_S: Final = 0.05
"""Whoever looks whether the lock is free holds it for a moment; that is no reason to refuse."""


_OTHERS_WRITE: Final = 0o022
_IN_EMPTY_ONES: Final = frozenset({"lost+found", "run"})
"""What a new file system has, and what a start that was killed at once leaves."""


class RunFile(msgspec.Struct, frozen=True):
    pid: int
    endpoint: str
    started: str


class NotADirectory(Failure):
    def __init__(self, paths: StatePaths) -> None:
        super().__init__(
            f"{paths.state} is no directory. Say with --state DIR where the Hearth that is meant "
            "keeps its state."
        )


@contextmanager
def hold(paths: StatePaths) -> Iterator[None]:
    """Be the one Hearth on this state directory. Raises StartRefused if there is one already, or
    if the directory cannot be used."""
    make(paths)
    try:
        lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(paths, error) from error
    try:
        if not _lock_with_patience(lock):
            raise StartRefused(_is_running(paths))
        _claim(paths, lock)
        try:
            yield
        finally:
            paths.run_file.unlink(missing_ok=True)
            os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _claim(paths: StatePaths, lock: int) -> None:
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        paths.run_file.unlink(missing_ok=True)  # of one that was killed
    except OSError as error:  # a full disk, most likely
        raise _unusable(paths, error) from error


def make(paths: StatePaths) -> None:
    """Make the directories. Raises StartRefused, also if it holds what is not Hearth's."""
    try:
        if _is_foreign(paths):
            raise StartRefused(
                f"{paths.state} is not empty, and no state directory of Hearth's. "
                "Name a new or an empty one with --state DIR."
            )
        paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep_others_out(paths.state)
        paths.run.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(paths, error) from error


def _keep_others_out(directory: Path) -> None:
    """Who may write to it may give us other code and keys. Where it is not ours (a volume of a
    container, say), whoever made it must know. Raises OSError."""
    found = directory.stat()
    if found.st_mode & _OTHERS_WRITE and found.st_uid == os.geteuid():
        directory.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)


def _is_foreign(paths: StatePaths) -> bool:
    """Does it hold something, and nothing that only Hearth makes?"""
    if not paths.state.is_dir():
        return False
    names = {path.name for path in paths.state.iterdir()} - _IN_EMPTY_ONES
    return bool(names) and not any(
        path.exists() for path in (paths.lock, paths.log_file, paths.keys, paths.credentials)
    )


def announce(paths: StatePaths, run: RunFile) -> None:
    """Say where clients find us. Only for who holds the lock."""
    temporary = paths.run_file.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(run) + b"\n")
    temporary.replace(paths.run_file)


def holder(paths: StatePaths) -> int | None:
    """The pid of the Hearth that runs; None if there is none; 0 in the moment of its start.

    Raises Failure if this user may not know.
    """
    try:
        lock = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise NotADirectory(paths) from error
    except OSError as error:
        raise Failure(f"{paths.lock} cannot be read: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(lock, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    else:
        return None
    finally:
        os.close(lock)


def running(paths: StatePaths) -> RunFile | None:
    """What the running Hearth says of itself; None if none runs or it is not ready yet."""
    if holder(paths) is None:
        return None
    with suppress(FileNotFoundError, msgspec.MsgspecError):
        return msgspec.json.decode(paths.run_file.read_bytes(), type=RunFile)
    return None


def _unusable(paths: StatePaths, error: OSError) -> StartRefused:
    why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
    return StartRefused(
        f"The state directory {paths.state} cannot be used: {why}. Name another with --state DIR."
    )


def _lock_with_patience(lock: int) -> bool:
    for attempt in range(TRIES):
        if attempt:
            time.sleep(RETRY_S)
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _is_running(paths: StatePaths) -> str:
    pid, run = holder(paths), running(paths)
    who = f"pid {pid}, {run.endpoint}" if run else f"pid {pid}, still starting"
    return (
        f"Hearth is already running on this state directory ({who}). "
        f"Stop it with: hearth down --state {paths.state}"
    )
