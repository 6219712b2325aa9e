"""What is an operation? A name of a service's model, and the function that answers it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hearth.base.http1 import StreamingResponder
from hearth.model.ids import Caller, FunctionKey

Permits = Callable[[Caller, FunctionKey, str | None, str], bool]
"""May this caller do an action (`lambda:…`) to the function, or to a qualifier of it?"""


def only_its_own(caller: Caller, key: FunctionKey, _qualifier: str | None, _action: str) -> bool:
    """Where there are no policies: an account may use its own functions and no others."""
    return caller.account == key.account


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRequest:
    """One call, decoded and validated against the service model.

    `members` has the input's members under their model names, whatever part of the HTTP request
    carried them: blobs as bytes, timestamps as aware datetimes, absent members absent.
    """

    caller: Caller
    request_id: str
    members: Mapping[str, Any]
    endpoint: str
    """`http://host:port` as the caller reached us."""
    permits: Permits = only_its_own


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationResponse:
    """`members` under their model names; encoded by the model. A `status` beats the model's."""

    members: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    stream: "Callable[[StreamingResponder], Awaitable[None]] | None" = None
    """Answers bit by bit instead of `members`; raises only before it has begun."""


Handler = Callable[[OperationRequest], Awaitable[OperationResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """Raises ServiceError from its handler for what a caller may see; all else is a 500."""

    service: str
    """botocore's service name: `lambda`, `sts`."""
    name: str
    handler: Handler
