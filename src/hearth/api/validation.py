"""Do the members keep the model's constraints? If not: which, in AWS's own words.

    1 validation error detected: Value 'r1' at 'role' failed to satisfy constraint: Member must
    satisfy regular expression pattern: arn:…

The rules behind the recorded texts:
  - Paths are lower camel: `vpcConfig.securityGroupIds`; a structure in a list is
    `tags.1.member.key`, one in a map `items.KEY.member.name`.
  - A value is quoted and printed as Java prints it: `[a, b]`, `{k=v}`, `2.0`; `null` unquoted.
    A sensitive one is left out: `Value at 'environment.variables' failed …`.
  - One text per broken constraint of a member, the pattern before the lengths. But elements, keys
    and values of a container are reported once, at the container, with all constraints that they
    have, broken or not, the lengths first: `Member must satisfy constraint: [ … ]`.
  - Members are visited, and enum values printed, in the order of Java's hashes (`java.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from hearth.api.java import hash_order, lower_camel
from hearth.api.patterns import matches
from hearth.api.shapes import FLOATS, INTEGERS, NESTED, STRINGS, Kind, Ref, Shape
from hearth.api.special_constraints import (
    ELEMENTS_MAY_BE_NULL,
    ENUM_ORDERS,
    PLAIN_ELEMENTS,
    SPECIAL,
)
from hearth.api.values import float_to_text
from hearth.model.errors import ServiceError, ValidationFailed

NOT_NULL: Final = "Member must not be null"
REDACTED: Final = "*** Sensitive Data Redacted ***"
VIOLATIONS_MAX: Final = 100
"""More are counted neither by AWS's clients nor by anybody."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken constraint."""

    path: str
    shape: Shape
    value: Any
    constraint: str

    def __str__(self) -> str:
        if self.value is None:
            shown = "Value null"
        elif is_sensitive(self.shape):
            shown = "Value"
        else:
            shown = f"Value '{java_text(self.shape, self.value)}'"
        return f"{shown} at '{self.path}' failed to satisfy constraint: {self.constraint}"


def check(shape: Shape, members: Mapping[str, Any]) -> None:
    """Raises ValidationFailed, or what AWS answers instead for some members.

    `members` are decoded: of the right types, unknown ones gone.
    """
    found: list[Violation] = []
    special: ServiceError | None = None
    for violation in _structure(shape, members, ""):
        answer = SPECIAL.get((violation.shape.name, violation.path))
        if answer is None:
            found.append(violation)
            if len(found) == VIOLATIONS_MAX:
                break
        elif special is None:
            special = answer(violation.value, violation.path)
    if found:
        noun = "error" if len(found) == 1 else "errors"
        texts = "; ".join(str(violation) for violation in found)
        raise ValidationFailed(f"{len(found)} validation {noun} detected: {texts}")
    if special is not None:
        raise special


def _structure(shape: Shape, members: Mapping[str, Any], prefix: str) -> Iterator[Violation]:
    for name, path in _visiting_order(shape):
        ref = shape.members[name]
        value = members.get(name)
        if value is not None:
            yield from _value(ref.shape, value, prefix + path)
        elif name in shape.required:
            yield Violation(prefix + path, ref.shape, None, NOT_NULL)


@cache
def _visiting_order(shape: Shape) -> tuple[tuple[str, str], ...]:
    paths = {lower_camel(name): name for name in shape.members}
    return tuple((paths[path], path) for path in hash_order(paths))


def _value(shape: Shape, value: Any, path: str) -> Iterator[Violation]:
    for constraint in _broken(shape, value):
        yield Violation(path, shape, value, constraint)
    yield from _contents(shape, value, path)


def _contents(shape: Shape, value: Any, path: str) -> Iterator[Violation]:
    """What is broken inside a value; its own size is reported by whoever holds it."""
    match shape.kind:
        case Kind.STRUCTURE:
            yield from _structure(shape, value, f"{path}.")
        case Kind.LIST:
            assert shape.element is not None
            element = shape.element.shape
            yield from _elements(shape, value, path)
            for number, item in enumerate(value, 1):
                if item is not None and element.kind in NESTED:
                    yield from _contents(element, item, f"{path}.{number}.member")
        case Kind.MAP:
            assert shape.value is not None
            held = shape.value.shape
            yield from _keys_and_values(shape, value, path)
            for key, item in value.items():
                if item is not None and held.kind in NESTED:
                    yield from _contents(held, item, f"{path}.{key}.member")


