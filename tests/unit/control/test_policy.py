"""The evaluation of a policy: pure, statement by statement, as IAM describes it."""

from typing import Any

import pytest

from hearth.control.policy import (
    AccountPrincipal,
    Anonymous,
    Condition,
    Principal,
    Question,
    ServicePrincipal,
    Statement,
    Verdict,
    decide,
    source_context,
)
from hearth.control.policy_documents import (
    Permission,
    PolicyLengthExceeded,
    compile_policy,
    read_policy,
    rendered,
    statement_of,
    with_statement,
)
from hearth.model.errors import InvalidParameterValue
from hearth.model.ids import AccountId

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"
INVOKE = "lambda:InvokeFunction"
OTHER = AccountPrincipal(AccountId("999999999999"), "arn:aws:iam::999999999999:user/u")
S3 = ServicePrincipal("s3.amazonaws.com")


def verdict(
    principal: Principal,
    *permissions: Permission,
    action: str = INVOKE,
    resource: str = ARN,
    context: dict[str, str] | None = None,
) -> Verdict:
    document = {"Statement": [statement_of(permission, ARN) for permission in permissions]}
    return decide(compile_policy(document), Question(principal, action, resource, context or {}))


def allowing(principal: str, **more: Any) -> Permission:
    return Permission(**{"statement_id": "s", "action": INVOKE, "principal": principal} | more)


@pytest.mark.parametrize(
    ("granted", "principal", "expected"),
    [
        ("999999999999", OTHER, Verdict.ALLOWED),
        ("arn:aws:iam::999999999999:root", OTHER, Verdict.ALLOWED),
        ("arn:aws:iam::999999999999:user/u", OTHER, Verdict.ALLOWED),
        ("arn:aws:iam::999999999999:user/v", OTHER, Verdict.SILENT),
        ("888888888888", OTHER, Verdict.SILENT),
        ("*", OTHER, Verdict.ALLOWED),
        ("*", Anonymous(), Verdict.ALLOWED),
        ("999999999999", Anonymous(), Verdict.SILENT),
        ("s3.amazonaws.com", S3, Verdict.ALLOWED),
        ("sns.amazonaws.com", S3, Verdict.SILENT),
        ("s3.amazonaws.com", OTHER, Verdict.SILENT),
    ],
)
def test_a_permission_is_for_its_principal(
    granted: str, principal: Principal, expected: Verdict
) -> None:
    assert verdict(principal, allowing(granted)) is expected


def test_a_session_of_a_role_is_the_role() -> None:
    session = AccountPrincipal(
        AccountId("999999999999"), "arn:aws:sts::999999999999:assumed-role/team/session"
    )
    role = "arn:aws:iam::999999999999:role/team"
    assert verdict(session, allowing(role)) is Verdict.ALLOWED
    assert verdict(session, allowing(role + "x")) is Verdict.SILENT


@pytest.mark.parametrize(
    ("granted", "asked", "expected"),
    [
        (INVOKE, INVOKE, Verdict.ALLOWED),
        ("lambda:*", INVOKE, Verdict.ALLOWED),
        ("*", INVOKE, Verdict.ALLOWED),
        ("lambda:invokefunction", INVOKE, Verdict.ALLOWED),
        (INVOKE, "lambda:InvokeFunctionUrl", Verdict.SILENT),
        ("lambda:GetFunction", INVOKE, Verdict.SILENT),
    ],
)
def test_a_permission_is_for_its_action(granted: str, asked: str, expected: Verdict) -> None:
    assert verdict(OTHER, allowing("999999999999", action=granted), action=asked) is expected


@pytest.mark.parametrize("resource", [f"{ARN}:1", f"{ARN}:$LATEST", f"{ARN}2"])
def test_a_permission_is_for_its_resource_and_no_qualifier_of_it(resource: str) -> None:
    assert verdict(OTHER, allowing("*"), resource=resource) is Verdict.SILENT


BUCKET = "arn:aws:s3:::bucket"


