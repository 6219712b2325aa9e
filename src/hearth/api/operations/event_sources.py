"""Create-, Get-, List-, Update- and DeleteEventSourceMapping.

Settings that would have no effect here are refused by name. Texts: recorded.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
"""

from collections.abc import Mapping
from typing import Any, Final

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed
from hearth.api.operations.pages import page
from hearth.control.documents import AccountScope
from hearth.control.mapping_rules import MappingChange
from hearth.control.mappings import EventSourceMappings, Progress
from hearth.model.errors import InvalidParameterValue
from hearth.model.ids import FunctionKey
from hearth.model.mappings import NOTHING_YET, Change, EventSourceMapping, Position

_REFUSED: Final = (
    "AmazonManagedKafkaEventSourceConfig",
    "DocumentDBEventSourceConfig",
    "KMSKeyArn",
    "LoggingConfig",
    "ProvisionedPollerConfig",
    "Queues",
    "SelfManagedEventSource",
    "SelfManagedKafkaEventSourceConfig",
    "SourceAccessConfigurations",
    "Topics",
)
"""What belongs to sources, or to a fleet of pollers, that this Hearth has not."""


def operations(mappings: EventSourceMappings, progress: Progress) -> tuple[Operation, ...]:
    handlers = _Handlers(mappings, progress)
    return (
        Operation("lambda", "CreateEventSourceMapping", handlers.create),
        Operation("lambda", "GetEventSourceMapping", handlers.get),
        Operation("lambda", "ListEventSourceMappings", handlers.list_page),
        Operation("lambda", "UpdateEventSourceMapping", handlers.update),
        Operation("lambda", "DeleteEventSourceMapping", handlers.delete),
    )


