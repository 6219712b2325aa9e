"""What do these header lines say? Names and values of HTTP fields, checked; and the refusal.

Names recur and values do not, so the check of a name is remembered and that of the values is
done for all of them at once.

Source: RFC 9110 section 5, RFC 9112 section 5.
"""

import re
from typing import Final

NAMES_MAX: Final = 512
"""Remembered spellings of names; a client that invents more only loses the short cut."""

_NAME_LENGTH_MAX: Final = 64
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
LEGAL: Final = bytes(c for c in range(256) if c == 0x09 or (c >= 0x20 and c != 0x7F))
_SINGLE: Final = frozenset({"host", "content-length", "transfer-encoding"})
_names: dict[str, str] = {}


class HttpRefusal(Exception):
    """What the client sent will not be served. `status` and `reason` may be shown to it."""

    def __init__(self, status: int, reason: str, asked: tuple[str, str] = ("", "")) -> None:
        """`asked`: method and target, where they matter for what is said."""
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.asked = asked


def split_lines(raw: bytes | bytearray) -> list[str]:
    """Lines between CRLFs, as latin-1. Raises HttpRefusal (400) for any other control character."""
    lines = str(raw, "latin-1").split("\r\n")
    if len(raw.translate(None, LEGAL)) != 2 * (len(lines) - 1):  # what is left: those CRLFs
        raise HttpRefusal(400, "Forbidden character in the request head.")
    return lines


def parse_fields(lines: list[str]) -> dict[str, str]:
    """Fields by lower-case name; repeated ones joined by a comma, as functions see them at AWS
    and as signatures are made.

    Raises HttpRefusal (400).
    """
    fields: dict[str, str] = {}
    names = _names
    for line in lines:
        raw, colon, value = line.partition(":")
        name = names.get(raw) or _check_name(raw)
        if not colon:
            raise HttpRefusal(400, "Malformed header field.")
        if name in fields:
            if name in _SINGLE:
                raise HttpRefusal(400, "Repeated header field.")
            fields[name] += "," + value.strip(" \t")
        else:
            fields[name] = value.strip(" \t")
    return fields


def _check_name(raw: str) -> str:
    """Also catches folded lines and a space before the colon: neither is in a name."""
    if not _NAME.fullmatch(raw):
        raise HttpRefusal(400, "Malformed header field.")
    name = raw.lower()
    if len(_names) < NAMES_MAX and len(raw) <= _NAME_LENGTH_MAX:
        _names[raw] = name
    return name