@pytest.mark.parametrize(
    ("permission", "context", "expected"),
    [
        ({"source_arn": BUCKET}, source_context(arn=BUCKET), Verdict.ALLOWED),
        ({"source_arn": BUCKET}, source_context(arn=BUCKET + "2"), Verdict.SILENT),
        ({"source_arn": BUCKET}, {}, Verdict.SILENT),
        ({"source_arn": "arn:aws:s3:::b*"}, source_context(arn=BUCKET), Verdict.ALLOWED),
        ({"source_arn": "arn:aws:*:bucket"}, source_context(arn=BUCKET), Verdict.SILENT),
        (
            {"source_arn": BUCKET, "source_account": "1" * 12},
            source_context(arn=BUCKET),
            Verdict.SILENT,
        ),
        (
            {"source_arn": BUCKET, "source_account": "1" * 12},
            source_context(arn=BUCKET, account="1" * 12),
            Verdict.ALLOWED,
        ),
        ({"event_source_token": "t"}, {"lambda:eventsourcetoken": "t"}, Verdict.ALLOWED),
        ({"event_source_token": "t"}, {"lambda:eventsourcetoken": "T"}, Verdict.SILENT),
        ({"via_url": True}, {"lambda:invokedviafunctionurl": "true"}, Verdict.ALLOWED),
        ({"via_url": True}, {}, Verdict.SILENT),
        ({"org_id": "o-1234567890"}, {}, Verdict.SILENT),
    ],
)
def test_every_condition_of_a_permission_must_hold(
    permission: dict[str, Any], context: dict[str, str], expected: Verdict
) -> None:
    assert verdict(S3, allowing("s3.amazonaws.com", **permission), context=context) is expected


def test_a_url_permission_asks_for_the_urls_own_auth_type() -> None:
    permission = allowing("*", action="lambda:InvokeFunctionUrl", url_auth_type="NONE")
    for auth, expected in (("NONE", Verdict.ALLOWED), ("AWS_IAM", Verdict.SILENT)):
        answer = verdict(
            Anonymous(),
            permission,
            action="lambda:InvokeFunctionUrl",
            context={"lambda:functionurlauthtype": auth},
        )
        assert answer is expected


def statement(*, allows: bool, **changes: Any) -> Statement:
    fields: dict[str, Any] = {"aws": ("*",), "actions": ("*",), "resources": ("*",)}
    return Statement(allows=allows, **fields | changes)


@pytest.mark.parametrize("allow_first", [True, False])
def test_an_explicit_deny_wins_wherever_it_stands(allow_first: bool) -> None:
    both = [statement(allows=allow_first), statement(allows=not allow_first)]
    assert decide(both, Question(OTHER, INVOKE, ARN)) is Verdict.DENIED


def test_a_deny_that_does_not_match_denies_nothing() -> None:
    statements = [statement(allows=True), statement(allows=False, actions=("lambda:GetPolicy",))]
    assert decide(statements, Question(OTHER, INVOKE, ARN)) is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("operator", "values", "actual", "holds"),
    [
        ("StringEquals", ("a", "b"), "b", True),
        ("StringEquals", ("a", "b"), "c", False),
        ("StringEquals", ("a",), None, False),
        ("StringEqualsIfExists", ("a",), None, True),
        ("StringEqualsIfExists", ("a",), "b", False),
        ("StringNotEquals", ("a", "b"), "c", True),
        ("StringNotEquals", ("a", "b"), "b", False),
        ("StringNotEquals", ("a",), None, True),
        ("StringEqualsIgnoreCase", ("A",), "a", True),
        ("StringNotEqualsIgnoreCase", ("A",), "a", False),
        ("StringLike", ("a?c*",), "abcdef", True),
        ("StringLike", ("a.c",), "abc", False),
        ("StringNotLike", ("a*",), "abc", False),
        ("ArnEquals", ("arn:aws:s3:::b*",), "arn:aws:s3:::bc", True),
        ("ArnNotLike", ("arn:aws:s3:::b*",), "arn:aws:s3:::bc", False),
        ("Bool", ("true",), "True", True),
        ("Null", ("true",), None, True),
        ("Null", ("true",), "a", False),
        ("Null", ("false",), "a", True),
    ],
)
def test_an_operator_compares_as_iam_does(
    operator: str, values: tuple[str, ...], actual: str | None, holds: bool
) -> None:
    name = operator.removesuffix("IfExists")
    condition = Condition(name, "aws:k", values, if_exists=name != operator)
    context = {} if actual is None else {"aws:k": actual}
    question = Question(OTHER, INVOKE, ARN, context)
    expected = Verdict.ALLOWED if holds else Verdict.SILENT
    assert decide([statement(allows=True, conditions=(condition,))], question) is expected


