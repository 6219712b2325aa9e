"""EventBridge's patterns: what they match, what they refuse, and that nothing breaks them."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.model.event_filters import Filters
from hearth.model.event_patterns import InvalidPattern, compile_pattern, parse
from hearth.model.mappings import SourceKind


def matches(pattern: Any, event: Any) -> bool:
    return compile_pattern(json.dumps(pattern))(parse(json.dumps(event)))


@pytest.mark.parametrize(
    ("pattern", "event", "wanted"),
    [
        ({"a": ["x"]}, {"a": "x", "b": 1}, True),
        ({"a": ["x"]}, {"a": "y"}, False),
        ({"a": ["x", "y"]}, {"a": "y"}, True),
        ({"a": ["x"]}, {}, False),
        ({"a": ["x"], "b": ["y"]}, {"a": "x"}, False),
        ({"a": [""]}, {"a": ""}, True),
        ({"a": [None]}, {"a": None}, True),
        ({"a": [None]}, {}, False),
        ({"a": [True]}, {"a": True}, True),
        ({"a": [True]}, {"a": 1}, False),
        ({"a": [1]}, {"a": True}, False),
        ({"a": ["1"]}, {"a": 1}, False),
        ({"a": [300]}, {"a": 300}, True),
        ({"a": [300]}, {"a": 300.0}, False),
        ({"a": ["x"]}, {"a": ["y", "x"]}, True),
        ({"a": ["x"]}, {"a": []}, False),
        ({"a": ["x"]}, {"a": {"x": 1}}, False),
        ({"a": {"b": ["x"]}}, {"a": {"b": "x"}}, True),
        ({"a": {"b": ["x"]}}, {"a": "x"}, False),
        ({"a": {"b": ["x"], "c": [1]}}, {"a": [{"b": "x", "c": 2}, {"b": "y", "c": 1}]}, False),
        ({"a": {"b": ["x"], "c": [1]}}, {"a": [{"b": "y", "c": 1}, {"b": "x", "c": 1}]}, True),
        ({"a": [{"prefix": "ab"}]}, {"a": "abc"}, True),
        ({"a": [{"prefix": "ab"}]}, {"a": "ABc"}, False),
        ({"a": [{"prefix": {"equals-ignore-case": "ab"}}]}, {"a": "ABc"}, True),
        ({"a": [{"prefix": "1"}]}, {"a": 12}, False),
        ({"a": [{"suffix": "bc"}]}, {"a": "abc"}, True),
        ({"a": [{"suffix": {"equals-ignore-case": "BC"}}]}, {"a": "abc"}, True),
        ({"a": [{"equals-ignore-case": "aBc"}]}, {"a": "AbC"}, True),
        ({"a": [{"equals-ignore-case": "aBc"}]}, {"a": "abcd"}, False),
        ({"a": [{"anything-but": "x"}]}, {"a": "y"}, True),
        ({"a": [{"anything-but": "x"}]}, {"a": "x"}, False),
        ({"a": [{"anything-but": "x"}]}, {}, False),
        ({"a": [{"anything-but": ["x", "y"]}]}, {"a": "y"}, False),
        ({"a": [{"anything-but": [1, 2]}]}, {"a": 3}, True),
        ({"a": [{"anything-but": [1, 2]}]}, {"a": 2}, False),
        ({"a": [{"anything-but": {"prefix": "x"}}]}, {"a": "xy"}, False),
        ({"a": [{"anything-but": {"prefix": ["x", "z"]}}]}, {"a": "zy"}, False),
        ({"a": [{"anything-but": {"suffix": "x"}}]}, {"a": "xy"}, True),
        ({"a": [{"anything-but": {"equals-ignore-case": ["X"]}}]}, {"a": "x"}, False),
        ({"a": [{"anything-but": {"wildcard": "*/lib/*"}}]}, {"a": "a/lib/b"}, False),
        ({"a": [{"anything-but": {"wildcard": "*/lib/*"}}]}, {"a": "a/bin/b"}, True),
        ({"a": [{"numeric": ["=", 300]}]}, {"a": 300.0}, True),
        ({"a": [{"numeric": [">", 0, "<=", 5]}]}, {"a": 5}, True),
        ({"a": [{"numeric": [">", 0, "<=", 5]}]}, {"a": 0}, False),
        ({"a": [{"numeric": ["<", -1.5]}]}, {"a": -2}, True),
        ({"a": [{"numeric": [">", 0]}]}, {"a": "5"}, False),
        ({"a": [{"exists": True}]}, {"a": 0}, True),
        ({"a": [{"exists": True}]}, {"a": None}, True),
        ({"a": [{"exists": True}]}, {"b": 0}, False),
        ({"a": [{"exists": True}]}, {"a": []}, False),
        ({"a": [{"exists": False}]}, {"b": 0}, True),
        ({"a": [{"exists": False}]}, {"a": 0}, False),
        ({"a": {"b": [{"exists": False}]}}, {}, True),
        ({"a": [{"exists": False}, "x"]}, {"a": "x"}, True),
        ({"a": [{"exists": False}, "x"]}, {"a": "y"}, False),
        ({"a": [{"cidr": "10.0.0.0/24"}]}, {"a": "10.0.0.255"}, True),
        ({"a": [{"cidr": "10.0.0.0/24"}]}, {"a": "10.0.1.0"}, False),
        ({"a": [{"cidr": "10.0.0.0/24"}]}, {"a": "nowhere"}, False),
        ({"a": [{"cidr": "2001:db8::/32"}]}, {"a": "2001:db8::1"}, True),
        ({"a": [{"wildcard": "dir/*.png"}]}, {"a": "dir/x/y.png"}, True),
        ({"a": [{"wildcard": "dir/*.png"}]}, {"a": "dir/x/y.jpg"}, False),
        ({"a": [{"wildcard": "1\\*2"}]}, {"a": "1*2"}, True),
        ({"a": [{"wildcard": "1\\*2"}]}, {"a": "1x2"}, False),
        ({"a": [{"wildcard": "a.c"}]}, {"a": "abc"}, False),
        ({"a": [{"wildcard": "ab*ba"}]}, {"a": "aba"}, False),
        ({"a": [{"wildcard": "ab*ba"}]}, {"a": "abba"}, True),
        ({"a": [{"wildcard": "*a*b*"}]}, {"a": "xxbxa"}, False),
        ({"a": [{"wildcard": "*"}]}, {"a": ""}, True),
        ({"a": [{"wildcard": "*a" * 20}]}, {"a": "a" * 300_000 + "b"}, False),
        ({"$or": [{"a": ["x"]}, {"b": [1]}]}, {"b": 1}, True),
        ({"$or": [{"a": ["x"]}, {"b": [1]}]}, {"b": 2}, False),
        ({"c": ["y"], "$or": [{"a": ["x"]}, {"b": [1]}]}, {"b": 1}, False),
        ({"a": {"$or": [{"b": [1]}, {"c": [2]}]}}, {"a": {"c": 2}}, True),
    ],
)
def test_what_matches(pattern: Any, event: Any, wanted: bool) -> None:
    assert matches(pattern, event) is wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '"a"',
        "{}",
        "{",
        '{"a": "x"}',
        '{"a": 1}',
        '{"a": null}',
        '{"a": []}',
        '{"a": {}}',
        '{"a": [["x"]]}',
        '{"a": [{}]}',
        '{"a": [{"unknown": 1}]}',
        '{"a": [{"prefix": 1}]}',
        '{"a": [{"prefix": "a", "suffix": "b"}]}',
        '{"a": [{"prefix": {"suffix": "b"}}]}',
        '{"a": [{"equals-ignore-case": ["a"]}]}',
        '{"a": [{"anything-but": []}]}',
        '{"a": [{"anything-but": ["a", 1]}]}',
        '{"a": [{"anything-but": null}]}',
        '{"a": [{"anything-but": {"numeric": ["=", 1]}}]}',
        '{"a": [{"anything-but": {"prefix": []}}]}',
        '{"a": [{"numeric": []}]}',
        '{"a": [{"numeric": [">"]}]}',
        '{"a": [{"numeric": [">", "1"]}]}',
        '{"a": [{"numeric": ["!", 1]}]}',
        '{"a": [{"numeric": [">", 5, "<", 1]}]}',
        '{"a": [{"numeric": ["<", 5, ">", 1]}]}',
        '{"a": [{"numeric": ["=", 1, "<", 2]}]}',
        '{"a": [{"numeric": [">", 6000000000]}]}',
        '{"a": [{"exists": "yes"}]}',
        '{"a": [{"exists": 1}]}',
        '{"a": [{"cidr": "10.0.0.0/99"}]}',
        '{"a": [{"wildcard": "a**b"}]}',
        '{"a": [{"wildcard": "a\\\\b"}]}',
        '{"a": [NaN]}',
        '{"a": ["x"], "a": ["y"]}',
        '{"$or": [{"a": ["x"]}]}',
        '{"$or": {"a": ["x"]}}',
        '{"$or": ["x", "y"]}',
        '{"a":' * 101 + '["x"]' + "}" * 101,
        '{"a":' * 2_000 + '["x"]' + "}" * 2_000,
    ],
)
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(InvalidPattern):
        compile_pattern(text)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "$or", "exists", "numeric"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(_json, _json)
def test_anything_is_a_pattern_or_refused(pattern: Any, event: Any) -> None:
    try:
        test = compile_pattern(json.dumps(pattern))
    except InvalidPattern:
        return
    assert test(parse(json.dumps(event))) in (True, False)


@given(st.text(), st.text())
def test_a_value_matches_itself_and_not_anything_but_itself(value: str, other: str) -> None:
    assert matches({"a": [value]}, {"a": value})
    assert matches({"a": [value]}, {"a": other}) is (value == other)
    assert not matches({"a": [{"anything-but": value}]}, {"a": value})
    assert matches({"a": [{"prefix": value[:2]}, {"suffix": value}]}, {"a": value})


@given(st.text(alphabet="ab*\\", max_size=8))
def test_an_escaped_text_is_a_wildcard_for_itself_only(text: str) -> None:
    pattern = text.replace("\\", "\\\\").replace("*", "\\*")
    assert matches({"a": [{"wildcard": pattern}]}, {"a": text})
    assert not matches({"a": [{"wildcard": pattern}]}, {"a": text + "a"})


@given(
    st.text(alphabet="ab*", max_size=6).filter(lambda text: "**" not in text),
    st.text(alphabet="ab", max_size=8),
)
def test_a_wildcard_is_any_text(pattern: str, text: str) -> None:
    wanted = re.fullmatch(pattern.replace("*", ".*"), text) is not None
    assert matches({"a": [{"wildcard": pattern}]}, {"a": text}) is wanted


def test_an_event_may_be_nested_as_deeply_as_json_is_read() -> None:
    for depth in (100, 900, 100_000):
        text = '{"a": ' + "[" * depth + '"x"' + "]" * depth + "}"
        passes = Filters(SourceKind.SQS, ['{"body": {"a": ["x"]}}']).passes
        assert passes(json.dumps({"body": text}).encode()) in (True, False)


def test_a_queues_body_is_text_or_json() -> None:
    of_json = Filters(SourceKind.SQS, ['{"body": {"n": [1]}}'])
    of_text = Filters(SourceKind.SQS, ['{"body": ["hello"]}', '{"messageId": ["m"]}'])

    def record(body: str, message: str = "x") -> bytes:
        return json.dumps({"messageId": message, "body": body}).encode()

    assert of_json.passes(record('{"n": 1}'))
    assert not of_json.passes(record('{"n": 2}'))
    assert not of_json.passes(record("hello"))
    assert of_text.passes(record("hello"))
    assert not of_text.passes(record('{"n": 1}'))
    assert of_text.passes(record('{"n": 1}', "m"))
    assert Filters(SourceKind.SQS, []).passes(b"whatever")


def test_a_streams_data_is_json_or_dropped() -> None:
    filters = Filters(SourceKind.KINESIS, ['{"data": {"n": [1]}, "partitionKey": ["p"]}'])

    def record(data: str, key: str = "p") -> bytes:
        return json.dumps({"kinesis": {"data": data, "partitionKey": key}}).encode()

    assert filters.passes(record("eyJuIjogMX0="))
    assert not filters.passes(record("eyJuIjogMX0=", "q"))
    assert not filters.passes(record("bm90IGpzb24="))
    with pytest.raises(InvalidPattern):
        Filters(SourceKind.KINESIS, ['{"data": ["text"]}'])
