"""What this Hearth cannot honour is refused by name; what only repeats a default is taken."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.function_api import PACKAGE, Api, play
from hearth.model.errors import InvalidParameterValue


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("VpcConfig", {"SubnetIds": ["subnet-1"], "SecurityGroupIds": []}),
        ("VpcConfig", {"Ipv6AllowedForDualStack": True}),
        ("FileSystemConfigs", [{"Arn": "a", "LocalMountPath": "/mnt/x"}]),
        ("ImageConfig", {"Command": ["x"]}),
        ("KMSKeyArn", "arn:aws:kms:eu-central-1:123456789012:key/k"),
        ("PublishTo", "LATEST_PUBLISHED"),
        ("PackageType", "Image"),
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
        ({"ImageUri": "image"}, "ImageUri"),
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
