"""How does the query protocol speak? A form names the operation and carries flattened members.

    Action=AssumeRole&Version=2011-06-15&Tags.member.1.Key=a&Tags.member.1.Value=b

    tree: {"Tags": {"member": {"1": {"Key": "a", "Value": "b"}}}}    (parse_form)
    members: {"Tags": [{"Key": "a", "Value": "b"}]}                  (value_from_tree)

Answers are XML (`protocols/xml.py`).
Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl

from hearth.api.protocols.contract import REQUEST_ID_HEADER, Answer, Match
from hearth.api.protocols.xml import element, members_to_xml
from hearth.api.shapes import Kind, OperationModel, Ref, ServiceModel, Shape
from hearth.api.sigv4_errors import SignatureError
from hearth.api.values import ISO8601, from_text
from hearth.base.http1 import HttpRequest
from hearth.model.errors import SerializationFailed, ServiceError

FIELDS_MAX: Final = 10_000
DEPTH_MAX: Final = 64
"""Dots in the name of a field."""

CODES: Final = {
    "ValidationException": "ValidationError",
    "SerializationException": "MalformedInput",
    "ServiceException": "InternalFailure",
}
"""This protocol's own names for what every service may answer."""

Tree = dict[str, Any]
"""Texts and further trees by the next part of a name; TEXT is the text of the node itself."""

TEXT: Final = "."
"""No part of a name can be this: names are split at dots."""


class InvalidAction(ServiceError):
    code: ClassVar[str] = "InvalidAction"
    status: ClassVar[int] = 400


class MissingAction(ServiceError):
    code: ClassVar[str] = "MissingAction"
    status: ClassVar[int] = 400


class Query:
    """The query protocol for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self.model = model

    def match(self, request: HttpRequest) -> Match:
        """Raises MissingAction or InvalidAction."""
        form = form_of(request)
        action = form.get("Action")
        if action is None:
            raise MissingAction("Request is missing Action or required parameter.")
        version = form.get("Version", self.model.metadata.api_version)
        if version == self.model.metadata.api_version and action in self.model.operation_names:
            return Match(self.model.operation(action), {})
        raise InvalidAction(f"Could not find operation {action} for version {version}")

    def decode(self, match: Match, request: HttpRequest) -> dict[str, Any]:
        """Raises SerializationFailed."""
        shape = match.operation.input
        return _members_from_tree(shape, parse_form(form_of(request))) if shape else {}

    def encode(
        self, operation: OperationModel, members: Mapping[str, Any], request_id: str
    ) -> Answer:
        """Raises KeyError or TypeError if the members are not the model's: a handler's bug."""
        shape = operation.output
        inner = members_to_xml(shape, members) if shape else ""
        if operation.result_wrapper:
            inner = element(operation.result_wrapper, inner)
        inner += element("ResponseMetadata", element("RequestId", request_id))
        return self._answer(200, f"{operation.name}Response", inner, request_id)

    def encode_error(self, error: ServiceError, request_id: str) -> Answer:
        code, message = self._code(error.code), error.message
        if isinstance(error, SignatureError):
            code, message = error.query_code, error.query_message
        details = (
            element("Type", "Sender" if error.status < 500 else "Receiver")
            + element("Code", code)
            + element("Message", message, is_text=True)
            + "".join(element(name, text, is_text=True) for name, text in error.fields.items())
        )
        inner = element("Error", details) + element("RequestId", request_id)
        answer = self._answer(error.status, "ErrorResponse", inner, request_id)
        answer.headers.extend(error.headers.items())
        return answer

    def _code(self, code: str) -> str:
        shape = self.model.errors.get(code)
        return (shape.error_code if shape else None) or CODES.get(code, code)

    def _answer(self, status: int, name: str, inner: str, request_id: str) -> Answer:
        text = element(name, inner, namespace=self.model.metadata.xml_namespace)
        headers = [(REQUEST_ID_HEADER, request_id), ("Content-Type", "text/xml")]
        return Answer(status, headers, text.encode())


def form_of(request: HttpRequest) -> dict[str, str]:
    """The fields of the form, from the body of a POST and the query of anything.

    Raises SerializationFailed.
    """
    try:
        pairs = parse_qsl(
            request.target.partition("?")[2], keep_blank_values=True, max_num_fields=FIELDS_MAX
        )
        if request.method == "POST":
            pairs += parse_qsl(
                request.body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX
            )
    except ValueError as error:  # not UTF-8, or too many fields
        raise SerializationFailed("The request's parameters could not be read") from error
    return dict(pairs)


def parse_form(form: Mapping[str, str]) -> Tree:
    """Names with dots as a tree. Raises SerializationFailed if one is too deep."""
    root: Tree = {}
    for name, text in form.items():
        parts = name.split(".", DEPTH_MAX)
        if len(parts) > DEPTH_MAX:
            raise SerializationFailed("Parameter is nested too deeply")
        node = root
        for part in parts:
            node = node.setdefault(part, {})
        node[TEXT] = text
    return root


def _members_from_tree(shape: Shape, tree: Tree) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, ref in shape.members.items():
        node = tree.get(_field_name(ref, name))
        if node is not None:
            members[name] = value_from_tree(ref, node)
    return members


def _field_name(ref: Ref, name: str) -> str:
    """What a member is called in the form: a flattened list is called as its elements are."""
    if ref.flattened and ref.shape.element is not None and ref.shape.element.wire_name:
        return ref.shape.element.wire_name
    return ref.wire_name or name


def value_from_tree(ref: Ref, node: Tree) -> Any:
    """One value. Raises SerializationFailed if it is of the wrong type."""
    shape = ref.shape
    match shape.kind:
        case Kind.STRUCTURE:
            return _members_from_tree(shape, node)
        case Kind.LIST:
            assert shape.element is not None
            if not ref.flattened:
                node = node.get(shape.element.wire_name or "member", {})
            return [value_from_tree(shape.element, item) for item in _numbered(node)]
        case Kind.MAP:
            assert shape.key is not None
            assert shape.value is not None
            entries = _numbered(node if ref.flattened else node.get("entry", {}))
            key, value = shape.key.wire_name or "key", shape.value.wire_name or "value"
            return {
                entry.get(key, {}).get(TEXT, ""): value_from_tree(shape.value, entry.get(value, {}))
                for entry in entries
            }
    return from_text(ref, node.get(TEXT, ""), ISO8601)


def _numbered(node: Tree) -> list[Tree]:
    """The children `1`, `2` … in the order of their numbers; `Tags=` alone is an empty list."""
    numbers = sorted((int(part), part) for part in node if part.isascii() and part.isdigit())
    return [node[part] for _, part in numbers]
