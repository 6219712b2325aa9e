"""What can be typed? All commands of `hearth`, and the console script."""

from difflib import get_close_matches
from importlib import import_module
from typing import Final

import click

from hearth import __version__
from hearth.cli.platform import InstalledPlatform

COMMANDS: Final = {
    "up": "up",
    "down": "running",
    "status": "running",
    "ps": "running",
    "logs": "logs",
    "events": "events",
    "mappings": "mappings",
    "invoke": "invoke",
    "event": "event",
    "executions": "executions",
    "deploy": "deploy",
    "doctor": "doctor",
    "runtimes": "runtimes",
    "keys": "keys",
}
"""In which module of this room each is, under its own name."""


class Commands(click.Group):
    """Imports a command when it is typed: `hearth up` needs nothing of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"hearth.cli.{module}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = get_close_matches(args[0], COMMANDS, n=1)
        if near and args[0] not in COMMANDS:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(__version__, prog_name="hearth", message="%(prog)s %(version)s")
def cli() -> None:
    """AWS Lambda on your own machines.

    \b
      hearth up                                   start it (in another terminal, or with --detach)
      hearth deploy ./examples/hello --handler app.handler --runtime python3.11
      hearth invoke hello -p '{"n": 1}' --log
      hearth down

    Every AWS client works too, with AWS_ENDPOINT_URL=http://127.0.0.1:4566.
    """


def main() -> None:
    """The console script."""
    cli(obj=InstalledPlatform(), prog_name="hearth")
