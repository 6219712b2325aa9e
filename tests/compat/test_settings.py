"""Settings of functions as boto3 sees them: the positive paths, and AWS's texts of refusals."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import botocore.exceptions
import pytest

from compat.platform import ROLE, Platform, create, package

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

CODE = "def handler(event, context):\n    return event\n"
PREFIX = "arn:aws:lambda:us-east-1:000000000000"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:queue"
PROFILE = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/team/1234567890"


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


@pytest.fixture
def arn(client: "LambdaClient") -> Iterator[str]:
    yield create(client, "settings", CODE)
    client.delete_function(FunctionName="settings")


def refused(code: str, call: Any, **members: Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**members)
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    return str(error["Message"])


def test_tags_are_set_listed_and_taken_away(client: "LambdaClient") -> None:
    arn = create(client, "tagged", CODE, Tags={"team": "a", "stage": "x"})
    before = client.get_function(FunctionName=arn)
    assert before["Tags"] == {"team": "a", "stage": "x"}
    client.tag_resource(Resource=arn, Tags={"stage": "y", "cost": "1"})
    assert client.list_tags(Resource=arn)["Tags"] == {"team": "a", "stage": "y", "cost": "1"}
    client.untag_resource(Resource=arn, TagKeys=["team", "cost", "absent"])
    after = client.get_function(FunctionName=arn)
    assert after["Tags"] == {"stage": "y"}
    assert after["Configuration"]["RevisionId"] != before["Configuration"]["RevisionId"]
    client.untag_resource(Resource=arn, TagKeys=["stage"])
    assert "Tags" not in client.get_function(FunctionName=arn)
    client.delete_function(FunctionName=arn)


def test_tags_are_refused_in_aws_words(client: "LambdaClient", arn: str) -> None:
    invalid = "InvalidParameterValueException"
    many = {f"k{number}": "v" for number in range(51)}
    assert (
        refused(invalid, client.tag_resource, Resource=arn, Tags=many)
        == "Number of tags exceeds resource tag limit."
    )
    assert refused(invalid, client.tag_resource, Resource=f"{arn}:1", Tags={"a": "b"}) == (
        "Tags on function aliases and versions are not supported. Please specify a function ARN."
    )
    missing = "ResourceNotFoundException"
    assert refused(missing, client.list_tags, Resource=f"{arn}-missing") == (
        f"Function not found: {arn}-missing"
    )
    mapping = f"{PREFIX}:event-source-mapping:00000000-0000-0000-0000-000000000000"
    assert refused(missing, client.list_tags, Resource=mapping) == (
        "The resource you requested does not exist."
    )
    provider = f"{PREFIX}:capacity-provider:none"
    assert refused(missing, client.list_tags, Resource=provider) == (
        f"Capacity provider not found: {provider}"
    )
    assert client.list_tags(Resource=arn)["Tags"] == {}


def test_event_invoke_configs_are_put_updated_listed_and_deleted(
    client: "LambdaClient", arn: str
) -> None:
    name: Any = {"FunctionName": arn}
    put = client.put_function_event_invoke_config(**name, MaximumRetryAttempts=1)
    assert put["FunctionArn"] == f"{arn}:$LATEST"
    assert put["MaximumRetryAttempts"] == 1
    assert not put.keys() & {"MaximumEventAgeInSeconds"}
    assert put["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {}}
    updated = client.update_function_event_invoke_config(
        **name,
        MaximumEventAgeInSeconds=60,
        DestinationConfig={"OnFailure": {"Destination": QUEUE}},
    )
    assert updated["MaximumRetryAttempts"] == 1
    assert updated["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": QUEUE}}
    got = client.get_function_event_invoke_config(**name)
    assert got["MaximumEventAgeInSeconds"] == 60
    assert got["LastModified"] == updated["LastModified"]
    version = client.publish_version(**name)["Version"]
    client.put_function_event_invoke_config(**name, Qualifier=version, MaximumRetryAttempts=0)
    pages = client.get_paginator("list_function_event_invoke_configs").paginate(
        **name, PaginationConfig={"PageSize": 1}
    )
    found = [
        config["FunctionArn"] for page in pages for config in page["FunctionEventInvokeConfigs"]
    ]
    assert found == [f"{arn}:$LATEST", f"{arn}:{version}"]
    replaced = client.put_function_event_invoke_config(**name, MaximumEventAgeInSeconds=100)
    assert not replaced.keys() & {"MaximumRetryAttempts"}
    client.delete_function_event_invoke_config(**name)
    for call in (
        client.get_function_event_invoke_config,
        client.delete_function_event_invoke_config,
    ):
        assert refused("ResourceNotFoundException", call, **name) == (
            f"The function {arn}:$LATEST doesn't have an EventInvokeConfig"
        )


def test_event_invoke_configs_are_refused_in_aws_words(client: "LambdaClient", arn: str) -> None:
    put = client.put_function_event_invoke_config
    invalid, missing = "InvalidParameterValueException", "ResourceNotFoundException"
    assert refused(invalid, put, FunctionName=arn) == (
        "You must specify at least one of error handling or destination setting."
    )
    role = "arn:aws:iam:us-east-1:000000000000:function:f"
    for destination, text in (
        (arn, "You can't specify the function as a destination for itself."),
        (
            f"{PREFIX}:function:doesnotexist",
            f"The destination ARN {PREFIX}:function:doesnotexist is invalid.",
        ),
        (
            role,
            "The provided destination config DestinationConfig(onSuccess=OnSuccess"
            f"(destination={role}), onFailure=null) is invalid.",
        ),
    ):
        config = {"OnSuccess": {"Destination": destination}}
        assert refused(invalid, put, FunctionName=arn, DestinationConfig=config) == text
    bucket = {"OnSuccess": {"Destination": "arn:aws:s3:::bucket"}}
    assert refused(invalid, put, FunctionName=arn, DestinationConfig=bucket)
    assert refused(missing, put, FunctionName="nobody", MaximumRetryAttempts=1) == (
        "The function doesn't exist."
    )
    nobody = refused(missing, client.get_function_event_invoke_config, FunctionName="nobody")
    assert (
        nobody == f"The function {PREFIX}:function:nobody:$LATEST doesn't have an EventInvokeConfig"
    )
    update = client.update_function_event_invoke_config
    assert refused(missing, update, FunctionName=arn, MaximumRetryAttempts=1) == (
        f"The function {arn}:$LATEST doesn't have an EventInvokeConfig"
    )


def test_a_function_without_a_url_has_none(client: "LambdaClient", arn: str) -> None:
    missing = "ResourceNotFoundException"
    assert client.list_function_url_configs(FunctionName=arn)["FunctionUrlConfigs"] == []
    for call in (
        client.get_function_url_config,
        client.update_function_url_config,
        client.delete_function_url_config,
    ):
        text = refused(missing, call, FunctionName=arn)
        assert text == "The resource you requested does not exist."
    create_url = client.create_function_url_config
    assert refused(missing, create_url, FunctionName="nobody", AuthType="NONE") == (
        "Function does not exist"
    )
    assert refused(
        "ValidationException", create_url, FunctionName=arn, AuthType="NONE", Qualifier="$LATEST"
    ).startswith("1 validation error detected: Value '$LATEST' at 'qualifier' failed")


def test_a_runtime_is_updated_with_the_machine_and_not_otherwise(
    client: "LambdaClient", arn: str
) -> None:
    put = client.put_runtime_management_config(FunctionName=arn, UpdateRuntimeOn="Auto")
    assert put["UpdateRuntimeOn"] == "Auto"
    got = client.get_runtime_management_config(FunctionName=arn)
    assert (got["UpdateRuntimeOn"], got["FunctionArn"]) == ("Auto", arn)
    assert refused(
        "InvalidParameterValueException",
        client.put_runtime_management_config,
        FunctionName=arn,
        UpdateRuntimeOn="FunctionUpdate",
    ) == ("UpdateRuntimeOn FunctionUpdate is not supported by this version of Hearth.")


def test_a_recursive_loop_ends_after_sixteen_runs(platform: Platform) -> None:
    """A function that calls itself sends its trace header along, as AWS's SDKs do."""
    client = platform.client()
    code = "import os\ndef handler(event, context):\n    return os.environ['_X_AMZN_TRACE_ID']\n"
    create(client, "looping", code)
    trace = "Root=1-65000000-000000000000000000000000"

    def with_trace(request: Any, **_more: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = trace

    client.meta.events.register("before-sign.lambda.Invoke", with_trace)
    config = client.get_function_recursion_config(FunctionName="looping")
    assert config["RecursiveLoop"] == "Terminate"
    for _run in range(16):
        answer = client.invoke(FunctionName="looping")
        trace = json.loads(answer["Payload"].read())
    assert trace.startswith("Root=1-65000000-000000000000000000000000;Parent=")
    assert ";Sampled=0;Lineage=" in trace
    text = refused("RecursiveInvocationException", client.invoke, FunctionName="looping")
    assert text.startswith("Lambda has detected your function being invoked in a recursive loop")
    put = client.put_function_recursion_config(FunctionName="looping", RecursiveLoop="Allow")
    assert put["RecursiveLoop"] == "Allow"
    assert client.invoke(FunctionName="looping")["StatusCode"] == 200
    client.delete_function(FunctionName="looping")


def test_a_wrong_recursive_loop_is_refused_in_aws_words(client: "LambdaClient", arn: str) -> None:
    wrong: Any = "InvalidValue"
    assert refused(
        "ValidationException",
        client.put_function_recursion_config,
        FunctionName=arn,
        RecursiveLoop=wrong,
    ) == (
        "1 validation error detected: Value 'InvalidValue' at 'recursiveLoop' failed to satisfy "
        "constraint: Member must satisfy enum value set: [Terminate, Allow]"
    )


def signing_config(client: "LambdaClient", policy: Literal["Warn", "Enforce"], **more: Any) -> str:
    created = client.create_code_signing_config(
        AllowedPublishers={"SigningProfileVersionArns": [PROFILE]},
        CodeSigningPolicies={"UntrustedArtifactOnDeployment": policy},
        **more,
    )
    return created["CodeSigningConfig"]["CodeSigningConfigArn"]


def test_code_signing_configs_live_beside_functions(client: "LambdaClient", arn: str) -> None:
    config = signing_config(client, "Warn", Description="first", Tags={"a": "b"})
    assert client.list_tags(Resource=config)["Tags"] == {"a": "b"}
    updated = client.update_code_signing_config(
        CodeSigningConfigArn=config,
        CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"},
    )["CodeSigningConfig"]
    assert updated["Description"] == "first"
    got = client.get_code_signing_config(CodeSigningConfigArn=config)["CodeSigningConfig"]
    assert got == updated
    assert got["CodeSigningConfigId"] == config.rpartition(":")[2]
    assert got in client.list_code_signing_configs()["CodeSigningConfigs"]
    client.put_function_code_signing_config(FunctionName=arn, CodeSigningConfigArn=config)
    attached = client.get_function_code_signing_config(FunctionName=arn)
    assert attached["CodeSigningConfigArn"] == config
    used = client.list_functions_by_code_signing_config(CodeSigningConfigArn=config)
    assert used["FunctionArns"] == [arn]
    delete = client.delete_code_signing_config
    assert refused("ResourceConflictException", delete, CodeSigningConfigArn=config)
    client.delete_function_code_signing_config(FunctionName=arn)
    assert "CodeSigningConfigArn" not in client.get_function_code_signing_config(FunctionName=arn)
    delete(CodeSigningConfigArn=config)
    assert (
        refused(
            "ResourceNotFoundException", client.get_code_signing_config, CodeSigningConfigArn=config
        )
        == f"The Lambda code signing configuration {config} can not be found."
    )
    assert refused(
        "CodeSigningConfigNotFoundException",
        client.put_function_code_signing_config,
        FunctionName=arn,
        CodeSigningConfigArn=config,
    ) == (
        "The code signing configuration cannot be found. "
        f"Check that the provided configuration is not deleted: {config}."
    )


def test_enforce_refuses_code_that_nobody_signed(client: "LambdaClient", arn: str) -> None:
    config = signing_config(client, "Enforce")
    zipped = package({"app.py": CODE + "# changed\n"})
    before = client.get_function_configuration(FunctionName=arn)["CodeSha256"]
    client.put_function_code_signing_config(FunctionName=arn, CodeSigningConfigArn=config)
    text = refused(
        "CodeVerificationFailedException",
        client.update_function_code,
        FunctionName=arn,
        ZipFile=zipped,
    )
    assert text.endswith("Check the provided signature for settings.")
    assert client.get_function_configuration(FunctionName=arn)["CodeSha256"] == before
    new: dict[str, Any] = {
        "FunctionName": "signed",
        "Runtime": "python3.12",
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": zipped},
        "CodeSigningConfigArn": config,
    }
    assert refused("CodeVerificationFailedException", client.create_function, **new)
    assert refused("ResourceNotFoundException", client.get_function, FunctionName="signed")
    client.update_code_signing_config(
        CodeSigningConfigArn=config, CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Warn"}
    )
    client.create_function(**new)
    attached = client.get_function_code_signing_config(FunctionName="signed")
    assert attached["CodeSigningConfigArn"] == config
    client.update_function_code(FunctionName=arn, ZipFile=zipped)
    for name in ("signed", "settings"):
        client.delete_function_code_signing_config(FunctionName=name)
    client.delete_function(FunctionName="signed")
    client.delete_code_signing_config(CodeSigningConfigArn=config)
