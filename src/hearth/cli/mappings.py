"""hearth mappings: which queues and streams feed which functions, and how does it go?"""

import click

from hearth.api.admin_mappings import MappingRow
from hearth.cli import output
from hearth.cli.admin_client import AdminClient
from hearth.cli.output import note
from hearth.cli.running import json_option, state_option
from hearth.settings import read_state


@click.command()
@click.argument("function", required=False)
@state_option
@json_option
def mappings(*, function: str | None, state: str | None, as_json: bool) -> None:
    """List event source mappings: what feeds which function, its state, and what came of it.

    With FUNCTION (its name), those of it alone. Counts are records since the start of Hearth.
    Mappings are made with any AWS client: aws lambda create-event-source-mapping.

    \b
    Examples:
      hearth mappings
      hearth mappings hello
      hearth mappings --json | jq -r '.[] | select(.result != "OK") | .source'
    """
    rows = [
        row
        for row in AdminClient(read_state(state)).mappings()
        if function is None or row.function.partition(":")[0] == function
    ]
    if as_json:
        output.show_json(rows)
        return
    if not rows:
        note("No event source mappings." if function is None else f"None of {function}.")
        return
    columns = ("FUNCTION", "SOURCE", "STATE", "POLLED>", "FAILED>", "RUNNING>", "RESULT", "UUID")
    output.show_table(columns, [_cells(row) for row in rows])


def _source(arn: str) -> str:
    """`sqs:orders`, `kinesis:stream/clicks`, …: of whoever's; the whole ARN is in --json."""
    _, _, service, _, _, name = arn.split(":", 5)
    return f"{service}:{name}"


def _cells(row: MappingRow) -> tuple[str, ...]:
    return (
        row.function,
        _source(row.source),
        row.state,
        str(row.polled),
        str(row.failed),
        str(row.running),
        output.harmless(row.result),
        row.uuid,
    )
