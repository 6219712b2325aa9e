"""What does a subscription ask for, and is it allowed? Pure: a body in, a Subscription out.

Source: https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html (2022-07-01) and
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-logs-api.html (2020-08-15, legacy).
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from hearth.worker.inside_errors import UNREADABLE

TELEMETRY: Final = "telemetry"
LOGS: Final = "logs"
SCHEMAS: Final = {
    TELEMETRY: ("2022-07-01", "2022-12-13", "2025-01-29"),
    LOGS: ("2020-08-15", "2021-03-18"),
}
TYPES: Final = ("platform", "function", "extension")
HOSTS: Final = ("sandbox.localdomain", "sandbox")
_BOUNDS: Final = {
    "maxItems": (1_000, 10_000, 10_000),
    "maxBytes": (262_144, 1_048_576, 262_144),
    "timeoutMs": (25, 30_000, 1_000),
}
"""Least, most, and what it is if it is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Who wants what, in which portions, and where."""

    name: str
    """The extension's."""
    api: str
    schema: str
    types: tuple[str, ...]
    items_max: int
    bytes_max: int
    timeout_s: float
    protocol: str
    port: int
    path: str
    """Of the URI, for HTTP."""

    @property
    def takes_objects(self) -> bool:
        """Whether a function's JSON log line is an object in its event, and not text."""
        return self.api == TELEMETRY and self.schema >= "2022-12-13"


class InvalidSubscription(Exception):
    """What is wrong with it, all of it, as AWS lists it."""


class _Destination(msgspec.Struct):
    protocol: str = ""
    URI: str = ""
    port: int = 0
    method: str = "POST"
    encoding: str = "JSON"


class _Body(msgspec.Struct):
    schemaVersion: str = ""  # noqa: N815 - the wire's names
    types: list[str] = []
    buffering: dict[str, Any] = {}
    destination: _Destination | None = None


def parse(name: str, api: str, data: bytes) -> Subscription:
    """Raises InvalidSubscription."""
    try:
        body = msgspec.json.decode(data, type=_Body)
    except UNREADABLE as error:
        raise InvalidSubscription(f"Request body is invalid: {error}") from error
    wrong: list[str] = []
    destination = body.destination or _Destination()
    schema = body.schemaVersion or SCHEMAS[api][0]
    if api == TELEMETRY and not body.schemaVersion:
        wrong.append("schemaVersion should not be empty")
    elif schema not in SCHEMAS[api]:
        wrong.append(f"schemaVersion {schema} is not supported")
    port, path = _where(destination, wrong)
    if not body.types:
        wrong.append("types should not be empty")
    wrong += [
        f"types contains an invalid value: {kind}" for kind in body.types if kind not in TYPES
    ]
    buffering = {key: _bounded(body.buffering, key, wrong) for key in _BOUNDS}
    if wrong:
        raise InvalidSubscription("; ".join(wrong))
    return Subscription(
        name=name,
        api=api,
        schema=schema,
        types=tuple(dict.fromkeys(body.types)),
        items_max=buffering["maxItems"],
        bytes_max=buffering["maxBytes"],
        timeout_s=buffering["timeoutMs"] / 1000,
        protocol=destination.protocol,
        port=port,
        path=path,
    )


def _where(destination: _Destination, wrong: list[str]) -> tuple[int, str]:
    """Port and path; appends what is wrong with them."""
    match destination.protocol:
        case "HTTP":
            return _of_uri(destination.URI, wrong)
        case "TCP":
            if not 0 < destination.port < 65_536:
                wrong.append("destination port is not provided or invalid")
            return destination.port, ""
        case "":
            wrong.append("destination protocol is not provided")
        case other:
            wrong.append(f"destination protocol {other} is not supported")
    return 0, ""


def _of_uri(uri: str, wrong: list[str]) -> tuple[int, str]:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        wrong.append("URI is invalid")
        return 0, ""
    if not uri:
        wrong.append("URI is not provided")
    elif parts.scheme != "http":
        wrong.append("URI scheme should be http")
    elif parts.hostname not in HOSTS:
        wrong.append(f"URI host should be {HOSTS[0]}")
    elif not port:
        wrong.append("URI port is not provided")
    elif not uri.isascii() or any(character <= " " for character in uri):
        wrong.append("URI is invalid")
    path = parts.path or "/"
    return port or 0, f"{path}?{parts.query}" if parts.query else path


def _bounded(buffering: dict[str, Any], key: str, wrong: list[str]) -> int:
    least, most, otherwise = _BOUNDS[key]
    value = buffering.get(key, otherwise)
    if isinstance(value, bool) or not isinstance(value, int):
        wrong.append(f"buffering.{key} should be an integer")
        return otherwise
    if not least <= value <= most:
        wrong.append(f"buffering.{key} should be between {least} and {most}")
    return value
