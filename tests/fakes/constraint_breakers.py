"""Values of a service model that keep every constraint, and values that break just one.

An oracle of its own: it reads the model through botocore, knows the texts from AWS's recorded
answers, and shares nothing with the code under test. What cannot be broken alone (a text that is
too long for a pattern of twelve digits) is expected to be reported with what breaks along with it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from botocore.model import ListShape, MapShape, Shape, StructureShape

NOT_NULL: Final = "Member must not be null"
DEPTH_MAX: Final = 6
UNICODE_PATTERNS: Final = {
    r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)": r"([\w\s_.:/=+\-@]*)",
}
"""Java's patterns that Python cannot read, as near as it can."""

ELEMENTS_MAY_BE_NULL: Final = frozenset({"SecurityGroupIds"})
PLAIN_ELEMENTS: Final = frozenset({"CompatibleRuntimes"})
"""Recorded exceptions: see `tests/unit/api/test_validation.py`."""

_LAMBDA = "arn:aws:lambda:eu-central-1:123456789012:"
CANDIDATES: Final = (
    "f",
    "1",
    "ab",
    "abcde",
    "aa-1",
    "a" * 20,
    f"{_LAMBDA}function:f",
    f"{_LAMBDA}layer:l",
    f"{_LAMBDA}layer:l:1",
    f"{_LAMBDA}code-signing-config:csc-{'a' * 17}",
    f"{_LAMBDA}event-source-mapping:00000000-0000-0000-0000-000000000000",
    f"{_LAMBDA}capacity-provider:c",
    f"{_LAMBDA}function:f:1/durable-execution/a/b",
    "arn:aws:lambda:eu-central-1::runtime:r",
    f"{_LAMBDA}runtime/r",
    "arn:aws:iam::123456789012:role/r",
    "arn:aws:kms:eu-central-1:123456789012:key/k",
    "arn:aws:s3:::bucket",
    f"arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/fsap-{'a' * 17}",
    f"arn:aws:signer:eu-central-1:123456789012:/signing-profiles/{'a' * 10}",
    f"csc-{'a' * 17}",
    "00000000-0000-0000-0000-000000000000",
    "123456789012",
    "eu-central-1",
    "sg-1",
    "subnet-1",
    "/mnt/a",
    "o-aaaaaaaaaa",
    "lambda:InvokeFunction",
    "lambda:GetLayerVersion",
    "broker.example:9092",
    "SomeException",
    "$LATEST",
    "$LATEST.PUBLISHED",
)
HOSTILE: Final = (
    "é", "a b", "!", "a/b", "<&>", "\x00", "a\nb", "*", "%41", "'", '"', "\\", "１", "🔥", "-", ".",
    "..", "1;2", "{}", "arn:aws:", "$", "$latest", ":", "",
)  # fmt: skip
WIDE_DIGITS: Final = str.maketrans("0123456789", "０１２３４５６７８９")
"""Digits to Python, but not to Java."""


@dataclass(frozen=True)
class Violation:
    """One sentence of an answer."""

    path: str
    shown: str
    constraint: str

    def __str__(self) -> str:
        return f"{self.shown} at '{self.path}' failed to satisfy constraint: {self.constraint}"


@dataclass(frozen=True)
class Broken:
    """A value, and what AWS says about it. `special`: another code than ValidationException."""

    value: Any
    violations: tuple[Violation, ...]
    what: str
    special: bool = False

    def below(self, prefix: str, value: Any) -> "Broken":
        """The same within a container."""
        moved = tuple(replace(v, path=prefix + v.path) for v in self.violations)
        return replace(self, value=value, violations=moved)


# --- values that keep everything


