"""Which pages of other origins may call a function URL? The URL's own CORS settings. Pure.

A preflight is answered without the function. In every other answer these settings beat whatever the
function says of CORS. Without settings all that is the function's own affair.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-cors
"""

from collections.abc import Mapping
from typing import Any, Final

from hearth.model.wildcards import wildcard_pattern

Headers = list[tuple[str, str]]

_PREFIX: Final = "access-control-"


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    return (
        method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
    )


def preflight_headers(cors: Mapping[str, Any], headers: Mapping[str, str]) -> Headers:
    """Of the answer, which is a 200 without a body; a stranger's has none of them."""
    answered = _origin_headers(cors, headers["origin"])
    if not answered:
        return []
    for header, member, asked in (
        ("Access-Control-Allow-Methods", "AllowMethods", "access-control-request-method"),
        ("Access-Control-Allow-Headers", "AllowHeaders", "access-control-request-headers"),
    ):
        allowed = list(cors.get(member) or ())
        if "*" in allowed and cors.get("AllowCredentials"):
            allowed = [headers[asked]] if headers.get(asked) else []  # `*` would mean itself
        if allowed:
            answered.append((header, ",".join(allowed)))
    if "MaxAge" in cors:
        answered.append(("Access-Control-Max-Age", str(cors["MaxAge"])))
    return answered


def with_cors(answer: Headers, cors: Mapping[str, Any] | None, origin: str | None) -> Headers:
    """The headers of a function's answer as they go out."""
    if cors is None:
        return answer
    kept = [(name, value) for name, value in answer if not name.lower().startswith(_PREFIX)]
    if origin is None:
        return kept
    own = _origin_headers(cors, origin)
    if own and cors.get("ExposeHeaders"):
        own.append(("Access-Control-Expose-Headers", ",".join(cors["ExposeHeaders"])))
    return kept + own


def _origin_headers(cors: Mapping[str, Any], origin: str) -> Headers:
    origins = cors.get("AllowOrigins") or ()
    has_credentials = bool(cors.get("AllowCredentials"))
    if "*" in origins and not has_credentials:
        return [("Access-Control-Allow-Origin", "*")]
    if not any(_is_like(origin, allowed) for allowed in origins):
        return []
    headers = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
    if has_credentials:
        headers.append(("Access-Control-Allow-Credentials", "true"))
    return headers


def _is_like(origin: str, allowed: str) -> bool:
    return wildcard_pattern(allowed, ignore_case=True).fullmatch(origin) is not None