def _elements(shape: Shape, items: list[Any], path: str) -> Iterator[Violation]:
    assert shape.element is not None
    element = shape.element.shape
    may_be_null = shape.name in ELEMENTS_MAY_BE_NULL
    if all(_is_sound(element, item, may_be_null=may_be_null) for item in items):
        return
    if shape.name in PLAIN_ELEMENTS:
        yield Violation(path, shape, items, PLAIN_ELEMENTS[shape.name])
        return
    constraints = _constraints(element) + (() if may_be_null else (NOT_NULL,))
    yield Violation(path, shape, items, f"Member must satisfy constraint: {_listed(constraints)}")


def _keys_and_values(shape: Shape, pairs: Mapping[str, Any], path: str) -> Iterator[Violation]:
    assert shape.key is not None
    assert shape.value is not None
    key, value = shape.key.shape, shape.value.shape
    if not all(_is_sound(key, name, may_be_null=True) for name in pairs):
        listed = _listed(_constraints(key))
        yield Violation(path, shape, pairs, f"Map keys must satisfy constraint: {listed}")
    if not all(_is_sound(value, item, may_be_null=False) for item in pairs.values()):
        listed = _listed((*_constraints(value), NOT_NULL))
        yield Violation(path, shape, pairs, f"Map value must satisfy constraint: {listed}")


def _is_sound(shape: Shape, value: Any, *, may_be_null: bool) -> bool:
    if value is None:
        return may_be_null
    return next(_broken(shape, value), None) is None


def _listed(constraints: tuple[str, ...]) -> str:
    return f"[{', '.join(constraints)}]"


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The shape's own constraints that the value breaks, in AWS's order for one member."""
    if shape.enum:
        if value not in shape.enum:
            yield _enum(shape)
        return
    if shape.pattern is not None and shape.kind in STRINGS and not matches(shape.pattern, value):
        yield _pattern(shape.pattern)
    if shape.min is None and shape.max is None:
        return
    size = _size(shape, value)
    if size is None:
        return
    if shape.max is not None and size > shape.max:
        yield _at_most(shape)
    if shape.min is not None and size < shape.min:
        yield _at_least(shape)


def _constraints(shape: Shape) -> tuple[str, ...]:
    """All of a shape's own constraints, in AWS's order for elements."""
    if shape.enum:
        return (_enum(shape),)
    has_size = shape.kind is not Kind.STRUCTURE
    found: list[str] = []
    if shape.max is not None and has_size:
        found.append(_at_most(shape))
    if shape.min is not None and has_size:
        found.append(_at_least(shape))
    if shape.pattern is not None:
        found.append(_pattern(shape.pattern))
    return tuple(found)


def _size(shape: Shape, value: Any) -> int | float | None:
    """What min and max of the shape limit: a number itself, or a length."""
    if shape.kind in INTEGERS or shape.kind in FLOATS:
        number: int | float = value
        return number
    return len(value) if isinstance(value, str | bytes | list | dict) else None


def _at_most(shape: Shape) -> str:
    return f"Member must have {_measure(shape)} less than or equal to {shape.max}"


def _at_least(shape: Shape) -> str:
    return f"Member must have {_measure(shape)} greater than or equal to {shape.min}"


def _measure(shape: Shape) -> str:
    return "value" if shape.kind in INTEGERS or shape.kind in FLOATS else "length"


def _pattern(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern}"


def _enum(shape: Shape) -> str:
    values = ENUM_ORDERS.get(shape.name) or hash_order(shape.enum)
    return f"Member must satisfy enum value set: [{', '.join(values)}]"


def is_sensitive(shape: Shape) -> bool:
    """Whether a value of the shape, or what it consists of, must not be printed."""
    parts = (shape.element, shape.key, shape.value)
    return shape.sensitive or any(part.shape.sensitive for part in parts if part is not None)


def java_text(shape: Shape, value: Any) -> str:
    """As Java prints it; what is sensitive inside is not shown."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return float_to_text(value)
        case bytes():
            return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
        case datetime():
            return value.strftime("%a %b %d %H:%M:%S UTC %Y")
        case list():
            return f"[{', '.join(_part(shape.element, item) for item in value)}]"
        case dict() if shape.kind is Kind.MAP:
            pairs = (f"{key}={_part(shape.value, item)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        case dict():
            pairs = (
                f"{lower_camel(name)}={_part(ref, value.get(name))}"
                for name, ref in shape.members.items()
            )
            return f"{shape.name}({', '.join(pairs)})"
    return str(value)


def _part(ref: Ref | None, value: Any) -> str:
    assert ref is not None
    return (
        REDACTED if value is not None and is_sensitive(ref.shape) else java_text(ref.shape, value)
    )
