"""Does an event match a pattern? EventBridge's pattern language, as event source mappings use it.

    {"body": {"kind": ["order", {"prefix": "re"}], "price": [{"numeric": [">", 0, "<=", 5]}]}}

A pattern names fields; each has a list of alternatives, or fields of its own. All fields must
match, and of a field one alternative. What the event has besides does not matter. A list in the
event matches if one of its elements does. Numbers are equal if they are written alike: 300 is not
300.0. A pattern is compiled once, to functions; what is not a pattern is refused then.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html and
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final

NUMBER_MAX: Final = 5_000_000_000
"""EventBridge compares numbers up to this size."""
DEPTH_MAX: Final = 100

Test = Callable[[Any], bool]
"""Of a scalar; or of a whole event, for a whole pattern."""

_ABSENT: Final = object()
_LOWER: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}
_UPPER: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
}
_EQUAL: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": lambda value, bound: value == bound
}


class InvalidPattern(Exception):
    """The text is not a pattern; the message says why."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


def parse(text: str) -> Any:
    """JSON whose numbers are Numbers. Raises ValueError."""
    try:
        return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def compile_pattern(text: str) -> Test:
    """Raises InvalidPattern."""
    try:
        pattern = json.loads(
            text,
            parse_float=Number,
            parse_int=Number,
            parse_constant=_refuse,
            object_pairs_hook=_no_repetition,
        )
    except (ValueError, RecursionError) as error:
        raise InvalidPattern(f"not JSON: {error}") from error
    if not isinstance(pattern, dict):
        raise InvalidPattern("a pattern is an object")
    return _fields(pattern, 1)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is named twice")
    return found


# --- fields


def _fields(pattern: Mapping[str, Any], depth: int) -> Test:
    if not pattern:
        raise InvalidPattern("an object of a pattern names at least one field")
    if depth > DEPTH_MAX:
        raise InvalidPattern(f"more than {DEPTH_MAX} objects in one another")
    tests = [
        _any_of(wanted, depth + 1) if name == "$or" else _field(name, wanted, depth + 1)
        for name, wanted in pattern.items()
    ]

    def test(event: Any) -> bool:
        """Of a list all fields must match in the same object. Where there is no object at all
        they can only be wanted absent."""
        objects = _objects(event) if isinstance(event, (dict, list)) else [{}]
        return any(all(each(one) for each in tests) for one in objects)

    return test


def _objects(value: Any) -> list[dict[str, Any]]:
    """The value, or those in the list, at any depth."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found.append(one)
        elif isinstance(one, list):
            left.extend(reversed(one))
    return found


def _any_of(alternatives: Any, depth: int) -> Test:
    if not isinstance(alternatives, list) or len(alternatives) < 2:
        raise InvalidPattern("$or has a list of at least two objects")
    if not all(isinstance(alternative, dict) for alternative in alternatives):
        raise InvalidPattern("$or has a list of objects")
    tests = [_fields(alternative, depth) for alternative in alternatives]
    return lambda event: any(test(event) for test in tests)


def _field(name: str, wanted: Any, depth: int) -> Test:
    if isinstance(wanted, dict):
        nested = _fields(wanted, depth)
        return lambda event: nested(event.get(name, _ABSENT))
    if not isinstance(wanted, list):
        raise InvalidPattern(f"the field {name} has neither a list nor an object")
    if not wanted:
        raise InvalidPattern(f"the list of the field {name} is empty")
    exists = [rule["exists"] for rule in wanted if isinstance(rule, dict) and "exists" in rule]
    if exists:
        return _existence(name, wanted, exists)
    tests = [_rule(rule) for rule in wanted]
    return lambda event: any(
        test(value) for value in _leaves(event.get(name, _ABSENT)) for test in tests
    )


def _existence(name: str, wanted: Sequence[Any], exists: Sequence[Any]) -> Test:
    if not all(isinstance(one, bool) for one in exists) or any(
        isinstance(rule, dict) and "exists" in rule and len(rule) > 1 for rule in wanted
    ):
        raise InvalidPattern("exists is true or false")
    others = [_rule(r) for r in wanted if not (isinstance(r, dict) and "exists" in r)]

    def test(event: Any) -> bool:
        leaves = _leaves(event.get(name, _ABSENT))
        return bool(leaves) in exists or any(each(leaf) for leaf in leaves for each in others)

    return test


def _leaves(value: Any) -> list[Any]:
    """The scalars that a field has; an object, an empty list and an absent field have none."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left.extend(reversed(one))
        elif one is not _ABSENT and not isinstance(one, dict):
            found.append(one)
    return found


# --- alternatives


def _rule(rule: Any) -> Test:
    if isinstance(rule, dict):
        if len(rule) != 1:
            raise InvalidPattern("an operator stands alone in its object")
        ((name, operand),) = rule.items()
        make = _OPERATORS.get(name)
        if make is None:
            raise InvalidPattern(f"there is no operator {name}")
        return make(operand)
    if isinstance(rule, list):
        raise InvalidPattern("a list within a list")
    return _exactly(rule)


def _exactly(wanted: Any) -> Test:
    kind = type(wanted)
    return lambda value: type(value) is kind and value == wanted


