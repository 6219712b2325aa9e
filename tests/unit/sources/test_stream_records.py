"""Records of streams as functions see them."""

import json
from datetime import UTC, datetime

from fakes.mappings import STREAM, TABLE, mapping
from hearth.model.mappings import SourceKind
from hearth.sources.stream_records import dynamodb_record, kinesis_record

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_a_record_of_kinesis() -> None:
    raw = {
        "SequenceNumber": "49",
        "ApproximateArrivalTimestamp": AT,
        "Data": b"Hello, this is a test.",
        "PartitionKey": "p",
    }
    made = kinesis_record(mapping(SourceKind.KINESIS), "role", "shardId-0", raw)
    assert (made.sequence, made.partition, made.arrived_ms) == ("49", "p", 1767323045678)
    assert json.loads(made.record) == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "p",
            "sequenceNumber": "49",
            "data": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
            "approximateArrivalTimestamp": 1767323045.678,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": "shardId-0:49",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "role",
        "awsRegion": "eu-central-1",
        "eventSourceARN": STREAM,
    }


def test_a_record_of_dynamodb() -> None:
    raw = {
        "eventID": "e",
        "eventName": "REMOVE",
        "eventVersion": "1.1",
        "userIdentity": {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
        "dynamodb": {
            "ApproximateCreationDateTime": AT.replace(microsecond=0),
            "Keys": {"id": {"S": "k"}},
            "OldImage": {"b": {"M": {"x": {"B": b"\x00"}}}, "n": {"N": "1.0"}},
            "SequenceNumber": "7",
            "SizeBytes": 3,
            "StreamViewType": "OLD_IMAGE",
        },
    }
    made = dynamodb_record(mapping(SourceKind.DYNAMODB), raw)
    assert (made.sequence, made.arrived_ms) == ("7", 1767323045000)
    assert json.loads(made.record) == {
        "eventID": "e",
        "eventName": "REMOVE",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1767323045,
            "Keys": {"id": {"S": "k"}},
            "OldImage": {"b": {"M": {"x": {"B": "AA=="}}}, "n": {"N": "1.0"}},
            "SequenceNumber": "7",
            "SizeBytes": 3,
            "StreamViewType": "OLD_IMAGE",
        },
        "eventSourceARN": TABLE,
        "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
    }
