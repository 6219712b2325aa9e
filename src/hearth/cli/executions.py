"""hearth executions: what do durable executions do, and what have they done?

AWS clients like `hearth invoke`: they go to AWS_ENDPOINT_URL, else to the Hearth that runs.
"""

from datetime import datetime
from typing import Any, Final

import click

from hearth.base.clock import SystemClock
from hearth.cli import aws, output
from hearth.cli.output import Failure, note
from hearth.cli.running import json_option, state_option
from hearth.model.durable import ExecutionArn
from hearth.settings import read_state

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 1_000
STATUSES: Final = (
    *("RUNNING", "PAUSING", "PAUSED"),
    *("SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED", "DELETING"),
)
_PAYLOAD_SHOWN: Final = 2_000


@click.group()
def executions() -> None:
    """Look at executions of durable functions, and stop them.

    \b
    Examples:
      hearth executions list orders --status RUNNING
      hearth executions show ARN
      hearth executions stop ARN --reason "wrong customer"
    """


def _an_arn(_: click.Context, __: click.Parameter, text: str) -> str:
    if ExecutionArn.parse(text) is None:
        raise Failure(
            f"{text!r} is not the ARN of an execution. They are listed by: "
            "hearth executions list FUNCTION"
        )
    return text


_arn = click.argument("arn", callback=_an_arn)


@executions.command("list")
@click.argument("function")
@click.option("--status", "status_", type=click.Choice(STATUSES), help="Those that are so.")
@click.option("--name", metavar="N", help="The one of that name.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT_DEFAULT,
    show_default=True,
    help="So many, the newest first.",
)
@state_option
@json_option
def list_(
    *,
    function: str,
    status_: str | None,
    name: str | None,
    limit: int,
    state: str | None,
    as_json: bool,
) -> None:
    """List the executions of FUNCTION (its name or ARN, with a qualifier or without).

    \b
    Examples:
      hearth executions list orders
      hearth executions list orders --status FAILED --json | jq -r '.[].DurableExecutionArn'
    """
    paths = read_state(state)
    asked: dict[str, Any] = {"FunctionName": function, "MaxItems": limit}
    if status_ is not None:
        asked["Statuses"] = [status_]
    if name is not None:
        asked["DurableExecutionName"] = name
    client: Any = aws.lambda_client(paths)
    with aws.errors_explained(paths):
        answer = client.list_durable_executions_by_function(**asked)
    found = answer["DurableExecutions"]
    if as_json:
        output.show_json(found)
    elif not found:
        note(f"{function} has no such executions.")
    else:
        output.show_table(("STATUS", "STARTED", "TOOK>", "ARN"), [_row(one) for one in found])
        if "NextMarker" in answer:
            note(f"There are more: these are the newest {limit}.")


@executions.command()
@_arn
@state_option
@json_option
def show(*, arn: str, state: str | None, as_json: bool) -> None:
    """Show one execution: what went in, what came out, and what happened in between.

    \b
    Examples:
      hearth executions show ARN
      hearth executions show ARN --json | jq '.Events[].EventType'
    """
    paths = read_state(state)
    client: Any = aws.lambda_client(paths)
    with aws.errors_explained(paths):
        shown = client.get_durable_execution(DurableExecutionArn=arn)
        pages = client.get_paginator("get_durable_execution_history").paginate(
            DurableExecutionArn=arn
        )
        events = [event for page in pages for event in page["Events"]]
    shown.pop("ResponseMetadata", None)
    if as_json:
        output.show_json(shown | {"Events": events})
        return
    output.show_fields(_fields(shown))
    click.echo()
    began = shown["StartTimestamp"]
    rows = [_event_row(event, began) for event in events]
    output.show_table(("AT>", "EVENT", "NAME~", "~"), rows)


@executions.command()
@_arn
@click.option("--reason", metavar="TEXT", help="Becomes the message of its error.")
@state_option
def stop(*, arn: str, reason: str | None, state: str | None) -> None:
    """End an execution for good; what its steps have done stays done.

    \b
    Examples:
      hearth executions stop ARN --reason "wrong customer"
    """
    paths = read_state(state)
    client: Any = aws.lambda_client(paths)
    error = {"Error": {"ErrorMessage": reason}} if reason is not None else {}
    with aws.errors_explained(paths):
        client.stop_durable_execution(DurableExecutionArn=arn, **error)
        status = client.get_durable_execution(DurableExecutionArn=arn)["Status"]
    if status != "STOPPED":
        raise Failure(f"It was over already: {status}.")
    note("Stopped.")


def _row(one: Any) -> tuple[str, ...]:
    return (
        one["Status"],
        f"{one['StartTimestamp']:%Y-%m-%d %H:%M:%S}",
        _took(one["StartTimestamp"], one.get("EndTimestamp")),
        one["DurableExecutionArn"],
    )


def _took(began: datetime, ended: datetime | None) -> str:
    ended = ended or SystemClock().utc()
    return output.duration(max(0.0, (ended - began).total_seconds()))


def _fields(shown: Any) -> list[tuple[str, str]]:
    fields = [
        ("status", shown["Status"]),
        ("name", shown["DurableExecutionName"]),
        ("function", shown["FunctionArn"]),
        ("started", f"{shown['StartTimestamp']:%Y-%m-%d %H:%M:%S}"),
        ("took", _took(shown["StartTimestamp"], shown.get("EndTimestamp"))),
        ("input", _short(shown.get("InputPayload"))),
        ("result", _short(shown.get("Result"))),
        ("error", _error(shown.get("Error"))),
    ]
    return [(name, value) for name, value in fields if value]


def _event_row(event: Any, began: datetime) -> tuple[str, ...]:
    after_s = (event["EventTimestamp"] - began).total_seconds()
    details = event.get(f"{event['EventType']}Details") or {}
    result = (details.get("Result") or details.get("Input") or {}).get("Payload")
    error = (details.get("Error") or {}).get("Payload")
    said = _error(error) or (_short(result, 60) if result is not None else "")
    return f"+{after_s:.3f}s", event["EventType"], event.get("Name", ""), said


def _error(error: Any) -> str:
    if not error:
        return ""
    parts = [part for part in (error.get("ErrorType"), error.get("ErrorMessage")) if part]
    return output.harmless(": ".join(parts)).replace("\n", " ")


def _short(payload: str | None, length: int = _PAYLOAD_SHOWN) -> str:
    if not payload:
        return ""
    shown = output.harmless(payload).replace("\n", " ")
    return shown if len(shown) <= length else f"{shown[:length]}…"
