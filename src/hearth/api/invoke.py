"""What does `POST /2015-03-31/functions/{FunctionName}/invocations` do? The hot path, by hand.

    fast_arguments(request)   everything as usual: no model, no generic decoder, a few dict look-ups
      -> None                 anything unusual: the edge decodes by the model, which finds the words
    InvokeHandler.prepare     what no model says: sizes, JSON, client context
    InvokeHandler.run         one await, then the answer's headers
    InvokeHandler.accept      the same for an event, which waits for the disk and not for its run

An empty payload reaches the function as `{}`, as AWS does for a call without a payload.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from hearth.api.json_errors import describe
from hearth.api.protocols.contract import REQUEST_ID_HEADER, Answer, Headers
from hearth.base.clock import Clock
from hearth.base.http1 import HttpRequest
from hearth.model import limits
from hearth.model.errors import (
    InvalidRequestContent,
    RequestEntityTooLarge,
    ValidationFailed,
)
from hearth.model.ids import Caller, FunctionReference, RequestId
from hearth.model.invocations import InvokeCall, InvokeResult
from hearth.model.traces import from_traceparent

SYNC, EVENT, DRY_RUN = "RequestResponse", "Event", "DryRun"
EMPTY_PAYLOAD: Final = b"{}"

EXECUTION_HEADER: Final = "X-Amz-Durable-Execution-Arn"

SYNC_REQUEST_BYTES_MAX: Final = 6_291_456
"""6 MiB, the number in AWS's refusal; a response may have 100 bytes more."""

TARGETS_REMEMBERED: Final = 1_024
TARGET_LENGTH_MAX: Final = 768
"""A longer one is not remembered, and so takes the long way."""

_TARGET = re.compile(r"/2015-03-31/functions/([^/?]+)/invocations/?(?:\?(.*))?")
_QUALIFIER = re.compile(r"[a-zA-Z0-9$_-]{1,128}")
_FUNCTION_NAME_LENGTH_MAX: Final = 256
_TENANT = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")
_TRACE_ID = re.compile(r"[\x21-\x7e]{1,512}")
_check_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
_SYNTAX: Final = "Could not parse request body into json: Could not parse payload into json: "


class InvalidClientContext(InvalidRequestContent):
    """AWS sends no Type with it (recorded: `"Type": null`)."""

    blame: ClassVar[str | None] = None


class InvokeArguments(NamedTuple):
    """The members of Invoke's input, not yet looked into. A tuple: they are made for each call."""

    reference: FunctionReference
    qualifier: str | None
    invocation_type: str
    log_tail: bool
    client_context: str | None
    payload: bytes
    tenant: str | None = None
    execution_name: str | None = None


class Invoker(Protocol):
    """What the edge needs of the invoke path; app.py supplies it."""

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """Raises ServiceError when the function was not run."""
        ...

    def dry_run(self, call: InvokeCall) -> None:
        """Raises what `invoke` would raise before it runs anything."""
        ...


Accept = Callable[[InvokeCall], Awaitable[str | None]]
"""Put an event on disk; app.py supplies it. Raises ServiceError. The ARN of the durable execution
that was started, if its function is durable."""


def is_invoke(request: HttpRequest) -> bool:
    """A cheap guess: whether this is Invoke, or is to be refused as such."""
    return (
        request.method == "POST"
        and request.target.startswith("/2015-03-31/functions/")
        and "/invocations" in request.target
    )


def fast_arguments(request: HttpRequest) -> InvokeArguments | None:
    """None if anything is unusual: then the model decides what it is, or what is wrong with it."""
    headers = request.headers
    addressed = _addressed(request.target) if len(request.target) <= TARGET_LENGTH_MAX else None
    invocation_type = headers.get("x-amz-invocation-type", SYNC)
    log_type = headers.get("x-amz-log-type", "None")
    tenant = headers.get("x-amz-tenant-id")
    if (
        addressed is None
        or invocation_type not in (SYNC, EVENT, DRY_RUN)
        or log_type not in ("None", "Tail")
        or (tenant is not None and not _TENANT.fullmatch(tenant))
        or "x-amz-durable-execution-name" in headers
    ):
        return None
    reference, qualifier = addressed
    return InvokeArguments(
        reference=reference,
        qualifier=qualifier,
        invocation_type=invocation_type,
        log_tail=log_type == "Tail",
        client_context=headers.get("x-amz-client-context"),
        payload=request.body,
        tenant=tenant,
    )


def arguments_from_members(members: Mapping[str, Any]) -> InvokeArguments:
    """The same, from members that were decoded and validated by the model.

    Raises NotImplementedHere for what this Hearth cannot do, ValidationFailed for a name that the
    model accepts and that names nothing.
    """
    text = members["FunctionName"]
    try:
        reference = FunctionReference.parse(text)
    except ValueError as error:
        raise ValidationFailed(f"{text} is not a function name or ARN") from error
    return InvokeArguments(
        reference=reference,
        qualifier=members.get("Qualifier"),
        invocation_type=members.get("InvocationType", SYNC),
        log_tail=members.get("LogType") == "Tail",
        client_context=members.get("ClientContext"),
        payload=members.get("Payload", b""),
        tenant=members.get("TenantId"),
        execution_name=members.get("DurableExecutionName"),
    )


