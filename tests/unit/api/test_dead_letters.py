"""DeadLetterConfig of a function: what it may be, what is shown, and how it goes away."""

from pathlib import Path
from typing import Any

import pytest

from fakes.function_api import Api, play
from hearth.model.endpoints import Endpoints
from hearth.model.errors import InvalidParameterValue

QUEUE = "arn:aws:sqs:eu-central-1:123456789012:q"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:t"


def config(arn: str) -> dict[str, Any]:
    return {"DeadLetterConfig": {"TargetArn": arn}}


def test_the_target_is_shown_changed_and_taken_away(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        created = await api.create(**config(QUEUE))
        assert created["DeadLetterConfig"] == {"TargetArn": QUEUE}
        changed = await api.call("UpdateFunctionConfiguration", FunctionName="f", **config(TOPIC))
        assert changed["DeadLetterConfig"] == {"TargetArn": TOPIC}
        await api.plane.settled()
        other = await api.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
        assert other["DeadLetterConfig"] == {"TargetArn": TOPIC}
        await api.plane.settled()
        gone = await api.call("UpdateFunctionConfiguration", FunctionName="f", **config(""))
        assert "DeadLetterConfig" not in gone
        await api.plane.settled()
        shown = await api.call("GetFunction", FunctionName="f")
        assert "DeadLetterConfig" not in shown["Configuration"]

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3:::bucket",
        "arn:aws:lambda:eu-central-1:123456789012:function:g",
        f"{QUEUE}.fifo",
        f"{TOPIC}.fifo",
        "arn:aws:sqs:nowhere",
    ],
)
def test_only_standard_queues_and_topics_take_dead_letters(tmp_path: Path, arn: str) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue, match=r"^Invalid dead letter ARN: "):
            await api.create(**config(arn))
        await api.create()
        with pytest.raises(InvalidParameterValue, match=r"^Invalid dead letter ARN: "):
            await api.call("UpdateFunctionConfiguration", FunctionName="f", **config(arn))

    play(tmp_path, scenario)


def test_a_service_without_an_address_is_refused_by_name(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        api.plane.functions.endpoints = Endpoints()
        with pytest.raises(InvalidParameterValue, match="Start it with --endpoint sqs=URL"):
            await api.create(**config(QUEUE))

    play(tmp_path, scenario)
