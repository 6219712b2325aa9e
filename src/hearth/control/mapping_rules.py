"""May an event source mapping be like this? What each kind of source allows, in AWS's words.

Pure: no look at the source itself, and none at the function. Texts: recorded, or AWS's as its
users see them; where neither is known, ours. A setting that this Hearth could not honour is refused
by name.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hearth.model.endpoints import Endpoints, no_endpoint
from hearth.model.errors import InvalidParameterValue
from hearth.model.event_filters import Filters
from hearth.model.event_patterns import InvalidPattern
from hearth.model.mappings import EventSourceMapping, Position, SourceKind
from hearth.model.targets import Target

FILTERS_MAX: Final = 5
BATCH_WITHOUT_WINDOW_MAX: Final = 10
AGE_S_MIN: Final = 60
BATCH_DEFAULT: Final = {SourceKind.SQS: 10, SourceKind.KINESIS: 100, SourceKind.DYNAMODB: 100}

_ARN = re.compile(r"arn:aws[a-zA-Z-]*:([a-z0-9-]+):([a-z0-9-]+):(\d{12}):(.+)", re.ASCII)
_RESOURCES: Final = {
    SourceKind.SQS: re.compile(r"[a-zA-Z0-9_-]{1,80}(\.fifo)?"),
    SourceKind.KINESIS: re.compile(r"stream/[a-zA-Z0-9_.-]{1,128}"),
    SourceKind.DYNAMODB: re.compile(r"table/[a-zA-Z0-9_.-]{3,255}/stream/[0-9:.T-]+"),
}
_NOT_BUILT: Final = {
    "kafka": "Amazon MSK",
    "mq": "Amazon MQ",
    "rds": "Amazon DocumentDB",
}
_CONSUMER = re.compile(r"stream/[^/]+/consumer/.+")
_FAILURE_SERVICES: Final = ("sqs", "sns", "s3")


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingChange:
    """What a caller says of a mapping. None: nothing; an empty value takes a setting away."""

    enabled: bool | None = None
    batch_size: int | None = None
    window_s: int | None = None
    filters: tuple[str, ...] | None = None
    response_types: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    concurrency_max: int | None = None
    """0 takes it away."""
    position: Position | None = None
    position_at: datetime | None = None
    parallel: int | None = None
    on_success: str | None = None
    on_failure: str | None = None
    destinations_given: bool = False
    age_max_s: int | None = None
    retries_max: int | None = None
    bisects: bool | None = None
    tumbling_s: int | None = None


def kind_of(arn: str | None) -> SourceKind:
    """Raises InvalidParameterValue for what is no event source, or none that Hearth can poll."""
    match = _ARN.fullmatch(arn or "")
    if match is None:
        raise InvalidParameterValue("Unrecognized event source.")
    service, resource = match[1], match[4]
    if service in _NOT_BUILT:
        raise InvalidParameterValue(
            f"EventSourceArn names a source of {_NOT_BUILT[service]}, which this Hearth does not "
            "support; it polls queues of SQS, and streams of Kinesis and DynamoDB."
        )
    if service == SourceKind.KINESIS and _CONSUMER.fullmatch(resource):
        raise InvalidParameterValue(
            "EventSourceArn names a consumer with enhanced fan-out, which this Hearth does not "
            "support; name the stream."
        )
    for kind, pattern in _RESOURCES.items():
        if kind == service and pattern.fullmatch(resource):
            return kind
    raise InvalidParameterValue("Unrecognized event source.")


def check_new(kind: SourceKind, arn: str, change: MappingChange) -> None:
    """What may be said only when a mapping is made. Raises InvalidParameterValue."""
    if not kind.is_stream:
        if change.position is not None:
            raise InvalidParameterValue("StartingPosition is not valid for SQS event sources.")
        if change.position_at is not None:
            raise _unsupported("StartingPositionTimestamp")
        return
    if change.position is None:
        raise InvalidParameterValue(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy "
            "constraint: Member must not be null."
        )
    if change.position is Position.AT_TIMESTAMP:
        if kind is SourceKind.DYNAMODB:
            raise InvalidParameterValue(f"Unsupported starting position for arn type: {arn}")
        if change.position_at is None:
            raise InvalidParameterValue(
                "StartingPositionTimestamp is required with the StartingPosition AT_TIMESTAMP."
            )
    elif change.position_at is not None:
        raise InvalidParameterValue(
            "StartingPositionTimestamp is only valid with the StartingPosition AT_TIMESTAMP."
        )


def check_change(kind: SourceKind, change: MappingChange, endpoints: Endpoints) -> None:
    """What a caller says, whatever there was before. Raises InvalidParameterValue."""
    given = {
        "DestinationConfig": change.destinations_given,
        "ParallelizationFactor": change.parallel is not None,
        "MaximumRecordAgeInSeconds": change.age_max_s is not None,
        "MaximumRetryAttempts": change.retries_max is not None,
        "BisectBatchOnFunctionError": change.bisects is not None,
        "TumblingWindowInSeconds": change.tumbling_s is not None,
    }
    if not kind.is_stream:
        for name, is_given in given.items():
            if is_given:
                raise _unsupported(name)
    elif change.concurrency_max:
        raise _unsupported("ScalingConfig")
    if change.age_max_s is not None and change.age_max_s != -1 and change.age_max_s < AGE_S_MIN:
        raise InvalidParameterValue(
            f"MaximumRecordAgeInSeconds must be -1, or at least {AGE_S_MIN}."
        )
    if "KafkaMetrics" in (change.metrics or ()):
        raise InvalidParameterValue("KafkaMetrics is only valid for Kafka event sources.")
    _check_filters(kind, change.filters or ())
    _check_destinations(change, endpoints)


def check_whole(mapping: EventSourceMapping) -> None:
    """How its settings fit together. Raises InvalidParameterValue."""
    if mapping.is_fifo and mapping.window_s:
        raise InvalidParameterValue("Batching window is not supported for FIFO queues")
    if (
        mapping.kind is SourceKind.SQS
        and mapping.batch_size > BATCH_WITHOUT_WINDOW_MAX
        and not mapping.window_s
    ):
        raise InvalidParameterValue(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is "
            "greater than 10"
        )
    if mapping.tumbling_s and mapping.parallel > 1:
        raise InvalidParameterValue(
            "TumblingWindowInSeconds is not supported with a ParallelizationFactor above 1."
        )


def _check_filters(kind: SourceKind, filters: tuple[str, ...]) -> None:
    if len(filters) > FILTERS_MAX:
        raise InvalidParameterValue(f"FilterCriteria has more than {FILTERS_MAX} filters.")
    try:
        Filters(kind, filters)
    except InvalidPattern as error:
        raise InvalidParameterValue("Invalid filter pattern definition.") from error


def _check_destinations(change: MappingChange, endpoints: Endpoints) -> None:
    invalid = InvalidParameterValue(
        f"The provided destination config DestinationConfig(onSuccess={_printed(change, False)}, "
        f"onFailure={_printed(change, True)}) is invalid."
    )
    if change.on_success:
        raise invalid
    if not change.on_failure:
        return
    try:
        target = Target.parse(change.on_failure)
    except ValueError as error:
        raise invalid from error
    if target.service not in _FAILURE_SERVICES:
        raise invalid
    if endpoints.find(target.service) is None:
        raise no_endpoint("DestinationConfig", target.service)


def _printed(change: MappingChange, is_failure: bool) -> str:
    name, value = (
        ("OnFailure", change.on_failure) if is_failure else ("OnSuccess", change.on_success)
    )
    return f"{name}(destination={value})" if value else "null"


def _unsupported(name: str) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"Unsupported {name} parameter for given event source mapping type."
    )
