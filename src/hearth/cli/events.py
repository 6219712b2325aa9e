"""hearth events: which asynchronous events wait, failed, or are to be told to their targets?"""

from collections.abc import Sequence
from typing import Final

import click

from hearth.api.admin_events import BacklogRow, EventDetail, EventLine
from hearth.base.clock import SystemClock
from hearth.cli import output
from hearth.cli.admin_client import AdminClient
from hearth.cli.output import Failure, note
from hearth.cli.running import json_option, state_option
from hearth.model.events import EventState
from hearth.model.ids import FunctionReference
from hearth.settings import read_state

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000

_ANY: Final = tuple(str(state) for state in EventState)


@click.group(invoke_without_command=True)
@state_option
@click.pass_context
def events(ctx: click.Context, *, state: str | None) -> None:
    """Look at asynchronous events that are not done, and decide about dead ones.

    \b
    An event is
      waiting    in the queue, or running
      delayed    comes back to the queue at a set time: a retry
      dead       failed, and nobody could be told; kept for --keep-dead
      delivery   settled; its destination or dead letter target is still to be told

    \b
    Examples:
      hearth events                      # the same as hearth events list
      hearth events list hello --only dead
      hearth events redrive hello --all
    """
    if state is not None:  # also of the command that follows
        ctx.default_map = {name: {"state": state} for name in events.commands}
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, state=state)


_function = click.argument("function")
_account = click.option(
    "--account", metavar="ID", help="Where functions of one name are in several accounts."
)
_region = click.option("--region", metavar="REGION", help="… or in several regions.")
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@events.command("list")
@click.argument("function", required=False)
@click.option("--only", type=click.Choice(_ANY), help="Events in this state.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT_DEFAULT,
    show_default=True,
    help="So many of each state, the oldest first.",
)
@_account
@_region
@state_option
@json_option
def list_(
    *,
    function: str | None,
    only: str | None,
    limit: int,
    account: str | None,
    region: str | None,
    state: str | None,
    as_json: bool,
) -> None:
    """List how much waits for each function; with FUNCTION (its name or ARN), its events.

    \b
    Examples:
      hearth events list
      hearth events list hello
      hearth events list hello --only dead --json | jq -r '.[].request'
    """
    client = AdminClient(read_state(state))
    found = _matching(client.backlogs(), function, account, region)
    if function is None:
        _show_backlogs(found, as_json=as_json)
        return
    lines: list[EventLine] = []
    if found:
        backlog = _one(found, function)
        for wanted in [only] if only else _ANY:
            lines += client.events(backlog, wanted, limit=limit)
    _show_events(lines, function, only, as_json=as_json)


@events.command()
@_function
@click.argument("request")
@_account
@_region
@state_option
@json_option
def show(
    *,
    function: str,
    request: str,
    account: str | None,
    region: str | None,
    state: str | None,
    as_json: bool,
) -> None:
    """Show one event of FUNCTION: its payload, what was tried, and what came of it.

    \b
    Examples:
      hearth events show hello 8e6c4c5e-5b2b-4b8a-9a69-0f1f8b2f6a11
    """
    client = AdminClient(read_state(state))
    found = _matching(client.backlogs(), function, account, region)
    detail = client.event(_one(found, function), request) if found else None
    if detail is None:
        raise Failure(f"{function} has no event {request}: it is done, or there was none.")
    if as_json:
        output.show_json(detail)
    else:
        output.show_fields(_fields(detail))


@events.command()
@_function
@click.argument("request", required=False)
@click.option("--all", "everything", is_flag=True, help="All dead events of the function.")
@_account
@_region
@_yes
@state_option
def redrive(
    *,
    function: str,
    request: str | None,
    everything: bool,
    account: str | None,
    region: str | None,
    yes: bool,
    state: str | None,
) -> None:
    """Give dead events of FUNCTION another chance, as if they had just come.

    They keep their request ids. One whose target could not be told is told again instead.

    \b
    Examples:
      hearth events redrive hello 8e6c4c5e-5b2b-4b8a-9a69-0f1f8b2f6a11
      hearth events redrive hello --all
    """
    _check_which(request, everything=everything)
    client = AdminClient(read_state(state))
    found = _matching(client.backlogs(), function, account, region)
    backlog = _one(found, function) if found else None
    if backlog is None or not backlog.dead:
        raise Failure(f"{function} has no dead events.")
    if request is None and not yes:
        click.confirm(f"Redrive {_number(backlog.dead, 'dead event')} of {function}?", abort=True)
    done = client.redrive(backlog, request)
    if request is not None and not done:
        raise Failure(f"{function} has no dead event {request}.")
    note(f"Redriven: {_number(done, 'event')} of {function}.")


