"""How is the text of one setting read? Each reader's ValueError says what the text must be."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from hearth.model.endpoints import SERVICES, Endpoint, Endpoints, variable_part

T = TypeVar("T")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_UNIT_S: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d")
_IPV6 = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ALL_ADDRESSES: Final = ("0.0.0.0", "::")
_PORTS: Final = {"http": 80, "https": 443}


class StartRefused(Exception):
    """Hearth cannot start like this. The text is for the user: what is wrong, and what to do."""


def read_as(source: str, text: str, read: Callable[[str], T]) -> T:
    """Raises StartRefused, naming the source: a flag or a variable."""
    try:
        return read(text)
    except ValueError as error:
        raise StartRefused(f"{source} must be {error}, not {text!r}.") from error


def read_duration_s(text: str) -> float:
    """`90`, `90s`, `10m`, `1.5h`. Raises ValueError saying what it must be."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("a time like 90, 90s, 10m or 2h")
    return float(match[1]) * _UNIT_S[match[2]]


def listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]") and _IPV6.fullmatch(host[1:-1]):
        host = host[1:-1]
    elif not colon:
        host = "127.0.0.1"
    elif _HOST_NAME.fullmatch(host) is None:
        port = ""
    if not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ValueError("HOST:PORT like 127.0.0.1:4566, or [::1]:4566, with a port up to 65535")
    return host, int(port)


def networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(
            str(ipaddress.IPv4Network(part.strip())) for part in text.split(",") if part.strip()
        )
    except ValueError:
        raise ValueError("IPv4 networks like 10.1.0.0/16,192.168.7.0/24") from None


def path(text: str) -> Path:
    if not text:  # an unset variable of a script; Path would make the current directory of it
        raise ValueError("a path")
    return Path(text).expanduser().absolute()


