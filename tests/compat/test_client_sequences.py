"""What Terraform, SAM CLI, CDK and osls call, call by call, with real boto3.

Only their Lambda and STS calls; what they ask of other services is not Hearth's. The sequences are
those of the tools' own sources and of recorded traces. Between two runs nothing may look changed:
these tools compare, and a field that moves by itself is a change that nobody made.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import pytest

from compat.platform import PYTHON, ROLE, Platform, package, wait_active, wait_updated

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

ARN = "arn:aws:lambda:us-east-1:000000000000:function"
FIRST, SECOND = (
    package({"app.py": f"def handler(event, context):\n    return {n}\n"}) for n in (1, 2)
)
TOPIC = "arn:aws:sns:us-east-1:000000000000:topic"


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


@pytest.fixture
def function(client: "LambdaClient") -> Iterator[str]:
    """Deployed before, by whatever means."""
    name = "deployed"
    client.create_function(**creation(name), Publish=True)
    wait_active(client, name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    yield name
    client.delete_function(FunctionName=name)


def creation(name: str) -> dict[str, Any]:
    return {
        "FunctionName": name,
        "Runtime": PYTHON,
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": FIRST},
    }


def digest(zipped: bytes) -> str:
    return base64.b64encode(hashlib.sha256(zipped).digest()).decode()


def missing(call: Callable[..., Any], **members: Any) -> None:
    """The 404 that the tools take for "it is not there"."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**members)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert response["Error"]["Code"] == "ResourceNotFoundException"


def invoked(client: "LambdaClient", name: str, **more: Any) -> Any:
    answer: Any = client.invoke(FunctionName=name, **more)
    assert "FunctionError" not in answer
    return json.loads(answer["Payload"].read())


# --- Terraform: aws_lambda_function, aws_lambda_alias, aws_lambda_permission

SETTINGS: dict[str, Any] = {
    "Description": "by terraform",
    "MemorySize": 256,
    "Timeout": 10,
    "Architectures": ["x86_64"],
    "PackageType": "Zip",
    "Environment": {"Variables": {"STAGE": "test"}},
    "EphemeralStorage": {"Size": 512},
    "TracingConfig": {"Mode": "PassThrough"},
    "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/tf"},
    "Layers": [],
    "FileSystemConfigs": [],
    "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
    "SnapStart": {"ApplyOn": "None"},
}


def refresh(client: "LambdaClient", name: str) -> dict[str, Any]:
    """What the provider reads of a function to compare it with its state."""
    function: Any = client.get_function(FunctionName=name)
    versions = client.list_versions_by_function(FunctionName=name, MaxItems=10000)
    signing = client.get_function_code_signing_config(FunctionName=name)
    configuration = dict(function["Configuration"])
    assert configuration["State"] == "Active"
    assert configuration["LastUpdateStatus"] == "Successful"
    return {
        "configuration": configuration,
        "tags": function.get("Tags", {}),
        "reserved": function.get("Concurrency", {}).get("ReservedConcurrentExecutions", -1),
        "latest": versions["Versions"][-1]["Version"],
        "arn": versions["Versions"][-1]["FunctionArn"],
        "signing": signing.get("CodeSigningConfigArn", ""),
    }


