"""SnapStart: the setting, what is shown of it, and what becomes of a version that has it."""

from pathlib import Path

import pytest

from fakes.function_api import Api, play
from hearth.model.errors import InitFailed, InvalidParameterValue
from hearth.model.functions import FunctionVersion

ON = {"ApplyOn": "PublishedVersions"}


class Taken:
    """Remembers what was to be initialised; `error` is what becomes of it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.versions: list[str] = []
        self.error = error

    async def take(self, function: FunctionVersion, /) -> None:
        self.versions.append(function.version)
        if self.error is not None:
            raise self.error


def with_snapshots(api: Api, taken: Taken) -> None:
    api.plane.functions._preparation._snapshots = taken


def test_a_published_version_is_initialised_before_it_is_active(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        taken = Taken()
        with_snapshots(api, taken)
        created = await api.create(Runtime="python3.12", SnapStart=ON)
        assert created["SnapStart"] == {**ON, "OptimizationStatus": "Off"}
        await api.plane.settled()
        assert taken.versions == [], "$LATEST is not"
        published = await api.call("PublishVersion", FunctionName="f")
        assert published["SnapStart"] == {**ON, "OptimizationStatus": "On"}
        await api.plane.settled()
        assert taken.versions == ["1"]
        got = await api.call("GetFunctionConfiguration", FunctionName="f", Qualifier="1")
        assert got["State"] == "Active"

    play(tmp_path, scenario)


def test_a_version_whose_init_fails_has_failed(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with_snapshots(api, Taken(InitFailed("The function's initialisation failed.")))
        await api.create(Runtime="python3.12", SnapStart=ON)
        await api.plane.settled()
        await api.call("PublishVersion", FunctionName="f")
        await api.plane.settled()
        got = await api.call("GetFunctionConfiguration", FunctionName="f", Qualifier="1")
        assert (got["State"], got["StateReasonCode"]) == ("Failed", "FunctionError")

    play(tmp_path, scenario)


def test_it_can_be_turned_off_again(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create(Runtime="python3.13", SnapStart=ON)
        await api.plane.settled()
        updated = await api.call(
            "UpdateFunctionConfiguration", FunctionName="f", SnapStart={"ApplyOn": "None"}
        )
        assert updated["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}

    play(tmp_path, scenario)


@pytest.mark.parametrize("runtime", ["python3.11", "nodejs22.x", "provided.al2023", "ruby3.3"])
def test_other_runtimes_are_refused(tmp_path: Path, runtime: str) -> None:
    text = f"{runtime} is not supported for SnapStart enabled functions."

    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(Runtime=runtime, SnapStart=ON)
        assert refused.value.message == text
        await api.create(Runtime="python3.12", SnapStart=ON)
        await api.plane.settled()
        with pytest.raises(InvalidParameterValue) as refused:
            await api.call("UpdateFunctionConfiguration", FunctionName="f", Runtime=runtime)
        assert refused.value.message == text

    play(tmp_path, scenario)


def test_a_large_tmp_is_refused(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue):
            await api.create(Runtime="python3.12", SnapStart=ON, EphemeralStorage={"Size": 1024})

    play(tmp_path, scenario)
