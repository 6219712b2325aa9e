"""How does rest-json speak? Method and path name the operation; JSON is in the bodies.

    PUT /2017-10-31/functions/f/concurrency      {"ReservedConcurrentExecutions": 5}
    404  x-amzn-ErrorType: ResourceNotFoundException   {"Type": "User", "Message": "…"}

A path that nothing answers gets what AWS's framework gives: 404 and a bare element in XML; a path
that exists under another method, 403 and the same kind of body (both recorded from AWS).
Source: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs

import msgspec

from hearth.api.protocols.contract import REQUEST_ID_HEADER, Answer, Headers, Match
from hearth.api.protocols.json_body import (
    body_from_json,
    body_to_json,
    read_object,
    value_from_json,
    value_to_json,
)
from hearth.api.routing import Query, Routes, WrongMethod
from hearth.api.shapes import STRINGS, Kind, OperationModel, Ref, ServiceModel, Shape
from hearth.api.values import ISO8601, RFC822, from_text, to_text
from hearth.base.http1 import HttpRequest
from hearth.model.errors import SerializationFailed, ServiceError, UnknownOperation

JSON_TYPE: Final = "application/json"
QUERY_FIELDS_MAX: Final = 1_000

MESSAGE_KEYS: Final = {"RequestEntityTooLargeException": "Message"}
"""How the message is spelt in errors that the model does not know, where it is not `message`."""


class NoSuchOperation(UnknownOperation):
    """No operation has this path."""


class MethodNotAllowed(ServiceError):
    """The path exists, but not with this method: AWS cannot name what to authorize."""

    code: ClassVar[str] = "AccessDeniedException"
    status: ClassVar[int] = 403
    blame: ClassVar[str | None] = None


class RestJson:
    """rest-json for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self.model = model

    @cached_property
    def _routes(self) -> Routes:
        return Routes(self.model)

    def match(self, request: HttpRequest) -> Match:
        """Raises NoSuchOperation or MethodNotAllowed."""
        path, _, query = request.target.partition("?")
        try:
            route = self._routes.find(request.method, path, parse_query(query))
        except WrongMethod as error:
            text = "Unable to determine service/operation name to be authorized"
            raise MethodNotAllowed(text) from error
        if route is None:
            raise NoSuchOperation("")
        return Match(self.model.operation(route.operation), route.labels)

    def decode(self, match: Match, request: HttpRequest) -> dict[str, Any]:
        """Raises SerializationFailed."""
        shape = match.operation.input
        if shape is None:
            return {}
        query = parse_query(request.target.partition("?")[2])
        members: dict[str, Any] = {}
        for name, ref in shape.members.items():
            value = _outside_body(ref, name, match.labels, query, request.headers)
            if value is not None:
                members[name] = value
        members.update(_body_members(shape, request.body))
        return members

    def encode(
        self, operation: OperationModel, members: Mapping[str, Any], request_id: str
    ) -> Answer:
        """Raises KeyError or TypeError if the members are not the model's: a handler's bug."""
        headers: Headers = [(REQUEST_ID_HEADER, request_id)]
        shape = operation.output
        if shape is None:
            assert not members, f"{operation.name} answers nothing"
            return Answer(operation.status, headers, b"")
        status = operation.status
        for name, value in members.items():
            ref = shape.members[name]
            if value is None or ref.location is None:
                continue
            if ref.location == "statusCode":
                status = int(value)
            else:
                headers.extend(_response_headers(ref, name, value))
        body = b"" if status == 204 else _response_body(shape, members, headers)
        return Answer(status, headers, body)

    def encode_error(self, error: ServiceError, request_id: str) -> Answer:
        headers: Headers = [
            (REQUEST_ID_HEADER, request_id),
            ("x-amzn-ErrorType", error.code),
            *error.headers.items(),
        ]
        if isinstance(error, NoSuchOperation):
            return Answer(error.status, headers, b"<UnknownOperationException/>\n")
        if isinstance(error, MethodNotAllowed):
            text = (
                f"<{error.code}>\n  <Message>{error.message}</Message>\n</{error.code}>\n"
            ).encode()
            return Answer(error.status, headers, text)
        headers.append(("Content-Type", JSON_TYPE))
        shape = self.model.errors.get(error.code)
        document: dict[str, str] = {}
        for name, value in error.fields.items():
            ref = shape.members.get(name) if shape else None
            if ref is not None and ref.location == "header":
                headers.append((ref.wire_name or name, value))
            else:
                document[name] = value
        if error.blame is not None:
            document["Type"] = error.blame
        if error.message:
            document[message_key(shape, error.code)] = error.message
        return Answer(error.status, headers, msgspec.json.encode(document))


