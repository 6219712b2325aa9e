"""Which function version does this call mean, and may it be invoked now? No I/O, no clock.

- A qualifier may stand in the reference, in the `Qualifier` parameter, or in both if they agree.
- Only $LATEST exists so far; any other qualifier is a version that was not found.
- Pending and Failed functions cannot be invoked. An update that is in progress (or failed) does
  not stop invokes: whatever `Functions` holds is complete (its package is stored before the
  metadata names it), so it is served as it is; there is no window without a function.

Texts: recorded from AWS, except the mismatch of qualifiers and the denied access to another
account, which are AWS's as documented and seen by its users.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html and
https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

from typing import Protocol

from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
)
from hearth.model.functions import FunctionVersion, State
from hearth.model.ids import LATEST, FunctionKey
from hearth.model.invocations import InvokeCall


class Functions(Protocol):
    """The local copy of the metadata; app.py supplies it."""

    def get(self, key: FunctionKey, /) -> FunctionVersion | None: ...


def resolve(call: InvokeCall, functions: Functions) -> tuple[FunctionVersion, str]:
    """The version to run and the ARN as the caller addressed it.

    Raises ResourceNotFound, AccessDenied (a function of another account), ResourceConflict (the
    function is not Active), InvalidParameterValue (two different qualifiers).
    """
    reference = call.reference
    key = FunctionKey(call.caller.account, call.caller.region, reference.name)
    if reference.account is not None or reference.region is not None:
        _check_reachable(call, key)
    qualifier = call.qualifier or reference.qualifier
    if reference.qualifier is not None and reference.qualifier != qualifier:
        raise InvalidParameterValue(
            "The derived qualifier from the function name does not match the specified qualifier."
        )
    function = functions.get(key)
    if function is None or (qualifier is not None and qualifier != LATEST):
        raise ResourceNotFound(f"Function not found: {key.arn(qualifier or LATEST)}")
    if function.state is not State.ACTIVE:
        raise ResourceConflict(
            "The operation cannot be performed at this time. "
            f"The function is currently in the following state: {function.state}"
        )
    return function, key.arn(qualifier)


def _check_reachable(call: InvokeCall, key: FunctionKey) -> None:
    """An ARN may name another region or account; neither can be served from here."""
    caller, reference = call.caller, call.reference
    if reference.region is not None and reference.region != caller.region:
        raise ResourceNotFound(
            f"Functions from '{reference.region}' are not reachable "
            f"in this region ('{caller.region}')"
        )
    if reference.account is not None and reference.account != caller.account:
        resource = FunctionKey(reference.account, key.region, key.name)
        raise AccessDenied(
            f"User: {caller.user_arn} is not authorized to perform: lambda:InvokeFunction on "
            f"resource: {resource.arn(call.qualifier or reference.qualifier)} because no "
            "resource-based policy allows the lambda:InvokeFunction action"
        )
