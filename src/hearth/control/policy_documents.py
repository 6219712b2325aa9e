"""What does a policy's JSON say? From documents to statements, and from AddPermission to JSON.

Whatever this Hearth could not evaluate is refused by name when it comes in: a policy that is
stored is a policy that has effect.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from hearth.control.policy import OPERATORS, Condition, Statement
from hearth.model.errors import InvalidParameterValue, ServiceError
from hearth.model.ids import PARTITION

POLICY_BYTES_MAX: Final = 20_480
VERSION: Final = "2012-10-17"
INVALID_PRINCIPAL: Final = (
    "The provided principal was invalid. Please check the principal and try again."
)

_ACCOUNT = re.compile(r"\d{12}")
_IAM_ARN = re.compile(r"arn:aws[a-zA-Z-]*:(iam|sts)::\d{12}:\S+")
_SERVICE = re.compile(r"([a-z0-9-]+\.)+(amazonaws\.com(\.cn)?|amazon\.com|aws\.internal)")
_STATEMENT_MEMBERS: Final = frozenset(
    {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
)

Document = dict[str, Any]


class PolicyLengthExceeded(ServiceError):
    code = "PolicyLengthExceededException"
    status = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What AddPermission asks for."""

    statement_id: str
    action: str
    principal: str
    source_arn: str | None = None
    source_account: str | None = None
    event_source_token: str | None = None
    url_auth_type: str | None = None
    via_url: bool | None = None
    org_id: str | None = None


def statement_of(permission: Permission, resource: str) -> Document:
    """The statement as AWS writes it, members in AWS's order.

    Raises InvalidParameterValue if the principal or a combination of members is not possible.
    """
    _check_combination(permission)
    statement: Document = {
        "Sid": permission.statement_id,
        "Effect": "Allow",
        "Principal": _rendered(permission.principal),
        "Action": permission.action,
        "Resource": resource,
    }
    if condition := _condition(permission):
        statement["Condition"] = condition
    return statement


def rendered(document: Document) -> str:
    return msgspec.json.encode(document).decode()


def with_statement(document: Document | None, statement: Document) -> Document:
    """The policy with one statement more. Raises PolicyLengthExceeded."""
    if document is None:
        document = {"Version": VERSION, "Id": "default", "Statement": []}
    after = document | {"Statement": [*document["Statement"], statement]}
    check_length(after)
    return after


def check_length(document: Document) -> None:
    size = len(rendered(document))
    if size > POLICY_BYTES_MAX:
        raise PolicyLengthExceeded(
            f"The final policy size ({size}) is bigger than the limit ({POLICY_BYTES_MAX})."
        )


def read_policy(text: str, resource: str) -> Document:
    """A whole policy for `resource`, as PutResourcePolicy takes it, with a list of statements.

    Raises InvalidParameterValue for what is no policy, or none that can be evaluated here.
    """
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidParameterValue("The policy is not a JSON object.") from error
    for member in document.keys() - {"Version", "Id", "Statement"}:
        raise InvalidParameterValue(f"The policy has an unknown member: {member}")
    if document.get("Version", VERSION) not in {VERSION, "2008-10-17"}:
        raise InvalidParameterValue("The policy's Version must be 2012-10-17 or 2008-10-17.")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise InvalidParameterValue("The policy has no statements.")
    document["Statement"] = statements
    compiled = compile_policy(document)
    for statement in compiled:
        for named in statement.resources:
            if named not in {resource, "*"}:
                raise InvalidParameterValue(
                    f"The policy is for {resource}, and speaks of another resource: {named}"
                )
    names = [s["Sid"] for s in statements if "Sid" in s]
    if len(names) != len(set(names)):
        raise InvalidParameterValue("Statement ids of a policy must be unique.")
    check_length(document)
    return document


def compile_policy(document: Document) -> tuple[Statement, ...]:
    """Raises InvalidParameterValue for what cannot be evaluated."""
    return tuple(_compiled(statement) for statement in document["Statement"])


