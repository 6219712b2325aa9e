"""Versions and aliases through boto3: what is published stays, and runs as it is addressed.

Expected texts are the recorded ones of AWS, or as its users have quoted them.
"""

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import pytest

from compat.platform import PYTHON, ROLE, Platform, create, package, running, wait_updated

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

ARN = "arn:aws:lambda:us-east-1:000000000000:function"
WHO = """
import os
n = 0
def handler(event, context):
    global n
    n += 1
    print("running")
    return {{
        "code": {code},
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "variable": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "stream": context.log_stream_name,
        "n": n,
    }}
"""


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


@pytest.fixture
def function(client: "LambdaClient", request: pytest.FixtureRequest) -> Iterator[str]:
    """A function of two versions, 1 and 2, whose code says which it is; $LATEST is code 3."""
    name = re.sub(r"\W", "-", request.node.name)[:60]
    create(client, name, WHO.format(code=1))
    publish(client, name, "1")
    for code in (2, 3):
        change(client, name, code)
        if code == 2:
            publish(client, name, "2")
    yield name
    client.delete_function(FunctionName=name)


def change(client: "LambdaClient", name: str, code: int) -> None:
    client.update_function_code(
        FunctionName=name, ZipFile=package({"app.py": WHO.format(code=code)})
    )
    wait_updated(client, name)


def publish(client: "LambdaClient", name: str, version: str) -> None:
    published = client.publish_version(FunctionName=name)
    assert published["Version"] == version
    waiter = client.get_waiter("published_version_active")
    waiter.wait(FunctionName=name, Qualifier=version, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def invoke(client: "LambdaClient", name: str, **more: Any) -> dict[str, Any]:
    answer: Any = client.invoke(FunctionName=name, LogType="Tail", **more)
    payload: dict[str, Any] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    log = base64.b64decode(answer["LogResult"]).decode()
    return payload | {"executed": answer["ExecutedVersion"], "log": log}


def refused(caught: "pytest.ExceptionInfo[botocore.exceptions.ClientError]") -> tuple[Any, ...]:
    """Status, code and text of an error."""
    response = caught.value.response
    error = response["Error"]
    return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


def test_a_version_runs_as_it_was_however_it_is_addressed(
    client: "LambdaClient", function: str
) -> None:
    arn = f"{ARN}:{function}"
    client.create_alias(FunctionName=function, Name="live", FunctionVersion="2")
    for name, more, code, version, addressed in (
        (function, {}, 3, "$LATEST", arn),
        (function, {"Qualifier": "$LATEST"}, 3, "$LATEST", f"{arn}:$LATEST"),
        (function, {"Qualifier": "1"}, 1, "1", f"{arn}:1"),
        (f"{function}:2", {}, 2, "2", f"{arn}:2"),
        (f"{arn}:1", {"Qualifier": "1"}, 1, "1", f"{arn}:1"),
        (function, {"Qualifier": "live"}, 2, "2", f"{arn}:live"),
        (f"000000000000:function:{function}:live", {}, 2, "2", f"{arn}:live"),
    ):
        got = invoke(client, name, **more)
        assert (got["code"], got["version"], got["variable"]) == (code, version, version)
        assert (got["arn"], got["executed"]) == (addressed, version)
        assert f"Version: {version}\n" in got["log"]
        assert re.fullmatch(
            rf"\d{{4}}/\d\d/\d\d/\[{re.escape(version)}\][0-9a-f]{{32}}", got["stream"]
        )


def test_sandboxes_of_a_version_outlive_a_change_of_latest(
    client: "LambdaClient", function: str
) -> None:
    first = [invoke(client, function, Qualifier=q)["n"] for q in ("1", "$LATEST")]
    assert first == [1, 1]
    change(client, function, 4)
    client.update_function_configuration(FunctionName=function, Timeout=30)
    wait_updated(client, function)
    again = [invoke(client, function, Qualifier=q)["n"] for q in ("1", "$LATEST")]
    assert again == [2, 1], "the version's is warm, that of $LATEST is new"


def test_an_alias_sends_its_share_of_invokes_to_the_other_version(
    client: "LambdaClient", function: str
) -> None:
    client.create_alias(
        FunctionName=function,
        Name="live",
        FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.3}},
    )
    invokes = 400
    ran: Counter[str] = Counter()
    for _ in range(invokes):
        ran[client.invoke(FunctionName=f"{function}:live")["ExecutedVersion"]] += 1
    assert abs(ran["2"] / invokes - 0.3) < 5 * math.sqrt(0.3 * 0.7 / invokes)
    client.update_alias(FunctionName=function, Name="live", FunctionVersion="2", RoutingConfig={})
    after = {client.invoke(FunctionName=f"{function}:live")["ExecutedVersion"] for _ in range(20)}
    assert after == {"2"}


