"""Concurrency as boto3 sees it: real functions that sleep, real limits, real throttles."""

import json
import time
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
        calls = [callers.submit(insist, client, name, 4.0) for _ in range(2)]
        wait_until(lambda: is_full(client, name), "both run")
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
        wait_until(lambda: is_full(client, name), "one is too many")
        assert [call.result()["type"] for call in calls] == ["on-demand"] * 2
    invoke(client, name)


def is_full(client: "LambdaClient", name: str) -> bool:
    try:
        invoke(client, name)
    except Throttled as error:
        return "Concurrent" in error.reason
    return False


def insist(client: "LambdaClient", name: str, s: float) -> Any:
    """Invoke until it is let in: whoever asks whether a function is full takes a place too."""
    while True:
        try:
            return invoke(client, name, s)
        except Throttled:
            time.sleep(0.05)


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


# --- provisioned concurrency


@pytest.fixture
def version(client: "LambdaClient", name: str) -> str:
    number = client.publish_version(FunctionName=name)["Version"]
    client.get_waiter("function_active_v2").wait(
        FunctionName=name, Qualifier=number, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    return number


def status(client: "LambdaClient", name: str, qualifier: str) -> str:
    config = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
    return config["Status"]


def provision(client: "LambdaClient", name: str, qualifier: str, number: int) -> None:
    """Ask for it, and wait until it is READY."""
    client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=number
    )
    wait_until(lambda: status(client, name, qualifier) == "READY", "provisioned")


def test_environments_are_kept_initialised_and_serve_first(
    client: "LambdaClient", name: str, version: str
) -> None:
    put = client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=2
    )
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert put["Status"] == "IN_PROGRESS"
    assert put["AllocatedProvisionedConcurrentExecutions"] == 0
    assert put["AvailableProvisionedConcurrentExecutions"] == 0
    wait_until(lambda: status(client, name, version) == "READY", "provisioned")
    got = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=version)
    assert got["RequestedProvisionedConcurrentExecutions"] == 2
    assert got["AllocatedProvisionedConcurrentExecutions"] == 2
    assert got["AvailableProvisionedConcurrentExecutions"] == 2
    assert got["LastModified"] == put["LastModified"]
    listed = client.list_provisioned_concurrency_configs(FunctionName=name)
    (config,) = listed["ProvisionedConcurrencyConfigs"]
    assert config["FunctionArn"].endswith(f"function:{name}:{version}")

    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(invoke, client, f"{name}:{version}", 2.0) for _ in range(4)]
        types = sorted(call.result()["type"] for call in calls)
    assert types == ["on-demand"] * 2 + ["provisioned-concurrency"] * 2
    assert invoke(client, name)["type"] == "on-demand", "$LATEST has none"