def parse_query(query: str) -> Query:
    """Raises SerializationFailed if there are too many parameters."""
    if not query:
        return {}
    try:
        return parse_qs(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError as error:
        raise SerializationFailed("Too many query parameters") from error


def message_key(shape: Shape | None, code: str) -> str:
    """`message` or `Message`, as the error's shape spells it."""
    for name in shape.members if shape else ():
        if name.lower() == "message":
            return name
    return MESSAGE_KEYS.get(code, "message")


def _outside_body(
    ref: Ref, name: str, labels: Mapping[str, str], query: Query, headers: Mapping[str, str]
) -> Any:
    """The value of a member that is in path, query or header; None if it is absent or no such."""
    wire_name = ref.wire_name or name
    match ref.location:
        case "uri":
            return from_text(ref, labels[wire_name], ISO8601)
        case "querystring":
            return _from_query(ref, wire_name, query)
        case "header":
            text = headers.get(wire_name.lower())
            return None if text is None else _from_header(ref, text)
        case "headers":
            prefix = wire_name.lower()
            found = {k[len(prefix) :]: v for k, v in headers.items() if k.startswith(prefix)}
            return found or None
    return None


def _from_query(ref: Ref, wire_name: str, query: Query) -> Any:
    shape = ref.shape
    if shape.kind is Kind.MAP:
        assert shape.value is not None
        many = shape.value.shape.kind is Kind.LIST
        return {name: texts if many else texts[0] for name, texts in query.items()} or None
    texts = query.get(wire_name)
    if texts is None:
        return None
    if shape.kind is Kind.LIST:
        assert shape.element is not None
        element = shape.element
        return [from_text(element, text, ISO8601) for text in texts]
    return from_text(ref, texts[0], ISO8601)


def _from_header(ref: Ref, text: str) -> Any:
    shape = ref.shape
    if shape.kind is Kind.LIST:
        assert shape.element is not None
        element = shape.element
        return [from_text(element, part.strip(), RFC822) for part in text.split(",")]
    return from_text(ref, text, RFC822)


def _body_members(shape: Shape, body: bytes) -> dict[str, Any]:
    if shape.payload is not None:
        ref = shape.members[shape.payload]
        if ref.shape.kind is Kind.BLOB:
            return {shape.payload: body} if body else {}
        if ref.shape.kind in STRINGS:
            return {shape.payload: _utf8(body)} if body else {}
        return {shape.payload: value_from_json(ref, read_object(body))} if body else {}
    if not body or all(ref.location is not None for ref in shape.members.values()):
        return {}
    return body_from_json(shape, read_object(body))


def _utf8(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise SerializationFailed("") from error


def _response_headers(ref: Ref, name: str, value: Any) -> Headers:
    wire_name = ref.wire_name or name
    if ref.location == "headers":
        return [(wire_name + key, text) for key, text in value.items()]
    if ref.shape.kind is Kind.LIST:
        assert ref.shape.element is not None
        element = ref.shape.element
        return [(wire_name, ", ".join(to_text(element, item, RFC822) for item in value))]
    return [(wire_name, to_text(ref, value, RFC822))]


def _response_body(shape: Shape, members: Mapping[str, Any], headers: Headers) -> bytes:
    """The body; its Content-Type is added to `headers`."""
    if shape.payload is None:
        headers.append(("Content-Type", JSON_TYPE))
        return msgspec.json.encode(body_to_json(shape, members))
    ref, value = shape.members[shape.payload], members.get(shape.payload)
    if not any(name == "Content-Type" for name, _ in headers):
        is_bytes = ref.shape.kind is Kind.BLOB
        headers.append(("Content-Type", "application/octet-stream" if is_bytes else JSON_TYPE))
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    return (
        value.encode() if isinstance(value, str) else msgspec.json.encode(value_to_json(ref, value))
    )
