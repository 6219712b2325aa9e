"""Who asks? AWS Signature Version 4 verified, or, with open authentication, merely read.

The checks, in AWS's order: is there a signature; are its parameters there; is its date in order;
is the host signed; is the credential's scope ours; is the key known; does the signature hold.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, Protocol

from hearth.api.keys import AccessKey
from hearth.api.sigv4_errors import (
    AMZ_DATE_FORMAT,
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
    UnrecognizedClient,
    expired,
    mismatch,
    not_yet_current,
)
from hearth.api.sigv4_request import (
    ALGORITHM,
    TERMINATOR,
    Scope,
    SignatureParameters,
    canonical_request,
    parse_scope,
    query_of,
    signature_parameters,
    signed_names,
)
from hearth.base.clock import Clock
from hearth.base.http1 import HttpRequest
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, PARTITION, AccountId, Caller, Region

SKEW_MAX: Final = timedelta(minutes=5)
SKEW_S_MAX: Final = SKEW_MAX.total_seconds()
PRESIGNED_S_MAX: Final = 604_800
CREDENTIALS_MAX: Final = 1_024
DATES_REMEMBERED: Final = 64
"""A second's requests have one in common."""
SHA256_BLOCK: Final = 64
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

_REGION = re.compile(r"(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d{1,2}", re.ASCII)
_BASIC_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_STATED = re.compile(
    r"(?P<access_key>[\w+=,.@-]{1,128})"
    r"(?:/|%2[Ff])\d{8}(?:/|%2[Ff])(?P<region>[a-z0-9-]{1,32})(?:/|%2[Ff])",
    re.ASCII,
)
_STATED_LENGTH_MAX: Final = 256


class Keys(Protocol):
    """What the verifier needs of the key store. Asked for every request: be quick."""

    def find(self, access_key: str) -> AccessKey | None: ...


@dataclass(frozen=True, slots=True)
class _Known:
    """A credential that has signed before: what need not be worked out again that day."""

    scope: Scope
    scope_text: str
    key: AccessKey
    """Another object after every change of the keys; then all this is worked out anew."""
    keyed: "Keyed"
    caller: Caller


