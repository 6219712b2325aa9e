"""Permissions and tags change the RevisionId of what they belong to, and nothing else of it."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from fakes.control import function_key
from fakes.function_api import ARN
from fakes.settings_api import OTHER_ACCOUNT, SettingsApi, play
from hearth.control.replica import Replica
from hearth.model.errors import (
    InvalidParameterValue,
    PreconditionFailed,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import FunctionVersion, configuration_id, touched


def named(qualifier: str | None) -> dict[str, str]:
    return {"FunctionName": "f"} | ({"Qualifier": qualifier} if qualifier else {})


async def add(api: SettingsApi, statement_id: str, **members: Any) -> None:
    allowed = {"Action": "lambda:InvokeFunction", "Principal": OTHER_ACCOUNT}
    names = {"FunctionName": "f", "StatementId": statement_id}
    await api.call("AddPermission", **names | allowed | members)


async def revisions(api: SettingsApi) -> dict[str | None, str]:
    """Of the function, version 1 and the alias of it."""
    latest = await api.call("GetFunctionConfiguration", **named(None))
    version = await api.call("GetFunction", **named("1"))
    alias = await api.call("GetAlias", FunctionName="f", Name="live")
    return {
        None: latest["RevisionId"],
        "1": version["Configuration"]["RevisionId"],
        "live": alias["RevisionId"],
    }


def configurations(replica: Replica) -> list[Any]:
    latest, version = replica.get(function_key()), replica.qualified(function_key(), "1")
    assert latest is not None
    assert isinstance(version, FunctionVersion)
    return [configuration_id(latest), configuration_id(version)]


async def prepared(api: SettingsApi) -> None:
    await api.create()
    await api.call("PublishVersion", FunctionName="f")
    await api.plane.settled()
    await api.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")


@pytest.mark.parametrize("qualifier", [None, "1", "live"])
def test_a_permission_revises_what_it_is_for_alone(tmp_path: Path, qualifier: str | None) -> None:
    async def scenario(api: SettingsApi) -> None:
        await prepared(api)
        before, configured = await revisions(api), configurations(api.plane.replica)

        async def revised() -> str:
            """By exactly one; GetPolicy shows it."""
            nonlocal before
            after = await revisions(api)
            assert {q for q in after if after[q] != before[q]} == {qualifier}
            before = after
            return after[qualifier]

        await add(api, "s1", **named(qualifier) | {"RevisionId": before[qualifier]})
        first = await revised()
        assert (await api.call("GetPolicy", **named(qualifier)))["RevisionId"] == first
        await add(api, "s2", **named(qualifier) | {"RevisionId": first})
        second = await revised()
        for statement_id in ("s1", "s2"):
            await api.call("RemovePermission", **named(qualifier), StatementId=statement_id)
            assert await revised() not in {first, second}
        assert configurations(api.plane.replica) == configured

    play(tmp_path, scenario)


def test_what_is_refused_revises_nothing(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await prepared(api)
        await add(api, "s1")
        before = await revisions(api)
        policy = await api.call("GetPolicy", FunctionName="f")

        async def refused(kind: type[ServiceError], call: Awaitable[Any]) -> None:
            with pytest.raises(kind):
                await call
            assert await revisions(api) == before
            assert await api.call("GetPolicy", FunctionName="f") == policy

        remove = {"FunctionName": "f", "StatementId": "s1"}
        await refused(ResourceConflict, add(api, "s1"))
        await refused(PreconditionFailed, add(api, "s1", RevisionId="wrong"))
        await refused(PreconditionFailed, add(api, "s2", RevisionId="wrong"))
        await refused(
            PreconditionFailed, api.call("RemovePermission", **remove, RevisionId="wrong")
        )
        unknown = {"FunctionName": "f", "StatementId": "s9", "RevisionId": "wrong"}
        await refused(ResourceNotFound, api.call("RemovePermission", **unknown))
        await refused(
            PreconditionFailed, api.call("DeleteResourcePolicy", ResourceArn=ARN, RevisionId="x")
        )
        await refused(ResourceNotFound, api.call("DeleteResourcePolicy", ResourceArn=f"{ARN}:1"))
        await refused(InvalidParameterValue, api.call("TagResource", Resource=ARN, Tags={}))

    play(tmp_path, scenario)


def test_tags_revise_the_function(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await prepared(api)
        configured = configurations(api.plane.replica)
        seen = [await revisions(api)]
        await api.call("TagResource", Resource=ARN, Tags={"a": "b"})
        seen.append(await revisions(api))
        await api.call("UntagResource", Resource=ARN, TagKeys=["a"])
        seen.append(await revisions(api))
        assert len({each[None] for each in seen}) == len(seen)
        assert len({(each["1"], each["live"]) for each in seen}) == 1
        assert configurations(api.plane.replica) == configured
        await api.call("PublishVersion", FunctionName="f", RevisionId=seen[-1][None])
        versions = await api.call("ListVersionsByFunction", FunctionName="f")
        assert [v["Version"] for v in versions["Versions"]] == ["$LATEST", "1"], "nothing changed"

    play(tmp_path, scenario)


def test_what_is_touched_while_it_is_prepared_becomes_active(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()
        await api.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=7)
        await add(api, "s1")
        await api.call("TagResource", Resource=ARN, Tags={"a": "b"})
        await api.plane.settled()
        latest = await api.call("GetFunctionConfiguration", FunctionName="f")
        assert (latest["Timeout"], latest["LastUpdateStatus"]) == (7, "Successful")
        await api.call("PublishVersion", FunctionName="f")
        await add(api, "s1", Qualifier="1")
        await api.plane.settled()
        version = await api.call("GetFunctionConfiguration", **named("1"))
        assert version["State"] == "Active"

    play(tmp_path, scenario)


def test_a_change_of_the_configuration_ends_a_touch(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await prepared(api)
        await add(api, "s1")
        touched_id = configurations(api.plane.replica)[0]
        await api.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=7)
        await api.plane.settled()
        assert configurations(api.plane.replica)[0] != touched_id
        latest = api.plane.replica.get(function_key())
        assert latest is not None
        assert latest.configuration_revision == latest.revision_id
        twice = touched(touched(latest, "second"), "third")
        assert (twice.configuration_revision, twice.revision_id) == (latest.revision_id, "third")

    play(tmp_path, scenario)
