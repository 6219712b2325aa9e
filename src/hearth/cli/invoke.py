"""hearth invoke: what does a function answer? The payload on stdout, all else on stderr."""

import base64
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hearth.cli import aws, debug, output
from hearth.cli.output import Failure
from hearth.cli.running import state_option
from hearth.model.limits import PAYLOAD_BYTES_MAX
from hearth.settings import StatePaths, read_client_settings, read_state

if TYPE_CHECKING:
    from types_boto3_lambda.client import LambdaClient
    from types_boto3_lambda.type_defs import InvocationRequestTypeDef


_FILE: Final = re.compile(r"@|fileb?://")
"""As curl and AWS's command line name files; no JSON begins like that."""
_BROKEN_OFF: Final = "The answer broke off before its end: Hearth has ended, or was ended."


@click.command()
@click.argument("function")
@click.option(
    "--payload", "-p", metavar="JSON|@FILE", help="The event, or where it is.  [default: {}]"
)
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
    stream: bool,
    debugs: bool,
    state: str | None,
    **wished: Any,
) -> None:
    """Call FUNCTION (its name or ARN) and print what it returns.

    Exit code 1 if the function failed; its error is on stdout like any answer.

    \b
    Examples:
      hearth invoke hello -p '{"n": 1}' --log
      hearth invoke hello -p @event.json | jq .
      hearth event sqs | hearth invoke hello -f -
      hearth invoke writer --stream
      hearth invoke 'orders:$LATEST' --event --execution-name order-7 -p '{"id": 7}'
      hearth invoke hello -p '{"n": 1}' --debug --source ./examples/hello
    """
    if wished["is_event"] and (stream or wished["log"]):
        raise click.UsageError("With --event there is no answer to --stream or --log.")
    event = _event(payload, payload_file)
    paths = read_state(state)
    if debugs:
        _debug(paths, function, event, stream=stream, wished=wished)
        return
    client = aws.lambda_client(paths)
    request = _request(function, event, wished)
    with aws.errors_explained(paths):
        try:
            function_error = _stream(client, request) if stream else _whole(client, request)
        except KeyboardInterrupt:
            output.note("Not waiting any more; the function may run on to its end.")
            sys.exit(130)
    if function_error is not None:
        click.echo(f"hearth: the function failed ({function_error}).", err=True)
        sys.exit(1)


def _event(payload: str | None, payload_file: Any) -> bytes:
    """What to send. Raises Failure for what Lambda would not take."""
    if payload is not None and payload_file is not None:
        raise click.UsageError("Give --payload or --payload-file, not both.")
    if payload_file is not None:
        event: bytes = payload_file.read()
    elif payload is not None and (path := _FILE.match(payload)):
        event = _read(Path(payload[path.end() :]))
    else:
        event = b"{}" if payload is None else payload.encode(errors="surrogateescape")
    if len(event) > PAYLOAD_BYTES_MAX:
        raise Failure(f"The payload has {len(event)} bytes; Lambda takes {PAYLOAD_BYTES_MAX}.")
    try:
        json.loads(event or b"{}")
    except RecursionError:  # Lambda says what it thinks of that
        return event
    except ValueError as error:
        hint = " A file is given as -p @FILE." if payload is not None else ""
        raise Failure(f"The payload is not JSON: {error}.{hint}") from error
    return event


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}.") from error


def _debug(
    paths: StatePaths, function: str, event: bytes, *, stream: bool, wished: dict[str, Any]
) -> None:
    if stream or wished["is_event"] or wished["tenant_id"] or wished["execution_name"]:
        raise click.UsageError("--debug is for a plain invoke: only -p, -f, --log, --qualifier.")
    region = read_client_settings().region
    wishes = debug.Wishes(wished["debug_port"], wished["source"], wished["log"], region)
    debug.debug(paths, function, wished["qualifier"], event, wishes)


def _request(function: str, event: bytes, wished: dict[str, Any]) -> "InvocationRequestTypeDef":
    members = {
        "FunctionName": function,
        "Payload": event,
        "LogType": "Tail" if wished["log"] else "None",
        "InvocationType": "Event" if wished["is_event"] else None,
        "Qualifier": wished["qualifier"],
        "TenantId": wished["tenant_id"],
        "DurableExecutionName": wished["execution_name"],
    }
    given: Any = {name: value for name, value in members.items() if value is not None}
    request: InvocationRequestTypeDef = given
    return request


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
