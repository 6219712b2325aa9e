"""What does a function get when it is invoked for an execution, and what does its answer mean?

Source: the event and answer of AWS's SDKs, https://github.com/aws/aws-durable-execution-sdk-python
"""

from typing import Any, Final

import msgspec

from hearth.durable.execution import Execution
from hearth.durable.facts import Error
from hearth.durable.rules import Ended
from hearth.durable.shown import changed_ids, error_of, state_page
from hearth.model.errors import (
    InvalidParameterValue,
    ResourceNotFound,
    ServiceError,
    TooManyRequests,
)

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
HOPELESS: Final = (ResourceNotFound, InvalidParameterValue)
"""Refusals of an invocation that no repetition cures: the function or its version is gone."""


def invocation_payload(execution: Execution, seen: int) -> bytes:
    """`seen`: the number of facts after which the last invocation was told the operations."""
    page = state_page(execution, stamp=lambda at_ms: at_ms)
    return _encode(
        {
            "DurableExecutionArn": execution.origin.arn,
            "CheckpointToken": execution.token,
            "InitialExecutionState": {
                "Operations": page.operations,
                "NextMarker": page.next_marker or "",
            },
            "UpdatedOperationIds": changed_ids(execution, seen) if seen else [],
        }
    )


def ended_of(payload: bytes, function_error: str | None) -> Ended:
    if function_error is not None:
        return Ended("BROKEN", error=function_failure(payload))
    answer = _object(payload)
    status = answer.get("Status")
    result, error = answer.get("Result"), answer.get("Error")
    if status not in {"SUCCEEDED", "FAILED", "PENDING"}:
        return _invalid("Invalid Status in invocation output.")
    if not isinstance(result, str | None) or not isinstance(error, dict | None):
        return _invalid("Invalid Result or Error in invocation output.")
    try:
        return Ended(status, result=result, error=_checked(error_of(error)))
    except (TypeError, ValueError):
        return _invalid("Invalid Error in invocation output.")


def refused(error: ServiceError) -> Ended:
    """The function was not invoked."""
    told = Error(type=error.code, message=error.message)
    if isinstance(error, HOPELESS):
        return Ended("FAILED", error=told)
    return Ended("BROKEN", error=told)


def is_throttle(error: ServiceError) -> bool:
    return isinstance(error, TooManyRequests) or error.status >= 500


def function_failure(payload: bytes) -> Error:
    """What a function's error response says."""
    answer = _object(payload)
    trace = answer.get("stackTrace")
    lines = tuple(str(line) for line in trace) if isinstance(trace, list) else None
    message, type_ = answer.get("errorMessage"), answer.get("errorType")
    return Error(
        message=message if isinstance(message, str) else None,
        type=type_ if isinstance(type_, str) else None,
        trace=lines,
    )


def failure_payload(error: Error | None) -> bytes:
    """What a synchronous caller gets of an execution that failed."""
    error = error or Error()
    members: dict[str, Any] = {"errorMessage": error.message, "errorType": error.type}
    if error.data is not None:
        members["errorData"] = error.data
    if error.trace is not None:
        members["stackTrace"] = list(error.trace)
    return _encode({name: value for name, value in members.items() if value is not None})


def _object(payload: bytes) -> dict[str, Any]:
    try:
        answer = _decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _checked(error: Error | None) -> Error | None:
    """Raises TypeError if it is not made of texts."""
    if error is None:
        return None
    for part in (error.message, error.type, error.data, *(error.trace or ())):
        if not isinstance(part, str | None):
            raise TypeError
    return error


def _invalid(why: str) -> Ended:
    return Ended("FAILED", error=Error(type="Runtime.InvalidOutput", message=why))
