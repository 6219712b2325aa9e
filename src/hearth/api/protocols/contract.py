"""What does the edge need of a protocol? To decode a call, to encode an answer or an error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hearth.api.shapes import OperationModel, ServiceModel
from hearth.base.http1 import HttpRequest
from hearth.model.errors import ServiceError

Headers = list[tuple[str, str]]

REQUEST_ID_HEADER = "x-amzn-RequestId"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Match:
    """An operation that was found for a request, and the labels of its path, decoded."""

    operation: OperationModel
    labels: Mapping[str, str]


class WireProtocol(Protocol):
    """One service's protocol, bound to its model."""

    model: ServiceModel

    def match(self, request: HttpRequest) -> Match:
        """Which operation? Raises ServiceError if there is none."""
        ...

    def decode(self, match: Match, request: HttpRequest) -> dict[str, Any]:
        """The input's members, by their model names. Raises SerializationFailed."""
        ...

    def encode(
        self, operation: OperationModel, members: Mapping[str, Any], request_id: str
    ) -> Answer:
        """Raises KeyError or TypeError if the members are not the model's: a handler's bug."""
        ...

    def encode_error(self, error: ServiceError, request_id: str) -> Answer: ...
