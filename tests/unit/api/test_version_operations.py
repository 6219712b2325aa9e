"""The operations on versions and aliases: members in, members out."""

from pathlib import Path
from typing import Any

import pytest

from fakes.function_api import ARN, PACKAGE, SHA256, Api, play
from fakes.packages import zip_of
from hearth.api.operation import OperationResponse
from hearth.model.errors import InvalidParameterValue, ResourceNotFound

STATES = {"State", "StateReason", "StateReasonCode"}


async def published(api: Api, versions: int = 1) -> None:
    """A function with as many versions."""
    await api.create()
    for number in range(versions):
        await api.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=10 + number)
        await api.plane.settled()
        await api.call("PublishVersion", FunctionName="f")
        await api.plane.settled()


def test_publish_answers_the_version_with_its_own_arn_and_state(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create(Description="mine", Environment={"Variables": {"A": "1"}})
        latest = await api.call("GetFunctionConfiguration", FunctionName="f")
        version = await api.call(
            "PublishVersion",
            FunctionName="f",
            CodeSha256=SHA256,
            RevisionId=latest["RevisionId"],
            Description="first",
        )
        assert {name: version.pop(name) for name in sorted(STATES)} == {
            "State": "Pending",
            "StateReason": "The function is being created.",
            "StateReasonCode": "Creating",
        }
        assert version.pop("RevisionId") != latest.pop("RevisionId")
        assert version == {
            name: value
            for name, value in latest.items()
            if name not in STATES | {"LastUpdateStatus"}
        } | {"Version": "1", "FunctionArn": f"{ARN}:1", "Description": "first"}

    play(tmp_path, scenario)


def test_a_qualifier_shows_its_version_and_is_in_the_arn(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create(Tags={"t": "v"})
        await api.call("PublishVersion", FunctionName="f")
        await api.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        await api.call("UpdateFunctionCode", FunctionName="f", ZipFile=zip_of({"b.py": ""}))
        await api.plane.settled()
        for members, qualifier in (
            ({"FunctionName": "f:1"}, "1"),
            ({"FunctionName": "f", "Qualifier": "1"}, "1"),
            ({"FunctionName": f"{ARN}:live"}, "live"),
            ({"FunctionName": "f:live", "Qualifier": "live"}, "live"),
        ):
            got = await api.call("GetFunction", **members)
            shown = got["Configuration"]
            assert (shown["Version"], shown["FunctionArn"]) == ("1", f"{ARN}:{qualifier}")
            assert (shown["State"], shown["LastUpdateStatus"]) == ("Active", "Successful")
            assert shown["CodeSha256"] == SHA256
            assert got["Tags"] == {"t": "v"}
            assert await api.call("GetFunctionConfiguration", **members) == shown
        with pytest.raises(InvalidParameterValue) as mismatch:
            await api.call("GetFunction", FunctionName="f:1", Qualifier="live")
        assert mismatch.value.message == (
            "The derived qualifier from the function name does not match the specified qualifier."
        )

    play(tmp_path, scenario)


def test_create_and_update_with_publish_answer_the_version(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        created = await api.create(Publish=True)
        assert (created["Version"], created["FunctionArn"]) == ("1", ARN)
        updated = await api.call(
            "UpdateFunctionCode", FunctionName="f", ZipFile=zip_of({"b.py": ""}), Publish=True
        )
        assert (updated["Version"], updated["FunctionArn"]) == ("2", f"{ARN}:2")
        await api.plane.settled()
        tried = await api.call(
            "UpdateFunctionCode", FunctionName="f", ZipFile=PACKAGE, Publish=True, DryRun=True
        )
        assert (tried["Version"], tried["FunctionArn"]) == ("$LATEST", ARN)
        listed = await api.call("ListVersionsByFunction", FunctionName="f")
        assert [version["Version"] for version in listed["Versions"]] == ["$LATEST", "1", "2"]

    play(tmp_path, scenario)


def test_lists_show_versions_without_states_page_by_page(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await published(api, 3)
        first = await api.call("ListVersionsByFunction", FunctionName="f", MaxItems=2)
        assert [v["FunctionArn"] for v in first["Versions"]] == [f"{ARN}:$LATEST", f"{ARN}:1"]
        assert not (STATES | {"LastUpdateStatus", "RuntimeVersionConfig"}) & set(
            first["Versions"][1]
        )
        rest = await api.call(
            "ListVersionsByFunction", FunctionName="f", Marker=first["NextMarker"]
        )
        assert [v["Version"] for v in rest["Versions"]] == ["2", "3"]
        assert "NextMarker" not in rest
        every = await api.call("ListFunctions", FunctionVersion="ALL", MaxItems=3)
        assert [v["Version"] for v in every["Functions"]] == ["$LATEST", "1", "2"]
        more = await api.call("ListFunctions", FunctionVersion="ALL", Marker=every["NextMarker"])
        assert [v["FunctionArn"] for v in more["Functions"]] == [f"{ARN}:3"]
        plain = await api.call("ListFunctions")
        assert [f["FunctionArn"] for f in plain["Functions"]] == [ARN]
        usage = (await api.call("GetAccountSettings"))["AccountUsage"]
        assert usage == {"TotalCodeSize": 4 * len(PACKAGE), "FunctionCount": 1}
        with pytest.raises(ResourceNotFound) as missing:
            await api.call("ListVersionsByFunction", FunctionName="g")
        assert missing.value.message == f"Function not found: {ARN[:-1]}g"

    play(tmp_path, scenario)


def test_a_version_is_deleted_alone(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await published(api, 2)
        for members in ({"FunctionName": "f", "Qualifier": "1"}, {"FunctionName": f"{ARN}:9"}):
            assert await api.respond("DeleteFunction", members) == OperationResponse(status=204)
        listed = await api.call("ListVersionsByFunction", FunctionName="f")
        assert [version["Version"] for version in listed["Versions"]] == ["$LATEST", "2"]

    play(tmp_path, scenario)


def test_an_alias_is_answered_with_all_that_it_has(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await published(api, 2)
        plain: dict[str, Any] = await api.call(
            "CreateAlias", FunctionName="f", Name="live", FunctionVersion="1"
        )
        assert plain.pop("RevisionId")
        assert plain == {
            "AliasArn": f"{ARN}:live",
            "Name": "live",
            "FunctionVersion": "1",
            "Description": "",
        }
        split = await api.call(
            "UpdateAlias",
            FunctionName="f",
            Name="live",
            Description="d",
            RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}},
        )
        assert split["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 0.1}}
        assert await api.call("GetAlias", FunctionName=ARN, Name="live") == split
        empty: dict[str, Any] = {}
        for routing in (empty, {"AdditionalVersionWeights": empty}):
            whole = await api.call(
                "UpdateAlias", FunctionName="f", Name="live", RoutingConfig=routing
            )
            assert "RoutingConfig" not in whole
            assert whole["Description"] == "d"

    play(tmp_path, scenario)


def test_aliases_are_listed_and_deleted(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await published(api, 2)
        for name, version in (("b", "1"), ("a", "2"), ("c", "1")):
            await api.call("CreateAlias", FunctionName="f", Name=name, FunctionVersion=version)
        first = await api.call("ListAliases", FunctionName="f", MaxItems=2)
        assert [alias["Name"] for alias in first["Aliases"]] == ["a", "b"]
        rest = await api.call("ListAliases", FunctionName="f", Marker=first["NextMarker"])
        assert [alias["Name"] for alias in rest["Aliases"]] == ["c"]
        assert "NextMarker" not in rest
        ones = await api.call("ListAliases", FunctionName="f", FunctionVersion="1")
        assert [alias["Name"] for alias in ones["Aliases"]] == ["b", "c"]
        for _ in range(2):
            gone = await api.respond("DeleteAlias", {"FunctionName": "f", "Name": "b"})
            assert gone == OperationResponse()
        with pytest.raises(ResourceNotFound) as missing:
            await api.call("GetAlias", FunctionName="f", Name="b")
        assert missing.value.message == f"Cannot find alias arn: {ARN}:b"
        with pytest.raises(ResourceNotFound):
            await api.call("ListAliases", FunctionName="g")

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "operation",
    ["PublishVersion", "ListVersionsByFunction", "CreateAlias", "GetAlias", "ListAliases"],
)
def test_only_a_function_is_published_and_named_not_a_version(
    tmp_path: Path, operation: str
) -> None:
    async def scenario(api: Api) -> None:
        await published(api)
        with pytest.raises(InvalidParameterValue, match="Aliases and versions do not support"):
            await api.call(operation, FunctionName="f:1", Name="live", FunctionVersion="1")

    play(tmp_path, scenario)
