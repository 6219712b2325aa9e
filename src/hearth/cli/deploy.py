"""hearth deploy: how does a directory become a function? Zip, create or update, wait, say how to
call it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from hearth.cli import aws, output
from hearth.cli.output import Failure, note
from hearth.cli.package import missing_handler, zip_directory
from hearth.cli.public_url import by_path, public_url
from hearth.cli.running import json_option, state_option
from hearth.cli.watch import look, watch
from hearth.settings import StatePaths, read_state

if TYPE_CHECKING:
    from types_boto3_lambda.client import LambdaClient

ROLE_DEFAULT: Final = "arn:aws:iam::000000000000:role/hearth"
"""Lambda wants one; Hearth gives functions no AWS permissions."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
POLL_S: Final = 0.1
POLLS_MAX: Final = 3_000


@click.command()
@click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR"
)
@click.option("--handler", metavar="H", help="What to call, like app.handler.")
@click.option("--runtime", metavar="R", help="python3.11, nodejs22.x, …")
@click.option("--name", metavar="NAME", help="The function's name.  [default: the directory's]")
@click.option("--memory", type=click.IntRange(128, 10_240), metavar="MB", help="128 to 10240.")
@click.option("--timeout", type=click.IntRange(1, 900), metavar="S", help="1 to 900 seconds.")
@click.option(
    "--env", "-e", "variables", multiple=True, metavar="K=V", help="A variable; may be repeated."
)
@click.option(
    "--layer", "layers", multiple=True, metavar="ARN", help="A layer version; may be repeated."
)
@click.option(
    "--per-tenant", is_flag=True, help="No environment serves two tenants; only of a new function."
)
@click.option(
    "--durable",
    "execution_timeout",
    type=click.IntRange(1, 31_622_400),
    metavar="S",
    help="Invokes start durable executions of at most so many seconds. Only for a new function.",
)
@click.option("--role", metavar="ARN", help="Any valid role; Hearth only keeps it.")
@click.option(
    "--watch", "-w", "watches", is_flag=True, help="Deploy again whenever a file changes."
)
@click.option("--url", "wants_url", is_flag=True, help="Give it a URL that anybody may call.")
@click.option(
    "--stream-url", is_flag=True, help="The same; the URL answers as the function writes."
)
@state_option
@json_option
def deploy(
    directory: Path,
    *,
    state: str | None,
    as_json: bool,
    wants_url: bool,
    stream_url: bool,
    watches: bool,
    **given: Any,
) -> None:
    """Make a function of DIR, or update the one of that name.

    Of a function that exists only what is given here changes, besides its code.

    \b
    Examples:
      hearth deploy ./examples/hello --handler app.handler --runtime python3.11
      hearth deploy ./api --handler main.handler --runtime python3.12 --memory 512 -e STAGE=dev
      hearth deploy ./api                     # only the code again
      hearth deploy ./web --handler index.handler --runtime nodejs22.x --layer ARN:1
      hearth deploy ./api --url               # and print a URL for curl and browsers
      hearth deploy ./orders --handler app.handler --runtime python3.13 --durable 86400
      hearth deploy ./api --watch             # a saved file is live on the next invoke
    """
    paths = read_state(state)
    name = given["name"] or _name_of(directory)
    configuration = _configuration(given)
    client = aws.lambda_client(paths)
    seen = look(directory)  # before it is packed: what is saved meanwhile is deployed again
    package = zip_directory(directory)
    note(f"Packed {directory}: {_size(len(package))}")
    if (missing := missing_handler(package, given["runtime"], given["handler"])) is not None:
        note(f"Is that all? {missing} is not among its files, unless a layer brings it.")
    with aws.errors_explained(paths):
        if (there := _find(client, name)) is not None:
            _check_tenancy(there, wants=given["per_tenant"])
            _update(client, name, package, configuration)
            verb = "Updated"
        else:
            _create(client, name, package, configuration, per_tenant=given["per_tenant"])
            verb = "Created"
        function = client.get_function_configuration(FunctionName=name)
        wants_url = wants_url or stream_url
        url = public_url(client, name, streams=stream_url) if wants_url else None
    if as_json:
        _show(function, url)
    else:
        _tell(verb, name, function, url, client.meta.endpoint_url)
    if watches:
        watch(directory, lambda: _again(paths, name, directory), seen)


def _name_of(directory: Path) -> str:
    name = directory.resolve().name
    if _NAME.fullmatch(name) is None:
        raise Failure(
            f"{name!r} cannot be a function's name: letters, digits, - and _ can be in one, 64 at "
            "most. Give it another with --name."
        )
    return name


