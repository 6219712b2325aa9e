"""Which keys, prefixes and bucket names may be used, and what does a prefix match?

The rules are NATS's (https://docs.nats.io/nats-concepts/subjects), applied by every engine, so
that a key which works on one works on all.
"""

import re

from hearth.engine.contract import VALUE_BYTES_MAX

KEY_LENGTH_MAX = 1024  # a subject travels in the protocol's control line, 4096 bytes in all

_WORD = r"[-/_=a-zA-Z0-9]+"
_KEY = re.compile(rf"{_WORD}(\.{_WORD})*")
_BUCKET = re.compile(r"[-_a-zA-Z0-9]{1,64}")


def check_bucket(name: str) -> None:
    """Raises ValueError if `name` cannot name a bucket."""
    if not _BUCKET.fullmatch(name):
        raise ValueError(f"not a bucket name: {name!r}")


def check_key(key: str) -> None:
    """Raises ValueError if `key` is not a key."""
    if len(key) > KEY_LENGTH_MAX or not _KEY.fullmatch(key):
        raise ValueError(f"not a key: {key!r}")


def check_prefix(prefix: str) -> None:
    """Raises ValueError if `prefix` is neither empty nor whole tokens."""
    if prefix:
        check_key(prefix)


def check_value(value: bytes) -> None:
    """Raises ValueError if `value` is larger than a bucket takes."""
    if len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"a value of {len(value)} bytes; at most {VALUE_BYTES_MAX} are kept")


def matches(key: str, prefix: str) -> bool:
    """Does `key` begin with the tokens of `prefix`? `fn.1` matches `fn.1` and `fn.1.x` only."""
    return key == prefix or is_below(key, prefix)


def is_below(key: str, prefix: str) -> bool:
    """Does `key` go on after the tokens of `prefix`? Below `fn.1` is `fn.1.x`, not `fn.1`."""
    return not prefix or key.startswith(f"{prefix}.")