def test_terraform_creates_reads_updates_and_destroys_a_function(
    platform: Platform, client: "LambdaClient"
) -> None:
    sts = boto3.client(
        "sts",
        endpoint_url=platform.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    assert sts.get_caller_identity()["Account"] == "000000000000"

    # create
    missing(client.get_function, FunctionName="tf")
    tags = {"team": "a", "drop": "me"}
    client.create_function(**creation("tf"), **SETTINGS, Tags=tags, Publish=True)
    wait_active(client, "tf")
    client.put_function_concurrency(FunctionName="tf", ReservedConcurrentExecutions=5)
    first = refresh(client, "tf")
    assert first["tags"] == tags
    assert (first["reserved"], first["latest"], first["signing"]) == (5, "1", "")
    assert first["arn"] == f"{ARN}:tf:1"
    for name, value in SETTINGS.items():
        if value not in ([], {"SubnetIds": [], "SecurityGroupIds": []}):
            shown = first["configuration"][name]
            assert shown == value or shown.items() >= value.items(), name
    assert first["configuration"]["CodeSha256"] == digest(FIRST)

    # plan: nothing has changed by itself
    assert refresh(client, "tf") == first

    # apply a change of configuration, code, concurrency and tags
    change = {**SETTINGS, "Timeout": 20, "Environment": {"Variables": {"STAGE": "prod"}}}
    for name in ("Architectures", "PackageType"):
        del change[name]
    client.update_function_configuration(FunctionName="tf", **change)
    wait_updated(client, "tf")
    client.update_function_code(FunctionName="tf", ZipFile=SECOND, Architectures=["x86_64"])
    wait_updated(client, "tf")
    client.delete_function_concurrency(FunctionName="tf")
    client.untag_resource(Resource=f"{ARN}:tf", TagKeys=["drop"])
    client.tag_resource(Resource=f"{ARN}:tf", Tags={"team": "b"})
    assert client.publish_version(FunctionName="tf")["Version"] == "2"
    client.get_waiter("published_version_active").wait(FunctionName="tf", Qualifier="2")
    second = refresh(client, "tf")
    assert (second["tags"], second["reserved"], second["latest"]) == ({"team": "b"}, -1, "2")
    assert second["configuration"]["Timeout"] == 20
    assert second["configuration"]["CodeSha256"] == digest(SECOND)
    assert refresh(client, "tf") == second
    assert (invoked(client, "tf"), invoked(client, "tf", Qualifier="1")) == (2, 1)

    # destroy
    client.delete_function(FunctionName="tf")
    missing(client.get_function, FunctionName="tf")


def test_terraform_manages_an_alias(client: "LambdaClient", function: str) -> None:
    alias = {"FunctionName": function, "Name": "tf"}
    missing(client.get_alias, **alias)
    client.create_alias(**alias, FunctionVersion="1", Description="d", RoutingConfig={})
    read: Any = client.get_alias(**alias)
    assert (read["FunctionVersion"], read["Description"]) == ("1", "d")
    assert read["AliasArn"] == f"{ARN}:{function}:tf"
    client.update_function_code(FunctionName=function, ZipFile=SECOND, Publish=True)
    wait_updated(client, function)
    weights: Any = {"AdditionalVersionWeights": {"2": 0.25}}
    client.update_alias(**alias, FunctionVersion="1", Description="", RoutingConfig=weights)
    assert client.get_alias(**alias)["RoutingConfig"] == weights
    client.update_alias(**alias, FunctionVersion="2", Description="", RoutingConfig={})
    read = client.get_alias(**alias)
    assert read["FunctionVersion"] == "2"
    assert "RoutingConfig" not in read
    client.delete_alias(**alias)
    missing(client.get_alias, **alias)


@pytest.mark.parametrize("qualifier", [None, "live", "1"])
def test_terraform_manages_a_permission(
    client: "LambdaClient", function: str, qualifier: str | None
) -> None:
    where: dict[str, Any] = {"FunctionName": function} | (
        {"Qualifier": qualifier} if qualifier else {}
    )
    missing(client.get_policy, **where)
    client.add_permission(
        **where,
        StatementId="tf",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=TOPIC,
    )
    policy = json.loads(client.get_policy(**where)["Policy"])
    (statement,) = policy["Statement"]
    suffix = f":{qualifier}" if qualifier else ""
    assert statement == {
        "Sid": "tf",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": f"{ARN}:{function}{suffix}",
        "Condition": {"ArnLike": {"AWS:SourceArn": TOPIC}},
    }
    client.remove_permission(**where, StatementId="tf")
    missing(client.get_policy, **where)
    missing(client.remove_permission, **where, StatementId="tf")


# --- SAM CLI


def test_sam_sync_replaces_code_publishes_and_moves_the_alias(
    client: "LambdaClient", function: str
) -> None:
    before = client.get_function(FunctionName=function)
    client.update_function_code(FunctionName=function, ZipFile=SECOND)
    wait_updated(client, function)
    client.update_function_configuration(FunctionName=function, Description="synced")
    wait_updated(client, function)
    version = client.publish_version(FunctionName=function)["Version"]
    client.update_alias(FunctionName=function, Name="live", FunctionVersion=version)
    after = client.get_function(FunctionName=function, Qualifier="live")
    assert before["Configuration"]["CodeSha256"] == digest(FIRST)
    assert after["Configuration"]["CodeSha256"] == digest(SECOND)
    assert after["Configuration"]["Version"] == version == "2"


def test_sam_remote_invoke_looks_for_a_url_before_it_invokes(
    client: "LambdaClient", function: str
) -> None:
    assert client.get_function_configuration(FunctionName=function)["State"] == "Active"
    missing(client.get_function_url_config, FunctionName=function)
    answer: Any = client.invoke(
        FunctionName=function, InvocationType="RequestResponse", LogType="Tail", Payload=b"{}"
    )
    assert answer["Payload"].read() == b"1"
    assert "REPORT RequestId" in base64.b64decode(answer["LogResult"]).decode()


# --- CDK


def test_cdk_hotswap_updates_code_and_waits(client: "LambdaClient", function: str) -> None:
    answer = client.update_function_code(FunctionName=function, ZipFile=SECOND)
    assert answer["LastUpdateStatus"] in ("InProgress", "Successful")
    waiter = client.get_waiter("function_updated")
    waiter.wait(FunctionName=function, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    shown = [client.get_function(FunctionName=function)["Configuration"] for _ in range(2)]
    assert shown[0] == shown[1]
    assert shown[0]["LastUpdateStatus"] == "Successful"
    assert invoked(client, function) == 2


# --- osls


def test_osls_deploys_a_function_that_was_not_there_and_then_only_its_code(
    client: "LambdaClient",
) -> None:
    missing(client.get_function, FunctionName="osls")
    client.create_function(**creation("osls"))
    wait_active(client, "osls")
    remote = client.get_function(FunctionName="osls")["Configuration"]
    assert remote["CodeSha256"] == digest(FIRST)  # osls skips what is the same already
    client.update_function_code(FunctionName="osls", ZipFile=SECOND)
    wait_updated(client, "osls")
    assert client.get_function(FunctionName="osls")["Configuration"]["CodeSha256"] == digest(SECOND)
    client.delete_function(FunctionName="osls")
