"""What did the caller sign, and how? The parameters of a signature, and the canonical request.

Two forms: the Authorization header, and the query string of a presigned URL. All texts are
latin-1, one character a byte, as they came.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from hearth.api.sigv4_errors import (
    IncompleteSignature,
    InvalidSignature,
    missing_equal_sign,
    missing_parameters,
)
from hearth.base.http1 import HttpRequest

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
_SIGNATURE_LENGTH: Final = 64
_CACHED_PATH_LENGTH_MAX: Final = 512
_CACHED_PATHS_MAX: Final = 1_024
_PLAIN_PATH = re.compile(
    r"/(?:[A-Za-z0-9_~-][A-Za-z0-9_~.-]*/)*(?:[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)?"
)
_USUAL_HEADER = re.compile(
    r"(AWS4-HMAC-SHA256) Credential=([^,\s]+), ?SignedHeaders=([^,\s]+), ?Signature="
)
_USUAL_LENGTH_MAX: Final = 512
_USUAL_REMEMBERED: Final = 1_024
_SPACES = re.compile(r"[ \t]+")
_QUERY_PARAMETERS: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "X-Amz-Date",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A credential, taken apart: `access_key/date/region/service/terminator`."""

    access_key: str
    date: str
    region: str
    service: str
    terminator: str

    def __str__(self) -> str:
        """What the string to sign names: everything but the access key."""
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


@dataclass(slots=True, kw_only=True)
class SignatureParameters:
    """What a request says about its own signature. (Frozen, it would cost a microsecond more.)"""

    algorithm: str
    credential: str
    signed_headers: str
    signature: str
    date: str
    """As sent: ISO 8601 basic format, or what a `Date` header has."""
    expires: str | None = None
    """Only of a presigned URL: seconds after `date`."""
    session_token: str | None = None
    is_presigned: bool = False


def parse_scope(credential: str) -> Scope:
    """Raises IncompleteSignature unless it has five parts. An access key id has no slash."""
    parts = credential.rstrip("/").split("/")
    if len(parts) != 5:
        raise IncompleteSignature(
            "Credential must have exactly 5 slash-delimited elements,"
            f" e.g. keyid/date/region/service/term, got '{credential}'"
        )
    access_key, date, region, service, terminator = parts
    return Scope(
        access_key=access_key, date=date, region=region, service=service, terminator=terminator
    )


def signature_parameters(request: HttpRequest) -> SignatureParameters | None:
    """None if the request is not signed at all. Raises IncompleteSignature, InvalidSignature."""
    authorization = request.headers.get("authorization")
    if "X-Amz-Algorithm=" not in request.target:
        return _from_header(authorization, request.headers) if authorization else None
    if authorization:
        raise InvalidSignature(
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP"
            " header."
        )
    return _from_query(query_of(request.target))


def _from_header(authorization: str, headers: dict[str, str]) -> SignatureParameters:
    date = headers.get("x-amz-date") or headers.get("date") or ""
    usual = _usual(authorization)
    if usual is not None and date:
        algorithm, credential, signed_headers, signature = usual
    else:
        algorithm, found = _split_header(authorization)
        _check_complete(authorization, found, date)
        credential, signature = found["Credential"], found["Signature"]
        signed_headers = found["SignedHeaders"]
    return SignatureParameters(
        algorithm=algorithm,
        credential=credential,
        signed_headers=signed_headers,
        signature=signature,
        date=date,
        session_token=headers.get("x-amz-security-token"),
    )


def _usual(authorization: str) -> tuple[str, str, str, str] | None:
    """Algorithm, credential, signed headers and signature, if they come as AWS's clients send them.
    All but the signature is the same for a day: that much is taken apart once."""
    at = len(authorization) - _SIGNATURE_LENGTH
    if not 0 < at <= _USUAL_LENGTH_MAX:
        return None
    signature = authorization[at:]
    if not signature.isalnum():
        return None
    begin = _beginning(authorization[:at])
    return None if begin is None else (*begin, signature)


@lru_cache(maxsize=_USUAL_REMEMBERED)
def _beginning(text: str) -> tuple[str, str, str] | None:
    match = _USUAL_HEADER.fullmatch(text)
    return None if match is None else (match[1], match[2], match[3])


