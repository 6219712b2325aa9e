"""Does a resource's policy let this principal do this? IAM's evaluation of one policy, and no I/O.

An explicit Deny beats every Allow; where no statement matches, nothing was said. A statement
matches if its principal, action, resource and all its conditions do. Several values of a condition
are alternatives; for a negated operator all of them must differ. A key that the request does not
have fails a condition, unless the operator is negated, is Null, or ends in IfExists.

Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from hearth.model.ids import AccountId
from hearth.model.wildcards import wildcard_pattern


class Verdict(Enum):
    ALLOWED = "a statement allows it and none denies it"
    DENIED = "a statement denies it"
    SILENT = "no statement speaks of it"


@dataclass(frozen=True, slots=True)
class AccountPrincipal:
    """Somebody of an AWS account, by the ARN of the user or the role's session."""

    account: AccountId
    arn: str


@dataclass(frozen=True, slots=True)
class ServicePrincipal:
    """A service, as `s3.amazonaws.com`."""

    name: str


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Somebody who did not say who he is."""


Principal = AccountPrincipal | ServicePrincipal | Anonymous


@dataclass(frozen=True, slots=True)
class Question:
    """May `principal` do `action` to `resource`? `context` holds the condition keys that the
    request has, in lower case: `aws:sourcearn`, `aws:sourceaccount`, …"""

    principal: Principal
    action: str
    """`lambda:InvokeFunction`"""
    resource: str
    """The ARN as the caller addressed it, with the qualifier if one was given."""
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """`operator` without IfExists; `key` in lower case."""

    operator: str
    key: str
    values: tuple[str, ...]
    if_exists: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    allows: bool
    aws: tuple[str, ...] = ()
    """Account ids, ARNs of principals, `*` for everybody."""
    services: tuple[str, ...] = ()
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()


def decide(statements: Iterable[Statement], question: Question) -> Verdict:
    """What the policy says to the question."""
    verdict = Verdict.SILENT
    for statement in statements:
        if not _applies(statement, question):
            continue
        if not statement.allows:
            return Verdict.DENIED
        verdict = Verdict.ALLOWED
    return verdict


def source_context(*, arn: str | None = None, account: str | None = None) -> dict[str, str]:
    """The condition keys of a call that a service makes for a resource."""
    context = {"aws:sourcearn": arn, "aws:sourceaccount": account}
    return {key: value for key, value in context.items() if value is not None}


def _applies(statement: Statement, question: Question) -> bool:
    return (
        _names(statement, question.principal)
        and any(_like(question.action.lower(), a.lower()) for a in statement.actions)
        and any(_like(question.resource, resource) for resource in statement.resources)
        and all(_holds(condition, question.context) for condition in statement.conditions)
    )


def _names(statement: Statement, principal: Principal) -> bool:
    if "*" in statement.aws:
        return True
    match principal:
        case AccountPrincipal(account, arn):
            names = {account, f"arn:aws:iam::{account}:root", arn, _role_of(arn)}
            return any(name in names for name in statement.aws)
        case ServicePrincipal(name):
            return name in statement.services
        case Anonymous():
            return False


def _role_of(arn: str) -> str:
    """The role of a session: `…:sts::1:assumed-role/r/s` is `…:iam::1:role/r`."""
    match = re.fullmatch(r"arn:aws:sts::(\d{12}):assumed-role/(.+)/[^/]+", arn)
    return f"arn:aws:iam::{match[1]}:role/{match[2]}" if match else arn


def _holds(condition: Condition, context: Mapping[str, str]) -> bool:
    actual = context.get(condition.key)
    if condition.operator == "Null":
        return any((actual is None) == (value.lower() == "true") for value in condition.values)
    test, is_negated = OPERATORS[condition.operator]
    if actual is None:
        return is_negated or condition.if_exists
    return any(test(actual, value) for value in condition.values) != is_negated


def _like(actual: str, wildcards: str) -> bool:
    return wildcard_pattern(wildcards, one=True).fullmatch(actual) is not None


def _arn_like(actual: str, wildcards: str) -> bool:
    """Part by part: a `*` does not reach over a colon, except in the last part."""
    ours, theirs = actual.split(":", 5), wildcards.split(":", 5)
    return len(ours) == len(theirs) and all(map(_like, ours, theirs))


def _same(actual: str, value: str) -> bool:
    return actual == value


def _same_letters(actual: str, value: str) -> bool:
    return actual.lower() == value.lower()


Test = Callable[[str, str], bool]

OPERATORS: Final[Mapping[str, tuple[Test, bool]]] = {
    "StringEquals": (_same, False),
    "StringNotEquals": (_same, True),
    "StringEqualsIgnoreCase": (_same_letters, False),
    "StringNotEqualsIgnoreCase": (_same_letters, True),
    "StringLike": (_like, False),
    "StringNotLike": (_like, True),
    "ArnEquals": (_arn_like, False),
    "ArnNotEquals": (_arn_like, True),
    "ArnLike": (_arn_like, False),
    "ArnNotLike": (_arn_like, True),
    "Bool": (_same_letters, False),
}
"""Each with whether it is negated. Null is not one of them: it asks for the key itself."""
