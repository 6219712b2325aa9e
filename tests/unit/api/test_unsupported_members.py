"""What this Hearth cannot honour is refused by name; what only repeats a default is taken."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.function_api import PACKAGE, Api, play
from hearth.model.errors import InvalidParameterValue, ResourceNotFound


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("VpcConfig", {"Ipv6AllowedForDualStack": True}),
        ("FileSystemConfigs", [{"Arn": "a", "LocalMountPath": "/mnt/x"}]),
        ("ImageConfig", {"Command": ["x"]}),
        ("KMSKeyArn", "arn:aws:kms:eu-central-1:123456789012:key/k"),
        ("PublishTo", "LATEST_PUBLISHED"),
        ("DurableConfig", {"KMSKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/k"}),
        ("CapacityProviderConfig", {"LambdaManagedInstancesCapacityProviderConfig": {}}),
        ("RuntimeConfig", {"RuntimeArn": "a", "RuntimeAlias": "b"}),
        ("AcceleratorConfig", {"AcceleratorMemorySize": 1}),
    ],
)
def test_what_would_have_no_effect_is_refused_by_name(
    tmp_path: Path, member: str, value: Any
) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(**{member: value})
        assert member in refused.value.message
        assert refused.value.message.endswith(" is not supported by this version of Hearth.")
        assert api.plane.replica.everything() == ()
        await api.create()
        with pytest.raises(InvalidParameterValue):
            await api.call("UpdateFunctionConfiguration", FunctionName="f", **{member: value})

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("code", "member"),
    [
        ({"ZipFile": PACKAGE, "SourceKMSKeyArn": "arn:aws:kms:x"}, "SourceKMSKeyArn"),
        ({"ZipFile": PACKAGE, "S3ObjectStorageMode": "REFERENCE"}, "S3ObjectStorageMode"),
    ],
)
def test_code_from_elsewhere_is_refused_by_name(
    tmp_path: Path, code: Mapping[str, Any], member: str
) -> None:
    async def scenario(api: Api) -> None:
        text = f"{member} is not supported by this version of Hearth."
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(Code=code)
        assert refused.value.message == text
        await api.create()
        with pytest.raises(InvalidParameterValue) as refused:
            await api.call("UpdateFunctionCode", FunctionName="f", **code)
        assert refused.value.message == text

    play(tmp_path, scenario)


def test_the_custom_runtime_is_refused_by_name(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue, match="Runtime custom is not supported"):
            await api.create(Runtime="custom")

    play(tmp_path, scenario)


def test_settings_that_only_repeat_the_default_are_taken(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        defaults: dict[str, Any] = {
            "Layers": [],
            "VpcConfig": {
                "SubnetIds": [],
                "SecurityGroupIds": [],
                "Ipv6AllowedForDualStack": False,
            },
            "DeadLetterConfig": {"TargetArn": ""},
            "FileSystemConfigs": [],
            "ImageConfig": {},
            "KMSKeyArn": "",
            "TracingConfig": {"Mode": "PassThrough"},
            "SnapStart": {"ApplyOn": "None"},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
        }
        await api.create(**defaults, PackageType="Zip", Publish=False)
        await api.call("UpdateFunctionConfiguration", FunctionName="f", **defaults)

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
            "Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. "
            "EC2 Error Message: The subnet ID 'subnet-1' does not exist",
        ),
        (
            {"VpcConfig": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}},
            "Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. "
            "EC2 Error Message: The subnet IDs 'subnet-1, subnet-2' do not exist",
        ),
        (
            {"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": []}},
            "SubnetIds and SecurityIds must coexist or be both empty list.",
        ),
        (
            {"VpcConfig": {"SecurityGroupIds": ["sg-1"]}},
            "SubnetIds and SecurityIds must coexist or be both empty list.",
        ),
    ],
)
def test_no_network_is_there_to_be_joined(
    tmp_path: Path, members: Mapping[str, Any], text: str
) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(**members)
        assert refused.value.message == text
        assert api.plane.replica.everything() == ()
        await api.create(VpcConfig={"SubnetIds": [], "SecurityGroupIds": []})
        with pytest.raises(InvalidParameterValue) as refused:
            await api.call("UpdateFunctionConfiguration", FunctionName="f", **members)
        assert refused.value.message == text

    play(tmp_path, scenario)


IMAGE = {"ImageUri": "111122223333.dkr.ecr.us-east-1.amazonaws.com/i:1"}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {"PackageType": "Image", "Code": IMAGE, "Handler": None},
            "Please don't provide Handler or Runtime or Layer when the intended function "
            "PackageType is Image.",
        ),
        (
            {"PackageType": "Image", "Handler": None, "Runtime": None},
            "Please provide ImageUri when creating a function with packageType Image.",
        ),
        (
            {"PackageType": "Image", "Code": IMAGE, "Handler": None, "Runtime": None},
            "PackageType is not supported by this version of Hearth.",
        ),
        ({"Code": IMAGE}, "Please provide a source for function code."),
        (
            {"Code": IMAGE | {"ZipFile": PACKAGE}},
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ),
    ],
)
def test_images_are_refused_as_aws_refuses_what_does_not_fit_together(
    tmp_path: Path, members: Mapping[str, Any], text: str
) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(**members)
        assert refused.value.message == text
        assert api.plane.replica.everything() == ()

    play(tmp_path, scenario)


def test_a_function_of_a_package_gets_no_image(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(ResourceNotFound):
            await api.call("UpdateFunctionCode", FunctionName="f", **IMAGE)
        before = await api.create()
        with pytest.raises(InvalidParameterValue) as refused:
            await api.call("UpdateFunctionCode", FunctionName="f", **IMAGE)
        assert refused.value.message == (
            "Please don't provide ImageUri when updating a function with packageType Zip."
        )
        after = await api.call("GetFunctionConfiguration", FunctionName="f")
        assert after["CodeSha256"] == before["CodeSha256"]

    play(tmp_path, scenario)


@pytest.mark.parametrize("name", ["aws:x", "AWS:x", "aws:"])
def test_tags_of_aws_itself_are_not_to_be_given(tmp_path: Path, name: str) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(Tags={name: "v"})
        assert refused.value.message == (
            "aws: prefixed tag key names are not allowed for external use."
        )
        assert api.plane.replica.everything() == ()

    play(tmp_path, scenario)
