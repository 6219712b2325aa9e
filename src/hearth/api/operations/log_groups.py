"""CloudWatch Logs: log groups, their retention and their tags.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/Welcome.html
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.log_addresses import (
    NO_GROUP,
    LogsAlreadyExists,
    LogsInvalidParameter,
    LogsNotFound,
    arn_of,
    group_of,
    page,
    tagged_group,
)
from hearth.logs.catalog import Group, Made
from hearth.logs.group_file import Change, GroupFile
from hearth.logs.store import LogStore
from hearth.model.logs import LogGroup

PAGE_ITEMS: Final = 50
TAGS_MAX: Final = 50
RETENTION_DAYS: Final = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip
STANDARD: Final = "STANDARD"


def operations(logs: LogStore) -> tuple[Operation, ...]:
    of = _LogGroups(logs)
    return tuple(
        Operation("logs", name, handler)
        for name, handler in (
            ("CreateLogGroup", of.create),
            ("DeleteLogGroup", of.delete),
            ("DescribeLogGroups", of.describe),
            ("PutRetentionPolicy", of.put_retention),
            ("DeleteRetentionPolicy", of.delete_retention),
            ("TagResource", of.tag_resource),
            ("UntagResource", of.untag_resource),
            ("ListTagsForResource", of.list_tags_for_resource),
            ("TagLogGroup", of.tag_group),
            ("UntagLogGroup", of.untag_group),
            ("ListTagsLogGroup", of.list_tags_of_group),
        )
    )


@dataclass(frozen=True, slots=True)
class _LogGroups:
    logs: LogStore

    async def create(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        _refuse(members, "kmsKeyId", "Log groups cannot be encrypted with a KMS key here.")
        if members.get("logGroupClass", STANDARD) != STANDARD:
            raise LogsInvalidParameter("Only log groups of the class STANDARD are supported.")
        if members["logGroupName"].lower().startswith("aws/"):
            raise LogsInvalidParameter("Log groups starting with AWS/ are reserved for AWS.")
        tags = dict(members.get("tags") or {})
        made = await self.logs.catalog.create_group(group_of(request), _checked_tags(tags))
        if made is Made.THERE_ALREADY:
            raise LogsAlreadyExists("The specified log group already exists")
        return OperationResponse()

    async def delete(self, request: OperationRequest) -> OperationResponse:
        group = group_of(request)
        if await self.logs.catalog.group(group) is None:
            raise LogsNotFound(NO_GROUP)
        await self.logs.delete(group)
        return OperationResponse()

    async def describe(self, request: OperationRequest) -> OperationResponse:
        members, caller = request.members, request.caller
        prefix, pattern = members.get("logGroupNamePrefix"), members.get("logGroupNamePattern")
        if prefix is not None and pattern is not None:
            raise LogsInvalidParameter(
                "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."
            )
        groups = [
            group
            for group in await self.logs.catalog.groups(caller.account, caller.region)
            if group.file.name.startswith(prefix or "")
            and (pattern or "").lower() in group.file.name.lower()
        ]
        names = [group.file.name for group in groups]
        chosen, token = page(names, members.get("nextToken"), members.get("limit", PAGE_ITEMS))
        answer: dict[str, Any] = {"logGroups": [_described(group) for group in groups[chosen]]}
        if token is not None:
            answer["nextToken"] = token
        return OperationResponse(members=answer)

    async def put_retention(self, request: OperationRequest) -> OperationResponse:
        days = request.members["retentionInDays"]
        if days not in RETENTION_DAYS:
            raise LogsInvalidParameter(
                f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to "
                f"satisfy constraint: Member must satisfy enum value set: {list(RETENTION_DAYS)}"
            )
        return await self._change(group_of(request), _retaining(days))

    async def delete_retention(self, request: OperationRequest) -> OperationResponse:
        return await self._change(group_of(request), _retaining(None))

    async def tag_resource(self, request: OperationRequest) -> OperationResponse:
        return await self._change(tagged_group(request), _tagging(request))

    async def untag_resource(self, request: OperationRequest) -> OperationResponse:
        keys = request.members["tagKeys"]
        return await self._change(tagged_group(request), _untagging(keys))

    async def list_tags_for_resource(self, request: OperationRequest) -> OperationResponse:
        return await self._tags(tagged_group(request))

    async def tag_group(self, request: OperationRequest) -> OperationResponse:
        return await self._change(group_of(request), _tagging(request))

    async def untag_group(self, request: OperationRequest) -> OperationResponse:
        keys = request.members["tags"]
        return await self._change(group_of(request), _untagging(keys))

    async def list_tags_of_group(self, request: OperationRequest) -> OperationResponse:
        return await self._tags(group_of(request))

    async def _change(self, group: LogGroup, change: Change) -> OperationResponse:
        await self.logs.flush()  # a function's group begins with its first event
        if await self.logs.catalog.change(group, change) is None:
            raise LogsNotFound(NO_GROUP)
        return OperationResponse()

    async def _tags(self, group: LogGroup) -> OperationResponse:
        file = await self.logs.catalog.group(group)
        if file is None:
            raise LogsNotFound(NO_GROUP)
        return OperationResponse(members={"tags": file.tags})


def _described(group: Group) -> dict[str, Any]:
    file = group.file
    arn = arn_of(file.group)
    described: dict[str, Any] = {
        "logGroupName": file.name,
        "creationTime": file.created_ms,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "storedBytes": group.stored_bytes,
        "logGroupClass": STANDARD,
        "logGroupArn": arn,
    }
    if file.retention_days is not None:
        described["retentionInDays"] = file.retention_days
    return described


def _retaining(days: int | None) -> Change:
    return lambda file: msgspec.structs.replace(file, retention_days=days)


def _tagging(request: OperationRequest) -> Change:
    tags = dict(request.members["tags"])

    def tagged(file: GroupFile) -> GroupFile:
        return msgspec.structs.replace(file, tags=_checked_tags({**file.tags, **tags}))

    return tagged


def _untagging(keys: list[str]) -> Change:
    gone = set(keys)

    def untagged(file: GroupFile) -> GroupFile:
        tags = {key: value for key, value in file.tags.items() if key not in gone}
        return msgspec.structs.replace(file, tags=tags)

    return untagged


def _checked_tags(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > TAGS_MAX:
        raise LogsInvalidParameter(f"The number of tags exceeds the limit of {TAGS_MAX}.")
    reserved = [key for key in tags if re.match("aws:", key, re.IGNORECASE)]
    if reserved:
        raise LogsInvalidParameter("Tag keys may not begin with aws:")
    return tags


def _refuse(members: Any, name: str, why: str) -> None:
    if members.get(name) is not None:
        raise LogsInvalidParameter(why)
