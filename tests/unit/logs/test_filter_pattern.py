"""Filter patterns: examples of AWS's page of the syntax, and what is no pattern.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.logs.filter_pattern import compiled

EVENT = (
    '{"eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "arrayKey": ["value", '
    '"another value"], "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], '
    '"SomeObject": null, "cluster.name": "c", "ok": true, "bandwidth": 75.5}'
)
ACCESS = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("", "anything", True),
        ("  ", "", True),
        ("ERROR", "[ERROR 400] BAD REQUEST", True),
        ("error", "[ERROR 400] BAD REQUEST", False),
        ("ERROR ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", True),
        ("ERROR ARGUMENTS", "[ERROR 420] INVALID ARGS", False),
        ('"INTERNAL SERVER ERROR"', "[ERROR 500] INTERNAL SERVER ERROR", True),
        ('"INTERNAL SERVER ERROR"', "SERVER INTERNAL ERROR", False),
        ("?ERROR ?ARGUMENTS", "MISSING ARGUMENTS", True),
        ("?ERROR ?ARGUMENTS", "fine", False),
        ("ERROR -ARGUMENTS", "[ERROR 400] BAD REQUEST", True),
        ("ERROR -ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", False),
        ('-"a b"', "b a", True),
        (r'"say \"hi\""', 'they say "hi"', True),
        ("%4[0-9]{2}%", "status 404", True),
        ("%4[0-9]{2}%", "status 504", False),
        ("ERROR %A.B%", "ERROR AxB", True),
        ('{ $.eventType = "UpdateTrail" }', EVENT, True),
        ('{ $.eventType = "Update" }', EVENT, False),
        ('{ $.eventType = "Update*" }', EVENT, True),
        ("{ $.eventType = UpdateTrail }", EVENT, True),
        ('{ $.eventType != "Other" }', EVENT, True),
        ('{ $.none != "Other" }', EVENT, False),
        ("{ $.sourceIPAddress = 111.111.* }", EVENT, True),
        ('{ $.sourceIPAddress != "111.111.*" }', EVENT, False),
        ('{ $.arrayKey[0] = "value" }', EVENT, True),
        ('{ $.arrayKey[2] = "value" }', EVENT, False),
        ("{ $.objectList[1].id = 2 }", EVENT, True),
        ("{ $.objectList[1].id > 2 }", EVENT, False),
        ("{ $.bandwidth >= 75.5 && $.ok IS TRUE }", EVENT, True),
        ("{ ($.bandwidth < 75 || $.ok IS TRUE) && $.SomeObject IS NULL }", EVENT, True),
        ("{ $.SomeOtherObject NOT EXISTS }", EVENT, True),
        ("{ $.SomeObject NOT EXISTS }", EVENT, False),
        ('{ $.["cluster.name"] = "c" }', EVENT, True),
        ("{ $.eventType = %^Update% }", EVENT, True),
        ("{ $.ok = true }", EVENT, True),
        ('{ $.a = "b" }', "not JSON", False),
        ("[ip, env, user, time, request, status, bytes]", ACCESS, True),
        ("[ip, env, user, time, request, status]", ACCESS, False),
        ("[..., status = 4*, bytes]", ACCESS, True),
        ("[..., status = 5* || status = 4*, bytes > 1000]", ACCESS, True),
        ("[..., status = 4*, bytes < 1000]", ACCESS, False),
        ('[ip = %127\\.0\\.0\\.[1-9]%, env, ..., request = "*index.html*", s, b]', ACCESS, True),
        ("[w1 != 127.0.0.1, ...]", ACCESS, False),
    ],
)
def test_a_pattern_matches_what_aws_says_it_does(
    pattern: str, message: str, expected: bool
) -> None:
    assert compiled(pattern)(message) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "{",
        "{ }",
        "{ $.a }",
        "{ $.a = }",
        '{ a = "b" }',
        "{ $.a > text }",
        '{ $.a = "b" ',
        '{ $.a = "b" } more',
        "{ $.a. = 1 }",
        "[a, , b]",
        "[..., a, ...]",
        "[a = ]",
        "[a = 1 || b = 2]",
        "a:b",
        "%(a+)+%",
        "%[%",
        "{" + "(" * 40 + "$.a = 1" + ")" * 40 + "}",
        "x" * 1025,
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        compiled(pattern)


@given(st.text(alphabet='{}[]()$.%"?-*=<>!&| ,ab01\\', max_size=60), st.text(max_size=60))
def test_any_text_is_a_pattern_or_is_refused(pattern: str, message: str) -> None:
    try:
        matches = compiled(pattern)
    except ValueError:
        return
    assert matches(message) in {True, False}