def one_of(choices: type[StrEnum]) -> Callable[[str], StrEnum]:
    def read(text: str) -> StrEnum:
        if text not in list(choices):
            raise ValueError(" or ".join(choices).replace(" or ", ", ", len(choices) - 2))
        return choices(text)

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def seconds(high_s: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        read_s = read_duration_s(text)
        if read_s > high_s:
            raise ValueError(f"at most {high_s:g} seconds")
        return read_s

    return read


def fraction(text: str) -> float:
    try:
        read = float(text)
    except ValueError:
        read = 0.0
    if not 0.05 <= read <= 1.0:
        raise ValueError("a number from 0.05 to 1")
    return read


def rate(text: str) -> float:
    try:
        read = float(text)
    except ValueError:
        read = -1.0
    if not 0.0 <= read <= 1_000_000.0:  # neither is what is no number
        raise ValueError("MB a second, like 2 or 0.5, or 0 for no limit")
    return read


def domain(text: str) -> str:
    if ".." in text or _HOST_NAME.fullmatch(text) is None:
        raise ValueError("a domain like localhost or lambda.example.com")
    return text.lower()


def level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("debug, info, warning or error")
    return text.lower()


def region(text: str) -> str:
    if _REGION.fullmatch(text) is None:
        raise ValueError("an AWS region like us-east-1")
    return text


TRACES_PATH: Final = "/v1/traces"


@dataclass(frozen=True, slots=True)
class Otlp:
    """Where traces go, and which."""

    endpoint: str
    """Of traces: with the path."""
    is_asked_for: bool
    """By a flag or by HEARTH_OTLP; else by a variable that may be meant for others."""
    sampler: str
    sampler_argument: str


def collector(text: str) -> str:
    if not _is_url(text):
        raise ValueError("a URL like http://127.0.0.1:4318")
    text = text.rstrip("/")
    return text if text.endswith(TRACES_PATH) else text + TRACES_PATH


def otlp(told: str | None, environment: Mapping[str, str]) -> Otlp | None:
    """From --otlp, else from OpenTelemetry's own variables. Raises StartRefused.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/
    """
    endpoint = told
    if endpoint is None:
        exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
        is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        if is_off or exporter != "otlp":
            return None
        if text := environment.get(name := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
            read_as(name, text, collector)
            endpoint = text
        elif text := environment.get(name := "OTEL_EXPORTER_OTLP_ENDPOINT"):
            endpoint = read_as(name, text, collector)
        else:
            return None
    return Otlp(
        endpoint,
        told is not None,
        environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on",
        environment.get("OTEL_TRACES_SAMPLER_ARG") or "",
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- endpoints of other services

ONLY_BY_NAME: Final = frozenset({"xray"})
"""Services that Hearth calls of itself: an address for all of AWS does not ask for that."""


def endpoint(text: str) -> Endpoint:
    """`s3=http://127.0.0.1:9000`, `s3=aws`."""
    service, equals, where = text.partition("=")
    if not equals or service not in SERVICES:
        raise ValueError(f"SERVICE=URL or SERVICE=aws, with a SERVICE of: {', '.join(SERVICES)}")
    return endpoint_of(service)(where)


def endpoint_of(service: str) -> Callable[[str], Endpoint]:
    def read(where: str) -> Endpoint:
        if where == "aws":
            return Endpoint(service, None)
        if not _is_url(where):
            raise ValueError("a URL like http://127.0.0.1:9000, or aws for AWS itself")
        return Endpoint(service, where.rstrip("/"))

    return read


def endpoints(
    flags: Iterable[str], environment: Mapping[str, str], listen_at: tuple[str, int]
) -> Endpoints:
    """The table: what the flags leave open, the environment says. Raises StartRefused.

    AWS's own variables are often set to Hearth itself, for its users. Then they say nothing about
    where Hearth finds other services. Where ours, or a flag, says so, it is a mistake.
    """
    table: dict[str, Endpoint] = {}
    for text in flags:
        told = read_as("--endpoint", text, endpoint)
        _refuse_itself("--endpoint", told, listen_at)
        if told.service in table:
            raise StartRefused(f"--endpoint was given twice for {told.service}; give it once.")
        table[told.service] = told
    for service in SERVICES:
        if service not in table:
            found = _endpoint_in(environment, service, listen_at)
            table |= {} if found is None else {service: found}
    return Endpoints(table)


def _endpoint_in(
    environment: Mapping[str, str], service: str, listen_at: tuple[str, int]
) -> Endpoint | None:
    part = variable_part(service)
    if text := environment.get(own := f"HEARTH_ENDPOINT_{part}"):
        told = read_as(own, text, endpoint_of(service))
        _refuse_itself(own, told, listen_at)
        return told
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    names = (f"AWS_ENDPOINT_URL_{part}", "AWS_ENDPOINT_URL")
    for name in names[:1] if service in ONLY_BY_NAME else names:
        if text := environment.get(name):
            told = read_as(name, text, endpoint_of(service))
            return None if _is_at(told, listen_at) else told
    return None


def _refuse_itself(source: str, told: Endpoint, listen_at: tuple[str, int]) -> None:
    if _is_at(told, listen_at):
        raise StartRefused(
            f"{source} says that {told.service} is at {told.url}, where this Hearth will listen; "
            "it does not serve that. Name the server that does, or aws for AWS itself."
        )


def _is_at(told: Endpoint, listen_at: tuple[str, int]) -> bool:
    if told.url is None:
        return False
    host, port = listen_at
    url = urlsplit(told.url)
    if (url.port or _PORTS[url.scheme]) != port:
        return False
    there = url.hostname or ""
    if there == host:
        return True
    # Whoever listens on all addresses listens on loopback too; localhost may be any of loopback.
    by_loopback = is_loopback(there) and (host in _ALL_ADDRESSES or is_loopback(host))
    return by_loopback and (host in _ALL_ADDRESSES or "localhost" in (there, host))


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        known = url.scheme in _PORTS and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return known and url.username is None and not url.query and not url.fragment
