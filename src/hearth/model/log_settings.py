"""How does a function log? Lambda's LoggingConfig: format, levels, group.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_LoggingConfig.html and
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class LogFormat(StrEnum):
    TEXT = "Text"
    JSON = "JSON"


LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""The most detailed first."""
LEVEL_DEFAULT: Final = "INFO"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Levels count only with JSON."""

    format: LogFormat = LogFormat.TEXT
    application_level: str = LEVEL_DEFAULT
    system_level: str = LEVEL_DEFAULT
    group: str | None = None
    """None: `/aws/lambda/<function>`."""

    def group_of(self, function_name: str) -> str:
        return self.group or f"/aws/lambda/{function_name}"


def admits(level: str, of: str) -> bool:
    """Whether lines of `of` are wanted where `level` is set."""
    return LEVELS.index(of) >= LEVELS.index(level)
