"""What do checkpoint tokens, callback ids and markers look like? None of them is stored.

A token says which turn of which execution it is for, and proves that it came from us. AWS's
patterns: base64 of the standard alphabet.
"""

import base64
import binascii
import hashlib
import hmac
from typing import NamedTuple

_MAC_BYTES = 15
_DIGITS_MAX = 18


def checkpoint_token(secret: str, execution: str, turn: int) -> str:
    return _encode(f"{execution}.{turn}.{_mac(secret, f'turn {turn}')}")


class CallbackPlace(NamedTuple):
    execution: str
    operation: str


def callback_id(secret: str, execution: str, operation: str) -> str:
    return _encode(f"{execution}.{operation}.{_mac(secret, f'callback {operation}')}")


def callback_place(callback: str) -> CallbackPlace | None:
    """Where it may be from; whether it is, its operation knows. None for what is none of ours."""
    parts = (_decode(callback) or "").split(".")
    if len(parts) != 3 or not parts[0] or not parts[1]:
        return None
    return CallbackPlace(parts[0], parts[1])


class Marker(NamedTuple):
    since: int
    """Operations that have changed after so many facts."""
    after: int
    """Of them, from the one with this number on."""


def marker(since: int, after: int) -> str:
    return _encode(f"{since}.{after}")


def read_marker(text: str) -> Marker | None:
    since, dot, after = (_decode(text) or "").partition(".")
    if not dot or not (_is_number(since) and _is_number(after)):
        return None
    return Marker(int(since), int(after))


def _is_number(text: str) -> bool:
    """Not one of thousands of digits, which Python would not read."""
    return text.isdecimal() and len(text) <= _DIGITS_MAX


def _mac(secret: str, text: str) -> str:
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()[:_MAC_BYTES]
    return base64.b64encode(digest).decode()


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
