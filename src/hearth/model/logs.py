"""Where does a function's output go? Log groups, log streams and events, as CloudWatch names them.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatchLogsConcepts.html
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NewType, Self

from hearth.model.ids import AccountId, FunctionKey, Region

EventId = NewType("EventId", str)
"""56 decimal digits; within a group a later event has a greater one."""

FUNCTION_GROUP_PREFIX: Final = "/aws/lambda/"
GROUP_NAME_LENGTH_MAX: Final = 512

_NAME = re.compile(rf"[.\-_/#A-Za-z0-9]{{1,{GROUP_NAME_LENGTH_MAX}}}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class LogGroup:
    """One log group. Raises ValueError for a name that AWS would not accept: names become
    directories, and come from callers."""

    account: AccountId
    region: Region
    name: str

    def __post_init__(self) -> None:
        for part, pattern in (
            (self.account, _ACCOUNT),
            (self.region, _REGION),
            (self.name, _NAME),
        ):
            if pattern.fullmatch(part) is None:
                raise ValueError(f"not a log group: {self.account}/{self.region}/{self.name!r}")

    @classmethod
    def of_function(cls, key: FunctionKey) -> Self:
        """The group that a function writes to unless it is told another."""
        return cls(key.account, key.region, f"{FUNCTION_GROUP_PREFIX}{key.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """One event of a log, as it came: any bytes; a line that ended has its newline."""

    event_id: EventId
    stream: str
    at_ms: int
    """When the function wrote it, in milliseconds since the epoch."""
    ingested_ms: int
    """When Hearth took it."""
    message: bytes


def stream_name(at: datetime, version: str, unique: str, function: str = "") -> str:
    """`2026/11/23/[$LATEST]0123…`: one for each sandbox. `unique` is 32 lower-case hex digits.
    `2026/11/23/f[$LATEST]0123…` in a group of several functions' own:
    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html"""
    return f"{at:%Y/%m/%d}/{function}[{version}]{unique}"