@cache
def sound(shape: Shape, *, full: bool = False, depth: int = 0) -> Any:
    """Treat it as frozen. `full`: with every optional member."""
    if isinstance(shape, StructureShape):
        return {
            name: sound(member, full=full, depth=depth + 1)
            for name, member in shape.members.items()
            if name in shape.required_members or (full and depth < DEPTH_MAX)
        }
    low, high = _bounds(shape)
    if isinstance(shape, ListShape):
        return [sound(shape.member, full=full, depth=depth + 1)] * max(int(low or 0), 1)
    if isinstance(shape, MapShape):
        return {sound(shape.key): sound(shape.value, full=full, depth=depth + 1)}
    match shape.type_name:
        case "integer" | "long":
            return int(low if low is not None else 1)
        case "float" | "double":
            return float(high if high is not None else 0.5)
        case "boolean":
            return False
        case "blob":
            return b"x" * max(int(low or 0), 1)
        case "timestamp":
            return datetime(2026, 1, 1, tzinfo=UTC)
    return _sound_text(shape)


def _sound_text(shape: Shape) -> str:
    if enum_of(shape):
        return enum_of(shape)[0] if shape.name != "Runtime" else "python3.12"
    for candidate in CANDIDATES:
        if not text_breaks(shape, candidate):
            return candidate
    raise LookupError(f"no candidate keeps the constraints of {shape.name}: {shape.metadata}")


def text_breaks(shape: Shape, text: str) -> list[str]:
    """The constraints that a text breaks, in AWS's order."""
    found = []
    pattern = shape.metadata.get("pattern")
    if pattern is not None and compiled(pattern).fullmatch(text) is None:
        found.append(f"Member must satisfy regular expression pattern: {pattern}")
    return found + _size_breaks(shape, len(text), "length")


def _size_breaks(shape: Shape, size: float, measure: str) -> list[str]:
    low, high = _bounds(shape)
    found = []
    if high is not None and size > high:
        found.append(f"Member must have {measure} less than or equal to {high}")
    if low is not None and size < low:
        found.append(f"Member must have {measure} greater than or equal to {low}")
    return found


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    if pattern in UNICODE_PATTERNS:
        return re.compile(UNICODE_PATTERNS[pattern])
    return re.compile(pattern, re.ASCII)


def _bounds(shape: Shape) -> tuple[float | None, float | None]:
    return shape.metadata.get("min"), shape.metadata.get("max")


def enum_of(shape: Shape) -> list[str]:
    return list(shape.metadata.get("enum", ()))


# --- values that break one


def broken(shape: Shape, *, full: bool = False, depth: int = 0) -> Iterator[Broken]:
    """Everything that can be wrong with a value at its own place, and inside it."""
    for value, constraints, what in own_breaks(shape):
        shown = shown_at(shape, value)
        yield Broken(value, tuple(Violation("", shown, text) for text in constraints), what)
    yield from inner_breaks(shape, full=full, depth=depth)


def own_breaks(shape: Shape) -> Iterator[tuple[Any, list[str], str]]:
    """(value, constraints, what): of min, max, pattern and enum of the shape itself."""
    if shape.type_name in ("integer", "long", "float", "double"):
        yield from _number_breaks(shape)
    elif shape.type_name == "string":
        yield from _text_breaks(shape)
    elif shape.type_name == "blob":
        yield from _sized_breaks(shape, lambda size: b"x" * size)
    elif isinstance(shape, ListShape):
        yield from _sized_breaks(shape, lambda size: [sound(shape.member)] * size)
    elif isinstance(shape, MapShape):
        yield from _sized_breaks(shape, lambda size: _pairs(shape, size))


def _number_breaks(shape: Shape) -> Iterator[tuple[Any, list[str], str]]:
    low, high = _bounds(shape)
    whole = shape.type_name in ("integer", "long")
    wrong: list[float] = []
    if low is not None:
        wrong += [low - 1, low - 1_000_000] if whole else [low - 0.5, -1e9]
    if high is not None:
        wrong += [high + 1, high + 1_000_000] if whole else [high + 0.5, 1e9]
    for value in wrong:
        number = int(value) if whole else float(value)
        yield number, _size_breaks(shape, number, "value"), f"value {number}"