def test_a_statement_is_written_as_aws_writes_it() -> None:
    permission = Permission(
        statement_id="s3",
        action=INVOKE,
        principal="s3.amazonaws.com",
        source_arn="arn:aws:s3:::my-bucket",
        source_account="123456789012",
    )
    assert rendered(statement_of(permission, ARN)) == (
        '{"Sid":"s3","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},'
        f'"Action":"lambda:InvokeFunction","Resource":"{ARN}","Condition":'
        '{"StringEquals":{"AWS:SourceAccount":"123456789012"},'
        '"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::my-bucket"}}}'
    )


@pytest.mark.parametrize(
    "principal", ["amazonaws.com", "nobody", "12345", "arn:aws:s3:::bucket", "s3.example.com"]
)
def test_a_principal_that_is_none_is_refused(principal: str) -> None:
    with pytest.raises(InvalidParameterValue, match="The provided principal was invalid"):
        statement_of(allowing(principal), ARN)


def test_members_about_urls_go_with_their_own_action_only() -> None:
    with pytest.raises(InvalidParameterValue, match="FunctionUrlAuthType is only supported"):
        statement_of(allowing("*", url_auth_type="NONE"), ARN)
    with pytest.raises(InvalidParameterValue, match="InvokedViaFunctionUrl is only supported"):
        statement_of(allowing("*", action="lambda:InvokeFunctionUrl", via_url=True), ARN)


def test_a_policy_grows_to_its_limit_and_no_further() -> None:
    document = None
    last = statement_of(allowing("*", statement_id="last"), ARN)
    for number in range(139):
        one_more = statement_of(allowing("*", statement_id=f"s{number:03}"), ARN)
        document = with_statement(document, one_more)
    assert document is not None
    assert len(rendered(document)) <= 20_480 < len(rendered(document)) + len(rendered(last))
    with pytest.raises(PolicyLengthExceeded, match=r"is bigger than the limit \(20480\)\.$"):
        with_statement(document, last)


GOOD: dict[str, Any] = {"Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": ARN}


def policy(**changes: Any) -> str:
    return rendered({"Version": "2012-10-17", "Statement": [GOOD | changes]})


def test_a_whole_policy_may_deny_and_name_lists() -> None:
    text = policy(Principal={"AWS": ["999999999999", "*"]}, Action=[INVOKE, "lambda:Get*"])
    (compiled,) = compile_policy(read_policy(text, ARN))
    assert compiled == Statement(
        allows=False,
        aws=("999999999999", "*"),
        actions=(INVOKE, "lambda:Get*"),
        resources=(ARN,),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"Statement":[]}',
        '{"Statement":["x"]}',
        '{"Version":"2020-01-01","Statement":[]}',
        policy(Effect="Maybe"),
        policy(Principal=None),
        policy(Principal={}),
        policy(Principal={"Federated": "x"}),
        policy(Principal={"AWS": ["nobody"]}),
        policy(Action="s3:GetObject"),
        policy(Action=[]),
        policy(Resource="arn:aws:lambda:eu-central-1:123456789012:function:g"),
        policy(NotAction="lambda:*"),
        policy(NotPrincipal="*"),
        policy(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
        policy(Condition={"ForAnyValue:StringEquals": {"a": "b"}}),
        policy(Condition={"StringEquals": "x"}),
        policy(Condition={"StringEquals": {"a": 1}}),
        policy(Condition=[]),
    ],
)
def test_a_policy_that_could_not_be_evaluated_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameterValue):
        read_policy(text, ARN)
