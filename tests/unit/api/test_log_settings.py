"""LoggingConfig: what it becomes, and what AWS says to levels without JSON."""

from pathlib import Path
from typing import Any

import pytest

from fakes.function_api import Api, play
from hearth.model.errors import InvalidParameterValue

LEVEL_WITH_TEXT = (
    'LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request '
    'or change the LogFormat to "Json" and try again.'
)
DEFAULT = {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, DEFAULT),
        ({"LogFormat": "Text"}, DEFAULT),
        ({"LogGroup": "/mine"}, {"LogFormat": "Text", "LogGroup": "/mine"}),
        (
            {"LogFormat": "JSON"},
            {
                "LogFormat": "JSON",
                "LogGroup": "/aws/lambda/f",
                "ApplicationLogLevel": "INFO",
                "SystemLogLevel": "INFO",
            },
        ),
        (
            {"LogFormat": "JSON", "ApplicationLogLevel": "ERROR", "SystemLogLevel": "WARN"},
            {
                "LogFormat": "JSON",
                "LogGroup": "/aws/lambda/f",
                "ApplicationLogLevel": "ERROR",
                "SystemLogLevel": "WARN",
            },
        ),
    ],
)
def test_settings_are_shown_as_aws_shows_them(
    tmp_path: Path, given: dict[str, str], shown: dict[str, str]
) -> None:
    async def scenario(api: Api) -> None:
        assert (await api.create(LoggingConfig=given))["LoggingConfig"] == shown
        await api.plane.settled()
        got = await api.call("GetFunctionConfiguration", FunctionName="f")
        assert got["LoggingConfig"] == shown

    play(tmp_path, scenario)


def test_an_update_leaves_what_it_does_not_name(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create(LoggingConfig={"LogFormat": "JSON", "LogGroup": "/mine"})

        async def updated(**members: Any) -> Any:
            await api.plane.settled()
            answer = await api.call("UpdateFunctionConfiguration", FunctionName="f", **members)
            return answer["LoggingConfig"]

        json = {
            "LogFormat": "JSON",
            "LogGroup": "/mine",
            "ApplicationLogLevel": "INFO",
            "SystemLogLevel": "DEBUG",
        }
        assert await updated(LoggingConfig={"SystemLogLevel": "DEBUG"}) == json
        assert await updated(Timeout=7) == json
        text = await updated(LoggingConfig={"LogFormat": "Text"})
        assert text == {"LogFormat": "Text", "LogGroup": "/mine"}

    play(tmp_path, scenario)


@pytest.mark.parametrize("member", ["ApplicationLogLevel", "SystemLogLevel"])
def test_a_level_needs_json(tmp_path: Path, member: str) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(LoggingConfig={member: "INFO"})
        assert refused.value.message == LEVEL_WITH_TEXT
        await api.create()
        await api.plane.settled()
        with pytest.raises(InvalidParameterValue):
            await api.call(
                "UpdateFunctionConfiguration", FunctionName="f", LoggingConfig={member: "INFO"}
            )

    play(tmp_path, scenario)
