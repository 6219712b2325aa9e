"""What does AWS tell a caller whose signature it cannot accept? Codes, statuses and texts.

Services of the query protocol (sts) use other codes for the same faults: `query_code`, and where
the text differs too, `query_message`.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html and
answers that callers of AWS quote in public.
"""

import base64
import hashlib
from datetime import datetime, timedelta
from typing import ClassVar, Final

from hearth.model.errors import ServiceError

AMZ_DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"


class SignatureError(ServiceError):
    """Authentication failed. One class for each code that AWS uses."""

    status = 403
    blame = None
    query_code: ClassVar[str] = "AuthFailure"

    @property
    def query_message(self) -> str:
        """The text where the query protocol has another one than the JSON protocols."""
        return self.message


class MissingAuthenticationToken(SignatureError):
    code = "MissingAuthenticationTokenException"
    query_code = "MissingAuthenticationToken"

    def __init__(self) -> None:
        super().__init__("Missing Authentication Token")

    @property
    def query_message(self) -> str:
        return "Request is missing Authentication Token"


class UnrecognizedClient(SignatureError):
    """No such access key, or a session token that does not belong to it."""

    code = "UnrecognizedClientException"
    query_code = "InvalidClientTokenId"

    def __init__(self) -> None:
        super().__init__("The security token included in the request is invalid.")


class IncompleteSignature(SignatureError):
    """The signature's parameters are missing or malformed."""

    code = "IncompleteSignatureException"
    status = 400
    query_code = "IncompleteSignature"


class InvalidSignature(SignatureError):
    """The parameters are there, but the signature does not hold."""

    code = "InvalidSignatureException"
    query_code = "SignatureDoesNotMatch"


def mismatch() -> InvalidSignature:
    return InvalidSignature(
        "The request signature we calculated does not match the signature you provided."
        " Check your AWS Secret Access Key and signing method."
        " Consult the service documentation for details."
    )


def missing_parameters(sentences: list[str], authorization: str) -> IncompleteSignature:
    """AWS shows which header it means by a hash, so that no secret is echoed."""
    digest = _digest(authorization)
    text = " ".join(sentences)
    return IncompleteSignature(
        f"{text} (Hashed with SHA-256 and encoded with Base64) Authorization={digest}"
    )


def missing_equal_sign(authorization: str) -> IncompleteSignature:
    return IncompleteSignature(
        "Invalid key=value pair (missing equal-sign) in Authorization header"
        f" (hashed with SHA-256 and encoded with Base64): '{_digest(authorization)}'."
    )


def expired(signed_at: str, now: datetime, age_max: timedelta) -> InvalidSignature:
    earliest = (now - age_max).strftime(AMZ_DATE_FORMAT)
    return InvalidSignature(
        f"Signature expired: {signed_at} is now earlier than {earliest}"
        f" ({now.strftime(AMZ_DATE_FORMAT)} - {_span(age_max)})"
    )


def not_yet_current(signed_at: str, now: datetime, ahead_max: timedelta) -> InvalidSignature:
    latest = (now + ahead_max).strftime(AMZ_DATE_FORMAT)
    return InvalidSignature(
        f"Signature not yet current: {signed_at} is still later than {latest}"
        f" ({now.strftime(AMZ_DATE_FORMAT)} + {_span(ahead_max)})"
    )


def _span(length: timedelta) -> str:
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    return f"{minutes * 60 + seconds} sec." if seconds else f"{minutes} min."


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("latin-1")).digest()).decode()
