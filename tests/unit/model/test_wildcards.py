"""Wildcards match as `.*` would, and never try for long."""

import re

from hypothesis import given
from hypothesis import strategies as st

from hearth.control.policy import (
    AccountPrincipal,
    Condition,
    Question,
    Statement,
    Verdict,
    decide,
)
from hearth.gateways.cors import with_cors
from hearth.model.ids import AccountId
from hearth.model.wildcards import wildcard_pattern


@given(st.text(alphabet="ab*?\n.", max_size=10), st.text(alphabet="abB\n.", max_size=10))
def test_they_match_what_the_slow_way_matches(pattern: str, text: str) -> None:
    parts = {"*": ".*", "?": "."}
    slow = "".join(parts.get(c, re.escape(c)) for c in pattern)
    quick = wildcard_pattern(pattern, one=True).fullmatch(text)
    assert (quick is None) is (re.fullmatch(slow, text, re.DOTALL) is None)
    slow = ".*".join(map(re.escape, pattern.split("*")))
    quick = wildcard_pattern(pattern, ignore_case=True).fullmatch(text)
    assert (quick is None) is (re.fullmatch(slow, text, re.DOTALL | re.IGNORECASE) is None)


MANY = "*a" * 2_000 + "b"


def test_a_policy_cannot_keep_us_busy() -> None:
    """Years, if each star were tried everywhere."""
    named = "arn:aws:iam::123456789012:user/" + "a" * 64
    statement = Statement(
        allows=True,
        aws=("*",),
        actions=("lambda:" + MANY, "*"),
        resources=(MANY, "*"),
        conditions=(Condition("StringLike", "aws:principalarn", (MANY,)),),
    )
    question = Question(
        AccountPrincipal(AccountId("123456789012"), named),
        "lambda:InvokeFunction",
        "arn:aws:lambda:us-east-1:123456789012:function:" + "a" * 64,
        {"aws:principalarn": named},
    )
    assert decide([statement], question) is Verdict.SILENT


def test_an_allowed_origin_cannot_keep_us_busy() -> None:
    headers = with_cors([], {"AllowOrigins": ["https://" + MANY]}, "https://" + "a" * 8_000)
    assert headers == []
