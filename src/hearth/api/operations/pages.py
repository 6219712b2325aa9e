"""Which part of a list do `Marker` and `MaxItems` ask for? Lists of things that have a name."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from hearth.control.pages import page as page_of

T = TypeVar("T")


def page(
    items: Sequence[tuple[str, T]], members: Mapping[str, Any]
) -> tuple[list[T], dict[str, Any]]:
    """The items of the page, and `NextMarker` if there are more.

    `items` with their names, in order of these. Raises InvalidParameterValue for a foreign marker.
    """
    chosen = page_of(
        items,
        lambda item: (item[0], 0),
        marker=members.get("Marker"),
        items_max=members.get("MaxItems"),
    )
    more = {} if chosen.next_marker is None else {"NextMarker": chosen.next_marker}
    return [item for _, item in chosen.items], more
