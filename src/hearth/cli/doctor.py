"""hearth doctor: what does this machine give, what is missing, and how is it to be had?"""

import asyncio
import shutil
import sys
from dataclasses import asdict
from textwrap import wrap
from typing import Final

import click

from hearth.cli import output
from hearth.cli.output import Failure
from hearth.cli.platform import Platform
from hearth.cli.running import json_option
from hearth.cli.up import SETTINGS_FLAGS
from hearth.model.diagnosis import Diagnosis, Level
from hearth.settings import StartRefused, read_settings, read_surroundings

_LOOK: Final = {Level.OK: ("✓", "green"), Level.WARN: ("!", "yellow"), Level.FAIL: ("✗", "red")}
_TEXT_WIDTH_MIN: Final = 20
_WORD: Final = {Level.OK: "ok", Level.WARN: "warn", Level.FAIL: "FAIL"}


@click.pass_obj
def _doctor(platform: Platform, /, *, as_json: bool, **flags: str | None) -> None:
    """Say what this machine gives: isolation, limits, runtimes; what is missing, and how to get it.

    Takes the flags and variables of `hearth up`. Exit code 1 if functions cannot be sandboxed.

    \b
    Examples:
      hearth doctor
      hearth doctor --sandbox bubblewrap --json
    """
    try:
        settings = read_settings(flags)
        diagnosis = asyncio.run(
            platform.diagnose(settings, read_surroundings(state=settings.state))
        )
    except StartRefused as error:
        raise Failure(str(error)) from error
    if as_json:
        output.show_json(asdict(diagnosis))
    else:
        _show(diagnosis)
    if not diagnosis.functions_can_be_sandboxed:
        sys.exit(1)


doctor = click.Command("doctor", callback=_doctor, help=_doctor.__doc__, params=[*SETTINGS_FLAGS])
json_option(doctor)


def _show(diagnosis: Diagnosis) -> None:
    width = max((len(finding.what) for finding in diagnosis.findings), default=0)
    for finding in diagnosis.findings:
        margin = " " * (_indent() + width + 2)
        first, *more = _lines(finding.detail, len(margin))
        click.echo(f"{_mark(finding.level)}  {finding.what.ljust(width)}  {first}")
        for line in more:
            click.echo(margin + line)
        if finding.fix:  # in one piece: it may be a command to copy
            click.echo(f"{margin}-> {finding.fix}")
    click.echo()
    click.echo(_verdict(diagnosis))


def _lines(text: str, margin: int) -> list[str]:
    """As they fit a terminal; for programs it is one."""
    if not sys.stdout.isatty():
        return [text]
    width = max(_TEXT_WIDTH_MIN, shutil.get_terminal_size().columns - margin)
    return wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _mark(level: Level) -> str:
    if not sys.stdout.isatty():
        return _WORD[level].ljust(4)
    sign, colour = _LOOK[level]
    return click.style(sign, fg=colour, bold=True)


def _indent() -> int:
    return 3 if sys.stdout.isatty() else 6


def _verdict(diagnosis: Diagnosis) -> str:
    if not diagnosis.functions_can_be_sandboxed:
        return (
            "Functions cannot be sandboxed here. Follow the steps above; `hearth up --sandbox "
            "process` runs functions WITHOUT isolation, for code that you trust."
        )
    if all(finding.level is Level.OK for finding in diagnosis.findings):
        return "Everything is there."
    return "Functions run sandboxed; the steps above make it better."
