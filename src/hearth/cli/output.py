"""How does the CLI speak? Sentences, tables, JSON; in colour on a terminal and plain elsewhere."""

import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal

import click
import msgspec

GAP: Final = 2
BROKEN_WIDTH: Final = 22
"""Characters of a word that stay together, where it may be broken."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tab and newline


class Failure(click.ClickException):
    """What the user asked for was not done: one sentence that says why, and what to do."""

    def show(self, file: Any = None) -> None:
        click.echo(f"hearth: {self.message}", file=file or sys.stderr)


def note(text: str) -> None:
    """Progress and asides: on stderr, so that stdout holds the answer alone."""
    click.echo(text, err=True)


def show_json(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A column whose name ends in `>` is aligned to the right; of one that ends in `~` a terminal
    may break long words. A table that is too wide for the terminal is shown row by row."""
    names = [column.rstrip(">~") for column in columns]
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        if fits(columns, rows, width):
            _show_rich_table(columns, names, rows)
        else:
            click.echo(stacked(names, rows))
        return
    cells = [names, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = [
            cell.rjust(width) if column.endswith(">") else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def fits(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Without a word broken that may not be?"""
    return sum(_narrowest(columns, rows)) + GAP * len(columns) <= width  # rich counts the last too


def _narrowest(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """How wide each column is at least: as its longest word, or as broken words may be."""
    widths = []
    for column, *cells in zip(columns, *rows, strict=True):
        words = [column.rstrip(">~"), *(word for cell in cells for word in cell.split())]
        longest = max(map(len, words))
        widths.append(min(longest, BROKEN_WIDTH) if column.endswith("~") else longest)
    return widths


def stacked(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Each row as lines of its own, under its first cell."""
    wide = max(map(len, names[1:]), default=0)
    blocks = []
    for first, *rest in rows:
        named = zip(names[1:], rest, strict=True)
        lines = [f"  {name.lower().ljust(wide)}  {cell}" for name, cell in named if cell]
        blocks.append("\n".join([click.style(first, bold=True), *lines]))
    return "\n\n".join(blocks)


def _show_rich_table(
    columns: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    from rich.console import Console  # imported late: it is slow to import, for one table
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column, name, least in zip(columns, names, _narrowest(columns, rows), strict=True):
        side: Literal["left", "right"] = "right" if column.endswith(">") else "left"
        table.add_column(name, justify=side, overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    context = click.get_current_context(silent=True)
    is_plain = context is not None and context.color is False
    Console(color_system=None if is_plain else "auto").print(table)


def show_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Names and values, one a line."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def harmless(text: str) -> str:
    """For a terminal: what a function printed must not move the cursor or change the title."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def unfolded(text: str) -> str:
    """Several lines in one event (a traceback) have \\r between them; see them as lines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def duration(seconds: float) -> str:
    """`850ms`, `42s`, `3m07s`, `5h12m`, `3d4h`"""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest_s = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest_s:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    return f"{hours // 24}d{hours % 24}h"


def mebibytes(count: int) -> str:
    return f"{count / 1_048_576:.0f} MB"
