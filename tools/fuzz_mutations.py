"""What is a hostile neighbour of a valid input? Bytes, texts and members, changed by chance.

All take the random.Random that decides: the same seed gives the same input.
"""

import random
from typing import Any, Final

TOKENS: Final = (
    b"\r\n", b"\n", b"\r\n\r\n", b"\x00", b"%", b"%zz", b"%00", b"%2f", b"%C3", b":", b"/", b"//",
    b"..", b"?", b"&", b"=", b"+", b"#", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u", b"\\ud800",
    b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"null", b"true", b"1e999", b"-0",
    b"NaN", b"99999999999999999999", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"AWS4-HMAC-SHA256 ", b"Credential=", b"PK\x01\x02",
    b"PK\x05\x06", b"PK\x03\x04", b"\x1f\x8b",
)  # fmt: skip
"""What means something to one of the parsers."""

VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, -(2**31) - 1, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308,
    "", " ", "0", "f", "a" * 300, "$LATEST", "é", "\x00", "\u2028", "𝟙", "../..", [],
    [None], [[]], ["f", "f"], {}, {"": ""}, {"f": None}, {"f": {"f": []}},
    "arn:aws:lambda:eu-central-1:1:f", "NaN", "Infinity", "1e999",
    "2026-13-45T99:99:99Z", "=", "Zm9v", "====",
)  # fmt: skip
"""JSON values that break something."""


def mutate(rng: random.Random, data: bytes) -> bytes:
    """A few small changes; now and then only random bytes."""
    if rng.random() < 0.03:
        return rng.randbytes(rng.randrange(200))
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _change(rng, changed)
    return bytes(changed)


def _change(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 64)))
    match rng.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            del data[at:end]
        case 2:
            data[at:at] = rng.choice(TOKENS)
        case 3:
            data[at:at] = data[at:end] * rng.choice((1, 2, 50))
        case 4 if at < len(data):
            data[at] = rng.randrange(256)
        case 5:
            data[at:end] = rng.choice(TOKENS)
        case _:
            other = rng.randrange(len(data) + 1)
            data[at:end] = data[other : other + end - at]


def mutate_text(rng: random.Random, text: str) -> str:
    return mutate(rng, text.encode("latin-1", "replace")).decode("latin-1")


def mutate_members(rng: random.Random, members: dict[str, Any]) -> dict[str, Any]:
    """The same members with one or two nodes, somewhere in the tree, replaced, dropped or added."""
    changed: Any = members
    for _ in range(rng.choice((1, 1, 2))):
        changed = _replaced(rng, changed)
    return changed if isinstance(changed, dict) else {}


def _replaced(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return {**value, rng.choice(("", "x", key.lower(), "é")): rng.choice(VALUES)}
            case _:
                return {**value, key: _replaced(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.6:
        items = list(value)
        at = rng.randrange(len(items))
        items[at] = _replaced(rng, items[at])
        return items * rng.choice((1, 1, 1, 3))
    if isinstance(value, str) and rng.random() < 0.4:
        return mutate_text(rng, value)
    if isinstance(value, bytes) and rng.random() < 0.7:
        return mutate(rng, value)
    return rng.choice(VALUES)
