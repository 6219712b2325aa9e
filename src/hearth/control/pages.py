"""Which part of a long list is asked for, and how does its caller ask for the next?

A marker says after what the next page begins, not how many came before: what is made or deleted
meanwhile shifts nothing.
"""

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from hearth.model.errors import InvalidParameterValue

T = TypeVar("T")

PAGE_ITEMS: Final = 50
"""Unless told otherwise; functions and versions never come in larger pages."""

Position = tuple[str, int]
"""What a list is in order of: a name, and a number within it."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and the marker that asks for those after them."""

    items: tuple[T, ...]
    next_marker: str | None


def page(
    items: Sequence[T],
    position: Callable[[T], Position],
    *,
    marker: str | None,
    items_max: int | None,
    most: int = PAGE_ITEMS,
) -> Page[T]:
    """Those of `items` (in order of `position`) after the marker, `items_max` or `most` of them.

    Raises InvalidParameterValue for a marker that was never given.
    """
    start = 0
    if marker is not None:
        start = bisect_right(items, _marked(marker), key=position)
    end = start + min(items_max or PAGE_ITEMS, most)
    chosen = tuple(items[start:end])
    return Page(chosen, _marker(position(chosen[-1])) if end < len(items) else None)


def page_of_groups(
    groups: Sequence[T],
    members: Callable[[T], Iterable[T]],
    position: Callable[[T], Position],
    *,
    marker: str | None,
    items_max: int | None,
) -> Page[T]:
    """The page of a list that consists of groups' members, each group in order of the first's name.

    Only the groups that the page needs are looked into. Raises as page().
    """
    start, after = 0, ("", -1)
    if marker is not None:
        after = _marked(marker)
        start = bisect_left(groups, after[0], key=lambda group: position(group)[0])
    wanted = min(items_max or PAGE_ITEMS, PAGE_ITEMS)
    chosen: list[T] = []
    for group in groups[start:]:
        chosen.extend(member for member in members(group) if position(member) > after)
        if len(chosen) > wanted:
            break
    last = chosen[:wanted]
    return Page(tuple(last), _marker(position(last[-1])) if len(chosen) > wanted else None)


def _marker(last: Position) -> str:
    name, number = last
    return base64.urlsafe_b64encode(f"{name}:{number}".encode()).decode()


def _marked(marker: str) -> Position:
    try:
        text = base64.b64decode(marker, altchars=b"-_", validate=True).decode()
        name, number = text.rsplit(":", 1)
        return name, int(number)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameterValue("The marker is not one that this operation gave.") from error
