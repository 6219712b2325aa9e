"""The operations on functions and the account: members in, members out."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.control import ACCOUNT, REGION, ROLE
from fakes.function_api import ARN, CREATE, PACKAGE, SHA256, Api, play
from fakes.packages import zip_of
from hearth.api.operation import OperationRequest, OperationResponse
from hearth.api.operations import functions
from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    PreconditionFailed,
    ResourceNotFound,
    ServiceError,
    ValidationFailed,
)
from hearth.model.ids import Caller


def test_create_answers_what_aws_answers(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        created = await api.create()
        assert re.fullmatch(
            r"arn:aws:lambda:eu-central-1::runtime:[0-9a-f]{64}",
            created.pop("RuntimeVersionConfig")["RuntimeVersionArn"],
        )
        assert created.pop("RevisionId")
        assert created == {
            "FunctionName": "f",
            "FunctionArn": ARN,
            "Runtime": "python3.12",
            "Role": ROLE,
            "Handler": "app.handler",
            "CodeSize": len(PACKAGE),
            "Description": "",
            "Timeout": 3,
            "MemorySize": 128,
            "LastModified": "2026-11-23T15:04:05.000+0000",
            "CodeSha256": SHA256,
            "Version": "$LATEST",
            "TracingConfig": {"Mode": "PassThrough"},
            "State": "Pending",
            "StateReason": "The function is being created.",
            "StateReasonCode": "Creating",
            "PackageType": "Zip",
            "Architectures": ["x86_64"],
            "EphemeralStorage": {"Size": 512},
            "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
        }

    play(tmp_path, scenario)


def test_an_active_function_has_a_last_update_and_no_reasons(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        created = await api.create()
        active = await api.call("GetFunctionConfiguration", FunctionName="f")
        assert active["State"] == "Active"
        assert active["LastUpdateStatus"] == "Successful"
        assert created.keys() - active.keys() == {"StateReason", "StateReasonCode"}
        assert active.keys() - created.keys() == {"LastUpdateStatus"}

    play(tmp_path, scenario)


def test_every_setting_that_is_given_is_kept_and_told(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create(
            Description="d",
            Timeout=900,
            MemorySize=10_240,
            EphemeralStorage={"Size": 10_240},
            Architectures=["arm64"],
            Environment={"Variables": {"A": "1"}},
            Tags={"t": "v"},
        )
        got = await api.call("GetFunction", FunctionName="f")
        assert got["Tags"] == {"t": "v"}
        assert got["Code"] == {
            "RepositoryType": "S3",
            "Location": f"http://127.0.0.1:4566/{hashlib.sha256(PACKAGE).hexdigest()}",
        }
        configuration = got["Configuration"]
        assert configuration["Description"] == "d"
        assert configuration["Timeout"] == 900
        assert configuration["MemorySize"] == 10_240
        assert configuration["EphemeralStorage"] == {"Size": 10_240}
        assert configuration["Architectures"] == ["arm64"]
        assert configuration["Environment"] == {"Variables": {"A": "1"}}
        assert "Tags" not in configuration

    play(tmp_path, scenario)


def test_no_location_is_told_where_there_is_none(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create()
        get = next(
            operation
            for operation in functions.operations(api.plane.functions)
            if operation.name == "GetFunction"
        )
        caller = Caller(ACCOUNT, REGION, "AKIA", "arn")
        request = OperationRequest(
            caller=caller, request_id="r", members={"FunctionName": "f"}, endpoint="http://x"
        )
        assert (await get.handler(request)).members["Code"] == {"RepositoryType": "S3"}
        assert "Tags" not in (await get.handler(request)).members

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("name", "qualifier", "arn"),
    [
        ("f", None, ARN),
        ("f", "$LATEST", f"{ARN}:$LATEST"),
        ("f:$LATEST", None, f"{ARN}:$LATEST"),
        ("f:$LATEST", "$LATEST", f"{ARN}:$LATEST"),
        ("123456789012:function:f", None, ARN),
        (ARN, None, ARN),
        (f"{ARN}:$LATEST", None, f"{ARN}:$LATEST"),
    ],
)
def test_a_function_is_found_by_every_name_it_has(
    tmp_path: Path, name: str, qualifier: str | None, arn: str
) -> None:
    async def scenario(api: Api) -> None:
        await api.create()
        members = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
        assert (await api.call("GetFunctionConfiguration", **members))["FunctionArn"] == arn

    play(tmp_path, scenario)


OTHER = "arn:aws:lambda:eu-central-1:999999999999:function:f"


@pytest.mark.parametrize(
    ("members", "kind", "text"),
    [
        (
            {"FunctionName": "nope"},
            ResourceNotFound,
            f"Function not found: {ARN[:-1]}nope",
        ),
        ({"FunctionName": "f:7"}, ResourceNotFound, f"Function not found: {ARN}:7"),
        (
            {"FunctionName": "f", "Qualifier": "live"},
            ResourceNotFound,
            f"Function not found: {ARN}:live",
        ),
        (
            {"FunctionName": "nope", "Qualifier": "$LATEST"},
            ResourceNotFound,
            f"Function not found: {ARN[:-1]}nope:$LATEST",
        ),
        (
            {"FunctionName": "f:1", "Qualifier": "2"},
            InvalidParameterValue,
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
        (
            {"FunctionName": ARN.replace("eu-central-1", "ap-southeast-1")},
            ResourceNotFound,
            "Functions from 'ap-southeast-1' are not reachable in this region ('eu-central-1')",
        ),
        (
            {"FunctionName": OTHER},
            AccessDenied,
            (
                "User: arn:aws:iam::123456789012:user/u is not authorized to perform: "
                f"lambda:GetFunction on resource: {OTHER} because no resource-based policy allows "
                "the lambda:GetFunction action"
            ),
        ),
        (
            {"FunctionName": "not a name"},
            ValidationFailed,
            (
                "1 validation error detected: Value 'not a name' at 'functionName' failed to "
                "satisfy constraint: Member must satisfy regular expression pattern: "
                r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+"
                r"-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
            ),
        ),
    ],
)
def test_a_function_that_cannot_be_meant_is_refused_in_lambdas_words(
    tmp_path: Path, members: Mapping[str, Any], kind: type[ServiceError], text: str
) -> None:
    async def scenario(api: Api) -> None:
        await api.create()
        with pytest.raises(kind) as refused:
            await api.call("GetFunction", **members)
        assert refused.value.message == text

    play(tmp_path, scenario)


def test_only_a_function_can_be_changed_not_a_version_of_it(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create()
        for operation in ("UpdateFunctionCode", "UpdateFunctionConfiguration", "CreateFunction"):
            with pytest.raises(InvalidParameterValue, match="Aliases and versions do not support"):
                await api.call(operation, **CREATE | {"FunctionName": "f:1"})

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("UpdateFunctionConfiguration", {"Runtime": "python2.7"}),
        ("UpdateFunctionConfiguration", {"MemorySize": 20_000}),
        ("UpdateFunctionConfiguration", {"Layers": [f"{ARN}".replace("function", "layer") + ":1"]}),
        ("UpdateFunctionConfiguration", {"VpcConfig": {"SubnetIds": ["subnet-1"]}}),
        ("UpdateFunctionCode", {"ZipFile": b"no zip"}),
        ("UpdateFunctionCode", {"ImageUri": "image"}),
        ("UpdateFunctionCode", {}),
    ],
)
def test_what_is_to_be_updated_is_looked_at_before_what_it_shall_become(
    tmp_path: Path, operation: str, members: Mapping[str, Any]
) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(ResourceNotFound) as missing:
            await api.call(operation, FunctionName="f", **members)
        assert missing.value.message == f"Function not found: {ARN}"
        await api.create()
        with pytest.raises(PreconditionFailed):
            await api.call(operation, FunctionName="f", RevisionId="earlier", **members)
        with pytest.raises(InvalidParameterValue):
            await api.call(operation, FunctionName="f", **members)

    play(tmp_path, scenario)


def test_an_update_answers_that_it_is_in_progress(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        before = await api.create()
        package = zip_of({"new.py": ""})
        updated = await api.call("UpdateFunctionCode", FunctionName="f", ZipFile=package)
        assert updated["State"] == "Active"
        assert updated["LastUpdateStatus"] == "InProgress"
        assert updated["LastUpdateStatusReason"] == "The function is being created."
        assert updated["LastUpdateStatusReasonCode"] == "Creating"
        assert updated["CodeSha256"] != before["CodeSha256"]
        assert updated["CodeSize"] == len(package)
        await api.plane.settled()
        changed = await api.call(
            "UpdateFunctionConfiguration",
            FunctionName=ARN,
            Timeout=30,
            EphemeralStorage={"Size": 1_024},
            Environment={},
        )
        assert changed["Timeout"] == 30
        assert changed["EphemeralStorage"] == {"Size": 1_024}
        assert changed["Environment"] == {"Variables": {}}
        assert changed["Handler"] == before["Handler"]

    play(tmp_path, scenario)


def test_a_dry_run_shows_the_new_code_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create()
        before = await api.call("GetFunctionConfiguration", FunctionName="f")
        answer = await api.call(
            "UpdateFunctionCode", FunctionName="f", ZipFile=zip_of({"n": ""}), DryRun=True
        )
        assert answer["CodeSha256"] != before["CodeSha256"]
        assert await api.call("GetFunctionConfiguration", FunctionName="f") == before

    play(tmp_path, scenario)


def test_delete_answers_204_without_a_body(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create()
        assert await api.respond("DeleteFunction", {"FunctionName": "f"}) == OperationResponse(
            status=204
        )
        with pytest.raises(ResourceNotFound):
            await api.call("DeleteFunction", FunctionName="f")

    play(tmp_path, scenario)


def test_a_list_shows_no_states_and_goes_on_after_its_marker(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        for name in "cab":
            await api.create(FunctionName=name)
        first = await api.call("ListFunctions", MaxItems=2)
        assert [f["FunctionName"] for f in first["Functions"]] == ["a", "b"]
        assert (
            not {"State", "LastUpdateStatus", "RuntimeVersionConfig"} & first["Functions"][0].keys()
        )
        second = await api.call("ListFunctions", Marker=first["NextMarker"])
        assert [f["FunctionName"] for f in second["Functions"]] == ["c"]
        assert "NextMarker" not in second
        every = await api.call("ListFunctions", FunctionVersion="ALL")
        assert every["Functions"][0]["FunctionArn"].endswith(":function:a:$LATEST")
        replicas = await api.call("ListFunctions", FunctionVersion="ALL", MasterRegion="ALL")
        assert replicas == {"Functions": []}
        with pytest.raises(InvalidParameterValue):
            await api.call("ListFunctions", MasterRegion="us-east-1")

    play(tmp_path, scenario)


def test_the_account_is_told_its_limits_and_what_it_uses(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create()
        await api.create(FunctionName="g")
        assert await api.call("GetAccountSettings") == {
            "AccountLimit": {
                "TotalCodeSize": 322_122_547_200,
                "CodeSizeUnzipped": 262_144_000,
                "CodeSizeZipped": 52_428_800,
                "ConcurrentExecutions": 1_000,
                "UnreservedConcurrentExecutions": 900,
            },
            "AccountUsage": {"TotalCodeSize": 2 * len(PACKAGE), "FunctionCount": 2},
        }

    play(tmp_path, scenario)
