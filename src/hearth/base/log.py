"""How does Hearth speak about itself? One line a record: constant text, then key=value fields.

    log = Log("worker")
    log.info("sandbox started", sandbox=sandbox_id, took_ms=12.3)

Goes to stderr. Text never varies and values are never inside it, so that lines can be counted.
"""

import logging
import sys
import traceback
from typing import Any

_root = logging.getLogger("hearth")


class Log:
    """A named source of records."""

    def __init__(self, name: str) -> None:
        self._logger = _root.getChild(name)

    def debug(self, text: str, **fields: Any) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            self._logger.debug(text, extra={"fields": fields})

    def info(self, text: str, **fields: Any) -> None:
        if self._logger.isEnabledFor(logging.INFO):
            self._logger.info(text, extra={"fields": fields})

    def warning(self, text: str, **fields: Any) -> None:
        self._logger.warning(text, extra={"fields": fields})

    def error(self, text: str, **fields: Any) -> None:
        """`error=` may be an exception: its whole chain is printed below the line."""
        self._logger.error(text, extra={"fields": fields})


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        fields: dict[str, Any] = getattr(record, "fields", {})
        shown = "".join(f" {key}={_show(value)}" for key, value in fields.items())
        name = record.name.removeprefix("hearth.")
        line = f"{stamp} {record.levelname.lower():7} {name}: {record.getMessage()}{shown}"
        error = fields.get("error")
        if isinstance(error, BaseException):
            line += "\n" + "".join(traceback.format_exception(error)).rstrip()
        return line


def _show(value: Any) -> str:
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({str(value)!r})"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return repr(text) if not text or any(c.isspace() for c in text) else text


def configure(level: str) -> None:
    """Send records of `level` (debug, info, warning, error) and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format())
    _root.handlers[:] = [handler]
    _root.setLevel(level.upper())
    _root.propagate = False
