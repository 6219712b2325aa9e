"""hearth invoke --debug: what does a person need to attach a debugger, and what comes of it?"""

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from hearth.api.admin_debug import DebugBegun
from hearth.cli import output
from hearth.cli.admin_client import AdminClient
from hearth.cli.output import Failure, note
from hearth.model.debugging import DEBUGPY
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, FunctionReference
from hearth.settings import StatePaths

LOOPBACK: Final = "127.0.0.1"
REMOTE_ROOT: Final = "/var/task"
INTERRUPTED: Final = 130


class Wishes(NamedTuple):
    port: int | None
    source: str
    """A directory, or one of VS Code's variables."""
    shows_log: bool
    region: str | None


def debug(
    paths: StatePaths, function: str, qualifier: str | None, event: bytes, wishes: Wishes
) -> None:
    """Print where to attach, wait, print the answer. Exits 1 if the function failed."""
    try:
        reference = FunctionReference.parse(function)
    except ValueError as error:
        raise Failure(f"{function} is not a function name or ARN.") from error
    client = AdminClient(paths)
    begun = client.begin_debug(
        reference.account or DEFAULT_ACCOUNT,
        reference.region or wishes.region or DEFAULT_REGION,
        reference.name,
        qualifier or reference.qualifier,
        wishes.port,
    )
    source = wishes.source
    if not source.startswith("${"):
        source = str(Path(source).resolve())
    try:
        _tell(begun, reference.name, source)
        done = client.run_debug(begun.session, event)
    except KeyboardInterrupt:
        client.end_debug(begun.session)
        note("Ended.")
        sys.exit(INTERRUPTED)
    if done.payload is None:
        raise Failure("The function could not be initialised; `hearth logs` says why.")
    if wishes.shows_log:
        tail = done.log_tail.rstrip("\n")
        shown = output.harmless(output.unfolded(tail)) if sys.stderr.isatty() else tail
        click.echo(shown, err=True)
    click.echo(done.payload)
    if done.function_error is not None:
        note(f"hearth: the function failed ({done.function_error}).")
        sys.exit(1)


def _tell(begun: DebugBegun, name: str, source: str) -> None:
    note(f"{begun.function} ({begun.runtime}) waits for a debugger at {LOOPBACK}:{begun.port}")
    note("For VS Code, in .vscode/launch.json:")
    note(json.dumps(configuration(begun, name, source), indent=2))
    note("Its timeout is suspended. Ctrl-C ends it.")


def configuration(begun: DebugBegun, name: str, source: str) -> dict[str, Any]:
    """One of VS Code's configurations, to attach."""
    if begun.debugger == DEBUGPY:
        return {
            "name": f"hearth: {name}",
            "type": "debugpy",
            "request": "attach",
            "connect": {"host": LOOPBACK, "port": begun.port},
            "pathMappings": [{"localRoot": source, "remoteRoot": REMOTE_ROOT}],
        }
    return {
        "name": f"hearth: {name}",
        "type": "node",
        "request": "attach",
        "address": LOOPBACK,
        "port": begun.port,
        "localRoot": source,
        "remoteRoot": REMOTE_ROOT,
        "continueOnAttach": True,
    }
