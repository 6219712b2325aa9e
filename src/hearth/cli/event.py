"""hearth event: what would AWS send? A sample event, to look at or to invoke a function with."""

import json
from typing import Any

import click

from hearth.cli.output import Failure, show_table
from hearth.cli.sample_events import BODY, SAMPLES


@click.command()
@click.argument("source", required=False, metavar="[SOURCE]")
@click.option("--body", metavar="TEXT", help="What the sender put in: message, body, detail, …")
@click.option(
    "--set", "settings", multiple=True, metavar="PATH=JSON", help="Change a member; repeatable."
)
@click.option("--region", default="us-east-1", show_default=True, metavar="R")
def event(source: str | None, *, body: str | None, settings: tuple[str, ...], region: str) -> None:
    """Print a sample event of SOURCE; without SOURCE, list the sources.

    \b
    Examples:
      hearth event sqs --body '{"order": 7}' | hearth invoke worker -f -
      hearth event s3 --set Records.0.s3.object.key='"a.csv"' | hearth invoke import -f -
    """
    if source is None:
        show_table(("SOURCE", "WHAT IT IS"), [(name, s.about) for name, s in SAMPLES.items()])
        return
    sample = SAMPLES.get(source)
    if sample is None:
        raise Failure(f"There is no sample event {source!r}. There are: {', '.join(SAMPLES)}.")
    made = sample.make(BODY if body is None else body, region)
    for setting in settings:
        _set(made, setting)
    click.echo(json.dumps(made, indent=2))


def _set(made: Any, setting: str) -> None:
    """`Records.0.body="x"`; what is no JSON is a text."""
    path, equals, text = setting.partition("=")
    steps = path.split(".")
    if not equals or not all(steps):
        raise Failure(f"--set must be PATH=VALUE, not {setting!r}.")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    where = made
    for step in steps[:-1]:
        where = _step(where, step, path)
    last = steps[-1]
    if isinstance(where, dict):
        where[last] = value
    elif isinstance(where, list) and last.isdecimal() and int(last) < len(where):
        where[int(last)] = value
    else:
        raise Failure(f"This event has no {path}.")


def _step(where: Any, step: str, path: str) -> Any:
    if isinstance(where, dict) and step in where:
        return where[step]
    if isinstance(where, list) and step.isdecimal() and int(step) < len(where):
        return where[int(step)]
    raise Failure(f"This event has no {path}.")