def _text(operand: Any, name: str) -> str:
    if type(operand) is not str:
        raise InvalidPattern(f"{name} has a string")
    return operand


def _ignoring_case(operand: Any) -> str | None:
    """The string of `{"equals-ignore-case": "…"}`."""
    if not isinstance(operand, dict):
        return None
    if set(operand) != {"equals-ignore-case"}:
        raise InvalidPattern("only equals-ignore-case may stand in here")
    return _text(operand["equals-ignore-case"], "equals-ignore-case").lower()


def _prefix(operand: Any) -> Test:
    folded = _ignoring_case(operand)
    if folded is not None:
        return lambda value: type(value) is str and value.lower().startswith(folded)
    start = _text(operand, "prefix")
    return lambda value: type(value) is str and value.startswith(start)


def _suffix(operand: Any) -> Test:
    folded = _ignoring_case(operand)
    if folded is not None:
        return lambda value: type(value) is str and value.lower().endswith(folded)
    end = _text(operand, "suffix")
    return lambda value: type(value) is str and value.endswith(end)


def _equals_ignore_case(operand: Any) -> Test:
    wanted = _text(operand, "equals-ignore-case").lower()
    return lambda value: type(value) is str and value.lower() == wanted


def _wildcard(operand: Any) -> Test:
    """`*` is any text; `\\*` and `\\\\` are the characters themselves."""
    pieces, rest = [""], _text(operand, "wildcard")
    if re.search(r"(?<!\\)(?:\\\\)*\*\*", rest):
        raise InvalidPattern("two wildcards follow each other")
    while rest:
        if rest[0] == "\\":
            if rest[1:2] not in ("*", "\\"):
                raise InvalidPattern("a backslash stands before * or a backslash")
            pieces[-1] += rest[1]
            rest = rest[2:]
        elif rest[0] == "*":
            pieces.append("")
            rest = rest[1:]
        else:
            pieces[-1] += rest[0]
            rest = rest[1:]
    return lambda value: type(value) is str and _has_pieces(value, pieces)


def _has_pieces(text: str, pieces: Sequence[str]) -> bool:
    """Does it begin with the first, end with the last, and have the others between, in order?

    Each is taken where it is found first, so this never goes back, whatever the text is.
    """
    first, *between = pieces
    if not between:
        return text == first
    last = between.pop()
    if not text.startswith(first):
        return False
    at = len(first)
    for piece in between:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return text.endswith(last) and len(text) - len(last) >= at


def _numeric(operand: Any) -> Test:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise InvalidPattern("numeric has one comparison or two")
    bounds = [_bound(number) for number in operand[1::2]]
    names = operand[::2]
    if len(names) == 1:
        known = {**_LOWER, **_UPPER, **_EQUAL}.get(names[0]) if isinstance(names[0], str) else None
        if known is None:
            raise InvalidPattern("there is no such comparison")
        compare, bound = known, bounds[0]
        return lambda value: isinstance(value, Number) and compare(float(value), bound)
    if not (names[0] in _LOWER and names[1] in _UPPER and bounds[0] < bounds[1]):
        raise InvalidPattern("a range has its lower bound first")
    lower, upper = _LOWER[names[0]], _UPPER[names[1]]

    def test(value: Any) -> bool:
        if not isinstance(value, Number):
            return False
        number = float(value)
        return lower(number, bounds[0]) and upper(number, bounds[1])

    return test


def _bound(number: Any) -> float:
    if not isinstance(number, Number) or not abs(float(number)) <= NUMBER_MAX:
        raise InvalidPattern(f"a bound is a number of at most {NUMBER_MAX}")
    return float(number)


def _cidr(operand: Any) -> Test:
    try:
        network = ip_network(_text(operand, "cidr"), strict=False)
    except ValueError as error:
        raise InvalidPattern(f"not a network: {error}") from error

    def test(value: Any) -> bool:
        try:
            return type(value) is str and ip_address(value) in network
        except ValueError:
            return False

    return test


def _anything_but(operand: Any) -> Test:
    tests = _refused(operand)
    return lambda value: not any(test(value) for test in tests)


def _refused(operand: Any) -> list[Test]:
    """What `anything-but` keeps out: values, or an operator with one string or several."""
    if isinstance(operand, dict):
        if len(operand) != 1:
            raise InvalidPattern("anything-but has one operator")
        ((name, wanted),) = operand.items()
        make = _IN_ANYTHING_BUT.get(name)
        if make is None:
            raise InvalidPattern(f"anything-but has no operator {name}")
        wanted = wanted if isinstance(wanted, list) else [wanted]
        if not wanted:
            raise InvalidPattern("anything-but has an empty list")
        return [make(_text(one, name)) for one in wanted]
    values = operand if isinstance(operand, list) else [operand]
    kinds = {type(value) for value in values}
    if kinds not in ({str}, {Number}):
        raise InvalidPattern("anything-but has strings or numbers")
    return [_exactly(value) for value in values]


_IN_ANYTHING_BUT: Final[Mapping[str, Callable[[Any], Test]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}
_OPERATORS: Final[Mapping[str, Callable[[Any], Test]]] = {
    **_IN_ANYTHING_BUT,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "cidr": _cidr,
}
