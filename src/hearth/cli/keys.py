"""hearth keys: who may call this Hearth, with --auth sigv4? Works on the key file directly, so it
can be used before the first start; a running Hearth sees changes within a second."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from hearth.api.keys import KeyFile, KeyFileBroken
from hearth.base.clock import SystemClock
from hearth.cli import output
from hearth.cli.output import Failure, note
from hearth.cli.running import json_option, state_option
from hearth.model.ids import DEFAULT_ACCOUNT, AccountId
from hearth.settings import StatePaths, read_state


@click.group()
def keys() -> None:
    """Make, list and remove access keys (for --auth sigv4)."""


@keys.command()
@click.argument("user")
@click.option(
    "--account", metavar="ID", default=DEFAULT_ACCOUNT, show_default=True, help="12 digits."
)
@state_option
@json_option
def add(user: str, *, account: str, state: str | None, as_json: bool) -> None:
    """Make a key for USER. Its secret is shown now and never again.

    \b
    Examples:
      hearth keys add ada
      eval "$(hearth keys add ci --account 111122223333)"
    """
    with _file(read_state(state)) as file:
        key = file.add(AccountId(account), user)
    if as_json:
        output.show_json({"access_key": key.access_key, "secret_key": key.secret})
        return
    click.echo(f"export AWS_ACCESS_KEY_ID={key.access_key}")
    click.echo(f"export AWS_SECRET_ACCESS_KEY={key.secret}")
    note(f"This is the key of {key.user_arn}. Keep the secret: it is not shown again.")


@keys.command("list")
@state_option
@json_option
def list_(*, state: str | None, as_json: bool) -> None:
    """List the keys, without their secrets."""
    with _file(read_state(state)) as file:
        found = sorted(file.list(), key=lambda key: (key.account, key.user_arn, key.access_key))
    if as_json:
        members = ("access_key", "account", "user_arn")
        output.show_json([{name: getattr(key, name) for name in members} for key in found])
    elif found:
        rows = [[key.access_key, key.account, key.user_arn] for key in found]
        output.show_table(["ACCESS KEY", "ACCOUNT", "USER"], rows)
    else:
        note("There are no keys. Make one with: hearth keys add NAME")


@keys.command()
@click.argument("access_key", metavar="ACCESS_KEY")
@state_option
def remove(access_key: str, *, state: str | None) -> None:
    """Remove a key: requests signed with it are refused from then on.

    \b
    Example:
      hearth keys remove AKIAABCDEFGHIJKLMNOP
    """
    with _file(read_state(state)) as file:
        if not file.remove(access_key):
            raise Failure(f"There is no key {access_key}. See them with: hearth keys list")
    note(f"Removed {access_key}.")


@contextmanager
def _file(paths: StatePaths) -> Iterator[KeyFile]:
    """The key file; what is wrong with it or with a name, as a sentence."""
    try:
        yield KeyFile(paths.keys, SystemClock())
    except ValueError as error:
        raise Failure(f"{error}.") from error
    except KeyFileBroken as error:
        raise Failure(f"{error}. Repair it or move it away.") from error
    except OSError as error:
        raise Failure(f"{paths.keys} cannot be used: {error.strerror}.") from error