def test_conditions_and_conflicts_are_told_in_awss_words(
    client: "LambdaClient", function: str
) -> None:
    arn = f"{ARN}:{function}"
    latest = client.get_function_configuration(FunctionName=function)
    stale = (
        412,
        "PreconditionFailedException",
        (
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        ),
    )
    client.create_alias(FunctionName=function, Name="live", FunctionVersion="1")
    calls: tuple[tuple[Any, dict[str, Any], tuple[Any, ...]], ...] = (
        (
            client.publish_version,
            {"CodeSha256": "nope"},
            (
                400,
                "InvalidParameterValueException",
                (
                    "CodeSHA256 (nope) is different from current CodeSHA256 in $LATEST "
                    f"({latest['CodeSha256']}). Please try again with the CodeSHA256 in $LATEST."
                ),
            ),
        ),
        (client.publish_version, {"RevisionId": "nope"}, stale),
        (client.update_alias, {"Name": "live", "RevisionId": "nope"}, stale),
        (
            client.create_alias,
            {"Name": "live", "FunctionVersion": "1"},
            (409, "ResourceConflictException", f"Alias already exists: {arn}:live"),
        ),
        (
            client.create_alias,
            {"Name": "new", "FunctionVersion": "7"},
            (404, "ResourceNotFoundException", f"Function not found: {arn}:7"),
        ),
        (
            client.create_alias,
            {"Name": "12", "FunctionVersion": "1"},
            (
                400,
                "ValidationException",
                (
                    "1 validation error detected: Value '12' at 'name' failed to satisfy "
                    "constraint: Member must satisfy regular expression pattern: "
                    "(?!^[0-9]+$)([a-zA-Z0-9-_]+)"
                ),
            ),
        ),
        (
            client.delete_function,
            {"Qualifier": "1"},
            (
                409,
                "ResourceConflictException",
                "Unable to delete version because the following aliases reference it: [live]",
            ),
        ),
        (
            client.delete_function,
            {"Qualifier": "$LATEST"},
            (
                400,
                "InvalidParameterValueException",
                "$LATEST version cannot be deleted without deleting the function.",
            ),
        ),
        (
            client.get_alias,
            {"Name": "nope"},
            (404, "ResourceNotFoundException", f"Cannot find alias arn: {arn}:nope"),
        ),
        (
            client.get_function,
            {"Qualifier": "1221"},
            (404, "ResourceNotFoundException", f"Function not found: {arn}:1221"),
        ),
        (
            client.invoke,
            {"Qualifier": "nope"},
            (404, "ResourceNotFoundException", f"Function not found: {arn}:nope"),
        ),
    )
    for call, members, expected in calls:
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call(FunctionName=function, **members)
        assert refused(caught) == expected


@pytest.mark.parametrize(
    ("weights", "code", "text"),
    [
        (
            {"$LATEST": 0.5},
            "ValidationException",
            (
                "1 validation error detected: Value '{$LATEST=0.5}' at "
                "'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map keys "
                "must satisfy constraint: [Member must have length less than or equal to 1024, "
                "Member must have length greater than or equal to 1, Member must satisfy regular "
                "expression pattern: [0-9]+]"
            ),
        ),
        (
            {"2": 2.0},
            "ValidationException",
            (
                "1 validation error detected: Value '{2=2.0}' at "
                "'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value "
                "must satisfy constraint: [Member must have value less than or equal to 1.0, "
                "Member must have value greater than or equal to 0.0, Member must not be null]"
            ),
        ),
        (
            {"1": 0.5},
            "InvalidParameterValueException",
            (
                "Invalid function version 1. Function version 1 is already included in routing "
                "configuration."
            ),
        ),
        (
            {"2": 0.5, "3": 0.1},
            "InvalidParameterValueException",
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ),
    ],
)
def test_routing_is_validated_as_aws_does(
    client: "LambdaClient", versions_of: str, weights: dict[str, float], code: str, text: str
) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.create_alias(
            FunctionName=versions_of,
            Name="live",
            FunctionVersion="1",
            RoutingConfig={"AdditionalVersionWeights": weights},
        )
    assert refused(caught) == (400, code, text)


