"""Does all of a text match one with wildcards? In linear time, whatever the two are.

`.*` between pieces would try all ways to place them, and Python's `re` lets nothing else run
meanwhile. Each piece is taken where it is found first: if that does not fit, nothing does.
"""

import re
from functools import lru_cache
from typing import Final

REMEMBERED: Final = 4_096


@lru_cache(maxsize=REMEMBERED)
def wildcard_pattern(text: str, *, one: bool = False, ignore_case: bool = False) -> re.Pattern[str]:
    """To `fullmatch` with: `*` is any text, and with `one` a `?` any character."""
    first, *others = (_literal(piece, one) for piece in text.split("*"))
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else re.NOFLAG)
    if not others:
        return re.compile(first, flags)
    *between, last = others
    middle = "".join(f"(?>.*?{piece})" for piece in between if piece)
    return re.compile(f"{first}{middle}.*{last}", flags)


def _literal(piece: str, one: bool) -> str:
    if not one:
        return re.escape(piece)
    return ".".join(map(re.escape, piece.split("?")))
