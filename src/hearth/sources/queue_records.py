"""What does a function see of a queue's message? Its record, and batches of records. Pure.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from hearth.model.mappings import EventSourceMapping
from hearth.sources.calling import PAYLOAD_BYTES_MAX
from hearth.sources.contract import RawMessage

_ATTRIBUTES: Final = (
    "ApproximateReceiveCount",
    "AWSTraceHeader",
    "SentTimestamp",
    "SequenceNumber",
    "MessageGroupId",
    "SenderId",
    "MessageDeduplicationId",
    "ApproximateFirstReceiveTimestamp",
    "DeadLetterQueueSourceArn",
)
"""Of the system, in AWS's order."""

_HEAD: Final = b'{"Records":['
_TAIL: Final = b"]}"


@dataclass(frozen=True, slots=True)
class Message:
    raw: RawMessage
    record: bytes
    """JSON."""

    @property
    def id(self) -> str:
        return str(self.raw["MessageId"])

    @property
    def group(self) -> str | None:
        found = (self.raw.get("Attributes") or {}).get("MessageGroupId")
        return None if found is None else str(found)


def message_of(mapping: EventSourceMapping, raw: RawMessage) -> Message:
    system = raw.get("Attributes") or {}
    record: dict[str, Any] = {
        "messageId": raw["MessageId"],
        "receiptHandle": raw["ReceiptHandle"],
        "body": raw.get("Body", ""),
        "attributes": {name: str(system[name]) for name in _ATTRIBUTES if name in system},
        "messageAttributes": {
            name: _attribute(value) for name, value in (raw.get("MessageAttributes") or {}).items()
        },
    }
    if raw.get("MD5OfMessageAttributes"):
        record["md5OfMessageAttributes"] = raw["MD5OfMessageAttributes"]
    record |= {
        "md5OfBody": raw.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": mapping.source_arn,
        "awsRegion": mapping.source_region,
    }
    return Message(raw, msgspec.json.encode(record))


def payload_of(records: Sequence[bytes]) -> bytes:
    return _HEAD + b",".join(records) + _TAIL


def payload_bytes(records_bytes: int, count: int) -> int:
    """How much a payload of so many records has, that are so big together."""
    return len(_HEAD) + len(_TAIL) + records_bytes + max(0, count - 1)


def batches(messages: Sequence[Message], size_max: int) -> Iterator[tuple[Message, ...]]:
    """In their order: each as large as the batch size and one invoke's payload allow."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        grown = size + len(message.record)
        if batch and (
            len(batch) == size_max or payload_bytes(grown, len(batch) + 1) > PAYLOAD_BYTES_MAX
        ):
            yield tuple(batch)
            batch, grown = [], len(message.record)
        batch.append(message)
        size = grown
    if batch:
        yield tuple(batch)


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if "StringValue" in value:
        shown["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        shown["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    return shown | {
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": value.get("DataType", "String"),
    }
