"""What is in a JSON document, as members of a shape? And back. Shared by rest-json and json.

Texts for values of the wrong type are those recorded from AWS's common framework. `null` is an
absent member, unknown members are ignored, a fraction for an integer is cut off as AWS does.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from hearth.api.shapes import FLOATS, INTEGERS, STRINGS, Kind, Ref, Shape
from hearth.api.values import (
    UNIX,
    boolean_from_text,
    float_from_text,
    float_to_text,
    not_convertible,
    timestamp_from_number,
    timestamp_from_text,
    timestamp_to_wire,
)
from hearth.model.errors import SerializationFailed

PLAIN = frozenset({str, int, bool})
"""Most values are, and these are written as they are whatever the shape says."""

LIST_UNEXPECTED = "Start of list found where not expected"
OBJECT_UNEXPECTED = "Start of structure or map found where not expected."


def read_object(body: bytes) -> dict[str, Any]:
    """Raises SerializationFailed: without a text if the body is no JSON, as AWS does."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SerializationFailed("") from error
    if isinstance(document, dict):
        return document
    raise SerializationFailed(LIST_UNEXPECTED if isinstance(document, list) else "")


def members_from_json(shape: Shape, document: Mapping[str, Any]) -> dict[str, Any]:
    """Members of a structure within a body. Raises SerializationFailed."""
    members: dict[str, Any] = {}
    for name, ref in shape.members.items():
        value = document.get(ref.wire_name or name)
        if value is not None:
            members[name] = value_from_json(ref, value)
    return members


def body_from_json(shape: Shape, document: Mapping[str, Any]) -> dict[str, Any]:
    """Members of an input, without those whose place is the path, the query or a header."""
    members: dict[str, Any] = {}
    for name, ref in shape.members.items():
        value = document.get(ref.wire_name or name) if ref.location is None else None
        if value is not None:
            members[name] = value_from_json(ref, value)
    return members


def value_from_json(ref: Ref, value: Any) -> Any:
    """One value. Raises SerializationFailed if it is of the wrong type."""
    shape = ref.shape
    match shape.kind:
        case Kind.STRUCTURE:
            return members_from_json(shape, _container(value, dict, "Expected null"))
        case Kind.LIST:
            assert shape.element is not None
            element = shape.element
            items = _container(value, list, "Expected list or null")
            return [None if item is None else value_from_json(element, item) for item in items]
        case Kind.MAP:
            assert shape.value is not None
            held = shape.value
            pairs = _container(value, dict, "Expected map or null").items()
            return {k: None if v is None else value_from_json(held, v) for k, v in pairs}
        case _:
            return _scalar_from_json(ref, value)


def _container(value: Any, wanted: type, text: str) -> Any:
    if isinstance(value, wanted):
        return value
    if isinstance(value, list):
        raise SerializationFailed(LIST_UNEXPECTED)
    if isinstance(value, dict):
        raise SerializationFailed(OBJECT_UNEXPECTED)
    raise SerializationFailed(text)


def _scalar_from_json(ref: Ref, value: Any) -> Any:
    kind = ref.shape.kind
    match value:
        case bool():
            if kind is Kind.BOOLEAN:
                return value
            raise not_convertible("TRUE_VALUE" if value else "FALSE_VALUE", kind)
        case int() | float():
            return _from_number(kind, value)
        case str():
            return _from_string(ref, value)
    raise SerializationFailed(LIST_UNEXPECTED if isinstance(value, list) else OBJECT_UNEXPECTED)


def _from_number(kind: Kind, value: float) -> Any:
    try:
        if kind in INTEGERS:
            return int(value)
        if kind in FLOATS:
            return float(value)
        if kind is Kind.TIMESTAMP:
            return timestamp_from_number(value)
    except (ValueError, OverflowError, OSError) as error:
        raise not_convertible("NUMBER_VALUE", kind) from error
    raise not_convertible("NUMBER_VALUE", kind)


def _from_string(ref: Ref, value: str) -> Any:
    kind = ref.shape.kind
    if kind in STRINGS:
        return value
    try:
        if kind is Kind.BLOB:
            return base64.b64decode(value, validate=True)
        if kind in FLOATS:
            return float_from_text(value)
        if kind is Kind.BOOLEAN:
            return boolean_from_text(value)
        if kind is Kind.TIMESTAMP and ref.timestamp_format != UNIX:
            return timestamp_from_text(value, ref.timestamp_format or "iso8601")
    except (ValueError, OverflowError) as error:
        raise not_convertible("STRING_VALUE", kind) from error
    raise not_convertible("STRING_VALUE", kind)


def members_to_json(shape: Shape, members: Mapping[str, Any]) -> dict[str, Any]:
    """Members of a structure within a body. Raises KeyError if the shape has no such member."""
    document: dict[str, Any] = {}
    for name, value in members.items():
        ref = shape.members[name]
        if value is not None:
            written = value if type(value) in PLAIN else value_to_json(ref, value)
            document[ref.wire_name or name] = written
    return document


def body_to_json(shape: Shape, members: Mapping[str, Any]) -> dict[str, Any]:
    """The body's part of an output."""
    refs = shape.members
    return members_to_json(shape, {k: v for k, v in members.items() if refs[k].location is None})


def value_to_json(ref: Ref, value: Any) -> Any:
    """One value as msgspec can write it. Raises KeyError for an unknown member."""
    if value is None or type(value) in PLAIN:
        return value
    shape = ref.shape
    match shape.kind:
        case Kind.STRUCTURE:
            return members_to_json(shape, value)
        case Kind.LIST:
            assert shape.element is not None
            element = shape.element
            return [value_to_json(element, item) for item in value]
        case Kind.MAP:
            assert shape.value is not None
            held = shape.value
            return {key: value_to_json(held, item) for key, item in value.items()}
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return timestamp_to_wire(value, ref.timestamp_format or UNIX)
        case float() if value != value or value in (float("inf"), float("-inf")):
            return float_to_text(value)
    return value