def _size(count: int) -> str:
    return f"{count / 1024:.0f} KB" if count >= 10_240 else f"{count / 1024:.1f} KB"


def _again(paths: StatePaths, name: str, directory: Path) -> None:
    """Only the code, to the Hearth that runs now."""
    client = aws.lambda_client(paths)
    with aws.errors_explained(paths):
        _update(client, name, zip_directory(directory), {})


def _show(function: Any, url: str | None) -> None:
    shown = {key: value for key, value in function.items() if key != "ResponseMetadata"}
    output.show_json(shown if url is None else shown | {"FunctionUrl": url})


def _tell(verb: str, name: str, function: Any, url: str | None, endpoint: str) -> None:
    note(f"{verb} {name} ({function.get('Runtime')}, {function.get('MemorySize')} MB)")
    if "DurableConfig" in function:  # AWS takes no invoke without a qualifier
        name = f"'{name}:$LATEST'"
    click.echo(function["FunctionArn"])
    if url is None:
        tenant = " --tenant-id T" if "TenancyConfig" in function else ""
        note(f"Invoke it with: hearth invoke {name}{tenant} -p '{{}}' --log")
    else:
        click.echo(url)
        note(f"Call it with: curl {url}")
        note(f"Where that name is not known: curl {by_path(endpoint, url)}")


def _configuration(given: dict[str, Any]) -> dict[str, Any]:
    """The members that CreateFunction and UpdateFunctionConfiguration share."""
    members: dict[str, Any] = {
        "Handler": given["handler"],
        "Runtime": given["runtime"],
        "MemorySize": given["memory"],
        "Timeout": given["timeout"],
        "Role": given["role"],
    }
    if given["execution_timeout"] is not None:
        members["DurableConfig"] = {"ExecutionTimeout": given["execution_timeout"]}
    if given["layers"]:
        members["Layers"] = list(given["layers"])
    if given["variables"]:
        members["Environment"] = {"Variables": _variables(given["variables"])}
    return {name: value for name, value in members.items() if value is not None}


def _variables(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    wrong = next((name for name, equals, _ in pairs if not (name and equals)), None)
    if wrong is not None:
        raise Failure(f"--env must be NAME=VALUE, not {wrong!r}.")
    return {name: value for name, _, value in pairs}


def _find(client: "LambdaClient", name: str) -> Any:
    """Its configuration; None if there is no such function."""
    try:
        return client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        return None


def _check_tenancy(there: Any, *, wants: bool) -> None:
    if wants and "TenancyConfig" not in there:
        raise Failure(
            f"{there['FunctionName']} does not keep its tenants apart, and a function that exists "
            "cannot begin to: give another --name, or delete it first."
        )


def _create(
    client: "LambdaClient",
    name: str,
    package: bytes,
    configuration: dict[str, Any],
    *,
    per_tenant: bool,
) -> None:
    missing = [flag for flag in ("Handler", "Runtime") if flag not in configuration]
    if missing:
        flags = " and ".join(f"--{flag.lower()}" for flag in missing)
        raise Failure(f"{name!r} is a new function: say {flags} too.")
    members = {"Role": ROLE_DEFAULT, **configuration}
    if per_tenant:
        members["TenancyConfig"] = {"TenantIsolationMode": "PER_TENANT"}
    client.create_function(FunctionName=name, Code={"ZipFile": package}, **members)
    _wait(client, "function_active_v2", name)


def _update(
    client: "LambdaClient", name: str, package: bytes, configuration: dict[str, Any]
) -> None:
    client.update_function_code(FunctionName=name, ZipFile=package)
    _wait(client, "function_updated_v2", name)
    if configuration:
        client.update_function_configuration(FunctionName=name, **configuration)
        _wait(client, "function_updated_v2", name)


def _wait(client: "LambdaClient", state: str, name: str) -> None:
    """Until it is active or updated. Raises Failure with Lambda's reason if it never will be."""
    from botocore.exceptions import WaiterError

    waiter: Any = client.get_waiter(state)  # type: ignore[call-overload]
    try:
        waiter.wait(FunctionName=name, WaiterConfig={"Delay": POLL_S, "MaxAttempts": POLLS_MAX})
    except WaiterError as error:
        told = cast("dict[str, Any]", error.last_response).get("Configuration", {})
        reason = told.get("StateReason") or told.get("LastUpdateStatusReason") or str(error)
        raise Failure(f"{name} cannot be used: {reason}") from error
