"""How is a value of a filter pattern compared with one of an event? See filter_pattern.py."""

import math
import re
import sys
from collections.abc import Callable
from typing import Any, Final

from hearth.model.wildcards import wildcard_pattern

Value = float | Callable[[str], bool]
"""A number, or whether a text matches: whole (wildcards) or somewhere (a regular expression)."""

NUMBER_MAX: Final = int(sys.float_info.max)

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def wildcard(text: str) -> Callable[[str], bool]:
    """The whole text, with `*` for any part of it."""
    pattern = wildcard_pattern(text)
    return lambda found: pattern.fullmatch(found) is not None


def compare(found: Any, operator: str, wanted: Value) -> bool:
    """A value that is not there is neither equal nor unequal to anything."""
    if isinstance(wanted, float):
        number = _number(found)
        return number is not None and _compare_numbers(number, operator, wanted)
    text = _text(found)
    if text is None:
        return False
    matches = wanted(text)
    return matches if operator == "=" else not matches


def _compare_numbers(found: float, operator: str, wanted: float) -> bool:
    match operator:
        case "=":
            return found == wanted
        case "!=":
            return found != wanted
        case "<":
            return found < wanted
        case "<=":
            return found <= wanted
        case ">":
            return found > wanted
        case _:
            return found >= wanted


def _number(found: Any) -> float | None:
    if isinstance(found, bool):
        return None
    if isinstance(found, int):
        return float(found) if abs(found) <= NUMBER_MAX else None
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, str) and is_number(found):
        return float(found)
    return None


def _text(found: Any) -> str | None:
    if isinstance(found, str):
        return str(found)
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, int | float) else None
