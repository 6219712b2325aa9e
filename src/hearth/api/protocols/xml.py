"""How are members written as XML? For the query protocol's answers.

Source: https://smithy.io/2.0/spec/protocol-traits.html (XML bindings), botocore's XML parser.
"""

from collections.abc import Mapping
from typing import Any, Final

from hearth.api.shapes import Kind, Ref, Shape
from hearth.api.values import ISO8601, to_text

_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}
)
_FORBIDDEN: Final = {
    code: None for code in range(0x20) if code not in (0x09, 0x0A, 0x0D)
} | dict.fromkeys((0xFFFE, 0xFFFF, *range(0xD800, 0xE000)))
"""Characters that no XML 1.0 document may hold, not even escaped: they are left out."""


def element(name: str, inner: str, *, namespace: str = "", is_text: bool = False) -> str:
    """`<name>inner</name>`; escaped if it is text, else `inner` is XML already."""
    attribute = f' xmlns="{namespace}"' if namespace else ""
    return f"<{name}{attribute}>{escape(inner) if is_text else inner}</{name}>"


def escape(text: str) -> str:
    return text.translate(_FORBIDDEN).translate(_ESCAPES)


def members_to_xml(shape: Shape, members: Mapping[str, Any]) -> str:
    """Raises KeyError if the shape has no such member."""
    return "".join(
        _member(shape.members[name], name, value)
        for name, value in members.items()
        if value is not None
    )


def _member(ref: Ref, name: str, value: Any) -> str:
    shape, wire_name = ref.shape, ref.wire_name or name
    if shape.kind is Kind.LIST and ref.flattened:
        assert shape.element is not None
        inner_name = shape.element.wire_name or wire_name
        return "".join(element(inner_name, _inner(shape.element, item)) for item in value)
    if shape.kind is Kind.MAP and ref.flattened:
        return "".join(element(wire_name, entry) for entry in _entries(shape, value))
    return element(wire_name, _inner(ref, value))


def _inner(ref: Ref, value: Any) -> str:
    """What stands between the tags of one value."""
    shape = ref.shape
    match shape.kind:
        case Kind.STRUCTURE:
            return members_to_xml(shape, value)
        case Kind.LIST:
            assert shape.element is not None
            name, item_ref = shape.element.wire_name or "member", shape.element
            return "".join(element(name, _inner(item_ref, item)) for item in value)
        case Kind.MAP:
            return "".join(element("entry", entry) for entry in _entries(shape, value))
    return escape(to_text(ref, value, ISO8601))


def _entries(shape: Shape, value: Mapping[str, Any]) -> list[str]:
    assert shape.key is not None
    assert shape.value is not None
    key_name, value_name = shape.key.wire_name or "key", shape.value.wire_name or "value"
    value_ref = shape.value
    return [
        element(key_name, key, is_text=True) + element(value_name, _inner(value_ref, item))
        for key, item in value.items()
    ]
