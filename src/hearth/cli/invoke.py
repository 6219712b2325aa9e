"""hearth invoke: what does a function answer? The payload on stdout, all else on stderr."""

import base64
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from hearth.cli import aws, debug, output
from hearth.cli.output import Failure
from hearth.cli.running import state_option
from hearth.model.limits import PAYLOAD_BYTES_MAX
from hearth.settings import read_client_settings, read_state

if TYPE_CHECKING:
    from types_boto3_lambda.client import LambdaClient
    from types_boto3_lambda.type_defs import InvocationRequestTypeDef


_BROKEN_OFF: Final = "The answer broke off before its end: Hearth has ended, or was ended."


@click.command()
@click.argument("function")
@click.option("--payload", "-p", metavar="JSON", help="The event.  [default: {}]")
@click.option(
    "--payload-file", "-f", metavar="FILE", type=click.File("rb"), help="The event; - is stdin."
)
@click.option("--log", is_flag=True, help="Show the last 4 KB of this invoke's log, on stderr.")
@click.option("--qualifier", metavar="Q", help="A version or an alias.")
@click.option("--tenant-id", metavar="T", help="For whom, if the function keeps tenants apart.")
@click.option("--event", "is_event", is_flag=True, help="Only hand the event over; do not wait.")
@click.option(
    "--execution-name", metavar="N", help="Of the durable execution to start, or to join."
)
@click.option("--stream", is_flag=True, help="Print the answer as the function writes it.")
@click.option(
    "--debug", "debugs", is_flag=True, help="Wait for a debugger first (Python, Node.js)."
)
@click.option(
    "--debug-port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Of 127.0.0.1, to attach to.  [default: 5678 or 9229, else any free one]",
)
@click.option(
    "--source",
    metavar="DIR",
    default="${workspaceFolder}",
    show_default=True,
    help="Where the function's files are, for the debugger.",
)
@state_option
def invoke(
    function: str,
    *,
    payload: str | None,
    payload_file: Any,
    log: bool,
    qualifier: str | None,
    tenant_id: str | None,
    is_event: bool,
    execution_name: str | None,
    stream: bool,
    debugs: bool,
    debug_port: int | None,
    source: str,
    state: str | None,
) -> None:
    """Call FUNCTION (its name or ARN) and print what it returns.

    Exit code 1 if the function failed; its error is on stdout like any answer.

    \b
    Examples:
      hearth invoke hello -p '{"n": 1}' --log
      hearth invoke hello --payload-file event.json | jq .
      hearth invoke writer --stream
      hearth invoke 'orders:$LATEST' --event --execution-name order-7 -p '{"id": 7}'
      hearth invoke hello -p '{"n": 1}' --debug --source ./examples/hello
    """
    if is_event and (stream or log):
        raise click.UsageError("With --event there is no answer to --stream or --log.")
    if payload is not None and payload_file is not None:
        raise click.UsageError("Give --payload or --payload-file, not both.")
    event = payload_file.read() if payload_file is not None else (payload or "{}").encode()
    if len(event) > PAYLOAD_BYTES_MAX:
        raise Failure(f"The payload has {len(event)} bytes; Lambda takes {PAYLOAD_BYTES_MAX}.")
    paths = read_state(state)
    if debugs:
        if stream or is_event or tenant_id or execution_name:
            raise click.UsageError(
                "--debug is for a plain invoke: only -p, -f, --log, --qualifier."
            )
        wishes = debug.Wishes(debug_port, source, log, read_client_settings().region)
        debug.debug(paths, function, qualifier, event, wishes)
        return
    client = aws.lambda_client(paths)
    members = {
        "FunctionName": function,
        "Payload": event,
        "LogType": "Tail" if log else "None",
        "InvocationType": "Event" if is_event else None,
        "Qualifier": qualifier,
        "TenantId": tenant_id,
        "DurableExecutionName": execution_name,
    }
    given: Any = {name: value for name, value in members.items() if value is not None}
    request: InvocationRequestTypeDef = given
    with aws.errors_explained(paths):
        try:
            function_error = _stream(client, request) if stream else _whole(client, request)
        except KeyboardInterrupt:
            output.note("Not waiting any more; the function may run on to its end.")
            sys.exit(130)
    if function_error is not None:
        click.echo(f"hearth: the function failed ({function_error}).", err=True)
        sys.exit(1)


def _whole(client: "LambdaClient", request: "InvocationRequestTypeDef") -> str | None:
    """Print the answer; returns what kind of error it is, if it is one."""
    answer = client.invoke(**request)
    body = answer["Payload"].read()
    _show_log(request, answer.get("LogResult"))
    if request.get("InvocationType") != "Event":
        click.echo(body)
    if "DurableExecutionArn" in answer:
        output.note(f"Durable execution: {answer['DurableExecutionArn']}")
    return answer.get("FunctionError")


def _stream(client: "LambdaClient", request: "InvocationRequestTypeDef") -> str | None:
    """Print pieces as they come, then the error, if any; returns what kind it is."""
    from urllib3.exceptions import HTTPError

    members: Any = request
    answer = client.invoke_with_response_stream(**members)
    end: Any = None
    try:
        for event in answer["EventStream"]:
            if "PayloadChunk" in event:
                sys.stdout.buffer.write(event["PayloadChunk"]["Payload"])
                sys.stdout.buffer.flush()
            elif "InvokeComplete" in event:
                end = event["InvokeComplete"]
    except HTTPError as error:
        raise Failure(_BROKEN_OFF) from error
    if end is None:
        raise Failure(_BROKEN_OFF)
    click.echo()
    _show_log(request, end.get("LogResult"))
    if "ErrorCode" not in end:
        return None
    click.echo(end.get("ErrorDetails", ""))
    return str(end["ErrorCode"])


def _show_log(request: "InvocationRequestTypeDef", encoded: str | None) -> None:
    if encoded is not None and request.get("LogType") == "Tail":
        tail = base64.b64decode(encoded).decode(errors="replace")
        click.echo(_shown(tail.rstrip("\n")), err=True)


def _shown(tail: str) -> str:
    return output.harmless(output.unfolded(tail)) if sys.stderr.isatty() else tail
