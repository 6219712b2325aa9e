"""In which order, and how, does AWS's Java print things? Derived from recorded error texts.

The value sets of enums, and the members of a structure in a list of several errors, come in the
order of a `HashSet` or `HashMap` over their names: by bucket, then by order of insertion. Every
recorded set but one fits, the one of 25 runtimes among them; so do the recorded pairs of errors
(`compatibleRuntimes` before `compatibleArchitectures`).
Source: java.lang.String.hashCode, java.util.HashMap.hash and its growth by doubling from 16.
"""

from collections.abc import Iterable
from typing import Final

TABLE_MIN: Final = 16
LOAD_FACTOR: Final = 0.75


def string_hash(text: str) -> int:
    """`String.hashCode` as an unsigned 32-bit number."""
    result = 0
    units = text.encode("utf-16-be")
    for high, low in zip(units[::2], units[1::2], strict=True):
        result = (31 * result + (high << 8 | low)) & 0xFFFF_FFFF
    return result


def hash_order(names: Iterable[str]) -> list[str]:
    """`names` in the order in which a HashSet that they were added to is walked."""
    ordered = list(names)
    size = TABLE_MIN
    while len(ordered) > size * LOAD_FACTOR:
        size *= 2

    def bucket(name: str) -> int:
        code = string_hash(name)
        return (code ^ code >> 16) & (size - 1)

    return sorted(ordered, key=bucket)


def lower_camel(name: str) -> str:
    """A member as it is named in errors: `KMSKeyArn` -> `kMSKeyArn`."""
    return name[:1].lower() + name[1:]
