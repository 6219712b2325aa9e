import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.api.invoke import check_payload
from hearth.api.json_errors import (
    DEPTH_MAX,
    SOURCE,
    STEPS_MAX,
    _Scanner,
    _TooLong,
    describe,
)
from hearth.model.errors import InvalidRequestContent

UNCLOSED = (
    f"expected close marker for {{}} (start marker at [Source: {SOURCE}; line: 1, column: {{}}]"
)
CLOSE = (
    "Unexpected close marker '{}': expected '{}' (for {} starting at [Source: " + SOURCE + "; {}])"
)
ILLEGAL = (
    "Illegal unquoted character ((CTRL-CHAR, code {})): has to be escaped using backslash to be "
    "included in {}"
)
TRAILING = (
    "Trailing token (of type {}) found after value (bound as "
    "`com.fasterxml.jackson.databind.JsonNode`): not allowed as per "
    "`DeserializationFeature.FAIL_ON_TRAILING_TOKENS`"
)
VALUE = "JSON String, Number, Array, Object or token 'null', 'true' or 'false'"


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        (b"STRING_VALUE", f"Unrecognized token 'STRING_VALUE': was expecting ({VALUE})", 1, 13),
        (
            b'{"a":\x87}',
            f"Unexpected character ((CTRL-CHAR, code 135)): expected a valid value ({VALUE})",
            1,
            7,
        ),
        (b'"\x87"', "Invalid UTF-8 start byte 0x87", 1, 3),
        (
            b'{"a": "b" "c": 1}',
            "Unexpected character ('\"' (code 34)): was expecting comma to separate Object entries",
            1,
            12,
        ),
        (
            b"[1 2]",
            "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries",
            1,
            5,
        ),
        (
            b"--x",
            (
                "Unexpected character ('-' (code 45)) in numeric value: expected digit "
                "(0-9) to follow minus sign, for valid numeric value"
            ),
            1,
            3,
        ),
        (
            b'{\n"a": "x\ry"}',
            (
                "Illegal unquoted character ((CTRL-CHAR, code 13)): has to be escaped "
                "using backslash to be included in string value"
            ),
            2,
            9,
        ),
        (
            b"{a: 1}",
            "Unexpected character ('a' (code 97)): was expecting double-quote to start field name",
            1,
            3,
        ),
        (
            b'{"a" 1}',
            (
                "Unexpected character ('1' (code 49)): was expecting a colon to "
                "separate field name and value"
            ),
            1,
            7,
        ),
        (b'{"a": 1', f"Unexpected end-of-input: {UNCLOSED.format('Object', 1)})", 1, 8),
        (b' [1, {"a": 2}', f"Unexpected end-of-input: {UNCLOSED.format('Array', 2)})", 1, 14),
        (b"[", f"Unexpected end-of-input: {UNCLOSED.format('Array', 1)})", 1, 2),
        (b"[1, ", "Unexpected end-of-input within/between Array entries", 1, 5),
        (b'{"a"', "Unexpected end-of-input within/between Object entries", 1, 5),
        (b'{"a": ', "Unexpected end-of-input within/between Object entries", 1, 7),
        (b'{"a', "Unexpected end-of-input: was expecting closing '\"' for name", 1, 4),
        (b'{"a\tb": 1}', ILLEGAL.format(9, "name"), 1, 5),
        (b"[1}", CLOSE.format("}", "]", "Array", "line: 1, column: 1"), 1, 4),
        (b'{"a": [1, 2}}', CLOSE.format("}", "]", "Array", "line: 1, column: 7"), 1, 13),
        (b"{]", CLOSE.format("]", "}", "Object", "line: 1, column: 1"), 1, 3),
        (b"]", CLOSE.format("]", "}", "root", "line: 1, column: 0"), 1, 2),
        (b"{}}", CLOSE.format("}", "]", "root", "line: 1, column: 0"), 1, 4),
        (b"[1,]", "Unexpected character (']' (code 93)): expected a value", 1, 5),
        (b'{"a":}', "Unexpected character ('}' (code 125)): expected a value", 1, 7),
        (b",", "Unexpected character (',' (code 44)): expected a value", 1, 2),
        (
            b'{"a": NaN}',
            "Non-standard token 'NaN': enable `JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS` to allow",
            1,
            10,
        ),
        (
            b"[+1]",
            "Unexpected character ('+' (code 43)) in numeric value: JSON spec does not allow "
            "numbers to have plus signs: enable "
            "`JsonReadFeature.ALLOW_LEADING_PLUS_SIGN_FOR_NUMBERS` to allow",
            1,
            4,
        ),
        (
            b"{ // no\n}",
            "Unexpected character ('/' (code 47)): maybe a (non-standard) comment? (not "
            "recognized as one since Feature 'ALLOW_COMMENTS' not enabled for parser)",
            1,
            4,
        ),
        (
            b"\x00{}",
            "Illegal character ((CTRL-CHAR, code 0)): only regular white space (\\r, \\n, \\t) "
            "is allowed between tokens",
            1,
            2,
        ),
        (
            b'"\\u12x4"',
            "Unexpected character ('x' (code 120)): expected a hex-digit for character escape "
            "sequence",
            1,
            7,
        ),
        (b"{} [1]", TRAILING.format("START_ARRAY"), 1, 6),
        (b"1 -2.5", TRAILING.format("VALUE_NUMBER_FLOAT"), 1, 7),
        (b"{} x", f"Unrecognized token 'x': was expecting ({VALUE})", 1, 5),
        (
            b"1.",
            "Unexpected character ('.' (code 46)) in numeric value: Decimal point not followed "
            "by a digit",
            1,
            3,
        ),
        (b'"abc', "Unexpected end-of-input in VALUE_STRING", 1, 5),
        (b"z\x87", "Invalid UTF-8 start byte 0x87", 1, 3),
        ("世".encode(), "Invalid UTF-8 start byte 0xb8", 1, 3),
        (b'"\xe4\x41"', "Invalid UTF-8 middle byte 0x41", 1, 4),
        (b"hello world", f"Unrecognized token 'hello': was expecting ({VALUE})", 1, 7),
        (b"x" * 300, f"Unrecognized token '{'x' * 256}...': was expecting ({VALUE})", 1, 257),
        (
            b"1.x",
            (
                "Unexpected character ('x' (code 120)) in numeric value: Decimal point "
                "not followed by a digit"
            ),
            1,
            4,
        ),
        (b"  ", "No content to map due to end-of-input", 1, 3),
        (b"01", "Invalid numeric value: Leading zeroes not allowed", 1, 3),
        (b'"\\q"', "Unrecognized character escape 'q' (code 113)", 1, 4),
        (
            b"1D",
            "Unexpected character ('D' (code 68)): Expected space separating root-level values",
            1,
            3,
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    text: bytes, message: str, line: int, column: int
) -> None:
    assert describe(text) == f"{message}\n at [Source: {SOURCE}; line: {line}, column: {column}]"