class SigV4Verifier:
    """`--auth sigv4`."""

    def __init__(self, keys: Keys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def verify(self, request: HttpRequest, service: str) -> Caller:
        """Who signed `request` for `service` (`lambda`, `sts`). Raises SignatureError.

        Hashes the whole body: about 0.6 ms a megabyte.
        """
        parameters = signature_parameters(request)
        if parameters is None:
            raise MissingAuthenticationToken
        signed_at = self._check_date(parameters)
        _check_signed_headers(request, parameters)
        if parameters.algorithm != ALGORITHM:
            raise IncompleteSignature(
                f"Unsupported AWS 'algorithm': '{parameters.algorithm}'"
                " (only AWS4-HMAC-SHA256 for now). "
            )
        known = self._known.get(parameters.credential)
        scope = parse_scope(parameters.credential) if known is None else known.scope
        if known is None or scope.service != service or scope.date != signed_at[:8]:
            _check_scope(scope, service, signed_at)  # else it was in order before, and is
        key = self._keys.find(scope.access_key)
        if key is None or not _token_fits(key, parameters.session_token):
            raise UnrecognizedClient
        if known is not None and known.key is key:
            _check_signature(request, parameters, signed_at, known)
            return known.caller
        known = _derive(scope, key)
        _check_signature(request, parameters, signed_at, known)
        if len(self._known) >= CREDENTIALS_MAX:
            # They carry a date: yesterday's would stay for ever, and today's return at once.
            self._known.clear()
        self._known[parameters.credential] = known
        return known.caller

    def _check_date(self, parameters: SignatureParameters) -> str:
        """When it was signed, in AWS's basic format.

        Raises IncompleteSignature, InvalidSignature.
        """
        signed_at, at_s = _parse_date(parameters.date)
        now_s = self._clock.epoch_ms() / 1000
        age_s = now_s - at_s
        if parameters.expires is None and -SKEW_S_MAX <= age_s <= SKEW_S_MAX:
            return signed_at
        age_max = SKEW_MAX if parameters.expires is None else _lifetime(parameters.expires)
        if age_s > age_max.total_seconds():
            raise expired(signed_at, datetime.fromtimestamp(now_s, UTC), age_max)
        if age_s < -SKEW_S_MAX:
            raise not_yet_current(signed_at, datetime.fromtimestamp(now_s, UTC), SKEW_MAX)
        return signed_at


class OpenAuth:
    """`--auth open`: whoever asks is believed, or needs no name at all. Never raises.

    An access key id of 12 digits chooses the account; the credential's region is the region.
    """

    def __init__(self) -> None:
        self._known: dict[str, Caller] = {}

    def verify(self, request: HttpRequest, service: str) -> Caller:  # noqa: ARG002 -- as above
        """Who asks, by their own word."""
        authorization = request.headers.get("authorization") or query_of(request.target)
        stated = authorization.partition("Credential=")[2][:_STATED_LENGTH_MAX].partition(",")[0]
        caller = self._known.get(stated)
        if caller is None:
            caller = _believe(stated)
            if len(self._known) >= CREDENTIALS_MAX:
                self._known.clear()
            self._known[stated] = caller
        return caller


def _believe(stated: str) -> Caller:
    match = _STATED.match(stated)
    access_key = match["access_key"] if match is not None else ""
    region = match["region"] if match is not None else ""
    account = access_key if _ACCOUNT.fullmatch(access_key) else DEFAULT_ACCOUNT
    return Caller(
        AccountId(account),
        Region(region) if _REGION.fullmatch(region) else DEFAULT_REGION,
        access_key,
        f"arn:{PARTITION}:iam::{account}:root",
    )


def signing_key(secret: str, scope: Scope) -> bytes:
    """The key that signs for one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (scope.date, scope.region, scope.service, scope.terminator):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def _derive(scope: Scope, key: AccessKey) -> _Known:
    caller = Caller(AccountId(key.account), Region(scope.region), key.access_key, key.user_arn)
    return _Known(scope, str(scope), key, Keyed(signing_key(key.secret, scope)), caller)


class Keyed:
    """HMAC-SHA256 with one key, which is hashed once and not for each message (RFC 2104)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        """The key is no longer than a block."""
        padded = key.ljust(SHA256_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def hexdigest(self, message: bytes) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()


def _check_signature(
    request: HttpRequest, parameters: SignatureParameters, signed_at: str, known: _Known
) -> None:
    """Raises InvalidSignature, IncompleteSignature."""
    if not parameters.signature.isascii():  # else compare_digest would not take it
        raise mismatch()
    is_s3 = known.scope.service == "s3"
    payload_hash = _payload_hash(request, is_s3=is_s3, is_presigned=parameters.is_presigned)
    canonical = canonical_request(request, parameters.signed_headers, payload_hash, is_s3=is_s3)
    digest = hashlib.sha256(canonical).hexdigest()
    to_sign = f"{ALGORITHM}\n{signed_at}\n{known.scope_text}\n{digest}".encode("latin-1")
    signature = known.keyed.hexdigest(to_sign)
    if not hmac.compare_digest(signature, parameters.signature):
        raise mismatch()


@lru_cache(maxsize=DATES_REMEMBERED)
def _parse_date(text: str) -> tuple[str, float]:
    """In ISO 8601 basic format, as the string to sign has it, and in seconds since the epoch.

    Raises IncompleteSignature.
    """
    try:
        if _BASIC_DATE.fullmatch(text):
            return text, datetime.fromisoformat(text).timestamp()
        at = parsedate_to_datetime(text)  # a Date header
        at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
        return at.strftime(AMZ_DATE_FORMAT), at.timestamp()
    except (ValueError, OverflowError):
        raise IncompleteSignature(
            f"Date must be in ISO-8601 'basic format'. Got '{text}'."
            " See http://en.wikipedia.org/wiki/ISO_8601"
        ) from None


def _lifetime(expires: str) -> timedelta:
    """Of a presigned URL. Raises IncompleteSignature."""
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= 9):
        raise IncompleteSignature("X-Amz-Expires should be a number")
    if int(expires) > PRESIGNED_S_MAX:
        raise IncompleteSignature(
            "X-Amz-Expires must be less than a week (in seconds); that is,"
            " the given X-Amz-Expires must be less than 604800 seconds"
        )
    return timedelta(seconds=int(expires))


def _check_signed_headers(request: HttpRequest, parameters: SignatureParameters) -> None:
    """What decides where and how a request acts must be signed. Raises InvalidSignature."""
    signed = signed_names(parameters.signed_headers)
    if "host" not in signed:
        raise InvalidSignature(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    for name in request.headers:
        if name[:6] == "x-amz-" and name not in signed:
            raise InvalidSignature(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")


def _check_scope(scope: Scope, service: str, signed_at: str) -> None:
    """Raises InvalidSignature with every fault at once, as AWS does."""
    faults = []
    if not _REGION.fullmatch(scope.region):
        faults.append(f"Credential should be scoped to a valid region, not '{scope.region}'. ")
    if scope.service != service:
        faults.append(f"Credential should be scoped to correct service: '{service}'. ")
    if scope.terminator != TERMINATOR:
        faults.append(
            "Credential should be scoped with a valid terminator:"
            f" '{TERMINATOR}', not '{scope.terminator}'. "
        )
    if scope.date != signed_at[:8]:
        faults.append(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"
            f" from HTTP: '{scope.date}' != '{signed_at[:8]}', from '{signed_at}'."
        )
    if faults:
        raise InvalidSignature("".join(faults))


def _token_fits(key: AccessKey, token: str | None) -> bool:
    if key.session_token is None or token is None:
        return key.session_token is token
    return hmac.compare_digest(key.session_token.encode(), token.encode())


def _payload_hash(request: HttpRequest, *, is_s3: bool, is_presigned: bool) -> str:
    """Of the body itself, never as the caller states it: a false statement is a mismatch."""
    if is_s3:
        stated = request.headers.get("x-amz-content-sha256")
        if stated == UNSIGNED_PAYLOAD or (stated is None and is_presigned):
            return UNSIGNED_PAYLOAD
    return hashlib.sha256(request.body).hexdigest()
