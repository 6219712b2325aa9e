"""A caller's expression finds what Python's `re` finds, and is never at it for long."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.logs.filter_pattern import compiled
from hearth.logs.safe_regex import SafeRegex

ATOMS = st.sampled_from(["a", "b", ".", r"\d", r"\.", "[ab]", "[^a]", r"[\d-]", r"\x61", "]", "}"])
REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{0}", "{1,}", "{0,2}", "{1,3}"])
SEQUENCES = st.lists(st.tuples(ATOMS, REPEATS).map("".join), max_size=5).map("".join)
ALTERNATIVES = st.tuples(st.sampled_from(["", "^"]), SEQUENCES, st.sampled_from(["", "$"]))
EXPRESSIONS = st.lists(ALTERNATIVES.map("".join), min_size=1, max_size=3).map("|".join)


@given(EXPRESSIONS, st.text(alphabet="ab1.]}\n-x", max_size=12))
def test_the_automaton_finds_what_re_finds(expression: str, text: str) -> None:
    expected = re.search(expression, text, re.ASCII) is not None
    regex = SafeRegex(expression)
    assert regex.is_in(text) is expected
    assert regex._automaton.search(text) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "(a)",
        "a**",
        "a*+",
        "a*?",
        "a{2}{2}",
        "*a",
        "a^b",
        "a$b",
        r"\b",
        r"\1",
        "[a",
        "[b-a]",
        "a{3,2}",
        "a{1001}",
        "(?i)a",
        "\\",
        "x" * 257,
    ],
)
def test_what_is_no_expression_of_aws_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        SafeRegex(expression)


# With `re` each of these takes from hours to longer than the universe is old.
LINE = "a" * 20_000


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("%" + ".*a" * 20 + "b%", LINE),
        ("%" + "a?" * 60 + "a" * 60 + "b%", LINE),
        ("%[ab]*a[ab]{60}c%", "ab" * 10_000),
        ("%a*b%", LINE),
        ("%a{500}b%", LINE),
        ('{ $.a = "' + "*a" * 50 + 'b" }', '{"a": "' + LINE + '"}'),
        ('[w = "' + "*a" * 50 + 'b"]', LINE),
        ("[w, ...]", "[ " * 100_000),
        ("[w, ...]", '" [ ' * 100_000),
    ],
)
def test_no_pattern_keeps_a_reader_busy(pattern: str, message: str) -> None:
    assert compiled(pattern)(message) is pattern.startswith("[w, ")


def test_a_long_text_is_still_found_in() -> None:
    assert SafeRegex("b.*c.*d$").is_in("xb" + "." * 5_000 + "c" + "." * 5_000 + "d")
    assert not SafeRegex("b.*c.*d$").is_in("xb" + "." * 5_000 + "c" + "." * 5_000 + "d.")


def test_a_number_too_large_to_compare_is_no_match() -> None:
    assert compiled("{ $.a > 1 }")('{"a": 1' + "0" * 400 + "}") is False


def test_brackets_that_nobody_closes_are_words() -> None:
    assert compiled('[a = "[x", b]')("[x y]") is False
    assert compiled('[a = "x y"]')("[x y]") is True
    assert compiled('[a = "x y", b = "[z", c]')("[x y] [z w") is True