@events.command()
@_function
@click.argument("request", required=False)
@click.option("--only", type=click.Choice(_ANY), default="dead", show_default=True, help="Which.")
@click.option("--all", "everything", is_flag=True, help="All events in that state.")
@_account
@_region
@_yes
@state_option
def purge(
    *,
    function: str,
    request: str | None,
    only: str,
    everything: bool,
    account: str | None,
    region: str | None,
    yes: bool,
    state: str | None,
) -> None:
    """Throw events of FUNCTION away, for good. What runs at present runs to its end.

    \b
    Examples:
      hearth events purge hello --all
      hearth events purge hello --only waiting --all --yes
    """
    _check_which(request, everything=everything)
    client = AdminClient(read_state(state))
    found = _matching(client.backlogs(), function, account, region)
    backlog = _one(found, function) if found else None
    if backlog is None or not _count(backlog, only):
        raise Failure(f"{function} has no {_events_in(only)}.")
    if not yes:
        number = 1 if request is not None else _count(backlog, only)
        question = f"Throw {_number(number, 'event')} of {function} away? They cannot come back."
        click.confirm(question, abort=True)
    done = client.purge(backlog, only, request)
    if request is not None and not done:
        raise Failure(f"{function} has no event {request} among its {_events_in(only)}.")
    note(f"Thrown away: {_number(done, 'event')} of {function}.")


def _check_which(request: str | None, *, everything: bool) -> None:
    if (request is None) is not everything:
        raise click.UsageError("Give one REQUEST, or --all.")


def _matching(
    backlogs: Sequence[BacklogRow], function: str | None, account: str | None, region: str | None
) -> list[BacklogRow]:
    name = None
    if function is not None:
        try:
            reference = FunctionReference.parse(function)
        except ValueError as error:
            raise Failure(f"{function!r} is not a function name or ARN.") from error
        name = reference.name
        account, region = account or reference.account, region or reference.region
    return [
        backlog
        for backlog in backlogs
        if name in (None, backlog.function)
        and account in (None, backlog.account)
        and region in (None, backlog.region)
    ]


def _one(found: Sequence[BacklogRow], function: str) -> BacklogRow:
    if len(found) > 1:
        where = ", ".join(f"{backlog.account} in {backlog.region}" for backlog in found)
        raise Failure(
            f"There are functions {function} in several places ({where}). "
            "Say which with --account and --region."
        )
    return found[0]


def _count(backlog: BacklogRow, state: str) -> int:
    match EventState(state):
        case EventState.WAITING:
            return backlog.waiting
        case EventState.DELAYED:
            return backlog.delayed
        case EventState.DEAD:
            return backlog.dead
        case EventState.DELIVERY:
            return backlog.deliveries


def _events_in(state: str) -> str:
    return "deliveries" if state == EventState.DELIVERY else f"{state} events"


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _show_backlogs(backlogs: Sequence[BacklogRow], *, as_json: bool) -> None:
    if as_json:
        output.show_json(backlogs)
        return
    if not backlogs:
        note("No event waits anywhere, and none is kept.")
        return
    now_ms = SystemClock().epoch_ms()
    output.show_table(
        [
            "FUNCTION",
            "WAITING>",
            "DELAYED>",
            "DEAD>",
            "DELIVERIES>",
            "OLDEST>",
            "ACCOUNT",
            "REGION",
        ],
        [
            [
                backlog.function,
                str(backlog.waiting),
                str(backlog.delayed),
                str(backlog.dead),
                str(backlog.deliveries),
                "-" if backlog.oldest_ms is None else _since(now_ms, backlog.oldest_ms),
                backlog.account,
                backlog.region,
            ]
            for backlog in backlogs
        ],
    )


def _show_events(
    lines: Sequence[EventLine], function: str, only: str | None, *, as_json: bool
) -> None:
    if as_json:
        output.show_json(lines)
        return
    if not lines:
        note(f"{function} has no {_events_in(only) if only else 'events'}.")
        return
    now_ms = SystemClock().epoch_ms()
    output.show_table(
        ["REQUEST", "STATE", "AGE>", "ATTEMPTS>", "DUE>", "CONDITION", "TARGET"],
        [
            [
                line.request,
                line.state,
                _since(now_ms, line.accepted_ms),
                str(line.attempts),
                _until(now_ms, line),
                line.condition or "-",
                line.target or "-",
            ]
            for line in lines
        ],
    )


def _fields(detail: EventDetail) -> list[tuple[str, str]]:
    event, now_ms = detail.event, SystemClock().epoch_ms()
    fields: list[tuple[str, str | None]] = [
        ("request", event.request),
        ("function", event.function_arn),
        ("state", event.state),
        ("accepted", f"{_since(now_ms, event.accepted_ms)} ago"),
        ("attempts", str(event.attempts)),
        ("throttled", f"{event.throttles} times in a row" if event.throttles else None),
        ("condition", event.condition),
        ("target", event.target),
        ("tried", f"{event.tries} times in vain" if event.tries else None),
        ("because", detail.reason or None),
        ("due in", _until(now_ms, event) if event.due_ms is not None else None),
        ("trace", detail.trace_id),
        ("tenant", detail.tenant),
        ("client context", detail.client_context),
        ("payload", detail.payload),
        ("answered", None if detail.status_code is None else str(detail.status_code)),
        ("version", detail.executed_version),
        ("error", detail.function_error),
        ("answer", detail.response_payload),
    ]
    return [(name, output.harmless(value)) for name, value in fields if value is not None]


def _since(now_ms: int, then_ms: int) -> str:
    return output.duration(max(0, now_ms - then_ms) / 1000)


def _until(now_ms: int, line: EventLine) -> str:
    """A dead event is due to go."""
    return "-" if line.due_ms is None else output.duration(max(0, line.due_ms - now_ms) / 1000)