class InvokeHandler:
    """From arguments to an answer."""

    def __init__(self, invoker: Invoker, clock: Clock, accept: Accept) -> None:
        self._invoker = invoker
        self._clock = clock
        self._accept = accept

    def prepare(
        self, arguments: InvokeArguments, request: HttpRequest, caller: Caller, request_id: str
    ) -> InvokeCall:
        """Raises RequestEntityTooLarge or InvalidRequestContent."""
        payload = arguments.payload
        check_size(len(payload), arguments.invocation_type)
        context = arguments.client_context
        if payload:
            check_payload(payload)
        return InvokeCall(
            caller=caller,
            reference=arguments.reference,
            qualifier=arguments.qualifier,
            payload=payload or EMPTY_PAYLOAD,
            client_context=None if context is None else read_client_context(context),
            log_tail=arguments.log_tail,
            request=RequestId(request_id),
            trace_id=self._trace_id(request.headers, request_id),
            tenant=arguments.tenant,
            execution_name=arguments.execution_name,
        )

    def dry_run(self, call: InvokeCall) -> Answer:
        """Raises what the invoke would."""
        self._invoker.dry_run(call)
        return Answer(204, [(REQUEST_ID_HEADER, call.request)], b"")

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """The bare result. Raises ServiceError when the function was not run."""
        return await self._invoker.invoke(call)

    async def accept(self, call: InvokeCall) -> Answer:
        """The event is on disk. Raises ServiceError when it was not accepted."""
        execution = await self._accept(call)
        headers: Headers = [
            (REQUEST_ID_HEADER, call.request),
            ("x-amzn-Remapped-Content-Length", "0"),
            ("X-Amzn-Trace-Id", call.trace_id or ""),
        ]
        if execution is not None:
            headers.append((EXECUTION_HEADER, execution))
        return Answer(202, headers, b"")

    async def run(self, call: InvokeCall) -> Answer:
        """Raises ServiceError when the function was not run."""
        result = await self._invoker.invoke(call)
        ran = result.phases.invocation
        headers: Headers = [
            ("Content-Type", "application/json"),
            (REQUEST_ID_HEADER, call.request),
            ("x-amzn-Remapped-Content-Length", "0"),
            ("X-Amz-Executed-Version", result.executed_version),
            ("X-Amzn-Trace-Id", ran.trace_id if ran is not None else call.trace_id or ""),
        ]
        if result.function_error is not None:
            headers.append(("X-Amz-Function-Error", result.function_error))
        if result.execution_arn is not None:
            headers.append((EXECUTION_HEADER, result.execution_arn))
        if result.log_tail is not None:
            headers.append(("X-Amz-Log-Result", base64.b64encode(result.log_tail).decode()))
        return Answer(200, headers, result.payload)

    def _trace_id(self, headers: Mapping[str, str], request_id: str) -> str:
        """AWS's header, else W3C's, else a new trace; what is sampled is decided later."""
        given = headers.get("x-amzn-trace-id")
        if given is not None and _TRACE_ID.fullmatch(given):
            return given
        if (parent := headers.get("traceparent")) and (given := from_traceparent(parent)):
            return given
        digits = request_id.replace("-", "")
        epoch_s = self._clock.epoch_ms() // 1000
        return f"Root=1-{epoch_s:08x}-{digits[:24]}"


def check_size(size_bytes: int, invocation_type: str) -> None:
    """Raises RequestEntityTooLarge, with AWS's two texts."""
    if invocation_type == EVENT:
        if size_bytes > limits.ASYNC_PAYLOAD_BYTES_MAX:
            raise RequestEntityTooLarge(
                f"{size_bytes} byte payload is too large for the Event invocation type "
                f"(limit {limits.ASYNC_PAYLOAD_BYTES_MAX} bytes)"
            )
    elif size_bytes > SYNC_REQUEST_BYTES_MAX:
        raise RequestEntityTooLarge(
            f"Request must be smaller than {SYNC_REQUEST_BYTES_MAX} bytes "
            "for the InvokeFunction operation"
        )


def check_payload(payload: bytes) -> None:
    """Raises InvalidRequestContent if the payload is no JSON. Builds no objects of it."""
    try:
        _check_json(payload)
        if not payload.isascii():
            payload.decode()  # the check above leaves the inside of strings alone
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = describe(payload, error)
        if problem is not None:  # else only stricter than AWS: a lone surrogate
            raise InvalidRequestContent(_SYNTAX + problem) from error


def read_client_context(text: str) -> str:
    """JSON text out of its base64. Raises InvalidClientContext."""
    if len(text) > limits.CLIENT_CONTEXT_BYTES_MAX:  # the text of this refusal is not recorded
        raise InvalidClientContext(
            f"Client context must be no longer than {limits.CLIENT_CONTEXT_BYTES_MAX} bytes."
        )
    try:
        decoded = base64.b64decode(text, validate=True)
        if isinstance(msgspec.json.decode(decoded), dict):
            return decoded.decode()
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise _no_client_context() from error
    raise _no_client_context()


def _no_client_context() -> InvalidClientContext:
    return InvalidClientContext("Client context must be a valid Base64-encoded JSON object.")


@lru_cache(maxsize=TARGETS_REMEMBERED)
def _addressed(target: str) -> tuple[FunctionReference, str | None] | None:
    """Function and Qualifier, or None unless all of the target is as usual."""
    match = _TARGET.fullmatch(target)
    if match is None:
        return None
    text = unquote(match[1])
    if len(text) > _FUNCTION_NAME_LENGTH_MAX:
        return None
    try:
        reference = FunctionReference.parse(text)
    except ValueError:
        return None
    if not match[2]:
        return reference, None
    pairs = parse_qsl(match[2], keep_blank_values=True)
    if len(pairs) == 1 and pairs[0][0] == "Qualifier" and _QUALIFIER.fullmatch(pairs[0][1]):
        return reference, pairs[0][1]
    return None
