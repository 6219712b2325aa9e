"""How is a value of a filter pattern compared with one of an event? See filter_pattern.py."""

import math
import re
from typing import Any, Final

Value = float | re.Pattern[str]
"""A number, or what a text must match whole (wildcards) or somewhere (a regular expression)."""

REGEX_LENGTH_MAX: Final = 256

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_UNSUPPORTED: Final = frozenset("()")


def is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def regex(expression: str) -> re.Pattern[str]:
    """Raises ValueError: it is none, or has groups, which AWS's have not either."""
    if len(expression) > REGEX_LENGTH_MAX or _UNSUPPORTED & set(expression):
        raise ValueError(f"Unsupported regular expression: {expression}")
    try:
        return re.compile(expression, re.ASCII)
    except re.error as error:
        raise ValueError(f"Invalid regular expression: {expression}") from error


def wildcard(text: str) -> re.Pattern[str]:
    """The whole text, with `*` for any part of it."""
    parts = [re.escape(part) for part in re.split(r"\*+", text)]
    return re.compile(r"\A" + ".*".join(parts) + r"\Z", re.DOTALL)


def compare(found: Any, operator: str, wanted: Value) -> bool:
    """A value that is not there is neither equal nor unequal to anything."""
    if isinstance(wanted, float):
        number = _number(found)
        return number is not None and _compare_numbers(number, operator, wanted)
    text = _text(found)
    if text is None:
        return False
    matches = wanted.search(text) is not None
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
    if isinstance(found, int | float):
        return float(found) if not isinstance(found, float) or math.isfinite(found) else None
    if isinstance(found, str) and is_number(found):
        return float(found)
    return None


def _text(found: Any) -> str | None:
    if isinstance(found, str):
        return str(found)
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, int | float) else None
