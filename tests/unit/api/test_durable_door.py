"""What a durable function gets from inside its sandbox: its own checkpoints, and nothing else."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fakes.http import FakeResponder, http_request
from fakes.invokes import CALLER, function_version
from fakes.virtual_time import run_in_virtual_time
from hearth.api.durable_door import OPEN, DurableDoor
from hearth.api.operation import OperationRequest, OperationResponse
from hearth.base.http1 import HttpRequest
from hearth.base.jobs import Jobs
from hearth.model.durable import DurableConfig, ExecutionArn
from hearth.model.errors import InvalidParameterValue
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey, FunctionName

FUNCTION = function_version("f", durable=DurableConfig())
ARN = ExecutionArn(function=FUNCTION.key, version="$LATEST", name="n", id="e")
ROOT = "/2025-12-01/durable-executions/"


def path(arn: ExecutionArn, verb: str) -> str:
    quoted = str(arn).replace(":", "%3A").replace("/", "%2F").replace("$", "%24")
    return f"{ROOT}{quoted}{verb}"


def checkpoint(arn: ExecutionArn = ARN) -> HttpRequest:
    return http_request("POST", path(arn, "/checkpoint"), body={"CheckpointToken": "dG9rZW4="})


def ask(
    request: HttpRequest,
    function: FunctionVersion = FUNCTION,
    error: Exception | None = None,
) -> tuple[FakeResponder, list[OperationRequest]]:
    asked: list[OperationRequest] = []

    async def handler(got: OperationRequest) -> OperationResponse:
        asked.append(got)
        if error is not None:
            raise error
        return OperationResponse(members={"NewExecutionState": {}})

    async def scenario() -> FakeResponder:
        responder = FakeResponder()
        async with Jobs() as jobs:
            door = DurableDoor(dict.fromkeys(OPEN, handler), jobs, lambda: "request")
            door.handle(function, request, responder)
            await jobs.wait_idle()
        return responder

    return run_in_virtual_time(scenario()), asked


def test_a_function_checkpoints_as_itself() -> None:
    got, (asked,) = ask(checkpoint())
    assert (got.status, json.loads(got.body)) == (200, {"NewExecutionState": {}})
    assert asked.members == {"DurableExecutionArn": str(ARN), "CheckpointToken": "dG9rZW4="}
    assert asked.caller.account == CALLER.account


OTHER = FunctionKey(FUNCTION.key.account, FUNCTION.key.region, FunctionName("g"))


@pytest.mark.parametrize("arn", [replace(ARN, function=OTHER), replace(ARN, version="1")])
def test_other_functions_and_versions_are_none_of_its_business(arn: ExecutionArn) -> None:
    got, asked = ask(checkpoint(arn))
    assert (got.status, asked) == (403, [])
    assert got.headers["x-amzn-ErrorType"] == "AccessDeniedException"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", path(ARN, "")),
        ("GET", path(ARN, "/history")),
        ("POST", path(ARN, "/stop")),
        ("DELETE", path(ARN, "")),
        ("GET", "/2015-03-31/functions/"),
        ("POST", "/2015-03-31/functions/f/invocations"),
        ("GET", ROOT),
    ],
)
def test_nothing_else_is_served(method: str, target: str) -> None:
    body: dict[str, Any] = {"body": {}} if method == "POST" else {}
    got, asked = ask(http_request(method, target, **body))
    assert got.status in {403, 404, 501}
    assert asked == []


def test_what_breaks_the_model_is_refused_in_its_words() -> None:
    got, asked = ask(http_request("POST", path(ARN, "/checkpoint"), body={}))
    assert (got.status, asked) == (400, [])
    assert got.headers["x-amzn-ErrorType"] == "ValidationException"


def test_errors_are_the_apis() -> None:
    got, _ = ask(checkpoint(), error=InvalidParameterValue("Invalid checkpoint token"))
    assert (got.status, got.headers["x-amzn-ErrorType"]) == (400, "InvalidParameterValueException")


def test_a_bug_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    got, _ = ask(checkpoint(), error=RuntimeError("secret"))
    assert got.status == 500
    assert b"secret" not in got.body
    assert [record.message for record in caplog.records] == ["request from a sandbox failed"]
