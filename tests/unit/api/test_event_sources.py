"""The control plane of event source mappings, called as the edge calls it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.mappings import FIFO, QUEUE, STREAM, TABLE
from fakes.settings_api import OTHER_ACCOUNT, SettingsApi, play
from hearth.control.mappings import ResourceInUse
from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)

FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:f"


async def create(api: SettingsApi, **members: Any) -> Any:
    return await api.call(
        "CreateEventSourceMapping", **{"FunctionName": "f", "EventSourceArn": QUEUE} | members
    )


def with_function(
    tmp_path: Path, scenario: Callable[[SettingsApi], Awaitable[None]], **members: Any
) -> None:
    async def scene(api: SettingsApi) -> None:
        await api.create("f", **members)
        await scenario(api)

    play(tmp_path, scene)


def test_a_mapping_of_a_queue_has_the_defaults_of_its_kind(tmp_path: Path) -> None:
    async def scene(api: SettingsApi) -> None:
        made = await api.respond(
            "CreateEventSourceMapping", {"FunctionName": "f", "EventSourceArn": QUEUE}
        )
        assert made.status == 202
        shown = dict(made.members)
        uuid = shown.pop("UUID")
        assert shown.pop("LastModified").tzinfo is not None
        assert shown == {
            "BatchSize": 10,
            "MaximumBatchingWindowInSeconds": 0,
            "EventSourceArn": QUEUE,
            "FunctionArn": FUNCTION,
            "State": "Creating",
            "StateTransitionReason": "USER_INITIATED",
            "FunctionResponseTypes": [],
            "EventSourceMappingArn": (
                f"arn:aws:lambda:eu-central-1:123456789012:event-source-mapping:{uuid}"
            ),
        }
        now = await api.call("GetEventSourceMapping", UUID=uuid)
        assert now["State"] == "Enabled"
        api.progress.done = False
        assert (await api.call("GetEventSourceMapping", UUID=uuid))["State"] == "Creating"

    with_function(tmp_path, scene)


def test_everything_that_was_said_is_shown(tmp_path: Path) -> None:
    async def scene(api: SettingsApi) -> None:
        members = {
            "BatchSize": 500,
            "MaximumBatchingWindowInSeconds": 5,
            "FilterCriteria": {"Filters": [{"Pattern": '{"body": ["x"]}'}]},
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "ScalingConfig": {"MaximumConcurrency": 7},
            "MetricsConfig": {"Metrics": ["EventCount"]},
        }
        made = await create(api, **members, Enabled=False)
        now = await api.call("GetEventSourceMapping", UUID=made["UUID"])
        assert {name: now[name] for name in members} == members
        assert now["State"] == "Disabled"
        taken_away: dict[str, Any] = {
            "FilterCriteria": {},
            "ScalingConfig": {},
            "FunctionResponseTypes": [],
        }
        await api.call("UpdateEventSourceMapping", UUID=made["UUID"], **taken_away)
        after = await api.call("GetEventSourceMapping", UUID=made["UUID"])
        assert not {"FilterCriteria", "ScalingConfig"} & after.keys()
        assert after["FunctionResponseTypes"] == []
        assert after["BatchSize"] == 500

    with_function(tmp_path, scene)


def test_a_mapping_of_a_stream_has_the_defaults_of_its_kind(tmp_path: Path) -> None:
    async def scene(api: SettingsApi) -> None:
        made = await create(api, EventSourceArn=STREAM, StartingPosition="LATEST")
        wanted = {
            "BatchSize": 100,
            "StartingPosition": "LATEST",
            "ParallelizationFactor": 1,
            "DestinationConfig": {"OnFailure": {}},
            "MaximumRecordAgeInSeconds": -1,
            "BisectBatchOnFunctionError": False,
            "MaximumRetryAttempts": -1,
            "TumblingWindowInSeconds": 0,
            "LastProcessingResult": "No records processed",
            "StateTransitionReason": "User action",
        }
        assert {name: made[name] for name in wanted} == wanted
        with pytest.raises(ResourceConflict) as caught:
            await create(api, EventSourceArn=STREAM, StartingPosition="TRIM_HORIZON")
        assert caught.value.message == (
            f'The event source arn (" {STREAM} ") and function (" f ") provided mapping already '
            f"exists. Please update or delete the existing mapping with UUID {made['UUID']}"
        )
        failures = {"OnFailure": {"Destination": QUEUE}}
        changed = await api.call(
            "UpdateEventSourceMapping", UUID=made["UUID"], DestinationConfig=failures
        )
        assert changed["DestinationConfig"] == failures
        changed = await api.call(
            "UpdateEventSourceMapping", UUID=made["UUID"], DestinationConfig={}
        )
        assert changed["DestinationConfig"] == {"OnFailure": {}}

    with_function(tmp_path, scene)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {},
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy "
            "constraint: Member must not be null.",
        ),
        ({"StartingPosition": "AT_TIMESTAMP"}, "StartingPositionTimestamp is required"),
        (
            {"StartingPosition": "AT_TIMESTAMP", "EventSourceArn": TABLE},
            f"Unsupported starting position for arn type: {TABLE}",
        ),
        (
            {"StartingPosition": "LATEST", "ScalingConfig": {"MaximumConcurrency": 2}},
            "Unsupported ScalingConfig parameter for given event source mapping type.",
        ),
        ({"StartingPosition": "LATEST", "MaximumRecordAgeInSeconds": 5}, "must be -1, or at least"),
        (
            {"StartingPosition": "LATEST", "EventSourceArn": f"{STREAM}/consumer/c:1"},
            "enhanced fan-out",
        ),
        (
            {
                "StartingPosition": "LATEST",
                "FilterCriteria": {"Filters": [{"Pattern": '{"data": ["text"]}'}]},
            },
            "Invalid filter pattern definition.",
        ),
        (
            {
                "StartingPosition": "LATEST",
                "DestinationConfig": {"OnFailure": {"Destination": FUNCTION}},
            },
            "The provided destination config DestinationConfig(onSuccess=null, "
            f"onFailure=OnFailure(destination={FUNCTION})) is invalid.",
        ),
    ],
)
def test_what_a_mapping_of_a_stream_cannot_be(
    tmp_path: Path, members: dict[str, Any], text: str
) -> None:
    async def scene(api: SettingsApi) -> None:
        with pytest.raises(InvalidParameterValue) as caught:
            await create(api, **{"EventSourceArn": STREAM} | members)
        assert text in caught.value.message

    with_function(tmp_path, scene)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"EventSourceArn": None}, "Unrecognized event source."),
        ({"EventSourceArn": "arn:aws:sns:eu-central-1:123456789012:t"}, "Unrecognized event"),
        ({"EventSourceArn": "arn:aws:kafka:eu-central-1:123456789012:cluster/c/1"}, "Amazon MSK"),
        ({"StartingPosition": "LATEST"}, "StartingPosition is not valid for SQS event sources."),
        (
            {"ParallelizationFactor": 2},
            "Unsupported ParallelizationFactor parameter for given event source mapping type.",
        ),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": QUEUE}}},
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ),
        (
            {"BatchSize": 11},
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is "
            "greater than 10",
        ),
        (
            {"EventSourceArn": FIFO, "MaximumBatchingWindowInSeconds": 1},
            "Batching window is not supported for FIFO queues",
        ),
        ({"EventSourceArn": FIFO, "BatchSize": 11}, "Maximum batch window in seconds must be"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{"}]}}, "Invalid filter pattern definition."),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"a": [1]}'}] * 6}}, "more than 5 filters"),
        (
            {"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:1"]}}},
            "Required 'sourceAccessConfigurations' parameter is missing.",
        ),
        ({"KMSKeyArn": "arn:aws:kms:x"}, "KMSKeyArn is not supported by this Hearth."),
        ({"MetricsConfig": {"Metrics": ["KafkaMetrics"]}}, "KafkaMetrics is only valid"),
        ({"FunctionName": "nothing"}, "Function does not exist"),
        ({"FunctionName": "f:7"}, "Function does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_awss_words(
    tmp_path: Path, members: dict[str, Any], text: str
) -> None:
    async def scene(api: SettingsApi) -> None:
        with pytest.raises(InvalidParameterValue) as caught:
            await create(api, **members)
        assert text in caught.value.message
        assert (await api.call("ListEventSourceMappings"))["EventSourceMappings"] == []

    with_function(tmp_path, scene)


def test_a_queue_must_keep_messages_away_for_as_long_as_the_function_may_run(
    tmp_path: Path,
) -> None:
    async def scene(api: SettingsApi) -> None:
        with pytest.raises(InvalidParameterValue) as caught:
            await create(api)
        assert caught.value.message == (
            "Queue visibility timeout: 30 seconds is less than Function timeout: 60 seconds"
        )

    with_function(tmp_path, scene, Timeout=60)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async def scene(api: SettingsApi) -> None:
        api.sources.error = InvalidParameterValue("no such queue")
        with pytest.raises(ServiceError, match="no such queue"):
            await create(api)
        assert api.sources.asked == [QUEUE]

    with_function(tmp_path, scene)


def test_a_mapping_can_be_disabled_when_its_ends_are_gone(tmp_path: Path) -> None:
    async def scene(api: SettingsApi) -> None:
        uuid = (await create(api))["UUID"]
        api.sources.error = InvalidParameterValue("no such queue")
        await api.call("DeleteFunction", FunctionName="f")
        changed = await api.call("UpdateEventSourceMapping", UUID=uuid, Enabled=False)
        assert changed["State"] == "Disabling"
        with pytest.raises(InvalidParameterValue, match="Function does not exist"):
            await api.call("UpdateEventSourceMapping", UUID=uuid, Enabled=True)

    with_function(tmp_path, scene)


def test_one_source_feeds_a_function_once_but_each_alias_too(tmp_path: Path) -> None:
    async def scene(api: SettingsApi) -> None:
        made = await create(api)
        with pytest.raises(ResourceConflict) as caught:
            await create(api, FunctionName=FUNCTION)
        assert caught.value.message == (
            f'An event source mapping with SQS arn (" {QUEUE} ") and function (" f ") already '
            f"exists. Please update or delete the existing mapping with UUID {made['UUID']}"
        )
        await api.call("PublishVersion", FunctionName="f")
        await api.plane.settled()
        await api.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        of_alias = await create(api, FunctionName="f:live")
        assert of_alias["FunctionArn"] == f"{FUNCTION}:live"
        with pytest.raises(ResourceConflict):
            await api.call("UpdateEventSourceMapping", UUID=made["UUID"], FunctionName="f:live")
        both = await asyncio.gather(
            *(create(api, FunctionName="f:1") for _ in range(2)), return_exceptions=True
        )
        assert sum(isinstance(answer, ResourceConflict) for answer in both) == 1

    with_function(tmp_path, scene)


def test_mappings_are_listed_by_function_and_by_source_in_pages(tmp_path: Path) -> None:
    async def scene(api: SettingsApi) -> None:
        await api.create("g")
        await create(api)
        await create(api, FunctionName="g")
        await create(api, EventSourceArn=f"{QUEUE}2")

        async def listed(**members: Any) -> list[tuple[str, str]]:
            answer = await api.call("ListEventSourceMappings", **members)
            return sorted(
                (shown["FunctionArn"][-1], shown["EventSourceArn"])
                for shown in answer["EventSourceMappings"]
            )

        assert await listed(FunctionName="f") == [("f", QUEUE), ("f", f"{QUEUE}2")]
        assert await listed(EventSourceArn=QUEUE) == [("f", QUEUE), ("g", QUEUE)]
        assert await listed(FunctionName="g", EventSourceArn=f"{QUEUE}2") == []
        first = await api.call("ListEventSourceMappings", MaxItems=2)
        assert len(first["EventSourceMappings"]) == 2
        rest = await api.call("ListEventSourceMappings", Marker=first["NextMarker"])
        assert len(rest["EventSourceMappings"]) == 1
        assert "NextMarker" not in rest

    with_function(tmp_path, scene)


def test_a_mapping_outlives_its_function_and_goes_when_its_poller_has_ended(
    tmp_path: Path,
) -> None:
    async def scene(api: SettingsApi) -> None:
        uuid = (await create(api))["UUID"]
        await api.call("DeleteFunction", FunctionName="f")
        shown = await api.call("ListEventSourceMappings", FunctionName="f")
        assert [one["UUID"] for one in shown["EventSourceMappings"]] == [uuid]
        deleted = await api.respond("DeleteEventSourceMapping", {"UUID": uuid})
        assert (deleted.status, deleted.members["State"]) == (202, "Deleting")
        with pytest.raises(ResourceInUse):
            await api.call("DeleteEventSourceMapping", UUID=uuid)
        with pytest.raises(ResourceInUse):
            await api.call("UpdateEventSourceMapping", UUID=uuid, Enabled=False)
        (mapping,) = api.mappings.every()
        await api.mappings.forget(mapping)
        with pytest.raises(ResourceNotFound) as caught:
            await api.call("GetEventSourceMapping", UUID=uuid)
        assert caught.value.message == "The resource you requested does not exist."

    with_function(tmp_path, scene)


def test_mappings_have_tags_and_belong_to_one_account(tmp_path: Path) -> None:
    async def scene(api: SettingsApi) -> None:
        made = await create(api, Tags={"a": "1"})
        arn = made["EventSourceMappingArn"]
        await api.call("TagResource", Resource=arn, Tags={"b": "2"})
        await api.call("UntagResource", Resource=arn, TagKeys=["a"])
        assert (await api.call("ListTags", Resource=arn))["Tags"] == {"b": "2"}
        for name, members in (
            ("ListTags", {"Resource": arn}),
            ("GetEventSourceMapping", {"UUID": made["UUID"]}),
        ):
            with pytest.raises(ResourceNotFound):
                await api.respond(name, members, OTHER_ACCOUNT)
        foreign = {"FunctionName": FUNCTION, "EventSourceArn": QUEUE}
        with pytest.raises(AccessDenied):
            await api.respond("CreateEventSourceMapping", foreign, OTHER_ACCOUNT)
        await api.call(
            "AddPermission",
            FunctionName="f",
            StatementId="s",
            Action="lambda:*",
            Principal=OTHER_ACCOUNT,
        )
        with pytest.raises(InvalidParameterValue, match="of the account that owns"):
            await api.respond("CreateEventSourceMapping", foreign, OTHER_ACCOUNT)

    with_function(tmp_path, scene)
