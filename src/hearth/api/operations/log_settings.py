"""LoggingConfig, from its members to the function's settings and back.

A level with the format Text is refused in AWS's words, as its users quote them.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_LoggingConfig.html
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from hearth.model.errors import InvalidParameterValue
from hearth.model.log_settings import LogFormat, LogSettings

LEVEL_WITH_TEXT: Final = (
    'LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request '
    'or change the LogFormat to "Json" and try again.'
)

Members = Mapping[str, Any]


def new_settings(members: Members) -> LogSettings:
    """Raises InvalidParameterValue."""
    change = changed_settings(members)
    return LogSettings() if change is None else change(LogSettings())


def changed_settings(members: Members) -> Callable[[LogSettings], LogSettings] | None:
    """What becomes of the settings that are there; None leaves them. What the result of this is
    asked raises InvalidParameterValue."""
    given = members.get("LoggingConfig")
    if not given:
        return None

    def change(before: LogSettings) -> LogSettings:
        log_format = LogFormat(given.get("LogFormat", before.format))
        group = given.get("LogGroup", before.group) or None
        levels = {
            name: given[member]
            for name, member in (
                ("application_level", "ApplicationLogLevel"),
                ("system_level", "SystemLogLevel"),
            )
            if given.get(member) is not None
        }
        if log_format is LogFormat.TEXT:
            if levels:
                raise InvalidParameterValue(LEVEL_WITH_TEXT)
            return LogSettings(group=group)
        return replace(before, format=log_format, group=group, **levels)

    return change


def described(settings: LogSettings, function_name: str) -> dict[str, Any]:
    shown = {"LogFormat": str(settings.format), "LogGroup": settings.group_of(function_name)}
    if settings.format is LogFormat.JSON:
        shown |= {
            "ApplicationLogLevel": settings.application_level,
            "SystemLogLevel": settings.system_level,
        }
    return shown