def _compiled(statement: object) -> Statement:
    if not isinstance(statement, dict):
        raise InvalidParameterValue("A statement of the policy is not a JSON object.")
    for member in statement.keys() - _STATEMENT_MEMBERS:
        raise InvalidParameterValue(
            f"{member} in a policy is not supported by this version of Hearth."
        )
    effect = statement.get("Effect")
    if effect not in {"Allow", "Deny"}:
        raise InvalidParameterValue("The Effect of a statement must be Allow or Deny.")
    aws, services = _principals(statement.get("Principal"))
    return Statement(
        allows=effect == "Allow",
        aws=aws,
        services=services,
        actions=_actions(statement),
        resources=_texts(statement, "Resource"),
        conditions=_conditions(statement.get("Condition", {})),
    )


def _actions(statement: Document) -> tuple[str, ...]:
    actions = _texts(statement, "Action")
    for action in actions:
        if action != "*" and not action.lower().startswith("lambda:"):
            raise InvalidParameterValue(f"Not an action of Lambda: {action}")
    return actions


def _principals(principal: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """AWS principals and services."""
    if principal == "*":
        return ("*",), ()
    if not isinstance(principal, dict) or not principal or principal.keys() - {"AWS", "Service"}:
        raise InvalidParameterValue(INVALID_PRINCIPAL)
    aws = _texts(principal, "AWS") if "AWS" in principal else ()
    services = _texts(principal, "Service") if "Service" in principal else ()
    are_valid = all(
        name == "*" or _ACCOUNT.fullmatch(name) or _IAM_ARN.fullmatch(name) for name in aws
    ) and all(_SERVICE.fullmatch(name) for name in services)
    if not are_valid:
        raise InvalidParameterValue(INVALID_PRINCIPAL)
    return aws, services


def _conditions(conditions: object) -> tuple[Condition, ...]:
    if not isinstance(conditions, dict):
        raise InvalidParameterValue("The Condition of a statement is not a JSON object.")
    compiled = []
    for name, keys in conditions.items():
        operator = name.removesuffix("IfExists")
        if operator not in OPERATORS and name != "Null":
            raise InvalidParameterValue(
                f"The condition operator {name} is not supported by this version of Hearth."
            )
        if not isinstance(keys, dict):
            raise InvalidParameterValue(f"The condition {name} is not a JSON object.")
        compiled += [
            Condition(operator, key.lower(), _texts(keys, key), operator != name) for key in keys
        ]
    return tuple(compiled)


def _texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A text or a list of some; booleans as JSON writes them."""
    value = members.get(name)
    texts = []
    for part in value if isinstance(value, list) else [value]:
        text = str(part).lower() if isinstance(part, bool) else part
        if not isinstance(text, str) or not text:
            raise InvalidParameterValue(f"{name} of a policy must be a text or a list of texts.")
        texts.append(text)
    if not texts:
        raise InvalidParameterValue(f"{name} of a policy must be a text or a list of texts.")
    return tuple(texts)


def _check_combination(permission: Permission) -> None:
    if permission.url_auth_type is not None and permission.action != "lambda:InvokeFunctionUrl":
        raise InvalidParameterValue(
            "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action"
        )
    if permission.via_url is not None and permission.action != "lambda:InvokeFunction":
        raise InvalidParameterValue(
            "InvokedViaFunctionUrl is only supported for lambda:InvokeFunction action"
        )


def _rendered(principal: str) -> str | dict[str, str]:
    if principal == "*":
        return "*"
    if _ACCOUNT.fullmatch(principal):
        return {"AWS": f"arn:{PARTITION}:iam::{principal}:root"}
    if _IAM_ARN.fullmatch(principal):
        return {"AWS": principal}
    if _SERVICE.fullmatch(principal):
        return {"Service": principal}
    raise InvalidParameterValue(INVALID_PRINCIPAL)


def _condition(permission: Permission) -> dict[str, dict[str, str]]:
    equals = {
        "lambda:FunctionUrlAuthType": permission.url_auth_type,
        "lambda:EventSourceToken": permission.event_source_token,
        "aws:PrincipalOrgID": permission.org_id,
        "AWS:SourceAccount": permission.source_account,
    }
    condition = {"StringEquals": {key: value for key, value in equals.items() if value is not None}}
    if permission.via_url:
        condition["Bool"] = {"lambda:InvokedViaFunctionUrl": "true"}
    if permission.source_arn is not None:
        condition["ArnLike"] = {"AWS:SourceArn": permission.source_arn}
    return {operator: keys for operator, keys in condition.items() if keys}
