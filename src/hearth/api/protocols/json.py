"""How does the json protocol (1.0 and 1.1) speak? A header names the operation, POST to `/`.

    X-Amz-Target: AWSStepFunctions.StartExecution        {"stateMachineArn": "…"}
    400   {"__type": "ExecutionDoesNotExist", "message": "…"}

A target that nothing answers gets `{"__type": "UnknownOperationException"}` and 400, as recorded.
Source: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from hearth.api.protocols.contract import REQUEST_ID_HEADER, Answer, Headers, Match
from hearth.api.protocols.json_body import members_from_json, members_to_json, read_object
from hearth.api.protocols.restjson import message_key
from hearth.api.shapes import OperationModel, ServiceModel
from hearth.base.http1 import HttpRequest
from hearth.model.errors import ServiceError, UnknownOperation

TARGET_HEADER = "x-amz-target"


class UnknownTarget(UnknownOperation):
    """No operation of this name; this protocol answers 400 where others answer 404."""

    status: ClassVar[int] = 400


class Json:
    """json 1.0 or 1.1 for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self.model = model
        self._content_type = f"application/x-amz-json-{model.metadata.json_version}"

    def match(self, request: HttpRequest) -> Match:
        """Raises UnknownTarget."""
        prefix, _, name = request.headers.get(TARGET_HEADER, "").rpartition(".")
        if prefix != self.model.metadata.target_prefix or request.method != "POST":
            raise UnknownTarget("")
        try:
            return Match(self.model.operation(name), {})
        except KeyError as error:
            raise UnknownTarget("") from error

    def decode(self, match: Match, request: HttpRequest) -> dict[str, Any]:
        """Raises SerializationFailed."""
        document = read_object(request.body)
        shape = match.operation.input
        return members_from_json(shape, document) if shape else {}

    def encode(
        self, operation: OperationModel, members: Mapping[str, Any], request_id: str
    ) -> Answer:
        """Raises KeyError or TypeError if the members are not the model's: a handler's bug."""
        headers = self._headers(request_id)
        shape = operation.output
        if shape is None:
            assert not members, f"{operation.name} answers nothing"
            return Answer(200, headers, b"")
        return Answer(200, headers, msgspec.json.encode(members_to_json(shape, members)))

    def encode_error(self, error: ServiceError, request_id: str) -> Answer:
        document: dict[str, str] = {"__type": error.code, **error.fields}
        if error.message:
            document[message_key(self.model.errors.get(error.code), error.code)] = error.message
        headers = self._headers(request_id) + list(error.headers.items())
        return Answer(error.status, headers, msgspec.json.encode(document))

    def _headers(self, request_id: str) -> Headers:
        return [(REQUEST_ID_HEADER, request_id), ("Content-Type", self._content_type)]