def _split_header(authorization: str) -> tuple[str, dict[str, str]]:
    """The algorithm, and the parameters that follow it in any order."""
    algorithm, _, rest = authorization.partition(" ")
    found: dict[str, str] = {}
    for part in rest.replace(",", " ").split() or [algorithm]:
        name, equals, value = part.partition("=")
        if not equals:
            raise missing_equal_sign(authorization)
        found[name] = value
    return algorithm, found


def _check_complete(authorization: str, found: dict[str, str], date: str) -> None:
    sentences = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not found.get(name)
    ]
    if not date:
        sentences.append(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if sentences:
        raise missing_parameters(sentences, authorization)


def _from_query(query: str) -> SignatureParameters:
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in _pairs(query)}
    sentences = [
        f"AWS query-string parameters must include '{name}'."
        for name in _QUERY_PARAMETERS
        if not found.get(name)
    ]
    if sentences:
        raise IncompleteSignature(" ".join((*sentences, "Re-examine the query-string parameters.")))
    return SignatureParameters(
        algorithm=found["X-Amz-Algorithm"],
        credential=found["X-Amz-Credential"],
        signed_headers=found["X-Amz-SignedHeaders"],
        signature=found["X-Amz-Signature"],
        date=found["X-Amz-Date"],
        expires=found.get("X-Amz-Expires"),
        session_token=found.get("X-Amz-Security-Token"),
        is_presigned=True,
    )


def canonical_request(
    request: HttpRequest, signed_headers: str, payload_hash: str, *, is_s3: bool
) -> bytes:
    """Raises IncompleteSignature if a header that was signed is not there."""
    path, _, query = request.target.partition("?")
    headers = request.headers
    lines = []
    for name in signed_names(signed_headers):
        value = headers.get(name)
        if value is None:
            raise IncompleteSignature(
                f"'{name}' is named as a SignedHeader, but it does not exist in the HTTP request."
            )
        if "  " in value or "\t" in value:
            value = _SPACES.sub(" ", value)
        lines.append(f"{name}:{value}\n")
    return (
        f"{request.method}\n{canonical_path(path, is_s3=is_s3)}\n{canonical_query(query)}\n"
        f"{''.join(lines)}\n{signed_headers}\n{payload_hash}"
    ).encode("latin-1")


@lru_cache(maxsize=_USUAL_REMEMBERED)
def _split_names(signed_headers: str) -> tuple[str, ...]:
    return tuple(signed_headers.split(";"))


def signed_names(signed_headers: str) -> tuple[str, ...]:
    """In the order in which they were signed."""
    if len(signed_headers) > _USUAL_LENGTH_MAX:
        return tuple(signed_headers.split(";"))
    return _split_names(signed_headers)


def canonical_path(path: str, *, is_s3: bool) -> str:
    """S3 takes the path as it was sent (a key may hold an encoded slash); every other service wants
    it normalised and, encoded as it is, encoded once more."""
    if is_s3 or _PLAIN_PATH.fullmatch(path):
        return path
    return _cached_path(path) if len(path) <= _CACHED_PATH_LENGTH_MAX else _normal_path(path)


def _normal_path(path: str) -> str:
    """Without dot segments and empty segments, then percent-encoded."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return quote(("/" + "/".join(kept) + end).encode("latin-1"), safe="/-_.~")


_cached_path = lru_cache(maxsize=_CACHED_PATHS_MAX)(_normal_path)


def canonical_query(query: str) -> str:
    """Encoded in one way, sorted, without the signature itself."""
    if not query:
        return ""
    pairs = [
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in _pairs(query)
        if name != b"X-Amz-Signature"
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def query_of(target: str) -> str:
    return target.partition("?")[2]


def _pairs(query: str) -> list[tuple[bytes, bytes]]:
    """A plus sign is a plus sign here: AWS wants a space as %20."""
    pairs = []
    for item in query.split("&"):
        name, equals, value = item.encode("latin-1").partition(b"=")
        if name or equals:
            pairs.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return pairs
