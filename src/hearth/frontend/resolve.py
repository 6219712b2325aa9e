"""Which function version does this call mean, and may it be invoked now? No I/O, no clock.

- A qualifier may stand in the reference, in the `Qualifier` parameter, or in both if they agree.
- An alias means its version, or by chance the other one that it gives a share of its invokes. Each
  invoke draws for itself: two of one client may run two versions.
- Pending and Failed functions cannot be invoked. An update that is in progress (or failed) does
  not stop invokes: whatever `Functions` holds is complete (its package is stored before the
  metadata names it), so it is served as it is; there is no window without a function.

Texts: recorded from AWS, except the mismatch of qualifiers and the denied access to another
account, which are AWS's as documented and seen by its users.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html and
https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

from collections.abc import Callable
from typing import Protocol

from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
)
from hearth.model.functions import Alias, FunctionVersion, State
from hearth.model.ids import LATEST, FunctionKey
from hearth.model.invocations import InvokeCall


class Published(Protocol):
    """The local copy of the metadata; app.py supplies it."""

    def get(self, key: FunctionKey, /) -> FunctionVersion | None: ...

    def qualified(self, key: FunctionKey, qualifier: str, /) -> FunctionVersion | Alias | None:
        """The version of that number, or the alias of that name."""
        ...


class Functions(Published, Protocol):
    """The same, with a source of chance."""

    def draw(self) -> float:
        """At least 0, less than 1."""
        ...


class Catalog:
    """Functions of a local copy and a source of chance."""

    __slots__ = ("_draw", "get", "qualified")

    def __init__(self, published: Published, draw: Callable[[], float]) -> None:
        self.get = published.get  # bound once: each invoke asks
        self.qualified = published.qualified
        self._draw = draw

    def draw(self) -> float:
        return self._draw()


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
    if qualifier is None or qualifier == LATEST:
        function = functions.get(key)
    else:
        function = _qualified(functions, key, qualifier)
    if function is None:
        raise ResourceNotFound(f"Function not found: {key.arn(qualifier or LATEST)}")
    if function.state is not State.ACTIVE:
        raise ResourceConflict(
            "The operation cannot be performed at this time. "
            f"The function is currently in the following state: {function.state}"
        )
    return function, key.arn(qualifier)


def _qualified(functions: Functions, key: FunctionKey, qualifier: str) -> FunctionVersion | None:
    found = functions.qualified(key, qualifier)
    if not isinstance(found, Alias):
        return found
    version = _chosen(found, functions.draw) if found.weights else found.version
    if version == LATEST:
        return functions.get(key)
    target = functions.qualified(key, version)
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
