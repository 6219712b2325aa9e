"""What does a function see of a stream's record? Pure: what a client answered in, JSON out.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html and
https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from hearth.model.mappings import EventSourceMapping
from hearth.sources.streams import StreamRecord


def kinesis_record(
    mapping: EventSourceMapping, role: str, shard: str, raw: Mapping[str, Any]
) -> StreamRecord:
    """`role`: the function's."""
    sequence, arrived = str(raw["SequenceNumber"]), raw["ApproximateArrivalTimestamp"]
    record = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": raw["PartitionKey"],
            "sequenceNumber": sequence,
            "data": raw["Data"],  # bytes are base64 in JSON
            "approximateArrivalTimestamp": round(arrived.timestamp(), 3),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": role,
        "awsRegion": mapping.source_region,
        "eventSourceARN": mapping.source_arn,
    }
    encoded = msgspec.json.encode(record)
    return StreamRecord(sequence, str(raw["PartitionKey"]), _ms(arrived), encoded)


def dynamodb_record(mapping: EventSourceMapping, raw: Mapping[str, Any]) -> StreamRecord:
    change = dict(raw["dynamodb"])
    arrived: datetime = change["ApproximateCreationDateTime"]
    change["ApproximateCreationDateTime"] = _number(arrived)
    record: dict[str, Any] = {
        "eventID": raw["eventID"],
        "eventName": raw["eventName"],
        "eventVersion": raw.get("eventVersion", "1.1"),
        "eventSource": "aws:dynamodb",
        "awsRegion": mapping.source_region,
        "dynamodb": change,
        "eventSourceARN": mapping.source_arn,
    }
    if identity := raw.get("userIdentity"):
        record["userIdentity"] = {
            "type": identity.get("Type"),
            "principalId": identity.get("PrincipalId"),
        }
    keys = msgspec.json.encode(change.get("Keys"), order="deterministic").decode()
    encoded = msgspec.json.encode(record)
    return StreamRecord(str(change["SequenceNumber"]), keys, _ms(arrived), encoded)


def _number(at: datetime) -> float | int:
    """Seconds since the epoch; whole ones without a fraction."""
    seconds = round(at.timestamp(), 3)
    return int(seconds) if seconds == int(seconds) else seconds


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
