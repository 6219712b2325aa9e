"""What is an event source mapping? Which source feeds which function, and how.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from hearth.model.ids import PARTITION, AccountId, FunctionKey, FunctionName, Region


class SourceKind(StrEnum):
    """Of an event source: as its ARN calls the service."""

    SQS = "sqs"
    KINESIS = "kinesis"
    DYNAMODB = "dynamodb"

    @property
    def service(self) -> str:
        """As the table of endpoints calls it."""
        return "dynamodbstreams" if self is SourceKind.DYNAMODB else self.value

    @property
    def is_stream(self) -> bool:
        return self is not SourceKind.SQS


class Position(StrEnum):
    """Where in a stream a mapping begins that has read nothing of it yet."""

    TRIM_HORIZON = "TRIM_HORIZON"
    LATEST = "LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"


class Change(StrEnum):
    """What was last asked of a mapping: its state until that is done."""

    CREATING = "Creating"
    UPDATING = "Updating"
    ENABLING = "Enabling"
    DISABLING = "Disabling"
    DELETING = "Deleting"


NOTHING_YET: Final = "No records processed"
OK: Final = "OK"
CALL_FAILED: Final = "PROBLEM: Function call failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSourceMapping:
    """As it is kept. New members need a default."""

    uuid: str
    account: AccountId
    region: Region
    function: FunctionName
    qualifier: str | None = None
    source_arn: str
    kind: SourceKind
    enabled: bool = True
    batch_size: int
    window_s: int = 0
    """How long a batch is gathered, at most; 0: what one poll finds is a batch."""
    filters: tuple[str, ...] = ()
    reports_failures: bool = False
    """The function says which records of its batch failed."""
    concurrency_max: int | None = None
    """Of a queue's batches."""
    metrics: tuple[str, ...] = ()
    last_modified: datetime
    change: Change = Change.CREATING
    write_id: str
    """Another with each write: whoever runs the mapping knows by it whether it is up to date."""

    # --- streams only
    position: Position | None = None
    position_at: datetime | None = None
    parallel: int = 1
    on_failure: str | None = None
    age_max_s: int = -1
    retries_max: int = -1
    bisects: bool = False
    tumbling_s: int = 0

    @property
    def key(self) -> FunctionKey:
        return FunctionKey(self.account, self.region, self.function)

    @property
    def function_arn(self) -> str:
        return self.key.arn(self.qualifier)

    @property
    def arn(self) -> str:
        return (
            f"arn:{PARTITION}:lambda:{self.region}:{self.account}:event-source-mapping:{self.uuid}"
        )

    @property
    def source_name(self) -> str:
        """Of a queue: what its ARN ends in."""
        return self.source_arn.rpartition(":")[2]

    @property
    def source_region(self) -> str:
        return self.source_arn.split(":")[3]

    @property
    def source_account(self) -> str:
        return self.source_arn.split(":")[4]

    @property
    def is_fifo(self) -> bool:
        return self.kind is SourceKind.SQS and self.source_arn.endswith(".fifo")


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a source says of itself when a mapping of it is made."""

    visibility_s: int | None = None
    """Of a queue: how long a message that was received stays away."""
