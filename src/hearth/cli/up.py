"""hearth up: what happens between the command and the ready line, and at the end?

    settings -> lock -> [--detach: the same again in a process of its own] -> app.run -> ready line

SIGINT or SIGTERM: Hearth takes no more requests, lets running invokes end, and exits 0. The
second one ends it at once; what it started dies with it.
"""

import asyncio
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click
import uvloop

from hearth.base import log as logging
from hearth.base.clock import SystemClock
from hearth.cli import daemon, run_directory
from hearth.cli.output import Failure, note
from hearth.cli.platform import Platform
from hearth.cli.run_directory import RunFile
from hearth.settings import (
    OPTIONS,
    Flags,
    Option,
    Settings,
    StartRefused,
    read_settings,
    read_surroundings,
)

EXIT_AT_ONCE: Final = 130
_UMASK_MIN: Final = 0o022
"""Whatever we are started with: nobody else writes to what we make."""

log = logging.Log("up")


def _flag(option: Option) -> click.Option:
    default = f"{option.default}; " if option.default is not None else ""
    return click.Option(
        [option.flag, option.field],
        metavar=option.metavar,
        multiple=option.is_repeatable,
        help=f"{option.help}  [{default}{option.variable}]",
    )


SETTINGS_FLAGS: Final = [_flag(option) for option in OPTIONS]


@click.pass_obj
def _up(
    platform: Platform,
    /,
    *,
    detach: bool,
    ready_fd: int | None,
    **flags: str | tuple[str, ...] | None,
) -> None:
    """Start Hearth: AWS Lambda on this machine.

    Prints "hearth ready http://…" when it can be used, and runs until Ctrl-C.

    \b
    Examples:
      hearth up
      hearth up --detach && hearth status
      hearth up --listen 127.0.0.1:0 --state ./state
      hearth keys add me && hearth up --listen 0.0.0.0:4566 --auth sigv4
    """
    os.umask(os.umask(_UMASK_MIN) | _UMASK_MIN)
    if detach:
        settings = _read(flags)
        click.echo(_ready_line(daemon.start(settings.paths, flags)))
        return
    with daemon.reporter(ready_fd) as report:
        settings = _read(flags)
        if ready_fd is not None:
            os.chdir("/")  # a daemon keeps no directory from being unmounted
        logging.configure(settings.log_level)
        with _refused(), run_directory.hold(settings.paths):
            serve(platform, settings, report.ready)


class _Up(click.Command):
    """Knows what people look for under another name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if (meant := _MEANT.get(error.option_name)) is None:
                raise
            raise click.UsageError(f"No such option: {error.option_name}. {meant}", ctx) from error


_LISTEN: Final = "The address is --listen HOST:PORT, such as --listen 127.0.0.1:9000."
_MEANT: Final = {
    "--port": _LISTEN,
    "-p": _LISTEN,
    "--host": _LISTEN,
    "--bind": _LISTEN,
    "--address": _LISTEN,
    "--data": "What Hearth keeps is in --state DIR.",
    "--debug": "Say more with --log-level debug; debug a function with hearth invoke NAME --debug.",
}

up = _Up(
    "up",
    callback=_up,
    help=_up.__doc__,
    params=[
        *SETTINGS_FLAGS,
        click.Option(["--detach", "-d"], is_flag=True, help="Return when it is ready; it runs on."),
        click.Option(["--ready-fd"], type=int, hidden=True),
    ],
)


def _allow_open_files() -> None:
    """As many as we may have: each sandbox holds four, each client one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve(platform: Platform, settings: Settings, ready: Callable[[str], None]) -> None:
    """Run the platform until a signal stops it. Raises StartRefused; Failure after a crash."""
    clock = SystemClock()
    surroundings = read_surroundings(state=settings.state)
    _allow_open_files()

    def announce(endpoint: str) -> None:
        started = clock.utc().isoformat(timespec="seconds")
        run_directory.announce(settings.paths, RunFile(os.getpid(), endpoint, started))
        click.echo(_ready_line(endpoint))
        ready(endpoint)

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _stop, stop)
        await platform.run(settings, surroundings, ready=announce, stop=stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except Exception as error:
        if (refused := _refusal_in(error)) is not None:
            raise refused from error
        log.error("Hearth failed", error=error)
        raise Failure(
            "Hearth ended because of an error of its own; the lines above say which. "
            "Nothing that was acknowledged is lost: `hearth up` starts it again."
        ) from error


def _stop(stop: asyncio.Event) -> None:
    if stop.is_set():
        note("hearth: ending at once.")
        os._exit(EXIT_AT_ONCE)  # the kernel ends our children and gives the lock back
    note("hearth: stopping; running invokes may end. Once more to end at once.")
    stop.set()


def _read(flags: Flags) -> Settings:
    with _refused():
        return read_settings(flags)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except StartRefused as error:
        raise Failure(str(error)) from error


def _refusal_in(error: BaseException) -> StartRefused | None:
    """A refusal may come out of a TaskGroup, wrapped."""
    if isinstance(error, StartRefused):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_refusal_in, error.exceptions)), None)
    return None


def _ready_line(endpoint: str) -> str:
    return f"hearth ready {endpoint}"
