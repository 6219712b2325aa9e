"""Layer operations and the layers of functions, as the edge calls them. Texts: recorded."""

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fakes.control import ACCOUNT, REGION, control_plane, creation
from fakes.packages import zip_of
from fakes.settings_api import OTHER_ACCOUNT, SettingsApi, play
from hearth.api.operation import OperationResponse
from hearth.control.deliveries import Sink
from hearth.control.documents import AccountScope
from hearth.control.layers import VERSIONS, LayerVersion
from hearth.control.requests import S3Object
from hearth.control.zips import check_total
from hearth.engine.contract import Entry
from hearth.engine.memory import MemoryEngine
from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    PreconditionFailed,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.ids import Region
from hearth.model.layers import LayerUse

LAYER = "arn:aws:lambda:eu-central-1:123456789012:layer:l"
PACKAGE = zip_of({"python/lib.py": "x = 1"})
_SCOPE = AccountScope(ACCOUNT, REGION)


async def publish(api: SettingsApi, name: str = "l", **members: Any) -> Any:
    content = {"ZipFile": members.pop("ZipFile", PACKAGE)}
    return await api.call("PublishLayerVersion", LayerName=name, Content=content, **members)


async def refusal(api: SettingsApi, operation: str, **members: Any) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        await api.call(operation, **members)
    return refused.value


