"""TenancyConfig: the setting, what is shown of it, and what a function that has it cannot have."""

from pathlib import Path

import pytest

from fakes.function_api import Api, play
from fakes.mappings import QUEUE
from fakes.settings_api import SettingsApi, url_address
from fakes.settings_api import play as play_settings
from hearth.model.errors import InvalidParameterValue

PER_TENANT = {"TenantIsolationMode": "PER_TENANT"}
ON = {"ApplyOn": "PublishedVersions"}


def test_it_is_said_at_create_shown_everywhere_and_kept(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        created = await api.create(TenancyConfig=PER_TENANT)
        assert created["TenancyConfig"] == PER_TENANT
        await api.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
        await api.plane.settled()
        published = await api.call("PublishVersion", FunctionName="f")
        assert published["TenancyConfig"] == PER_TENANT
        (listed,) = (await api.call("ListFunctions"))["Functions"]
        assert listed["TenancyConfig"] == PER_TENANT
        other = await api.create(FunctionName="g")
        assert "TenancyConfig" not in other

    play(tmp_path, scenario)


def test_snap_start_and_tenants_exclude_each_other(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        text = r"SnapStart is not supported for functions with tenant isolation"
        with pytest.raises(InvalidParameterValue, match=text):
            await api.create(TenancyConfig=PER_TENANT, SnapStart=ON)
        await api.create(TenancyConfig=PER_TENANT)
        with pytest.raises(InvalidParameterValue, match=text):
            await api.call("UpdateFunctionConfiguration", FunctionName="f", SnapStart=ON)

    play(tmp_path, scenario)


def test_it_has_neither_a_url_nor_an_event_source(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create(TenancyConfig=PER_TENANT)
        with pytest.raises(InvalidParameterValue, match="A function URL is not supported"):
            await api.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
        with pytest.raises(InvalidParameterValue, match="An event source mapping is not supp"):
            await api.call("CreateEventSourceMapping", FunctionName="f", EventSourceArn=QUEUE)

    play_settings(tmp_path, scenario, url_address)
