"""Function URL configurations, where something serves them."""

import re
from pathlib import Path

import pytest

from fakes.function_api import ARN
from fakes.settings_api import SettingsApi, play, url_address
from hearth.model.errors import InvalidParameterValue, ResourceConflict, ResourceNotFound

CORS = {"AllowOrigins": ["https://example.com"], "MaxAge": 60}


def test_a_url_is_created_changed_listed_and_deleted(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()
        made = await api.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
        assert made["FunctionArn"] == ARN
        assert made["InvokeMode"] == "BUFFERED"
        assert made["FunctionUrl"].endswith(".lambda-url.eu-central-1.on.aws/")
        assert not {"Cors", "LastModifiedTime"} & made.keys()
        changed = await api.call("UpdateFunctionUrlConfig", FunctionName="f", Cors=CORS)
        assert changed["Cors"] == CORS
        for time in (made["CreationTime"], changed["LastModifiedTime"]):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)
        assert changed["FunctionUrl"] == made["FunctionUrl"]
        assert await api.call("GetFunctionUrlConfig", FunctionName="f") == changed
        listed = await api.call("ListFunctionUrlConfigs", FunctionName="f")
        assert listed == {"FunctionUrlConfigs": [changed]}
        off = await api.call("UpdateFunctionUrlConfig", FunctionName="f", Cors={})
        assert "Cors" not in off
        await api.call("DeleteFunctionUrlConfig", FunctionName="f")
        with pytest.raises(ResourceNotFound, match="The resource you requested does not exist"):
            await api.call("DeleteFunctionUrlConfig", FunctionName="f")

    play(tmp_path, scenario, url_address)


def test_a_function_has_one_url(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()
        await api.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
        with pytest.raises(ResourceConflict) as caught:
            await api.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="AWS_IAM")
        assert caught.value.message == (
            f"Failed to create function url config for [functionArn = {ARN}]. "
            "Error message:  FunctionUrlConfig exists for this Lambda function"
        )
        assert (await api.call("GetFunctionUrlConfig", FunctionName="f"))["AuthType"] == "NONE"

    play(tmp_path, scenario, url_address)


def test_cors_needs_origins(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()
        with pytest.raises(InvalidParameterValue, match="You can't leave AllowOrigins as empty"):
            await api.call(
                "CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE", Cors={"MaxAge": 1}
            )

    play(tmp_path, scenario, url_address)
