"""What makes a function durable, and how are its executions named?

    arn:aws:lambda:REGION:ACCOUNT:function:NAME:VERSION/durable-execution/EXECUTION-NAME/ID

Source: https://docs.aws.amazon.com/lambda/latest/dg/durable-functions.html
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

EXECUTION_TIMEOUT_S_DEFAULT: Final = 86_400
RETENTION_DAYS_DEFAULT: Final = 14
EXECUTION_AGE_S_MAX: Final = 366 * 86_400
"""An execution ends then, paused or not."""
SYNC_TIMEOUT_S_MAX: Final = 900
OPERATIONS_MAX: Final = 3_000
STORED_BYTES_MAX: Final = 100 * 1024 * 1024
OPERATION_PAYLOAD_BYTES_MAX: Final = 1024 * 1024
SYNC_PAYLOAD_BYTES_MAX: Final = 6_291_456

_ARN = re.compile(
    r"arn:aws[a-zA-Z-]*:lambda:([a-z0-9-]+):(\d{12}):function:([a-zA-Z0-9_-]+):"
    r"(\$LATEST|[0-9]+)/durable-execution/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)",
    re.ASCII,
)


class ExecutionStatus(StrEnum):
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    STOPPED = "STOPPED"
    DELETING = "DELETING"

    @property
    def is_open(self) -> bool:
        return self in _OPEN


_OPEN: Final = frozenset({ExecutionStatus.RUNNING, ExecutionStatus.PAUSING, ExecutionStatus.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableConfig:
    """Of a function, and of an execution from its beginning on."""

    timeout_s: int = EXECUTION_TIMEOUT_S_DEFAULT
    """Of a whole execution, its waits included."""
    retention_days: int = RETENTION_DAYS_DEFAULT
    """How long an execution that is over is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionArn:
    """Which execution: the function and its version, a name and an id."""

    function: FunctionKey
    version: str
    name: str
    """Unique among the executions that the function has."""
    id: str

    def __str__(self) -> str:
        return f"{self.function.arn(self.version)}/durable-execution/{self.name}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None if it is not the ARN of an execution."""
        match = _ARN.fullmatch(text)
        if match is None:
            return None
        region, account, function, version, name, id_ = match.groups()
        key = FunctionKey(AccountId(account), Region(region), FunctionName(function))
        return cls(function=key, version=version, name=name, id=id_)
