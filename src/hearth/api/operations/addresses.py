"""Which function does a control-plane call mean? A name, a partial ARN or an ARN, and a qualifier.

Texts: recorded, except the denied access to another account, which is AWS's as its users see it.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html (FunctionName).
"""

from hearth.api.operation import OperationRequest
from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    ResourceNotFound,
    ValidationFailed,
)
from hearth.model.ids import LATEST, FunctionKey, FunctionReference


def addressed(request: OperationRequest, action: str) -> tuple[FunctionKey, str | None]:
    """The function and the qualifier, from the reference or from `Qualifier`.

    Raises ValidationFailed (not a reference), InvalidParameterValue (two qualifiers that differ),
    ResourceNotFound (another region), AccessDenied (`action` is not permitted).
    """
    reference = _reference(str(request.members["FunctionName"]))
    qualifier = request.members.get("Qualifier")
    if None not in {qualifier, reference.qualifier} and qualifier != reference.qualifier:
        raise InvalidParameterValue(
            "The derived qualifier from the function name does not match the specified qualifier."
        )
    key = FunctionKey(
        reference.account or request.caller.account,
        reference.region or request.caller.region,
        reference.name,
    )
    qualifier = qualifier or reference.qualifier
    check_reachable(request, key, qualifier, action)
    return key, qualifier


def addressed_latest(request: OperationRequest, action: str) -> FunctionKey:
    """The same where only the function itself can be meant, not a version or an alias of it."""
    key, qualifier = addressed(request, action)
    if qualifier not in {None, LATEST}:
        raise InvalidParameterValue(
            "This operation is permitted on Lambda functions only. Aliases and versions do not "
            "support this operation. Please specify either a function name or an unqualified "
            "function ARN."
        )
    return key


def _reference(text: str) -> FunctionReference:
    try:
        return FunctionReference.parse(text)
    except ValueError as error:
        raise ValidationFailed(
            f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: "
            r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}"
            r":)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
        ) from error


def check_reachable(
    request: OperationRequest, key: FunctionKey, qualifier: str | None, action: str
) -> None:
    """Raises ResourceNotFound (another region), AccessDenied (as the policies say)."""
    caller = request.caller
    if key.region != caller.region:
        raise ResourceNotFound(
            f"Functions from '{key.region}' are not reachable in this region ('{caller.region}')"
        )
    if not request.permits(caller, key, qualifier, f"lambda:{action}"):
        why = (
            "with an explicit deny in a resource-based policy"
            if key.account == caller.account
            else f"because no resource-based policy allows the lambda:{action} action"
        )
        raise AccessDenied(
            f"User: {caller.user_arn} is not authorized to perform: lambda:{action} on "
            f"resource: {key.arn(qualifier)} {why}"
        )