def test_what_was_published_is_what_is_answered(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        sha256 = hashlib.sha256(PACKAGE)
        expected = {
            "Content": {
                "Location": f"http://127.0.0.1:4566/{sha256.hexdigest()}",
                "CodeSha256": base64.b64encode(sha256.digest()).decode(),
                "CodeSize": len(PACKAGE),
            },
            "LayerArn": LAYER,
            "LayerVersionArn": f"{LAYER}:1",
            "Version": 1,
            "Description": "d",
            "CreatedDate": "2026-11-23T15:04:05.000+0000",
            "CompatibleRuntimes": ["python3.12"],
            "CompatibleArchitectures": ["x86_64"],
            "LicenseInfo": "MIT",
        }
        published = await publish(
            api,
            Description="d",
            CompatibleRuntimes=["python3.12"],
            CompatibleArchitectures=["x86_64"],
            LicenseInfo="MIT",
        )
        assert published == expected
        for name in ("l", LAYER):
            got = await api.call("GetLayerVersion", LayerName=name, VersionNumber=1)
            assert got == expected
        assert await api.call("GetLayerVersionByArn", Arn=f"{LAYER}:1") == expected
        bare = await publish(api, "bare")
        assert bare.keys() == {
            *("Content", "LayerArn", "LayerVersionArn", "Version", "Description", "CreatedDate")
        }

    play(tmp_path, scenario)


def test_numbers_are_never_given_again(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await publish(api)
        await publish(api)
        for number in (1, 2, 2, 7):
            answer = await api.respond(
                "DeleteLayerVersion", {"LayerName": "l", "VersionNumber": number}
            )
            assert answer == OperationResponse(status=204)
        assert (await api.call("ListLayers"))["Layers"] == []
        assert (await publish(api))["Version"] == 3
        together = await asyncio.gather(*(publish(api) for _ in range(5)))
        assert sorted(answer["Version"] for answer in together) == [4, 5, 6, 7, 8]

    play(tmp_path, scenario)


def test_lists_show_the_newest_first_and_what_is_made_for_what_is_asked(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await publish(api, "a", CompatibleRuntimes=["python3.12"])
        await publish(api, "a", CompatibleRuntimes=["nodejs22.x"])
        await publish(api, "b", CompatibleArchitectures=["arm64"])

        async def layers(**members: Any) -> list[tuple[str, int]]:
            answer = await api.call("ListLayers", **members)
            return [
                (layer["LayerName"], layer["LatestMatchingVersion"]["Version"])
                for layer in answer["Layers"]
            ]

        assert await layers() == [("a", 2), ("b", 1)]
        assert await layers(CompatibleRuntime="python3.12") == [("a", 1)]
        assert await layers(CompatibleArchitecture="arm64") == [("b", 1)]
        assert await layers(CompatibleRuntime="ruby3.4") == []
        first = await api.call("ListLayerVersions", LayerName="a", MaxItems=1)
        assert [v["Version"] for v in first["LayerVersions"]] == [2]
        await publish(api, "a")  # what comes between two pages shifts nothing
        rest = await api.call("ListLayerVersions", LayerName="a", Marker=first["NextMarker"])
        assert [v["Version"] for v in rest["LayerVersions"]] == [1]
        assert rest["LayerVersions"][0]["LayerVersionArn"].endswith(":layer:a:1")
        assert "NextMarker" not in rest
        page = await api.call("ListLayers", MaxItems=1)
        assert [layer["LayerName"] for layer in page["Layers"]] == ["a"]
        page = await api.call("ListLayers", Marker=page["NextMarker"])
        assert [layer["LayerName"] for layer in page["Layers"]] == ["b"]
        assert await api.call("ListLayerVersions", LayerName="none") == {"LayerVersions": []}

    play(tmp_path, scenario)


@pytest.mark.parametrize("operation", ["GetLayerVersion", "DeleteLayerVersion"])
def test_a_version_below_one_is_refused(operation: str, tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        for number in (0, -1):
            error = await refusal(api, operation, LayerName="l", VersionNumber=number)
            assert isinstance(error, InvalidParameterValue)
            assert error.message == "Layer Version Cannot be less than 1"

    play(tmp_path, scenario)


def test_a_version_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await publish(api)
        for error in (
            await refusal(api, "GetLayerVersion", LayerName="l", VersionNumber=2),
            await refusal(api, "GetLayerVersion", LayerName="none", VersionNumber=1),
            await refusal(api, "GetLayerVersionByArn", Arn=f"{LAYER}:2"),
            await refusal(api, "GetLayerVersionByArn", Arn="arn:aws:lambda:::awslayer:x"),
        ):
            assert isinstance(error, ResourceNotFound)
            assert error.message == "The resource you requested does not exist."
        for operation, more in (
            ("GetLayerVersionPolicy", {}),
            ("RemoveLayerVersionPermission", {"StatementId": "s"}),
            (
                "AddLayerVersionPermission",
                {"StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*"},
            ),
        ):
            error = await refusal(api, operation, LayerName="l", VersionNumber=2, **more)
            assert isinstance(error, ResourceNotFound)
            assert error.message == f"Layer version {LAYER}:2 does not exist."

    play(tmp_path, scenario)


def test_a_package_is_judged_as_a_functions_is(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        hostile = zip_of({"../x": "y"})
        for content, message in (
            ({"ZipFile": hostile}, "Could not unzip uploaded file. Please check your file"),
            ({"ZipFile": b""}, "Uploaded file must be a non-empty zip"),
            ({}, "Please provide a source for layer content."),
            ({"S3Bucket": "b", "S3Key": "k"}, "S3Bucket"),
            ({"ZipFile": PACKAGE, "S3ObjectStorageMode": "REFERENCE"}, "S3ObjectStorageMode"),
        ):
            error = await refusal(api, "PublishLayerVersion", LayerName="l", Content=content)
            assert isinstance(error, InvalidParameterValue)
            assert error.message.startswith(message)
        assert (await publish(api))["Version"] == 1, "a refused package has taken a number"

    play(tmp_path, scenario)


@dataclass
class Shelf:
    """S3 with one object."""

    asked: list[S3Object] = field(default_factory=list)

    async def fetch(self, source: S3Object, region: Region, sink: Sink) -> None:
        self.asked.append(source)
        sink.write(PACKAGE)


def test_a_layer_comes_from_s3_too(tmp_path: Path) -> None:
    s3 = Shelf()

    async def scenario(api: SettingsApi) -> None:
        content = {"S3Bucket": "bucket", "S3Key": "l.zip", "S3ObjectVersion": "v1"}
        published = await api.call("PublishLayerVersion", LayerName="l", Content=content)
        assert published["Content"]["CodeSize"] == len(PACKAGE)
        assert published["Version"] == 1

    play(tmp_path, scenario, s3=s3)
    assert s3.asked == [S3Object(bucket="bucket", key="l.zip", version="v1")]


def test_layers_count_towards_the_accounts_storage(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        for name in ("a", "b"):
            await publish(api, name)
        assert api.layers.package_bytes(_SCOPE) == 2 * len(PACKAGE)
        await api.call("DeleteLayerVersion", LayerName="a", VersionNumber=1)
        assert api.layers.package_bytes(_SCOPE) == len(PACKAGE)

    play(tmp_path, scenario)


# --- policies


async def permit(api: SettingsApi, **members: Any) -> Any:
    given = {
        "LayerName": "l",
        "VersionNumber": 1,
        "StatementId": "s1",
        "Action": "lambda:GetLayerVersion",
        "Principal": OTHER_ACCOUNT,
    }
    return await api.call("AddLayerVersionPermission", **given | members)


def test_permissions_come_and_go_with_awss_texts(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await publish(api)
        version = {"LayerName": "l", "VersionNumber": 1}
        error = await refusal(api, "GetLayerVersionPolicy", **version)
        assert error.message == "No policy is associated with the given resource."
        added = await permit(api)
        statement = {
            "Sid": "s1",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{OTHER_ACCOUNT}:root"},
            "Action": "lambda:GetLayerVersion",
            "Resource": f"{LAYER}:1",
        }
        assert json.loads(added["Statement"]) == statement
        policy = await api.call("GetLayerVersionPolicy", **version)
        assert policy["RevisionId"] == added["RevisionId"]
        assert json.loads(policy["Policy"]) == {
            "Version": "2012-10-17",
            "Id": "default",
            "Statement": [statement],
        }
        with pytest.raises(ResourceConflict, match="The statement id"):
            await permit(api)
        with pytest.raises(PreconditionFailed, match="Call the GetLayerPolicy API"):
            await permit(api, StatementId="s2", RevisionId="wrong")
        everybody = await permit(
            api,
            StatementId="s2",
            Principal="*",
            OrganizationId="o-0123456789",
            RevisionId=added["RevisionId"],
        )
        assert json.loads(everybody["Statement"])["Condition"] == {
            "StringEquals": {"aws:PrincipalOrgID": "o-0123456789"}
        }
        remove = "RemoveLayerVersionPermission"
        error = await refusal(api, remove, StatementId="s3", **version)
        assert error.message == "Statement s3 is not found in resource policy."
        error = await refusal(api, remove, StatementId="s1", RevisionId="wrong", **version)
        assert isinstance(error, PreconditionFailed)
        for sid in ("s1", "s2"):
            assert (await api.respond(remove, version | {"StatementId": sid})).status == 204
        error = await refusal(api, "GetLayerVersionPolicy", **version)
        assert isinstance(error, ResourceNotFound)

    play(tmp_path, scenario)


def test_other_accounts_need_a_permission_and_may_only_read(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await publish(api)
        await publish(api)
        await permit(api)

        async def as_other(operation: str, **members: Any) -> Any:
            return (await api.respond(operation, members, OTHER_ACCOUNT)).members

        got = await as_other("GetLayerVersion", LayerName=LAYER, VersionNumber=1)
        assert got["LayerVersionArn"] == f"{LAYER}:1"
        for operation, members in (
            ("GetLayerVersion", {"LayerName": LAYER, "VersionNumber": 2}),
            ("GetLayerVersionByArn", {"Arn": f"{LAYER}:2"}),
            ("DeleteLayerVersion", {"LayerName": LAYER, "VersionNumber": 1}),
            ("GetLayerVersionPolicy", {"LayerName": LAYER, "VersionNumber": 1}),
            ("ListLayerVersions", {"LayerName": LAYER}),
            ("PublishLayerVersion", {"LayerName": LAYER, "Content": {"ZipFile": PACKAGE}}),
        ):
            with pytest.raises(AccessDenied, match="is not authorized to perform: lambda:"):
                await as_other(operation, **members)
        with pytest.raises(ResourceNotFound):
            await as_other("GetLayerVersion", LayerName="l", VersionNumber=1)
        await api.call("DeleteLayerVersion", LayerName="l", VersionNumber=1)
        with pytest.raises(AccessDenied):
            await as_other("GetLayerVersion", LayerName=LAYER, VersionNumber=1)

    play(tmp_path, scenario)


# --- layers of functions


def test_a_foreign_layer_serves_where_its_policy_allows_it(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        foreign = LAYER.replace(ACCOUNT, OTHER_ACCOUNT)
        members = {"LayerName": "l", "Content": {"ZipFile": PACKAGE}}
        await api.respond("PublishLayerVersion", members, OTHER_ACCOUNT)
        permission = {
            "LayerName": "l",
            "VersionNumber": 1,
            "StatementId": "s",
            "Action": "lambda:GetLayerVersion",
            "Principal": ACCOUNT,
        }
        await api.respond("AddLayerVersionPermission", permission, OTHER_ACCOUNT)
        created = await api.create(Layers=[f"{foreign}:1"])
        assert created["Layers"] == [{"Arn": f"{foreign}:1", "CodeSize": len(PACKAGE)}]

    play(tmp_path, scenario)


def test_a_function_shows_its_layers_in_order_and_its_versions_keep_theirs(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        arns = [(await publish(api, name))["LayerVersionArn"] for name in ("a", "b")]
        shown = [{"Arn": arn, "CodeSize": len(PACKAGE)} for arn in arns]
        created = await api.create(Layers=arns, Publish=True)
        assert created["Layers"] == shown
        changed = await api.call("UpdateFunctionConfiguration", FunctionName="f", Layers=arns[::-1])
        assert changed["Layers"] == shown[::-1]
        await api.plane.settled()
        kept = await api.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
        assert kept["Layers"] == shown[::-1]
        await api.plane.settled()
        none = await api.call("UpdateFunctionConfiguration", FunctionName="f", Layers=[])
        assert "Layers" not in none
        version = await api.call("GetFunctionConfiguration", FunctionName="f", Qualifier="1")
        assert version["Layers"] == shown
        sha256 = hashlib.sha256(PACKAGE).hexdigest()
        assert (sha256, "python3.12") in api.plane.code_cache.prepared, "Active without its layer"

    play(tmp_path, scenario)


def test_a_deleted_version_serves_those_that_have_it_and_no_others(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        arn = (await publish(api))["LayerVersionArn"]
        await api.create(Layers=[arn])
        await api.call("DeleteLayerVersion", LayerName="l", VersionNumber=1)
        changed = await api.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
        assert [layer["Arn"] for layer in changed["Layers"]] == [arn]
        await api.plane.settled()
        error = await refusal(api, "UpdateFunctionConfiguration", FunctionName="f", Layers=[arn])
        assert isinstance(error, InvalidParameterValue)
        assert error.message == f"Layer version {arn} does not exist."

    play(tmp_path, scenario)


def test_which_layers_a_function_may_not_have(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        for _ in range(2):
            await publish(api)
        elsewhere = LAYER.replace("eu-central-1", "us-east-1")
        for arns, message in (
            ([f"{LAYER}:{n}" for n in range(6)], "Cannot reference more than 5 layers."),
            (
                [f"{LAYER}:1", f"{LAYER}:2"],
                "Two different versions of the same layer are not allowed to be referenced in the "
                f"same function. {LAYER}:1 and {LAYER}:2 are versions of the same layer.",
            ),
            ([f"{LAYER}:3"], f"Layer version {LAYER}:3 does not exist."),
            (
                [f"{elsewhere}:1"],
                "Layers are not in the same region as the function. Layers are expected to be in "
                "region eu-central-1.",
            ),
        ):
            with pytest.raises(InvalidParameterValue) as refused:
                await api.create(Layers=arns)
            assert refused.value.message == message
        foreign = LAYER.replace(ACCOUNT, OTHER_ACCOUNT)
        with pytest.raises(AccessDenied, match="lambda:GetLayerVersion on resource"):
            await api.create(Layers=[f"{foreign}:1"])

    play(tmp_path, scenario)


def test_code_and_layers_have_one_limit() -> None:
    def layers(*sizes: int) -> list[LayerUse]:
        return [LayerUse(arn="a", sha256="b", size_bytes=1, unzipped_bytes=size) for size in sizes]

    check_total(1, layers(262_143_998))
    with pytest.raises(InvalidParameterValue) as refused:
        check_total(10, layers(262_143_000, 990))
    assert refused.value.message == (
        "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. "
        "The actual size is 262144000 bytes."
    )
    with pytest.raises(InvalidParameterValue) as refused:
        check_total(0, layers(262_144_000))
    assert refused.value.message == (
        "Layers consume more than the available size of 262144000 bytes"
    )


def test_too_much_code_beside_its_layers_is_refused_everywhere(tmp_path: Path) -> None:
    """The layer says that it is larger than it is, so that the test need not be."""

    async def scenario(api: SettingsApi) -> None:
        arn = (await publish(api))["LayerVersionArn"]
        version = api.layers.get(next(iter(api.layers.layers(_SCOPE))), 1)
        assert version is not None
        await _grow(api, version, 262_144_000 - 50)
        large = zip_of({"app.py": "#" * 60})
        with pytest.raises(InvalidParameterValue, match="Function code combined with layers"):
            await api.create(Layers=[arn], Code={"ZipFile": large})
        await api.create("small", Layers=[arn])
        error = await refusal(api, "UpdateFunctionCode", FunctionName="small", ZipFile=large)
        assert error.message.startswith("Function code combined with layers")
        await api.create("large", Code={"ZipFile": large})
        error = await refusal(
            api, "UpdateFunctionConfiguration", FunctionName="large", Layers=[arn]
        )
        assert error.message.startswith("Function code combined with layers")

    play(tmp_path, scenario)


async def _grow(api: SettingsApi, version: LayerVersion, unzipped_bytes: int) -> None:
    grown = replace(version, unzipped_bytes=unzipped_bytes)
    await api.documents.put(VERSIONS, _SCOPE, grown, "l.1")


def test_packages_of_layers_are_kept_while_all_are_known(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await publish(api)
        await publish(api, ZipFile=zip_of({"other": "y"}))
        await api.call("DeleteLayerVersion", LayerName="l", VersionNumber=2)
        sha256 = hashlib.sha256(PACKAGE).hexdigest()
        assert api.layers.packages() == frozenset({sha256})
        key = f"doc.{ACCOUNT}.eu-central-1.=.layer-version.newer/1"
        api.documents._copy.apply(Entry(key, b"not to be read", 10_000))
        assert api.layers.packages() is None, "what cannot be read may name a package"

    play(tmp_path, scenario)


def test_layers_survive_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        use = LayerUse(arn=f"{LAYER}:1", sha256="b" * 64, size_bytes=1, unzipped_bytes=2)
        async with control_plane(kv, tmp_path) as plane:
            await plane.functions.create(replace(creation(), layers=(use,)))
            await plane.settled()
        async with control_plane(kv, tmp_path) as plane:
            (function,) = plane.replica.everything()
            assert function.layers == (use,)

    asyncio.run(scene())
