"""Which pages of other origins may call a URL, as tables."""

from typing import Any

import pytest

from hearth.gateways.cors import is_preflight, preflight_headers, with_cors

ORIGIN = "https://example.com"
ASKS = {
    "origin": ORIGIN,
    "access-control-request-method": "PUT",
    "access-control-request-headers": "x-a, x-b",
}
ALLOWED = ("Access-Control-Allow-Origin", ORIGIN)
VARY = ("Vary", "Origin")


@pytest.mark.parametrize(
    ("cors", "expected"),
    [
        ({"AllowOrigins": ["*"]}, [("Access-Control-Allow-Origin", "*")]),
        ({"AllowOrigins": [ORIGIN]}, [ALLOWED, VARY]),
        ({"AllowOrigins": ["https://*"]}, [ALLOWED, VARY]),
        ({"AllowOrigins": ["https://EXAMPLE.com"]}, [ALLOWED, VARY]),
        ({"AllowOrigins": ["https://other.com"], "MaxAge": 5, "AllowMethods": ["*"]}, []),
        ({"AllowOrigins": ["https://example.co"]}, []),
        (
            {"AllowOrigins": ["*"], "AllowMethods": ["GET", "PUT"], "AllowHeaders": ["x-a"]},
            [
                ("Access-Control-Allow-Origin", "*"),
                ("Access-Control-Allow-Methods", "GET,PUT"),
                ("Access-Control-Allow-Headers", "x-a"),
            ],
        ),
        (
            {"AllowOrigins": ["*"], "AllowCredentials": True, "AllowMethods": ["*"], "MaxAge": 0},
            [
                ALLOWED,
                VARY,
                ("Access-Control-Allow-Credentials", "true"),
                ("Access-Control-Allow-Methods", "PUT"),
                ("Access-Control-Max-Age", "0"),
            ],
        ),
    ],
)
def test_a_preflight_is_answered_by_the_settings(cors: dict[str, Any], expected: Any) -> None:
    assert preflight_headers(cors, ASKS) == expected


def test_a_preflight_is_an_options_request_that_asks() -> None:
    assert is_preflight("OPTIONS", ASKS)
    assert not is_preflight("GET", ASKS)
    assert not is_preflight("OPTIONS", {"origin": ORIGIN})


OWN = [("access-control-allow-origin", "https://mine.com"), ("X", "1")]


@pytest.mark.parametrize(
    ("cors", "origin", "expected"),
    [
        (None, ORIGIN, OWN),
        ({"AllowOrigins": [ORIGIN]}, None, [("X", "1")]),
        ({"AllowOrigins": [ORIGIN]}, "https://other.com", [("X", "1")]),
        (
            {"AllowOrigins": [ORIGIN], "ExposeHeaders": ["x", "y"]},
            ORIGIN,
            [("X", "1"), ALLOWED, VARY, ("Access-Control-Expose-Headers", "x,y")],
        ),
    ],
)
def test_the_settings_beat_what_the_function_says(cors: Any, origin: Any, expected: Any) -> None:
    assert with_cors(OWN, cors, origin) == expected
