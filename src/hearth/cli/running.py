"""hearth status, ps, down: what does the Hearth that runs do, and how does it end?"""

import os
import select
import signal
import time
from contextlib import suppress
from typing import Final

import click

from hearth.api.admin import SnapshotRow, StemReport
from hearth.cli import output, run_directory
from hearth.cli.admin_client import AdminClient
from hearth.cli.output import Failure, note
from hearth.settings import StatePaths, read_duration_s, read_state

PATIENCE_S: Final = 2.0
POLL_S: Final = 0.05
EXIT_S: Final = 2.0
"""Between giving the lock back and being gone lies only the end of the interpreter."""


def _path(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text == "":
        raise Failure("--state must be a path, not ''.")
    return text


state_option = click.option(
    "--state",
    metavar="DIR",
    callback=_path,
    help="The state directory of the Hearth that is meant. [HEARTH_STATE]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _seconds(_: click.Context, parameter: click.Parameter, text: str) -> float:
    try:
        return read_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not {error}.", param=parameter) from error


@click.command()
@state_option
@json_option
def status(*, state: str | None, as_json: bool) -> None:
    """Say whether Hearth runs, where, and how much it does.

    Exit code 1 if it does not run.

    \b
    Examples:
      hearth status
      hearth status --json | jq -r .endpoint
    """
    report = AdminClient(read_state(state)).status()
    if as_json:
        output.show_json(report)
        return
    output.show_fields(
        [
            ("endpoint", report.endpoint),
            *([("metrics", report.metrics)] if report.metrics else []),
            ("version", report.version),
            ("up for", output.duration(report.uptime_s)),
            ("process", str(report.pid)),
            ("state", report.state),
            ("auth", report.auth),
            ("sandbox", report.sandbox),
            ("functions", str(report.functions)),
            ("sandboxes", f"{report.sandboxes} ({report.sandboxes_busy} busy)"),
            *_stems(report.stems),
            ("concurrency", f"{report.concurrency_used} of {report.concurrency_max}"),
            ("invokes", str(report.invokes)),
            *([("log lines lost", str(report.log_lines_lost))] if report.log_lines_lost else []),
        ]
    )


def _stems(stems: StemReport) -> list[tuple[str, str]]:
    """Sandboxes that wait, launched, for a function: how many, and how often that was enough."""
    if not stems.kinds:
        return []
    ready = sum(kind.ready for kind in stems.kinds)
    wanted = sum(kind.wanted for kind in stems.kinds)
    starts = stems.taken + stems.missed
    memory = f"{stems.memory_mb} of {stems.memory_mb_max} MB"
    return [("stems", f"{ready} of {wanted} ready, {memory}; {stems.taken} of {starts} starts")]


@click.command()
@state_option
@json_option
def ps(*, state: str | None, as_json: bool) -> None:
    """List the sandboxes: function, state, age, memory, invokes.

    \b
    Examples:
      hearth ps
      watch -n1 hearth ps
    """
    client = AdminClient(read_state(state))
    rows = client.sandboxes()
    if as_json:
        output.show_json(rows)
        return
    status = client.status()
    for kind in status.stems.kinds:
        note(f"{kind.ready} launched and waiting for {kind.runtime} of account {kind.account}.")
    for snapshot in status.snapshots:
        note(_snapshot(snapshot))
    if not rows:
        note("No sandbox runs: none was needed yet, or all were idle for long enough to end.")
        return
    has_tenants = any(row.tenant is not None for row in rows)
    tenant = ["TENANT"] if has_tenants else []
    output.show_table(
        ["FUNCTION", "VERSION", *tenant, "STATE", "AGE>", "MEMORY>", "INVOKES>", "SANDBOX"],
        [
            [
                row.function,
                row.version,
                *([row.tenant or ""] if has_tenants else []),
                row.state,
                output.duration(row.age_s),
                f"{output.mebibytes(row.memory_bytes)} of {output.mebibytes(row.memory_max_bytes)}",
                str(row.invokes),
                row.sandbox,
            ]
            for row in sorted(rows, key=lambda row: (row.function, row.version, -row.age_s))
        ],
    )


def _snapshot(seen: SnapshotRow) -> str:
    waiting = f"{seen.function} {seen.version}: {seen.waiting} initialised and waiting"
    if seen.has_template:
        size = output.mebibytes(seen.template_bytes)
        return f"{waiting}, forked from a template of {size} ({seen.forks} forks so far)."
    return f"{waiting}; not forked, because {seen.why_not}." if seen.why_not else f"{waiting}."


@click.command()
@state_option
@click.option(
    "--timeout",
    "timeout_s",
    callback=_seconds,
    default="60s",
    metavar="TIME",
    show_default=True,
    help="How long to wait for its end.",
)
def down(*, state: str | None, timeout_s: float) -> None:
    """Stop Hearth: running invokes may end, then everything it started ends.

    \b
    Examples:
      hearth down
      hearth down --state ./state --timeout 5m
    """
    paths = read_state(state)
    pid = run_directory.holder(paths)
    if pid is None:
        note(f"Hearth is not running on {paths.state}.")
        return
    try:
        AdminClient(paths).stop()
    except Failure:  # still starting, or its loop hangs
        if not pid:
            raise
        with suppress(ProcessLookupError):  # ended by itself meanwhile
            os.kill(pid, signal.SIGTERM)
    _wait_for_end(paths, pid, timeout_s)
    note("Hearth has stopped.")


def _wait_for_end(paths: StatePaths, pid: int, timeout_s: float) -> None:
    for turn in range(max(1, round(timeout_s / POLL_S))):
        if run_directory.holder(paths) is None:
            _wait_for_exit(pid)
            return
        if turn == round(PATIENCE_S / POLL_S):
            note(f"Waiting for running invokes to end (pid {pid}) …")
        time.sleep(POLL_S)
    raise Failure(
        f"Hearth (pid {pid}) has not ended after {timeout_s:g} s. Wait longer with --timeout, or "
        f"end it at once with: kill -9 {pid} (nothing acknowledged is lost)."
    )


def _wait_for_exit(pid: int) -> None:
    """Return when that process has ended, or after EXIT_S: whoever looks then finds none."""
    try:
        process = os.pidfd_open(pid)
    except OSError:  # it has
        return
    try:
        select.select([process], [], [], EXIT_S)
    finally:
        os.close(process)