def _text_breaks(shape: Shape) -> Iterator[tuple[Any, list[str], str]]:
    values = enum_of(shape)
    if values:
        listed = f"Member must satisfy enum value set: [{', '.join(values)}]"
        first = values[0]
        for text in ("nope", "", first.swapcase(), f"{first} ", f"{first}x", "null", f"[{first}]"):
            if text not in values:
                yield text, [listed], f"enum {text!r}"
        return
    seen: set[str] = set()
    for text in (*_long_and_short(shape), *_hostile(shape)):
        found = text_breaks(shape, text)
        if found and text not in seen:
            seen.add(text)
            yield text, found, f"text {text[:40]!r} of {len(text)}"


def _long_and_short(shape: Shape) -> Iterator[str]:
    low, high = _bounds(shape)
    base = sound(shape)
    if low:
        yield from (base[:size] for size in {0, int(low) - 1})
    if high is not None:
        for size in (int(high) + 1, int(high) * 2 + 7):
            fitting = (base + pad * (size - len(base)) for pad in ("a", "1", "=", "-"))
            pattern = compiled(shape.metadata.get("pattern", r"[\s\S]*"))
            texts = list(fitting)
            yield next((text for text in texts if pattern.fullmatch(text)), texts[0])


def _hostile(shape: Shape) -> Iterator[str]:
    if "pattern" not in shape.metadata:
        return
    low, high = _bounds(shape)
    base = sound(shape)
    wide = base.translate(WIDE_DIGITS)
    for bad in HOSTILE:
        for text in (bad, base + bad, bad + base, bad * max(int(low or 1), 1), wide):
            if len(text) >= (low or 0) and (high is None or len(text) <= high):
                yield text


def _sized_breaks(shape: Shape, make: Callable[[int], Any]) -> Iterator[tuple[Any, list[str], str]]:
    low, high = _bounds(shape)
    sizes = ([int(low) - 1] if low else []) + ([] if high is None else [int(high) + 1])
    for size in sizes:
        value = make(size)
        if len(value) != size:
            continue  # a map whose keys are an enum cannot have more
        yield value, _size_breaks(shape, len(value), "length"), f"size {size}"


def _pairs(shape: MapShape, size: int) -> dict[str, Any]:
    keys = (f"{sound(shape.key)}{number}" for number in range(10 * size + 10))
    values = enum_of(shape.key)
    fitting = values or [key for key in keys if not text_breaks(shape.key, key)]
    return {key: sound(shape.value) for key in fitting[:size]}


def inner_breaks(shape: Shape, *, full: bool, depth: int) -> Iterator[Broken]:
    if depth > DEPTH_MAX:
        return
    if isinstance(shape, StructureShape):
        yield from structure_breaks(shape, full=full, depth=depth)
    elif isinstance(shape, ListShape):
        yield from _list_breaks(shape, full=full, depth=depth)
    elif isinstance(shape, MapShape):
        yield from _map_breaks(shape, full=full, depth=depth)


def structure_breaks(shape: StructureShape, *, full: bool, depth: int = 0) -> Iterator[Broken]:
    base = sound(shape, full=full, depth=depth)
    prefix = "." if depth else ""
    for name, member in shape.members.items():
        path = f"{prefix}{name[:1].lower()}{name[1:]}"
        if name in shape.required_members:
            missing = (Violation(path, "Value null", NOT_NULL),)
            without = {key: value for key, value in base.items() if key != name}
            yield Broken(without, missing, "absent")
            yield Broken({**base, name: None}, missing, "null")
        for case in broken(member, full=full, depth=depth + 1):
            special = member.name == "Runtime" and path == "runtime"
            yield replace(case.below(path, {**base, name: case.value}), special=special)


