"""What the control plane of event source mappings asks of others: sources, and who runs them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hearth.model.errors import ServiceError
from hearth.model.ids import AccountId, FunctionName, Region
from hearth.model.mappings import (
    NOTHING_YET,
    EventSourceMapping,
    Position,
    SourceFacts,
    SourceKind,
)

QUEUE = "arn:aws:sqs:eu-central-1:123456789012:q"
FIFO = QUEUE + ".fifo"
STREAM = "arn:aws:kinesis:eu-central-1:123456789012:stream/s"
TABLE = "arn:aws:dynamodb:eu-central-1:123456789012:table/tab/stream/2026-11-28T00:00:00.000"


@dataclass
class FakeSources:
    """Every source is there, unless a test names an error."""

    visibility_s: int = 30
    error: ServiceError | None = None
    asked: list[str] = field(default_factory=list)

    async def describe(self, kind: SourceKind, arn: str) -> SourceFacts:
        self.asked.append(arn)
        if self.error is not None:
            raise self.error
        return SourceFacts(self.visibility_s if kind is SourceKind.SQS else None)


@dataclass
class FakeProgress:
    """Everything is done at once, unless a test says otherwise."""

    done: bool = True
    result: str = NOTHING_YET

    def is_done(self, mapping: EventSourceMapping) -> bool:
        return self.done

    def last_result(self, uuid: str) -> str:
        return self.result


def mapping(kind: SourceKind = SourceKind.SQS, **members: Any) -> EventSourceMapping:
    source = {SourceKind.SQS: QUEUE, SourceKind.KINESIS: STREAM, SourceKind.DYNAMODB: TABLE}[kind]
    given: dict[str, Any] = {
        "uuid": "00000000-0000-0000-0000-00000000000a",
        "account": AccountId("123456789012"),
        "region": Region("eu-central-1"),
        "function": FunctionName("f"),
        "source_arn": source,
        "kind": kind,
        "batch_size": 100 if kind.is_stream else 10,
        "position": Position.TRIM_HORIZON if kind.is_stream else None,
        "last_modified": datetime(2026, 1, 1, tzinfo=UTC),
        "write_id": "w1",
    }
    return EventSourceMapping(**given | members)
