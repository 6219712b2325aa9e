"""What can be typed? All commands of `hearth`, and the console script."""

from difflib import get_close_matches
from importlib import import_module
from typing import Final

import click

from hearth import __version__
from hearth.cli.output import Failure
from hearth.cli.platform import InstalledPlatform
from hearth.settings import StartRefused, read_colour

SECTIONS: Final = {
    "Functions": {
        "deploy": "deploy",
        "invoke": "invoke",
        "event": "event",
        "logs": "logs",
        "ps": "running",
    },
    "What runs by itself": {
        "events": "events",
        "mappings": "mappings",
        "executions": "executions",
    },
    "Hearth": {
        "up": "up",
        "down": "running",
        "status": "running",
        "doctor": "doctor",
        "runtimes": "runtimes",
        "keys": "keys",
        "completion": "completion",
    },
}
"""As they are listed; and in which module of this room each command is, under its own name."""

COMMANDS: Final = {
    name: module for section in SECTIONS.values() for name, module in section.items()
}


_WHOLE: Final = 1_000
"""Characters: none is cut off."""


class Commands(click.Group):
    """Imports a command when it is typed: `hearth up` needs nothing of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"hearth.cli.{module}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By sections, and each with its whole first sentence."""
        for title, names in SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [
                (name, command.get_short_help_str(_WHOLE)) for name, command in commands if command
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except StartRefused as error:
            raise Failure(str(error)) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = get_close_matches(args[0], COMMANDS, n=1)
        if near and args[0] not in COMMANDS:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(__version__, prog_name="hearth", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """AWS Lambda on your own machines.

    \b
      hearth up                                   start it (in another terminal, or with --detach)
      hearth deploy ./examples/hello --handler app.handler --runtime python3.11
      hearth invoke hello -p '{"n": 1}' --log
      hearth down

    Every AWS client works too, with AWS_ENDPOINT_URL=http://127.0.0.1:4566.
    """
    context.color = read_colour()


def main() -> None:
    """The console script."""
    cli(obj=InstalledPlatform(), prog_name="hearth")
