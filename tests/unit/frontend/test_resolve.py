from dataclasses import replace

import pytest

from fakes.invokes import CALLER, FunctionTable, function_version, invoke_call
from hearth.frontend.resolve import resolve
from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import FunctionVersion, State, UpdateStatus, configuration_id
from hearth.model.ids import AccountId, Caller, FunctionKey, FunctionName

F = function_version()
FUNCTIONS = FunctionTable(F)
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
DENIED = (
    f"User: {CALLER.user_arn} is not authorized to perform: lambda:InvokeFunction on "
    "resource: arn:aws:lambda:us-east-1:111111111111:function:f because no "
    "resource-based policy allows the lambda:InvokeFunction action"
)


@pytest.mark.parametrize(
    ("reference", "qualifier", "invoked_arn"),
    [
        ("f", None, ARN),
        ("f", "$LATEST", f"{ARN}:$LATEST"),
        ("f:$LATEST", None, f"{ARN}:$LATEST"),
        ("f:$LATEST", "$LATEST", f"{ARN}:$LATEST"),
        ("000000000000:function:f", None, ARN),
        (ARN, None, ARN),
        (f"{ARN}:$LATEST", None, f"{ARN}:$LATEST"),
    ],
)
def test_every_way_to_name_a_function_finds_it(
    reference: str, qualifier: str | None, invoked_arn: str
) -> None:
    call = invoke_call(reference, qualifier=qualifier)
    assert resolve(call, FUNCTIONS) == (F, invoked_arn)


@pytest.mark.parametrize(
    ("reference", "qualifier", "error", "text"),
    [
        ("g", None, ResourceNotFound, f"Function not found: {ARN[:-1]}g:$LATEST"),
        ("g", "live", ResourceNotFound, f"Function not found: {ARN[:-1]}g:live"),
        ("f", "1", ResourceNotFound, f"Function not found: {ARN}:1"),
        ("f:live", None, ResourceNotFound, f"Function not found: {ARN}:live"),
        (
            "f:1",
            "2",
            InvalidParameterValue,
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
        (
            "arn:aws:lambda:ap-southeast-1:000000000000:function:f",
            None,
            ResourceNotFound,
            "Functions from 'ap-southeast-1' are not reachable in this region ('us-east-1')",
        ),
        (
            "111111111111:function:f",
            None,
            AccessDenied,
            DENIED,
        ),
    ],
)
def test_what_cannot_be_resolved_gets_aws_own_error(
    reference: str, qualifier: str | None, error: type[ServiceError], text: str
) -> None:
    with pytest.raises(error) as caught:
        resolve(invoke_call(reference, qualifier=qualifier), FUNCTIONS)
    assert caught.value.message == text


@pytest.mark.parametrize("state", [State.PENDING, State.FAILED])
def test_a_function_that_is_not_active_cannot_be_invoked(state: State) -> None:
    with pytest.raises(ResourceConflict) as caught:
        resolve(invoke_call(), FunctionTable(function_version(state=state)))
    assert caught.value.status == 409
    assert caught.value.message == (
        "The operation cannot be performed at this time. "
        f"The function is currently in the following state: {state.value}"
    )


@pytest.mark.parametrize("status", list(UpdateStatus))
def test_an_update_does_not_stop_invokes(status: UpdateStatus) -> None:
    updated = function_version(update_status=status)
    assert resolve(invoke_call(), FunctionTable(updated)) == (updated, ARN)


class Policies(FunctionTable):
    """Functions of which others may use, and of which even their own account may not."""

    def __init__(self, *functions: FunctionVersion, permitted: set[tuple[str, str | None]]) -> None:
        super().__init__(*functions)
        self._permitted = permitted

    def permits(self, caller: Caller, _latest: FunctionVersion, qualifier: str | None, /) -> bool:
        return (caller.account, qualifier) in self._permitted


THEIRS = function_version(
    key=FunctionKey(AccountId("111111111111"), CALLER.region, FunctionName("f"))
)
THEIR_ARN = "arn:aws:lambda:us-east-1:111111111111:function:f"


def test_a_function_of_another_account_runs_if_its_policy_permits_it() -> None:
    functions = Policies(THEIRS, permitted={(CALLER.account, None)})
    assert resolve(invoke_call(THEIR_ARN), functions) == (THEIRS, THEIR_ARN)


def test_what_is_permitted_for_the_function_is_not_for_a_qualifier_of_it() -> None:
    functions = Policies(THEIRS, permitted={(CALLER.account, None)})
    with pytest.raises(AccessDenied, match=r"on resource: \S+:f:\$LATEST because no resource"):
        resolve(invoke_call(f"{THEIR_ARN}:$LATEST"), functions)


def test_a_deny_binds_the_functions_own_account() -> None:
    with pytest.raises(AccessDenied, match="with an explicit deny in a resource-based policy"):
        resolve(invoke_call("f"), Policies(F, permitted=set()))


def test_a_function_that_keeps_tenants_apart_is_each_tenant_s_own() -> None:
    functions = FunctionTable(replace(F, per_tenant=True))
    blue, _ = resolve(invoke_call("f", tenant="blue"), functions)
    green, _ = resolve(invoke_call("f", tenant="green"), functions)
    assert (blue.tenant, green.tenant) == ("blue", "green")
    assert configuration_id(blue) != configuration_id(green)
    assert configuration_id(blue).of_all_tenants == configuration_id(F)


@pytest.mark.parametrize(
    ("per_tenant", "tenant", "text"),
    [
        (
            True,
            None,
            "The invoked function is enabled with tenancy configuration. "
            "Add a valid tenant ID in your request and try again.",
        ),
        (
            False,
            "blue",
            "The invoked function is not enabled with tenancy configuration. "
            "Remove the tenant ID from your request and try again.",
        ),
    ],
)
def test_a_tenant_that_is_missing_or_one_too_many_is_refused(
    per_tenant: bool, tenant: str | None, text: str
) -> None:
    functions = FunctionTable(replace(F, per_tenant=per_tenant))
    with pytest.raises(InvalidParameterValue) as caught:
        resolve(invoke_call("f", tenant=tenant), functions)
    assert caught.value.message == text
