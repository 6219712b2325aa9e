"""What can be typed? All commands of `hearth`, and the console script."""

import click

from hearth import __version__
from hearth.cli.deploy import deploy
from hearth.cli.doctor import doctor
from hearth.cli.event import event
from hearth.cli.events import events
from hearth.cli.executions import executions
from hearth.cli.invoke import invoke
from hearth.cli.keys import keys
from hearth.cli.logs import logs
from hearth.cli.mappings import mappings
from hearth.cli.platform import InstalledPlatform
from hearth.cli.running import down, ps, status
from hearth.cli.runtimes import runtimes
from hearth.cli.up import up


@click.group(context_settings={"help_option_names": ["--help", "-h"]})
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


for command in (
    *(up, down, status, ps, logs, events, mappings),
    *(invoke, event, deploy, executions, doctor, runtimes, keys),
):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    cli(obj=InstalledPlatform(), prog_name="hearth")