class _Handlers:
    def __init__(self, mappings: EventSourceMappings, progress: Progress) -> None:
        self._mappings = mappings
        self._progress = progress

    async def create(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key, qualifier = _function(request, "CreateEventSourceMapping")
        _refuse(members)
        mapping = await self._mappings.create(
            key,
            qualifier,
            members.get("EventSourceArn"),
            _change(members),
            dict(members.get("Tags") or {}),
        )
        return self._answer(mapping)

    async def get(self, request: OperationRequest) -> OperationResponse:
        mapping = self._mappings.get(_scope(request), request.members["UUID"])
        return OperationResponse(members=self._shown(mapping))

    async def list_page(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        found = self._mappings.find_all(_scope(request))
        if members.get("FunctionName"):
            key, qualifier = addressed(request, "ListEventSourceMappings")
            found = tuple(m for m in found if m.function_arn == key.arn(qualifier))
        if source := members.get("EventSourceArn"):
            found = tuple(m for m in found if m.source_arn == source)
        shown, marker = page([(m.uuid, self._shown(m)) for m in found], members)
        return OperationResponse(members={"EventSourceMappings": shown} | marker)

    async def update(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        function = None
        if members.get("FunctionName"):
            function = _function(request, "UpdateEventSourceMapping")
        _refuse(members)
        mapping = await self._mappings.update(
            _scope(request), members["UUID"], function, _change(members)
        )
        return self._answer(mapping)

    async def delete(self, request: OperationRequest) -> OperationResponse:
        return self._answer(await self._mappings.delete(_scope(request), request.members["UUID"]))

    def _answer(self, mapping: EventSourceMapping) -> OperationResponse:
        """Of an operation that changes it: its state is what was asked of it."""
        return OperationResponse(members=self._shown(mapping, str(mapping.change)), status=202)

    def _shown(self, mapping: EventSourceMapping, state: str | None = None) -> dict[str, Any]:
        members: dict[str, Any] = {
            "UUID": mapping.uuid,
            "BatchSize": mapping.batch_size,
            "MaximumBatchingWindowInSeconds": mapping.window_s,
            "EventSourceArn": mapping.source_arn,
            "FunctionArn": mapping.function_arn,
            "LastModified": mapping.last_modified,
            "State": state or state_of(mapping, self._progress),
            "StateTransitionReason": "User action" if mapping.kind.is_stream else "USER_INITIATED",
            "FunctionResponseTypes": (
                ["ReportBatchItemFailures"] if mapping.reports_failures else []
            ),
            "EventSourceMappingArn": mapping.arn,
        }
        if mapping.filters:
            members["FilterCriteria"] = {"Filters": [{"Pattern": text} for text in mapping.filters]}
        if mapping.metrics:
            members["MetricsConfig"] = {"Metrics": list(mapping.metrics)}
        if mapping.concurrency_max is not None:
            members["ScalingConfig"] = {"MaximumConcurrency": mapping.concurrency_max}
        result = self._progress.last_result(mapping.uuid)
        if mapping.kind.is_stream:
            members |= _of_stream(mapping)
        if mapping.kind.is_stream or result != NOTHING_YET:
            members["LastProcessingResult"] = result
        return members


def state_of(mapping: EventSourceMapping, progress: Progress) -> str:
    """What was last asked of it, until that is done."""
    if not progress.is_done(mapping) or mapping.change is Change.DELETING:
        return str(mapping.change)
    return "Enabled" if mapping.enabled else "Disabled"


def _of_stream(mapping: EventSourceMapping) -> dict[str, Any]:
    on_failure = {"Destination": mapping.on_failure} if mapping.on_failure else {}
    members: dict[str, Any] = {
        "StartingPosition": str(mapping.position),
        "ParallelizationFactor": mapping.parallel,
        "DestinationConfig": {"OnFailure": on_failure},
        "MaximumRecordAgeInSeconds": mapping.age_max_s,
        "BisectBatchOnFunctionError": mapping.bisects,
        "MaximumRetryAttempts": mapping.retries_max,
        "TumblingWindowInSeconds": mapping.tumbling_s,
    }
    if mapping.position_at is not None:
        members["StartingPositionTimestamp"] = mapping.position_at
    return members


def _scope(request: OperationRequest) -> AccountScope:
    return AccountScope(request.caller.account, request.caller.region)


def _function(request: OperationRequest, action: str) -> tuple[FunctionKey, str | None]:
    """Of the caller's own account: the mapping belongs to both."""
    key, qualifier = addressed(request, action)
    if key.account != request.caller.account:
        raise InvalidParameterValue(
            "FunctionName must name a function of the account that owns the event source mapping."
        )
    return key, qualifier


def _refuse(members: Mapping[str, Any]) -> None:
    """Raises InvalidParameterValue."""
    if members.get("SelfManagedEventSource") and not members.get("SourceAccessConfigurations"):
        raise InvalidParameterValue("Required 'sourceAccessConfigurations' parameter is missing.")
    for name in _REFUSED:
        if members.get(name):
            raise InvalidParameterValue(f"{name} is not supported by this Hearth.")


def _change(members: Mapping[str, Any]) -> MappingChange:
    scaling = members.get("ScalingConfig")
    filters = members.get("FilterCriteria")
    metrics = members.get("MetricsConfig")
    types = members.get("FunctionResponseTypes")
    position = members.get("StartingPosition")
    given = members.get("DestinationConfig")
    on_success, on_failure = (
        None if given is None else (given.get(name) or {}).get("Destination", "")
        for name in ("OnSuccess", "OnFailure")
    )
    return MappingChange(
        enabled=members.get("Enabled"),
        batch_size=members.get("BatchSize"),
        window_s=members.get("MaximumBatchingWindowInSeconds"),
        filters=None if filters is None else _patterns(filters),
        response_types=None if types is None else tuple(types),
        metrics=None if metrics is None else tuple(metrics.get("Metrics") or ()),
        concurrency_max=None if scaling is None else scaling.get("MaximumConcurrency") or 0,
        position=None if position is None else Position(position),
        position_at=members.get("StartingPositionTimestamp"),
        parallel=members.get("ParallelizationFactor"),
        on_success=on_success,
        on_failure=on_failure,
        destinations_given=bool(on_success or on_failure),
        age_max_s=members.get("MaximumRecordAgeInSeconds"),
        retries_max=members.get("MaximumRetryAttempts"),
        bisects=members.get("BisectBatchOnFunctionError"),
        tumbling_s=members.get("TumblingWindowInSeconds"),
    )


def _patterns(criteria: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(each.get("Pattern") or "" for each in criteria.get("Filters") or ())
