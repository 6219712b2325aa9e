"""Which records of a batch failed? What a function says that reports it. Pure.

    {"batchItemFailures": [{"itemIdentifier": "059f36b4-…"}]}

Nothing, null, an empty list: none failed. What is not understood means that all did, as does an
identifier that the batch has not.
Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from collections.abc import Sequence
from typing import Any

import msgspec


def failed_items(payload: bytes, identifiers: Sequence[str]) -> frozenset[str] | None:
    """Some of the identifiers; None for the whole batch."""
    if not payload:
        return frozenset()
    try:
        answer = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if answer is None:
        return frozenset()
    if not isinstance(answer, dict):
        return None
    failures = answer.get("batchItemFailures")
    if failures is None:
        return frozenset()
    if not isinstance(failures, list):
        return None
    found = [_identifier(failure) for failure in failures]
    if not set(found) <= set(identifiers):  # None is never one of them
        return None
    return frozenset(name for name in found if name is not None)


def _identifier(failure: Any) -> str | None:
    name = failure.get("itemIdentifier") if isinstance(failure, dict) else None
    return name if isinstance(name, str) and name else None
