"""Does a text match a pattern of a model? The models' patterns are Java's; most are Python's too.

What differs is rewritten: Unicode classes (`\\p{L}`) by the nearest of Python's, a hyphen after a
class (`[\\w-_]`) by an escaped one, the dot by what ends no line of Java's. `\\d`, `\\w` and `\\s`
are ASCII's, as Java has them. The rewritten pattern is never stricter than AWS's, so that a client
is not refused what AWS accepts. A whole text must match, as Java's `matches` has it.
"""

import re
import warnings
from functools import cache
from typing import Final

CLASSES: Final = {
    "L": r"\w",
    "N": r"\d",
    "Nd": r"\d",
    "Z": r"\s",
    "Zs": r"\s",
    "IsLatin": r"\w",
    "Alnum": "a-zA-Z0-9",
    "Alpha": "a-zA-Z",
    "ASCII": r"\x00-\x7f",
    "Print": r"\x20-\x7e",
    "Graph": r"\x21-\x7e",
    "P": r"!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u205e\u3001-\u303f",
    "Punct": r"!-/:-@\[-`{-~",
    "S": r"$+<=>^`|~\u00a2-\u00b8\u2044-\u2bff",
    "M": r"\u0300-\u036f\u0483-\u0489\u0591-\u1cf9\u20d0-\u20f0",
}
TEXT_LENGTH_MAX: Final = 100_000
"""A longer text is not searched: what has a pattern is shorter, and some patterns are slow."""

ANY: Final = r"[^\n\r\x85\u2028\u2029]"
"""Java's dot; Python's takes a carriage return too."""

_UNICODE_CLASS = re.compile(r"\\p\{(\w+)\}|\\p(\w)")
_HYPHEN_AFTER_CLASS = re.compile(r"(\\[wds])-(?=[^\]])")


def matches(pattern: str, text: str) -> bool:
    """Whether all of `text` matches; true where Python cannot say."""
    if len(text) > TEXT_LENGTH_MAX:
        return False
    compiled = _compile(pattern)
    return compiled is None or compiled.fullmatch(text) is not None


@cache
def _compile(pattern: str) -> re.Pattern[str] | None:
    flags = re.NOFLAG if _UNICODE_CLASS.search(pattern) else re.ASCII
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # `[[` is a plain character here
        try:
            return re.compile(_to_python(pattern), flags)
        except re.error:
            return None


def _to_python(pattern: str) -> str:
    parts: list[str] = []
    is_inside = False
    position = 0
    while position < len(pattern):
        found = _UNICODE_CLASS.match(pattern, position)
        if found:
            members = CLASSES.get(found[1] or found[2], r"\s\S")
            parts.append(members if is_inside else f"[{members}]")
            position = found.end()
            continue
        width = 2 if pattern[position] == "\\" else 1
        piece = pattern[position : position + width]
        is_inside = (is_inside or piece == "[") and piece != "]"
        parts.append(ANY if piece == "." and not is_inside else piece)
        position += width
    return _HYPHEN_AFTER_CLASS.sub(r"\1\\-", "".join(parts))