def test_nesting_is_bounded() -> None:
    assert describe(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX) is None
    problem = describe(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))
    assert problem is not None
    assert problem == (
        "Document nesting depth (1001) exceeds the maximum allowed (1000, from "
        "`StreamReadConstraints.getMaxNestingDepth()`)"
    ), "no place is told with this"


def is_json(text: bytes) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
def test_nothing_is_wrong_with_json(document: object, is_ascii: bool) -> None:
    text = json.dumps(document, ensure_ascii=is_ascii)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert describe(text.encode()) is None
        assert describe(json.dumps(document, indent=2).encode()) is None


@given(st.text(alphabet='{}[]",:\\ntrue01-.eE u\x00é', max_size=12))
def test_it_agrees_with_another_parser_about_what_is_json(text: str) -> None:
    assert (describe(text.encode()) is None) is is_json(text.encode())


@given(st.binary(max_size=8))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    assert (describe(data) is None) is is_json(data)
    described = describe(b'"' + data + b'"')
    assert (described is None) is is_json(b'"' + data + b'"')


ESCAPES = r'"\ud800"', r'"\ud800\u0041"', r'"\udc00"'


@given(st.text(alphabet='{}[]",:\\ntrue01-.eE u\x00é', max_size=12))
def test_what_is_said_roughly_agrees_about_what_is_wrong(text: str) -> None:
    data = text.encode()
    try:
        msgspec.json.Decoder(msgspec.Raw).decode(data)
    except msgspec.DecodeError as error:
        rough = describe(data, error, steps_max=0)
        assert rough is None or describe(data) is not None


LARGE = {
    "many values": b"[" + b"1," * 1_000_000 + b"x]",
    "objects": b"[" + b'{"a":1},' * 300_000 + b"x]",
    "escapes": b'["' + rb"\n" * 1_000_000 + b'" x]',
    "characters": b'["' + "é".encode() * 1_000_000 + b'" x]',
    "space": b"[" + b" " * 3_000_000 + b"x]",
    "far behind": b'["' + b"a" * 3_000_000 + b'",[' + b"1," * 9_000 + b"x]]",
    "cut off": b"[" + b"1," * 1_000_000 + b"1",
    "no UTF-8": b"[" + b"1," * 1_000_000 + b'"\xff"]',
}


@pytest.mark.parametrize("name", LARGE)
def test_a_fault_far_behind_is_said_without_looking_for_long(name: str) -> None:
    """It took ten seconds and more, in which nobody was served."""
    with pytest.raises(InvalidRequestContent) as refused:
        check_payload(LARGE[name])
    column = int(re.findall(r"line: 1, column: (\d+)\]", refused.value.message)[0])
    assert abs(column - len(LARGE[name])) <= 4


def test_the_search_for_a_fault_ends() -> None:
    with pytest.raises(_TooLong):
        _Scanner(b"[0" + b",0" * STEPS_MAX + b"x").document()


def test_what_only_the_fast_check_refuses_is_let_through() -> None:
    for text in ESCAPES:
        check_payload(b"[" + b"1," * STEPS_MAX + text.encode() + b"]")
