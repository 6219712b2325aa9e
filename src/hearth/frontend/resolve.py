"""Which function version does this call mean, and may it be invoked now? No I/O, no clock.

- A qualifier may stand in the reference, in the `Qualifier` parameter, or in both if they agree.
- An alias means its version, or by chance the other one that it gives a share of its invokes. Each
  invoke draws for itself: two of one client may run two versions.
- Pending and Failed functions cannot be invoked. An update that is in progress (or failed) does
  not stop invokes: until it is done, `Functions` names the configuration from before it.

Texts: recorded from AWS, except the mismatch of qualifiers and the denied access to another
account, which are AWS's as documented and seen by its users.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html and
https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from hearth.frontend.lineage import RUNS_MAX, runs_so_far, stopped
from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import Alias, FunctionVersion, Routes, State
from hearth.model.ids import LATEST, AccountId, Caller, FunctionKey, FunctionName, Region
from hearth.model.invocations import InvokeCall


class Published(Protocol):
    """The local copy of the metadata; app.py supplies it."""

    def find(self, account: AccountId, region: Region, name: FunctionName, /) -> Routes | None: ...


Permits = Callable[[Caller, FunctionVersion, str | None], bool]
"""May this caller invoke the function, or that qualifier of it? Its own account may, unless a
policy denies it; others may only if a policy allows it."""


class Functions(Published, Protocol):
    """The same, with the policies and a source of chance."""

    def permits(self, caller: Caller, latest: FunctionVersion, qualifier: str | None, /) -> bool:
        """See Permits."""
        ...

    def may_loop(self, latest: FunctionVersion, /) -> bool:
        """May one chain of requests run the function more often than RUNS_MAX?"""
        ...

    def draw(self) -> float:
        """At least 0, less than 1."""
        ...


class Catalog:
    """Functions of a local copy, what is known beside them, and a source of chance."""

    __slots__ = ("draw", "find", "may_loop", "permits")

    def __init__(
        self,
        published: Published,
        permits: Permits,
        may_loop: Callable[[FunctionVersion], bool],
        draw: Callable[[], float],
    ) -> None:
        self.find = published.find  # bound once: each invoke asks
        self.permits = permits
        self.may_loop = may_loop
        self.draw = draw


def resolve(call: InvokeCall, functions: Functions) -> tuple[FunctionVersion, str]:
    """The version to run and the ARN as the caller addressed it.

    Raises ResourceNotFound, AccessDenied (a policy denies it, or none lets another account),
    ResourceConflict (the function is not Active), InvalidParameterValue (two different qualifiers;
    a tenant is missing, or is one too many), RecursiveInvocation.
    """
    reference = call.reference
    caller = call.caller
    if reference.region is not None and reference.region != caller.region:
        raise ResourceNotFound(
            f"Functions from '{reference.region}' are not reachable "
            f"in this region ('{caller.region}')"
        )
    qualifier = call.qualifier or reference.qualifier
    if reference.qualifier is not None and reference.qualifier != qualifier:
        raise InvalidParameterValue(
            "The derived qualifier from the function name does not match the specified qualifier."
        )
    account = reference.account or caller.account
    routes = functions.find(account, caller.region, reference.name)
    if routes is None:
        raise _missing(caller, FunctionKey(account, caller.region, reference.name), qualifier)
    latest = routes.latest
    if not functions.permits(caller, latest, qualifier):
        raise _denied(caller, latest.key, qualifier)
    function = latest
    if qualifier is not None and qualifier != LATEST:
        target = _qualified(routes, qualifier, functions.draw)
        if target is None:
            raise ResourceNotFound(f"Function not found: {routes.arn}:{qualifier}")
        function = target
    if function.state is not State.ACTIVE:
        raise ResourceConflict(
            "The operation cannot be performed at this time. "
            f"The function is currently in the following state: {function.state}"
        )
    if function.per_tenant or call.tenant is not None:
        function = _of_tenant(function, call.tenant)
    if runs_so_far(call.trace_id, latest.key) >= RUNS_MAX and not functions.may_loop(latest):
        raise stopped()
    return function, routes.arn if qualifier is None else f"{routes.arn}:{qualifier}"


def _of_tenant(function: FunctionVersion, tenant: str | None) -> FunctionVersion:
    """The function as this tenant has it: its environments serve nobody else.

    The first text is AWS's, as its users quote it; the second is ours: AWS only documents that it
    refuses. https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation-troubleshooting.html
    """
    if tenant is None:
        raise InvalidParameterValue(
            "The invoked function is enabled with tenancy configuration. "
            "Add a valid tenant ID in your request and try again."
        )
    if not function.per_tenant:
        raise InvalidParameterValue(
            "The invoked function is not enabled with tenancy configuration. "
            "Remove the tenant ID from your request and try again."
        )
    return replace(function, tenant=tenant)


def _qualified(routes: Routes, qualifier: str, draw: Callable[[], float]) -> FunctionVersion | None:
    found = routes.qualified.get(qualifier)
    if not isinstance(found, Alias):
        return found
    version = _chosen(found, draw) if found.weights else found.version
    if version == LATEST:
        return routes.latest
    target = routes.qualified.get(version)
    assert not isinstance(target, Alias), "no alias is named like a version"
    return target


def _chosen(alias: Alias, draw: Callable[[], float]) -> str:
    """The version for one invoke of an alias that has more than one."""
    left = draw()
    for version, share in alias.weights.items():
        left -= share
        if left < 0:
            return version
    return alias.version


def _missing(caller: Caller, key: FunctionKey, qualifier: str | None) -> ServiceError:
    if key.account == caller.account:
        return ResourceNotFound(f"Function not found: {key.arn(qualifier or LATEST)}")
    return _denied(caller, key, qualifier)


def _denied(caller: Caller, key: FunctionKey, qualifier: str | None) -> AccessDenied:
    """Another account does not learn whether there is such a function."""
    why = (
        "with an explicit deny in a resource-based policy"
        if caller.account == key.account
        else "because no resource-based policy allows the lambda:InvokeFunction action"
    )
    return AccessDenied(
        f"User: {caller.user_arn} is not authorized to perform: lambda:InvokeFunction on "
        f"resource: {key.arn(qualifier)} {why}"
    )
