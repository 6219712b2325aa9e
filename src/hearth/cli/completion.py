"""hearth completion: how does a shell complete the names of commands and options?"""

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and options.

    \b
    Examples:
      eval "$(hearth completion bash)"        # in ~/.bashrc
      eval "$(hearth completion zsh)"         # in ~/.zshrc, after compinit
      hearth completion fish > ~/.config/fish/completions/hearth.fish
    """
    found = get_completion_class(shell)
    assert found is not None, "click has these"
    root = click.get_current_context().find_root()
    click.echo(found(root.command, {}, "hearth", "_HEARTH_COMPLETE").source())