def _list_breaks(shape: ListShape, *, full: bool, depth: int) -> Iterator[Broken]:
    element, good = shape.member, sound(shape.member, full=full, depth=depth + 1)
    _low, high = _bounds(shape)
    text = f"Member must satisfy constraint: [{', '.join(_listed(element, shape))}]"
    if shape.name in PLAIN_ELEMENTS:
        text = _listed(element, shape)[0]
    wrong: list[tuple[Any, str]] = [(v, what) for v, _, what in own_breaks(element)]
    if shape.name not in ELEMENTS_MAY_BE_NULL:
        wrong.append((None, "null"))
    for value, what in wrong:
        for items in ([value], [good, value], [value, good]):
            if high is None or len(items) <= high:
                shown = shown_at(shape, items)
                yield Broken(items, (Violation("", shown, text),), f"element {what}")
    for case in inner_breaks(element, full=full, depth=depth + 1):
        yield case.below(".1.member", [case.value])
        if high is None or high >= 2:
            yield case.below(".2.member", [good, case.value])


def _map_breaks(shape: MapShape, *, full: bool, depth: int) -> Iterator[Broken]:
    key, value = sound(shape.key), sound(shape.value, full=full, depth=depth + 1)
    listed = _listed(shape.key, None)
    for wrong, _, what in own_breaks(shape.key):
        text = f"Map keys must satisfy constraint: [{', '.join(listed)}]"
        pairs = {wrong: value}
        yield Broken(pairs, (Violation("", shown_at(shape, pairs), text),), f"key {what}")
    text = f"Map value must satisfy constraint: [{', '.join(_listed(shape.value, shape))}]"
    for wrong, what in [*((v, w) for v, _, w in own_breaks(shape.value)), (None, "null")]:
        pairs = {key: wrong}
        yield Broken(pairs, (Violation("", shown_at(shape, pairs), text),), f"map value {what}")
    for case in inner_breaks(shape.value, full=full, depth=depth + 1):
        yield case.below(f".{key}.member", {key: case.value})


def _listed(shape: Shape, container: Shape | None) -> list[str]:
    """All constraints of an element, broken or not: lengths first, as AWS lists them."""
    low, high = _bounds(shape)
    measure = "value" if shape.type_name in ("integer", "long", "float", "double") else "length"
    found = []
    if enum_of(shape):
        found = [f"Member must satisfy enum value set: [{', '.join(enum_of(shape))}]"]
    elif not isinstance(shape, StructureShape):
        if high is not None:
            found.append(f"Member must have {measure} less than or equal to {high}")
        if low is not None:
            found.append(f"Member must have {measure} greater than or equal to {low}")
        if "pattern" in shape.metadata:
            pattern = shape.metadata["pattern"]
            found.append(f"Member must satisfy regular expression pattern: {pattern}")
    if container is not None and container.name not in ELEMENTS_MAY_BE_NULL:
        found.append(NOT_NULL)
    return found


# --- how Java shows a value


def shown_at(shape: Shape, value: Any) -> str:
    return "Value" if hides(shape) else f"Value '{java(shape, value)}'"


def hides(shape: Shape) -> bool:
    """Whether the shape, or a part that it consists of, is sensitive."""
    parts = [getattr(shape, name, None) for name in ("member", "key", "value")]
    return any(part.metadata.get("sensitive") for part in (shape, *parts) if part is not None)


def java(shape: Shape, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(shape, StructureShape):
        members = (
            f"{name[:1].lower()}{name[1:]}={_part(member, value.get(name))}"
            for name, member in shape.members.items()
        )
        return f"{shape.name}({', '.join(members)})"
    if isinstance(shape, ListShape):
        return f"[{', '.join(_part(shape.member, item) for item in value)}]"
    if isinstance(shape, MapShape):
        return f"{{{', '.join(f'{k}={_part(shape.value, v)}' for k, v in value.items())}}}"
    if isinstance(value, bytes):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _part(shape: Shape, value: Any) -> str:
    if value is not None and hides(shape):
        return "*** Sensitive Data Redacted ***"
    return java(shape, value)
