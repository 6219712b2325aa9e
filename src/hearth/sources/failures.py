"""What is a failure destination told of records that were given up? Pure: bytes out.

Source: https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from hearth.model.mappings import EventSourceMapping, SourceKind
from hearth.sources.attempts import Batch, Condition
from hearth.sources.calling import Answer

_INFO: Final = {SourceKind.KINESIS: "KinesisBatchInfo", SourceKind.DYNAMODB: "DDBStreamBatchInfo"}


@dataclass(frozen=True, slots=True)
class GivenUp:
    mapping: EventSourceMapping
    shard: str
    batch: Batch
    condition: Condition
    answer: Answer | None
    """The last one, if there was any."""
    at_ms: int


class FailureTargets(Protocol):
    async def tell(self, given_up: GivenUp) -> None:
        """Raises SourceFailed."""
        ...


def message(given_up: GivenUp, payload: bytes | None = None) -> bytes:
    """`payload`: the event, for a destination that gets it too."""
    mapping, batch, answer = given_up.mapping, given_up.batch, given_up.answer
    told: dict[str, Any] = {
        "requestContext": {
            "requestId": "" if answer is None else answer.request,
            "functionArn": mapping.function_arn,
            "condition": str(given_up.condition),
            "approximateInvokeCount": batch.invokes,
        }
    }
    if answer is not None and answer.result is not None:
        context: dict[str, Any] = {
            "statusCode": 200,
            "executedVersion": answer.result.executed_version,
        }
        if answer.result.function_error is not None:
            context["functionError"] = answer.result.function_error
        told["responseContext"] = context
    first, last = batch.records[0], batch.records[-1]
    told |= {
        "version": "1.0",
        "timestamp": _shown(given_up.at_ms),
        _INFO[mapping.kind]: {
            "shardId": given_up.shard,
            "startSequenceNumber": first.sequence,
            "endSequenceNumber": last.sequence,
            "approximateArrivalOfFirstRecord": _shown(first.arrived_ms),
            "approximateArrivalOfLastRecord": _shown(last.arrived_ms),
            "batchSize": len(batch.records),
            "streamArn": mapping.source_arn,
        },
    }
    if payload is not None:
        told["payload"] = payload.decode()
    return msgspec.json.encode(told)


def object_key(given_up: GivenUp, unique: str) -> str:
    at = datetime.fromtimestamp(given_up.at_ms / 1000, UTC)
    folder = f"aws/lambda/{given_up.mapping.uuid}/{given_up.shard}/{at:%Y/%m/%d}"
    return f"{folder}/{at:%Y-%m-%dT%H.%M.%S}-{unique}"


def _shown(epoch_ms: int) -> str:
    at = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
