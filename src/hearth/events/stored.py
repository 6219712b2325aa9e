"""What exactly is a target told about the end of an event? Pure: a Delivery in, bytes out.

    destination    a record of the whole invocation, as JSON, in the service's envelope
    dead letter    the event as it came, and three attributes that say what went wrong

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html; members
and their order, EventBridge's `source` and `resources`: recorded.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from hearth.model.events import Condition, Delivery, Response, Settlement, TargetKind

ERROR_MESSAGE_BYTES_MAX: Final = 1_024
EVENT_SOURCE: Final = "lambda"

BYTES_MAX: Final = {
    "lambda": 1_048_576,
    "sqs": 1_048_576,
    "sns": 262_144,
    "eventbridge": 1_048_576,
}
"""What each service takes in one message, with its attributes. A bucket takes anything."""

_TEXTS: Final = ("errorMessage", "message", "Message")
_NO_CHARACTERS: Final = {"\ufffe": "\\ufffe", "\uffff": "\\uffff"}
"""Queues and topics refuse these two. In JSON they can stand in a string only, escaped as well."""

_check_json: Final = msgspec.json.Decoder(msgspec.Raw).decode


def body(delivery: Delivery) -> str:
    """The text of the message."""
    settlement = delivery.settlement
    is_dead_letter = delivery.kind is TargetKind.DEAD_LETTER
    told = settlement.event.call.payload if is_dead_letter else record(settlement)
    text = told.decode()
    for character, escaped in _NO_CHARACTERS.items():
        text = text.replace(character, escaped)
    return text


def record(settlement: Settlement) -> bytes:
    """The record that a destination gets. Payloads are put in as they are: no number loses a
    digit, no member its place."""
    event, response = settlement.event, settlement.response
    context = {
        "requestId": event.call.request,
        "functionArn": settlement.function_arn,
        "condition": str(settlement.condition),
        "approximateInvokeCount": settlement.invoke_count,
    }
    members = [
        b'"version":"1.0"',
        b'"timestamp":' + _json(_timestamp(settlement.settled_ms)),
        b'"requestContext":' + _json(context),
        b'"requestPayload":' + event.call.payload,
    ]
    if response is not None:
        members.append(b'"responseContext":' + _json(_response_context(response)))
        members.append(b'"responsePayload":' + (_as_json(response.payload)))
    return b"{" + b",".join(members) + b"}"


def dead_letter_attributes(settlement: Settlement) -> dict[str, tuple[str, str]]:
    """Name to data type and value, in the attribute types of SQS and SNS."""
    code, message = _error(settlement)
    return {
        "RequestID": ("String", settlement.event.call.request),
        "ErrorCode": ("Number", str(code)),
        "ErrorMessage": ("String", message),
    }


def detail_type(settlement: Settlement) -> str:
    outcome = "Success" if settlement.condition is Condition.SUCCESS else "Failure"
    return f"Lambda Function Invocation Result - {outcome}"


def object_key(settlement: Settlement, unique: str) -> str:
    """`unique` is a UUID: the same for each try of one delivery, so that it makes one object."""
    at = datetime.fromtimestamp(settlement.settled_ms / 1000, UTC)
    name = settlement.event.key.name
    return f"aws/lambda/async/{name}/{at:%Y/%m/%d}/{at:%Y-%m-%dT%H.%M.%S}-{unique}"


def _as_json(payload: bytes) -> bytes:
    """As it is, if it is JSON; a runtime may answer anything, which is a string then."""
    if not payload:
        return b"null"
    try:
        _check_json(payload)
        payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _json(payload.decode(errors="replace"))
    return payload


def _response_context(response: Response) -> Mapping[str, Any]:
    context: dict[str, Any] = {"statusCode": response.status_code}
    if response.executed_version is not None:
        context["executedVersion"] = response.executed_version
    if response.function_error is not None:
        context["functionError"] = response.function_error
    return context


def _error(settlement: Settlement) -> tuple[int, str]:
    response = settlement.response
    if response is None:  # no attempt was ever made; the words are ours
        if settlement.condition is Condition.ZERO_RESERVED_CONCURRENCY:
            return 429, "The function's reserved concurrency is zero."
        return 500, "The event reached its maximum age before the function could be run."
    return response.status_code, _shortened(_message(response.payload))


def _message(payload: bytes) -> str:
    """What a person would call the error: its message, if it is an error as runtimes make them."""
    try:
        decoded = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = None
    if isinstance(decoded, dict):
        for name in _TEXTS:
            text = decoded.get(name)
            if isinstance(text, str) and text:
                return text
    return payload.decode(errors="replace") or "Unknown error"  # an attribute must not be empty


def _shortened(text: str) -> str:
    """At most a kilobyte, no half characters, nothing that a message must not hold."""
    allowed = "".join(c for c in text if c in "\t\n\r" or c >= " ")
    cut = allowed.encode(errors="replace")[:ERROR_MESSAGE_BYTES_MAX].decode(errors="ignore")
    return "".join(c for c in cut if c not in "\ufffe\uffff") or "Unknown error"


def _timestamp(epoch_ms: int) -> str:
    at = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
