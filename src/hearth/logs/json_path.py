"""Where in an event of JSON does a filter pattern look? `$.a.b[0]["c d"]`."""

import re
from typing import Any, Final

import msgspec

DEPTH_MAX: Final = 64

_STEP = re.compile(r'\.?\["([^"]*)"\]|\.([\w-]+)|\[(\d+)\]')


class Missing:
    """The type of MISSING."""


MISSING: Final = Missing()
"""There is no such value; null is one."""


class Text(str):
    """A word of an event that is no JSON."""

    __slots__ = ()


class Path:
    """Raises ValueError for a text that is no path."""

    def __init__(self, text: str) -> None:
        self._steps: list[str | int] = []
        at = 1
        while at < len(text):
            step = _STEP.match(text, at)
            if step is None or len(self._steps) == DEPTH_MAX:
                raise ValueError(f"Invalid selector: {text}")
            quoted, name, index = step.groups()
            self._steps.append(int(index) if index is not None else (name or quoted))
            at = step.end()

    def of(self, event: Any) -> Any:
        """The value in `event`, or MISSING."""
        for step in self._steps:
            if isinstance(step, int):
                if not isinstance(event, list) or step >= len(event):
                    return MISSING
                event = event[step]
            else:
                if not isinstance(event, dict) or step not in event:
                    return MISSING
                event = event[step]
        return event


def as_json(message: str) -> Any:
    """The object or array that an event is, or MISSING."""
    text = message.strip()
    if not text.startswith(("{", "[")):
        return MISSING
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return MISSING