def test_a_lost_environment_is_replaced(client: "LambdaClient", name: str, version: str) -> None:
    client.update_function_configuration(FunctionName=name, Timeout=3, MemorySize=1024)
    client.get_waiter("function_updated_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    number = client.publish_version(FunctionName=name)["Version"]
    client.get_waiter("function_active_v2").wait(
        FunctionName=name, Qualifier=number, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    provision(client, name, number, 1)
    target = f"{name}:{number}"
    assert invoke(client, target)["type"] == "provisioned-concurrency"
    assert "timed out" in invoke(client, target, 8.0)["errorMessage"]
    # Meanwhile others answer, on a busy machine perhaps with a timeout of their own.
    wait_until(lambda: invoke(client, target).get("type") == "provisioned-concurrency", "replaced")


def test_an_alias_brings_its_provisioned_concurrency_to_its_version(
    client: "LambdaClient", name: str, version: str
) -> None:
    client.create_alias(FunctionName=name, Name="blue", FunctionVersion=version)
    provision(client, name, "blue", 1)
    assert invoke(client, f"{name}:blue")["type"] == "provisioned-concurrency"
    before = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    deleted = client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="blue")
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    after = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    assert after == before + 1
    assert invoke(client, f"{name}:blue")["type"] == "on-demand"
    assert refusal(
        client.get_provisioned_concurrency_config, FunctionName=name, Qualifier="blue"
    ) == (
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
        "User",
    )


def test_a_function_whose_init_fails_cannot_be_provisioned(client: "LambdaClient") -> None:
    name = f"c-{uuid.uuid4().hex[:8]}"
    create(client, name, "raise RuntimeError('no luck')")
    number = client.publish_version(FunctionName=name)["Version"]
    client.get_waiter("function_active_v2").wait(
        FunctionName=name, Qualifier=number, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=number, ProvisionedConcurrentExecutions=2
    )
    wait_until(lambda: status(client, name, number) == "FAILED", "failed")
    got = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=number)
    assert got["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE"
    assert got["AllocatedProvisionedConcurrentExecutions"] == 0
    assert got["AvailableProvisionedConcurrentExecutions"] == 0


def test_what_cannot_be_provisioned_is_refused_in_awss_words(
    client: "LambdaClient", name: str, version: str
) -> None:
    put = client.put_provisioned_concurrency_config
    invalid, conflict = "InvalidParameterValueException", "ResourceConflictException"

    def put_refusal(qualifier: str, number: int = 1) -> tuple[str, str, str | None]:
        return refusal(
            put,
            FunctionName=name,
            Qualifier=qualifier,
            ProvisionedConcurrentExecutions=number,
        )

    assert put_refusal("$LATEST") == (
        invalid,
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        "User",
    )
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert put_refusal("nobody") == (
        "ResourceNotFoundException",
        f"Cannot find alias arn: {arn}:nobody",
        "User",
    )
    code, text, _ = put_refusal(version, 2_000)
    assert code == invalid
    assert text.startswith("Specified ConcurrentExecutions for function is greater than account's")
    client.create_alias(FunctionName=name, Name="blue", FunctionVersion=version)
    put(FunctionName=name, Qualifier="blue", ProvisionedConcurrentExecutions=1)
    assert put_refusal(version) == (
        conflict,
        "Version is pointed by a Provisioned Concurrency alias",
        "User",
    )
    client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="blue")
    put(FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=2)
    assert put_refusal("blue") == (
        conflict,
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned "
        "version",
        "User",
    )
    reserve = client.put_function_concurrency
    assert refusal(reserve, FunctionName=name, ReservedConcurrentExecutions=1) == (
        invalid,
        " ReservedConcurrentExecutions  1 should not be lower than function's total provisioned "
        "concurrency [2].",
        None,
    )
    reserve(FunctionName=name, ReservedConcurrentExecutions=2)
    assert put_refusal(version, 3)[1] == (
        "Requested Provisioned Concurrency should not be greater than the "
        "reservedConcurrentExecution for function"
    )


def test_a_function_that_is_provisioned_whole_throttles_the_rest(
    client: "LambdaClient", name: str, version: str
) -> None:
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    provision(client, name, version, 2)
    with ThreadPoolExecutor(5) as callers:
        calls = [callers.submit(invoke, client, f"{name}:{version}", 2.0) for _ in range(5)]
        errors = [call.exception() for call in calls]
        types = [call.result()["type"] for call in calls if call.exception() is None]
    assert types == ["provisioned-concurrency"] * 2
    assert sum(isinstance(error, Throttled) for error in errors) == 3
    with pytest.raises(Throttled):
        invoke(client, name)


def test_provisioned_concurrency_survives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path / "state") as platform:
        client = platform.client()
        create(client, "kept", SLEEPS)
        number = client.publish_version(FunctionName="kept")["Version"]
        client.get_waiter("function_active_v2").wait(
            FunctionName="kept", Qualifier=number, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        provision(client, "kept", number, 1)
        platform.kill_group()
        platform.start()
        client = platform.client()
        wait_until(lambda: status(client, "kept", number) == "READY", "provisioned again")
        assert invoke(client, f"kept:{number}")["type"] == "provisioned-concurrency"
