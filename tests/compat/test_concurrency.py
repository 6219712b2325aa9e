"""Concurrency as boto3 sees it: real functions that sleep, real limits, real throttles."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from compat.platform import Platform, create, running, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

SLEEPS = """
import os, time
def handler(event, context):
    time.sleep(event.get("s", 0))
    return {"type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "pid": os.getpid()}
"""


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


@pytest.fixture
def name(client: "LambdaClient") -> str:
    name = f"c-{uuid.uuid4().hex[:8]}"
    create(client, name, SLEEPS, Timeout=30)
    return name


class Throttled(Exception):
    def __init__(self, reason: str, headers: dict[str, str]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.headers = headers


def invoke(client: "LambdaClient", name: str, s: float = 0.0) -> Any:
    """The function's answer. Raises Throttled."""
    try:
        answer = client.invoke(FunctionName=name, Payload=json.dumps({"s": s}))
    except client.exceptions.TooManyRequestsException as error:
        response: Any = error.response
        assert response["Error"]["Message"] == "Rate Exceeded."
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert response["Type"] == "User"
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        raise Throttled(response["Reason"], headers) from error
    return json.loads(answer["Payload"].read())


def refusal(call: Any, **members: Any) -> tuple[str, str, str | None]:
    """Code, text and Type of what a call is refused with."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**members)
    response: Any = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response.get("Type")


def test_a_reservation_is_stored_shown_and_taken_away(client: "LambdaClient", name: str) -> None:
    before = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    put = client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=7)
    assert put["ReservedConcurrentExecutions"] == 7
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 7
    assert client.get_function(FunctionName=name)["Concurrency"] == {
        "ReservedConcurrentExecutions": 7
    }
    limits = client.get_account_settings()["AccountLimit"]
    assert limits["ConcurrentExecutions"] == 1_000
    assert limits["UnreservedConcurrentExecutions"] == before - 7
    deleted = client.delete_function_concurrency(FunctionName=name)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    assert "Concurrency" not in client.get_function(FunctionName=name)


def test_a_deleted_function_gives_its_reservation_back(client: "LambdaClient", name: str) -> None:
    before = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
    client.delete_function(FunctionName=name)
    limits = client.get_account_settings()["AccountLimit"]
    assert limits["UnreservedConcurrentExecutions"] == before


def test_what_cannot_be_reserved_is_refused_in_awss_words(
    client: "LambdaClient", name: str
) -> None:
    put = client.put_function_concurrency
    assert refusal(put, FunctionName=name, ReservedConcurrentExecutions=901) == (
        "InvalidParameterValueException",
        "Specified ReservedConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [100].",
        None,
    )
    arn = "arn:aws:lambda:us-east-1:000000000000:function:nobody"
    assert refusal(put, FunctionName="nobody", ReservedConcurrentExecutions=1) == (
        "ResourceNotFoundException",
        f"Function not found: {arn}:$LATEST",
        "User",
    )
    assert refusal(client.get_function_concurrency, FunctionName="nobody") == (
        "ResourceNotFoundException",
        f"Function not found: {arn}",
        "User",
    )
    assert refusal(put, FunctionName=f"{name}:1", ReservedConcurrentExecutions=1) == (
        "InvalidParameterValueException",
        "This operation is permitted on Lambda functions only. Aliases and versions do not support "
        "this operation. Please specify either a function name or an unqualified function ARN.",
        "User",
    )


def test_a_reservation_of_zero_blocks(client: "LambdaClient", name: str) -> None:
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(Throttled) as caught:
        invoke(client, name)
    assert caught.value.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert "retry-after" not in caught.value.headers
    client.delete_function_concurrency(FunctionName=name)
    invoke(client, name)


def test_as_many_run_as_are_reserved_and_the_next_is_throttled(
    client: "LambdaClient", name: str
) -> None:
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=3)
    with ThreadPoolExecutor(12) as callers:
        calls = [callers.submit(invoke, client, name, 2.0) for _ in range(12)]
        errors = [call.exception() for call in calls]
    throttled = [error for error in errors if isinstance(error, Throttled)]
    assert len(throttled) == 9
    assert [e for e in errors if e is not None and not isinstance(e, Throttled)] == []
    assert {error.reason for error in throttled} == {
        "ReservedFunctionConcurrentInvocationLimitExceeded"
    }
    invoke(client, name)


def test_a_reservation_that_is_lowered_lets_running_invokes_finish(
    client: "LambdaClient", name: str
) -> None:
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    for _ in range(2):
        invoke(client, name)
    with ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(invoke, client, name, 3.0) for _ in range(2)]
        wait_until(lambda: is_throttled(client, name), "both run")
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
        assert is_throttled(client, name)
        assert [call.result()["type"] for call in calls] == ["on-demand"] * 2
    invoke(client, name)


def is_throttled(client: "LambdaClient", name: str) -> bool:
    try:
        invoke(client, name)
    except Throttled:
        return True
    return False


def test_more_than_ten_requests_a_second_for_a_reservation_of_one_are_throttled(
    client: "LambdaClient", name: str
) -> None:
    invoke(client, name)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    reasons = []
    for _ in range(200):
        try:
            invoke(client, name)
        except Throttled as error:
            reasons.append(error)
            break
    assert [error.reason for error in reasons] == ["ReservedFunctionInvocationRateLimitExceeded"]
    assert reasons[0].headers["retry-after"] == "1"


def test_reservations_survive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as platform:
        client = platform.client()
        create(client, "kept", SLEEPS)
        client.put_function_concurrency(FunctionName="kept", ReservedConcurrentExecutions=0)
        platform.kill_group()
        platform.start()
        client = platform.client()
        with pytest.raises(Throttled):
            invoke(client, "kept")
        limits = client.get_account_settings()["AccountLimit"]
        assert limits["UnreservedConcurrentExecutions"] == 1_000
        client.put_function_concurrency(FunctionName="kept", ReservedConcurrentExecutions=40)
        platform.kill_group()
        platform.start()
        client = platform.client()
        limits = client.get_account_settings()["AccountLimit"]
        assert limits["UnreservedConcurrentExecutions"] == 960
