"""Permissions as boto3, Terraform and other accounts see them. Texts: AWS's, recorded."""

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from compat.platform import Platform, create

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

ECHO = "def handler(event, context):\n    return [event, context.invoked_function_arn]\n"
OWNER = "000000000000"
OTHER = "222222222222"
INVOKE = "lambda:InvokeFunction"


@pytest.fixture(scope="module")
def ours(platform: Platform) -> "LambdaClient":
    return platform.client()


@pytest.fixture(scope="module")
def theirs(platform: Platform) -> "LambdaClient":
    """A client of another account: an access key of twelve digits is one."""
    return platform.client(aws_access_key_id=OTHER)


@pytest.fixture
def arn(ours: "LambdaClient", request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"permit-{abs(hash(request.node.name)) % 10**8}"
    yield create(ours, name, ECHO)
    ours.delete_function(FunctionName=name)


def refused(code: str, status: int, call: Any, **members: Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**members)
    error = caught.value.response
    assert error["Error"]["Code"] == code, error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == status
    return str(error["Error"]["Message"])


def policy_of(client: "LambdaClient", arn: str) -> Any:
    return json.loads(client.get_policy(FunctionName=arn)["Policy"])


def test_a_permission_is_added_read_and_removed(ours: "LambdaClient", arn: str) -> None:
    added = ours.add_permission(
        FunctionName=arn,
        StatementId="s3",
        Action=INVOKE,
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::bucket",
        SourceAccount=OTHER,
    )
    statement = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": INVOKE,
        "Resource": arn,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": OTHER},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
        },
    }
    assert added["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert json.loads(added["Statement"]) == statement
    assert policy_of(ours, arn) == {
        "Version": "2012-10-17",
        "Id": "default",
        "Statement": [statement],
    }
    ours.remove_permission(FunctionName=arn, StatementId="s3")
    gone = refused("ResourceNotFoundException", 404, ours.get_policy, FunctionName=arn)
    assert gone == "The resource you requested does not exist."


def test_the_errors_of_permissions_are_aws_own(ours: "LambdaClient", arn: str) -> None:
    add: dict[str, Any] = {
        "FunctionName": arn,
        "StatementId": "s1",
        "Action": INVOKE,
        "Principal": OTHER,
    }
    ours.add_permission(**add)
    for code, status, changes, text in (
        (
            "ResourceConflictException",
            409,
            {},
            "The statement id (s1) provided already exists. Please provide a new statement id, "
            "or remove the existing statement.",
        ),
        (
            "InvalidParameterValueException",
            400,
            {"StatementId": "s2", "Principal": "nobody"},
            "The provided principal was invalid. Please check the principal and try again.",
        ),
        (
            "InvalidParameterValueException",
            400,
            {"StatementId": "s2", "Qualifier": "$LATEST"},
            "We currently do not support adding policies for $LATEST.",
        ),
        (
            "ResourceNotFoundException",
            404,
            {"StatementId": "s2", "Qualifier": "42"},
            f"Function not found: {arn}:42",
        ),
        (
            "ResourceNotFoundException",
            404,
            {"StatementId": "s2", "Qualifier": "missing"},
            f"Cannot find alias arn: {arn}:missing",
        ),
        (
            "PreconditionFailedException",
            412,
            {"StatementId": "s2", "RevisionId": "x"},
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetPolicy API to retrieve the latest Revision Id",
        ),
    ):
        assert refused(code, status, ours.add_permission, **add | changes) == text
    remove = ours.remove_permission
    assert (
        refused(
            "ResourceNotFoundException", 404, remove, FunctionName=arn, StatementId="non-existent"
        )
        == "Statement non-existent is not found in resource policy."
    )
    remove(FunctionName=arn, StatementId="s1")
    assert (
        refused("ResourceNotFoundException", 404, remove, FunctionName=arn, StatementId="s1")
        == "No policy is associated with the given resource."
    )


def test_revisions_of_a_policy_can_be_swapped(ours: "LambdaClient", arn: str) -> None:
    def add(statement_id: str, revision_id: str) -> None:
        ours.add_permission(
            FunctionName=arn,
            StatementId=statement_id,
            Action=INVOKE,
            Principal=OTHER,
            RevisionId=revision_id,
        )

    add("s1", ours.get_function_configuration(FunctionName=arn)["RevisionId"])
    first = ours.get_policy(FunctionName=arn)["RevisionId"]
    assert ours.get_function_configuration(FunctionName=arn)["RevisionId"] == first
    add("s2", first)
    with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
        add("s3", first)
    assert [s["Sid"] for s in policy_of(ours, arn)["Statement"]] == ["s1", "s2"]


def test_another_account_needs_a_permission(
    ours: "LambdaClient", theirs: "LambdaClient", arn: str
) -> None:
    denied = (
        f"User: arn:aws:iam::{OTHER}:root is not authorized to perform: {INVOKE} on resource: "
        f"{arn} because no resource-based policy allows the {INVOKE} action"
    )
    invoke = {"FunctionName": arn, "Payload": b'"hi"'}
    assert refused("AccessDeniedException", 403, theirs.invoke, **invoke) == denied
    ours.add_permission(FunctionName=arn, StatementId="s", Action=INVOKE, Principal=OTHER)
    answer = theirs.invoke(FunctionName=arn, Payload=b'"hi"')
    assert json.load(io.BytesIO(answer["Payload"].read())) == ["hi", arn]
    assert refused("AccessDeniedException", 403, theirs.get_function, FunctionName=arn)
    latest = {"FunctionName": arn, "Qualifier": "$LATEST"}
    assert refused("AccessDeniedException", 403, theirs.invoke, **latest)
    ours.remove_permission(FunctionName=arn, StatementId="s")
    assert refused("AccessDeniedException", 403, theirs.invoke, **invoke) == denied


def test_a_permission_of_a_version_is_for_that_version(
    ours: "LambdaClient", theirs: "LambdaClient", arn: str
) -> None:
    version = ours.publish_version(FunctionName=arn)["Version"]
    ours.get_waiter("published_version_active").wait(
        FunctionName=arn, Qualifier=version, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    ours.add_permission(
        FunctionName=arn, StatementId="s", Action=INVOKE, Principal=OTHER, Qualifier=version
    )
    answer = theirs.invoke(FunctionName=f"{arn}:{version}", Payload=b"1")
    assert json.load(io.BytesIO(answer["Payload"].read())) == [1, f"{arn}:{version}"]
    assert refused("AccessDeniedException", 403, theirs.invoke, FunctionName=arn)
    assert policy_of(ours, f"{arn}:{version}")["Statement"][0]["Resource"] == f"{arn}:{version}"
    assert refused("ResourceNotFoundException", 404, ours.get_policy, FunctionName=arn)


def test_the_control_plane_asks_the_policy_too(
    ours: "LambdaClient", theirs: "LambdaClient", arn: str
) -> None:
    action = "lambda:GetFunctionConfiguration"
    ours.add_permission(FunctionName=arn, StatementId="s", Action=action, Principal=OTHER)
    assert theirs.get_function_configuration(FunctionName=arn)["FunctionArn"] == arn
    assert refused("AccessDeniedException", 403, theirs.invoke, FunctionName=arn)


def test_a_whole_policy_can_deny_the_owner(ours: "LambdaClient", arn: str) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": INVOKE, "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    put = ours.put_resource_policy(ResourceArn=arn, Policy=policy)
    assert json.loads(put["Policy"])["Statement"] == [statement]
    text = refused("AccessDeniedException", 403, ours.invoke, FunctionName=arn)
    assert text.endswith("with an explicit deny in a resource-based policy")
    found = ours.get_resource_policy(ResourceArn=arn)
    assert found["RevisionId"] == put["RevisionId"]
    ours.delete_resource_policy(ResourceArn=arn, RevisionId=put["RevisionId"])
    assert ours.invoke(FunctionName=arn)["StatusCode"] == 200
    assert refused("ResourceNotFoundException", 404, ours.get_resource_policy, ResourceArn=arn)


def test_a_policy_of_what_is_not_there_is_not_there(ours: "LambdaClient", arn: str) -> None:
    """Runtimes of customers' own are made with another service, lambda-core: none is here."""
    runtime = f"{arn.partition(':function:')[0]}:runtime/mine"
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    for call, more in (
        (ours.get_resource_policy, {}),
        (ours.delete_resource_policy, {}),
        (ours.put_resource_policy, {"Policy": policy}),
    ):
        refused("ResourceNotFoundException", 404, call, ResourceArn=runtime, **more)


def test_a_policy_goes_with_its_function(ours: "LambdaClient", theirs: "LambdaClient") -> None:
    arn = create(ours, "policy-goes", ECHO)
    ours.add_permission(FunctionName=arn, StatementId="s", Action=INVOKE, Principal=OTHER)
    ours.delete_function(FunctionName=arn)
    create(ours, "policy-goes", ECHO)
    assert refused("ResourceNotFoundException", 404, ours.get_policy, FunctionName=arn)
    assert refused("AccessDeniedException", 403, theirs.invoke, FunctionName=arn)
    ours.delete_function(FunctionName=arn)


def test_terraform_reads_what_it_has_written(ours: "LambdaClient", arn: str) -> None:
    """aws_lambda_permission: AddPermission, then GetPolicy, and its own statement in it."""
    name = arn.rpartition(":")[2]
    ours.add_permission(
        FunctionName=name,
        StatementId="AllowPublicInvokeUrl",
        Action="lambda:InvokeFunctionUrl",
        Principal="*",
        FunctionUrlAuthType="NONE",
    )
    ours.add_permission(
        FunctionName=name,
        StatementId="AllowInvokeByUrl",
        Action=INVOKE,
        Principal="*",
        InvokedViaFunctionUrl=True,
    )
    first, second = policy_of(ours, name)["Statement"]
    assert first["Principal"] == "*"
    assert first["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}
    assert second["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
