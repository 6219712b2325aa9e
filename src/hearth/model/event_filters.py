"""Which records of an event source does a mapping's function get? Filters, by kind of source.

A record passes if one of the filters matches it. What a filter sees is the record as the function
would get it, but for its data, which is decoded: a queue's `body` where it is a JSON object, a
stream's `data` (beside it, and under `kinesis`, what else the record has).

Data that is not what the pattern takes it for matches nothing, and is dropped. For streams, whose
data is JSON or nothing, a pattern that takes it for text is refused.
Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hearth.model.event_patterns import InvalidPattern, Test, compile_pattern, parse
from hearth.model.mappings import SourceKind

_DATA: Final = {SourceKind.KINESIS: "data", SourceKind.DYNAMODB: "dynamodb"}
"""Fields that a pattern must take for objects."""


class Filters:
    """Raises InvalidPattern."""

    def __init__(self, kind: SourceKind, patterns: Sequence[str]) -> None:
        self._kind = kind
        self._tests: list[Test] = []
        for text in patterns:
            self._tests.append(compile_pattern(text))
            field = _DATA.get(kind)
            wanted = json.loads(text).get(field) if field else None
            if wanted is not None and not isinstance(wanted, dict):
                raise InvalidPattern(f"{field} is JSON, and its pattern an object")

    def __bool__(self) -> bool:
        """Is there any? Without, all records pass."""
        return bool(self._tests)

    def passes(self, record: bytes) -> bool:
        """Of a record as JSON."""
        if not self._tests:
            return True
        seen = _seen(self._kind, parse(record.decode()))
        return any(test(seen) for test in self._tests)


def _seen(kind: SourceKind, record: dict[str, Any]) -> Mapping[str, Any]:
    match kind:
        case SourceKind.SQS:
            return {**record, "body": _decoded(record["body"], record["body"])}
        case SourceKind.KINESIS:
            inner = record["kinesis"]
            inner = {**inner, "data": _decoded(_plain(inner["data"]), None)}
            return {**inner, **record, "kinesis": inner}
        case SourceKind.DYNAMODB:
            return record


def _decoded(text: str | None, otherwise: Any) -> Any:
    """The JSON object in the text; `otherwise` where there is none."""
    if text is None:
        return otherwise
    try:
        value = parse(text)
    except ValueError:
        return otherwise
    return value if isinstance(value, dict) else otherwise


def _plain(data: str) -> str | None:
    try:
        return base64.b64decode(data).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
