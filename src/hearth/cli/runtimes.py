"""hearth runtimes: which of AWS's runtimes can run here, what is missing, how is it added?"""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hearth.cli import output
from hearth.cli.output import Failure, note
from hearth.cli.platform import Platform
from hearth.cli.running import json_option
from hearth.model.errors import InvalidRuntime
from hearth.settings import read_state, read_surroundings

if TYPE_CHECKING:
    from hearth.runtimes.survey import RuntimeStatus


@click.command()
@click.option(
    "--prepare",
    "names",
    metavar="RUNTIME",
    multiple=True,
    help="Set this runtime up now, not when it is first needed. May be given repeatedly.",
)
@json_option
@click.pass_obj
def runtimes(platform: Platform, /, *, names: tuple[str, ...], as_json: bool) -> None:
    """Say which of AWS's runtimes can run on this machine, what is missing, and how to add it.

    A runtime is an interpreter of this machine with AWS's own runtime client. The client for
    Node.js is fetched from npm once; with --prepare, before anything waits for it.

    \b
    Examples:
      hearth runtimes
      hearth runtimes --json | jq -r '.[] | select(.available) | .name'
      hearth runtimes --prepare nodejs22.x
    """
    surroundings = read_surroundings(state=read_state(None).state)
    for name in names:
        note(f"setting up {name} ...")
        try:
            asyncio.run(platform.prepare_runtime(name, surroundings))
        except InvalidRuntime as error:
            raise Failure(error.message) from error
    found = asyncio.run(platform.survey_runtimes(surroundings))
    if as_json:
        output.show_json([asdict(status) for status in found])
        return
    rows = [(status.name, _state(status), status.detail, status.fix) for status in found]
    output.show_table(("RUNTIME", "STATE", "DETAIL~", "TO DO~"), rows)


def _state(status: "RuntimeStatus") -> str:
    if status.available:
        return "available"
    return "missing" if status.is_supported else "unsupported"