@pytest.fixture(scope="module")
def versions_of(client: "LambdaClient") -> str:
    """A function with the versions 1 to 5, each of them with an alias."""
    name = "with-versions"
    create(client, name, WHO.format(code=1), Publish=True)
    for number in range(2, 6):
        client.update_function_configuration(FunctionName=name, Timeout=number)
        wait_updated(client, name)
        publish(client, name, str(number))
    for number in range(1, 6):
        client.create_alias(FunctionName=name, Name=f"a{number}", FunctionVersion=str(number))
    return name


def test_paginators_see_all_versions_and_aliases_once(
    client: "LambdaClient", versions_of: str
) -> None:
    listed = client.get_paginator("list_versions_by_function").paginate(
        FunctionName=versions_of, PaginationConfig={"PageSize": 2}
    )
    versions = [version["Version"] for page in listed for version in page["Versions"]]
    assert versions == ["$LATEST", "1", "2", "3", "4", "5"]
    named = client.get_paginator("list_aliases").paginate(
        FunctionName=versions_of, PaginationConfig={"PageSize": 2}
    )
    names = [alias["Name"] for page in named for alias in page["Aliases"]]
    assert names == ["a1", "a2", "a3", "a4", "a5"]
    ones = client.list_aliases(FunctionName=versions_of, FunctionVersion="4")["Aliases"]
    assert [alias["Name"] for alias in ones] == ["a4"]
    every = client.get_paginator("list_functions").paginate(
        FunctionVersion="ALL", PaginationConfig={"PageSize": 4}
    )
    arns = [f["FunctionArn"] for page in every for f in page["Functions"]]
    assert len(arns) == len(set(arns))
    assert {f"{ARN}:{versions_of}:{version}" for version in versions} <= set(arns)


def test_terraforms_life_of_a_published_function(client: "LambdaClient") -> None:
    """The calls that aws_lambda_function (publish = true) and aws_lambda_alias make."""
    name = "terraform"
    code = package({"app.py": WHO.format(code=1)})
    made = client.create_function(
        FunctionName=name,
        Runtime=PYTHON,  # type: ignore[arg-type]
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": code},
        Publish=True,
        Tags={"t": "v"},
    )
    assert (made["Version"], made["FunctionArn"]) == ("1", f"{ARN}:{name}")
    client.get_waiter("function_active_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    alias = client.create_alias(
        FunctionName=name, Name="live", FunctionVersion="1", Description="", RoutingConfig={}
    )
    client.update_function_configuration(FunctionName=name, Timeout=9)
    wait_updated(client, name)
    client.update_function_code(FunctionName=name, ZipFile=package({"app.py": WHO.format(code=2)}))
    wait_updated(client, name)
    second = client.publish_version(FunctionName=name)
    assert second["Version"] == "2"
    qualified = client.get_function(FunctionName=name, Qualifier="2")
    assert qualified["Tags"] == {"t": "v"}
    listed = client.list_versions_by_function(FunctionName=name, MaxItems=10_000)["Versions"]
    assert [version["Version"] for version in listed] == ["$LATEST", "1", "2"]
    moved = client.update_alias(
        FunctionName=name,
        Name="live",
        FunctionVersion="2",
        Description="",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}},
    )
    assert moved["RevisionId"] != alias["RevisionId"]
    read = client.get_alias(FunctionName=name, Name="live")
    assert read["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 0.5}}
    client.delete_alias(FunctionName=name, Name="live")
    client.delete_function(FunctionName=name, Qualifier="1")
    client.delete_function(FunctionName=name)
    for qualifier in ("1", "2", "live"):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.get_function(FunctionName=name, Qualifier=qualifier)


def test_versions_and_aliases_survive_a_kill(tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("versions") / "state"
    with running(state) as platform:
        client = platform.client()
        create(client, "kept", WHO.format(code=1), Publish=True)
        change(client, "kept", 2)
        publish(client, "kept", "2")
        client.delete_function(FunctionName="kept", Qualifier="2")
        client.create_alias(FunctionName="kept", Name="live", FunctionVersion="1")
        platform.kill_group()
        platform.start()
        client = platform.client()
        got = invoke(client, "kept:live")
        assert (got["code"], got["executed"]) == (1, "1")
        publish(client, "kept", "3")


def test_the_edge_takes_a_qualified_arn_from_another_region_for_what_it_is(
    client: "LambdaClient", platform: Platform, versions_of: str
) -> None:
    elsewhere = boto3.client(
        "lambda",
        endpoint_url=platform.endpoint,
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        elsewhere.get_function(FunctionName=f"{ARN}:{versions_of}:1")
    assert refused(caught) == (
        404,
        "ResourceNotFoundException",
        "Functions from 'us-east-1' are not reachable in this region ('eu-central-1')",
    )
