"""hearth up --detach: how does a daemon start, and how does who started it learn how that went?

The command runs again in a session of its own, with run/hearth.log as its output and one end of a
pipe. It writes one line into the pipe, `ready http://…` or `failed WHY`, and closes it. A pipe
that closes without a line is a daemon that died.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import click

from hearth.cli import run_directory
from hearth.cli.output import Failure, note
from hearth.settings import OPTIONS, Flags, StartRefused, StatePaths

PATIENCE_S: Final = 2.0
START_S: Final = 60.0
LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""A log that is larger is put aside at the next start."""
LOG_TAIL_BYTES: Final = 2_000

_LINE_BYTES_MAX: Final = 65_536


class Reporter:
    """The daemon's end of the pipe. Without one it says nothing."""

    def __init__(self, ready_fd: int | None) -> None:
        self._pipe = ready_fd
        if ready_fd is not None:
            os.set_inheritable(ready_fd, False)

    def ready(self, endpoint: str) -> None:
        self._say(f"ready {endpoint}")

    def failed(self, why: str) -> None:
        self._say(f"failed {why}")

    def close(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)

    def _say(self, line: str) -> None:
        if self._pipe is not None:
            with suppress(BrokenPipeError):  # who started us did not wait
                os.write(self._pipe, f"{line}\n".encode())
        self.close()


@contextmanager
def reporter(ready_fd: int | None) -> Iterator[Reporter]:
    """Reports a failure to start by itself."""
    report = Reporter(ready_fd)
    try:
        yield report
    except click.ClickException as error:
        report.failed(error.message)
        raise
    finally:
        report.close()


def start(paths: StatePaths, flags: Flags) -> str:
    """Start a daemon with these flags of `hearth up`; returns its endpoint once it is ready.

    Raises Failure saying why it is not.
    """
    log = _open_log(paths)
    receiving, sending = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - ourselves, with flags that were read already
            _command(flags, sending),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(sending,),
            start_new_session=True,
        )
    finally:
        os.close(sending)
        os.close(log)
    try:
        verdict, _, text = _wait(receiving, process, paths).partition(" ")
    finally:
        os.close(receiving)
    if verdict == "ready":
        return text
    process.wait()
    if verdict == "failed":
        raise Failure(text)
    raise Failure(f"Hearth ended while it was starting.{_log_tail(paths.log_file)}")


def _command(flags: Flags, ready_fd: int) -> list[str]:
    # -P: a module in the current directory must not stand in for one of ours.
    command = [sys.executable, "-P", "-m", "hearth", "up", f"--ready-fd={ready_fd}"]
    for option in OPTIONS:
        given = flags.get(option.field)
        texts = (given,) if isinstance(given, str) else given or ()
        command += [f"{option.flag}={text}" for text in texts]
    return command


def _open_log(paths: StatePaths) -> int:
    try:
        run_directory.make(paths)
    except StartRefused as error:
        raise Failure(str(error)) from error
    with suppress(FileNotFoundError):
        if paths.log_file.stat().st_size > LOG_BYTES_MAX:
            paths.log_file.replace(paths.log_file.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return os.open(paths.log_file, flags, 0o600)


def _wait(pipe: int, process: subprocess.Popen[bytes], paths: StatePaths) -> str:
    """The daemon's line; nothing if it ended without one."""
    try:
        said, _, _ = select.select([pipe], [], [], PATIENCE_S)
        if not said:
            note(f"Hearth is still starting; its log is {paths.log_file}")
            said, _, _ = select.select([pipe], [], [], START_S - PATIENCE_S)
    except BaseException:  # Ctrl-C: no daemon that nobody waited for
        process.send_signal(signal.SIGTERM)
        raise
    if said:
        return os.read(pipe, _LINE_BYTES_MAX).decode().rstrip("\n")
    process.send_signal(signal.SIGTERM)
    raise Failure(
        f"Hearth was not ready after {START_S:.0f} s and was stopped.{_log_tail(paths.log_file)}"
    )


def _log_tail(log_file: Path) -> str:
    with log_file.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        tail = file.read().decode(errors="replace").strip()
    return f" The end of its log, {log_file}:\n{tail}"
