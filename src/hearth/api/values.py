"""How is one value written? Timestamps, blobs and numbers, as texts and as JSON.

Source: https://smithy.io/2.0/spec/protocol-traits.html (timestampFormat) and botocore's parsers.
"""

import base64
import binascii
import math
import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from hearth.api.shapes import FLOATS, INTEGERS, Kind, Ref
from hearth.model.errors import SerializationFailed

ISO8601: Final = "iso8601"
RFC822: Final = "rfc822"
UNIX: Final = "unixTimestamp"

Scalar = str | int | float | bool | bytes | datetime

NAMES: Final = {
    Kind.STRING: "a String",
    Kind.CHARACTER: "a Character",
    Kind.INTEGER: "an Integer",
    Kind.LONG: "a Long",
    Kind.FLOAT: "a Float",
    Kind.DOUBLE: "a Double",
    Kind.BOOLEAN: "a Boolean",
    Kind.BLOB: "a Blob",
    Kind.TIMESTAMP: "a Timestamp",
}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SPECIAL_FLOATS: Final = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}


def not_convertible(token: str, kind: Kind) -> SerializationFailed:
    """AWS's text for a value of the wrong type; `token` is JSON's name for what was found.

    `STRING_VALUE can not be converted to an Integer` and its like are recorded from services on
    AWS's common framework; Blob and Timestamp only follow the form.
    """
    return SerializationFailed(f"{token} can not be converted to {NAMES[kind]}")


def from_text(ref: Ref, text: str, timestamp_format: str) -> Scalar:
    """The value of a label, a query parameter, a header or a form field.

    Raises SerializationFailed if the text is none of that kind.
    """
    kind = ref.shape.kind
    try:
        if kind in INTEGERS:
            return _integer_from_text(text)
        if kind in FLOATS:
            return float_from_text(text)
        if kind is Kind.BOOLEAN:
            return boolean_from_text(text)
        if kind is Kind.BLOB:
            return blob_from_text(text)
        if kind is Kind.TIMESTAMP:
            return timestamp_from_text(text, ref.timestamp_format or timestamp_format)
    except (ValueError, OverflowError) as error:
        raise not_convertible("STRING_VALUE", kind) from error
    return text


def to_text(ref: Ref, value: Scalar, timestamp_format: str) -> str:
    """The inverse of `from_text`. Raises TypeError if the value is not of the shape's kind."""
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return str(timestamp_to_wire(value, ref.timestamp_format or timestamp_format))
        case float():
            return float_to_text(value)
        case int() | str():
            return str(value)
    raise TypeError(f"{ref.shape} cannot hold a {type(value).__name__}")


def _integer_from_text(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("not an integer")
    return int(text)


def boolean_from_text(text: str) -> bool:
    """Raises ValueError."""
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError("neither true nor false")
    return lowered == "true"


def float_from_text(text: str) -> float:
    """A number as JSON or Java writes it. Raises ValueError."""
    special = _SPECIAL_FLOATS.get(text)
    if special is not None:
        return special
    number = float(text)
    if not math.isfinite(number) or "_" in text:
        raise ValueError("not a number")
    return number


def float_to_text(value: float) -> str:
    """As Java and AWS's JSON write it: `NaN`, `Infinity`, `2.0`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def blob_from_text(text: str) -> bytes:
    """Out of base64; strict. Raises ValueError."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def timestamp_from_text(text: str, timestamp_format: str) -> datetime:
    """An aware datetime. Raises ValueError or OverflowError."""
    if timestamp_format == UNIX:
        return timestamp_from_number(float_from_text(text))
    if timestamp_format == RFC822:
        return _aware(parsedate_to_datetime(text))
    return _aware(datetime.fromisoformat(text))


def timestamp_from_number(seconds: float) -> datetime:
    """Raises ValueError or OverflowError when no calendar has that moment."""
    return datetime.fromtimestamp(seconds, UTC)


def timestamp_to_wire(value: datetime, timestamp_format: str) -> str | int | float:
    """A number of seconds, or a text, by the format. A naive datetime is taken as UTC."""
    moment = _aware(value)
    if timestamp_format == UNIX:
        seconds = moment.timestamp()
        return int(seconds) if seconds.is_integer() else round(seconds, 3)
    if timestamp_format == RFC822:
        return format_datetime(moment.replace(microsecond=0), usegmt=True)
    shown = moment.replace(tzinfo=None)
    digits = "milliseconds" if shown.microsecond else "seconds"
    return shown.isoformat(timespec=digits) + "Z"


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
