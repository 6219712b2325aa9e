"""hearth logs: what did a function say?"""

import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import click

from hearth.api.admin import LogLine
from hearth.base.clock import SystemClock
from hearth.cli import output
from hearth.cli.admin_client import AdminClient, Gone
from hearth.cli.output import Failure, note
from hearth.cli.running import state_option
from hearth.model.ids import FunctionReference
from hearth.model.logs import FUNCTION_GROUP_PREFIX, LogGroup
from hearth.settings import read_duration_s, read_state

LINES_DEFAULT: Final = 100
LINES_MAX: Final = 10_000

_HAS_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


@click.command()
@click.argument("function")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--since", metavar="TIME", help="From 10m or 2h ago, or from 2026-01-31T12:00:00Z on."
)
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(0, LINES_MAX),
    default=LINES_DEFAULT,
    show_default=True,
    help="How many of the last lines, without --since.",
)
@click.option("--raw", is_flag=True, help="The lines alone, as they came.")
@click.option(
    "--account", metavar="ID", help="Where functions of one name are in several accounts."
)
@click.option("--region", metavar="REGION", help="… or in several regions.")
@state_option
def logs(
    function: str,
    *,
    follow: bool,
    since: str | None,
    lines: int,
    raw: bool,
    account: str | None,
    region: str | None,
    state: str | None,
) -> None:
    """Print the log of FUNCTION (its name or ARN), oldest line first.

    \b
    Examples:
      hearth logs hello
      hearth logs hello -f
      hearth logs hello --since 10m --raw | grep ERROR
    """
    client = AdminClient(read_state(state))
    group = _find(client.groups(), function, account, region)
    try:
        if since is not None:
            cursor = _show_since(client, group, _start_ms(since), raw=raw)
        else:
            page = client.last_logs(group, limit=max(lines, 1))
            _show(page.events if lines else [], raw=raw)
            cursor = page.cursor
        if follow:
            _follow(client, group, cursor, raw=raw)
    except KeyboardInterrupt:  # the way to end --follow, not an accident
        return


def _find(
    groups: list[LogGroup], function: str, account: str | None, region: str | None
) -> LogGroup:
    try:
        named = FunctionReference.parse(function)
    except ValueError as error:
        raise Failure(f"{function!r} is neither a function's name nor an ARN.") from error
    account, region = account or named.account, region or named.region
    found = [
        group
        for group in groups
        if group.name == f"{FUNCTION_GROUP_PREFIX}{named.name}"
        and account in (None, group.account)
        and region in (None, group.region)
    ]
    if not found:
        raise Failure(
            f"There is no log of a function {named.name!r}: it was never invoked here, or it has "
            f"another name. See what is there with: aws lambda list-functions"
        )
    if len(found) > 1:
        places = ", ".join(f"--account {g.account} --region {g.region}" for g in found)
        raise Failure(f"Several functions are called {named.name!r}. Say which one: {places}.")
    return found[0]


def _start_ms(since: str) -> int:
    try:
        return SystemClock().epoch_ms() - round(read_duration_s(since) * 1000)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(since)
    except ValueError as error:
        raise Failure(
            f"--since must be a time like 10m or 2h ago, or 2026-01-31T12:00:00Z, not {since!r}."
        ) from error
    if _HAS_ZONE.search(since) is None:
        moment = moment.astimezone()  # as the user's clock shows it
    return round(moment.timestamp() * 1000)


def _show_since(client: AdminClient, group: LogGroup, start_ms: int, *, raw: bool) -> str | None:
    cursor, more = None, True
    while more:
        page = client.logs(group, since_ms=start_ms, after=cursor)
        _show(page.events, raw=raw)
        cursor, more = page.cursor, page.more
    if cursor is None:
        note("Nothing was logged since then.")
    return cursor


def _follow(client: AdminClient, group: LogGroup, cursor: str | None, *, raw: bool) -> None:
    while True:
        try:
            page = client.next_logs(group, after=cursor)
        except Gone:
            note("The log ends here: Hearth has stopped.")
            return
        _show(page.events, raw=raw)
        cursor = page.cursor


def _show(lines: Iterable[LogLine], *, raw: bool) -> None:
    on_terminal = sys.stdout.isatty()
    for line in lines:
        text = line.message.removesuffix("\n")
        if not raw:
            text = output.unfolded(text)
        if on_terminal:
            text = output.harmless(text)
        if not raw:
            at = datetime.fromtimestamp(line.at_ms / 1000, UTC)
            text = f"{at:%Y-%m-%dT%H:%M:%S}.{line.at_ms % 1000:03}Z  {text}"
        click.echo(text)
