"""Who is asked, what, and by whom? The edge: every request of an AWS client comes in here.

    service      from the credential scope, X-Amz-Target, Host, path or Action
    authenticate one call; nothing of the body is read before
    match        the operation, by the service's protocol
    decode, check  members of the model, in AWS's words when they are not
    handler      in a job: it goes on when the client leaves
    encode

Invoke takes a shorter way (`invoke.py`). Whatever happens, the client gets one answer in the shape
of its protocol, and never a traceback: what is not a ServiceError is logged, once, here.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from hearth.api.invoke import (
    DRY_RUN,
    EVENT,
    InvokeHandler,
    arguments_from_members,
    fast_arguments,
    is_invoke,
)
from hearth.api.invoke_stream import StreamInvokeHandler
from hearth.api.operation import (
    Handler,
    Operation,
    OperationRequest,
    OperationResponse,
    Permits,
    only_its_own,
)
from hearth.api.operations.log_addresses import LogsInvalidParameter
from hearth.api.protocols.contract import Answer, Match, WireProtocol
from hearth.api.protocols.json import Json
from hearth.api.protocols.query import Query
from hearth.api.protocols.restjson import RestJson
from hearth.api.services import Services
from hearth.api.shapes import ServiceModel, load_service
from hearth.api.validation import check
from hearth.base.clock import Clock
from hearth.base.http1 import HttpRefusal, HttpRequest, StreamingResponder
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.errors import (
    InternalFailure,
    NotImplementedHere,
    RequestEntityTooLarge,
    ServiceError,
    ValidationFailed,
)
from hearth.model.ids import Caller
from hearth.model.invocations import InvokeCall
from hearth.model.limits import REQUEST_BODY_BYTES_MAX

SERVICES: Final = ("lambda", "sts", "logs")
"""What Hearth serves; the first answers for requests that name no service."""

PROTOCOLS: Final[Mapping[str, Callable[[ServiceModel], WireProtocol]]] = {
    "rest-json": RestJson,
    "json": Json,
    "query": Query,
}
INVOKE: Final = ("lambda", "Invoke")
INVOKE_STREAM: Final = ("lambda", "InvokeWithResponseStream")
INVALID_MEMBERS: Final[Mapping[str, type[ServiceError]]] = {"logs": LogsInvalidParameter}
"""What a service calls members that break the model's constraints, if not ValidationException."""

RunInvoke = Callable[[InvokeCall], Awaitable[Answer]]

log = Log("api")


class Authenticator(Protocol):
    """What the edge needs of authentication (`sigv4.py`)."""

    def verify(self, request: HttpRequest, service: str) -> Caller:
        """Raises ServiceError. `service` is what a signature must be made for."""
        ...


@dataclass(frozen=True, slots=True)
class OperationRow:
    """One line of the table of what works."""

    service: str
    name: str
    is_implemented: bool


class Exchange(NamedTuple):
    """One request on its way: all that answering it needs."""

    request: HttpRequest
    responder: StreamingResponder
    request_id: str
    protocol: WireProtocol


class Edge:
    """`handle` is the handler of an HttpServer. Not started, not stopped: `jobs` owns its work."""

    def __init__(
        self,
        services: Iterable[str],
        operations: Iterable[Operation],
        auth: Authenticator,
        clock: Clock,
        jobs: Jobs,
        request_ids: Callable[[], str],
        invoke: InvokeHandler | None,
        permits: Permits = only_its_own,
        invoke_stream: StreamInvokeHandler | None = None,
    ) -> None:
        protocols = [protocol_of(load_service(name)) for name in services]
        self._services = Services(protocols)
        self._default = protocols[0]
        self._handlers = {(o.service, o.name): o.handler for o in operations}
        self._auth = auth
        self._clock = clock
        self._jobs = jobs
        self._request_ids = request_ids
        self._invoke = invoke
        self._invoke_stream = invoke_stream
        self._permits = permits
        self._check_handlers()

    def handle(self, request: HttpRequest, responder: StreamingResponder) -> None:
        """Answer `request`, now or later. Never raises."""
        exchange = Exchange(request, responder, self._request_ids(), self._default)
        try:
            if self._invoke is not None and is_invoke(request):
                self._begin_invoke(self._invoke, exchange)
                return
            exchange = exchange._replace(protocol=self._services.like(request))
            protocol = self._services.find(request)
            exchange = Exchange(request, responder, exchange.request_id, protocol)
            self._begin(exchange)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            self._answer_error(exchange, error)

    def operations_table(self) -> tuple[OperationRow, ...]:
        """Every operation of every service's model, and whether this Hearth answers it."""
        return tuple(
            OperationRow(protocol.model.name, name, self._has(protocol.model.name, name))
            for protocol in self._services.protocols
            for name in protocol.model.operation_names
        )

    def answer_refusal(self, refusal: HttpRefusal) -> tuple[int, list[tuple[str, str]], bytes]:
        """What to say to bytes that were no acceptable HTTP: an `ErrorAnswer` of the server."""
        kind = RequestEntityTooLarge if refusal.status == 413 else BadRequest
        error = kind(self._too_large_for(refusal) or refusal.reason)
        answer = self._default.encode_error(error, self._request_ids())
        return refusal.status, answer.headers, answer.body

    def _too_large_for(self, refusal: HttpRefusal) -> str | None:
        """AWS's words for a request that is too large for its operation (recorded)."""
        method, target = refusal.asked
        if not method:
            return None
        try:
            match = self._default.match(HttpRequest(method, target, {}, b"", {}, ""))
        except ServiceError:
            return None
        if (match.operation.service, match.operation.name) == INVOKE:
            return None  # whose payloads may be smaller still, and have words of their own
        return (
            f"Request must be smaller than {REQUEST_BODY_BYTES_MAX} bytes for the "
            f"{match.operation.name} operation"
        )

    # --- every operation but Invoke

    def _begin(self, exchange: Exchange) -> None:
        """Raises ServiceError; else a job answers."""
        protocol = exchange.protocol
        caller = self._auth.verify(exchange.request, protocol.model.signing_name)
        match = protocol.match(exchange.request)
        key = (protocol.model.name, match.operation.name)
        if key == INVOKE_STREAM and self._invoke_stream is not None:
            self._begin_stream(self._invoke_stream, exchange, match, caller)
            return
        handler = self._handlers.get(key)
        if handler is None:
            raise NotImplementedHere(f"Hearth does not support {':'.join(key)} yet.")
        request = OperationRequest(
            caller=caller,
            request_id=exchange.request_id,
            members=_members(exchange, match),
            endpoint=f"http://{exchange.request.headers.get('host', 'localhost')}",
            permits=self._permits,
        )
        self._jobs.spawn(self._finish(exchange, match, handler, request), name="operation")

    async def _finish(
        self, exchange: Exchange, match: Match, handler: Handler, request: OperationRequest
    ) -> None:
        try:
            response = await handler(request)
            if response.stream is not None:
                await response.stream(exchange.responder)
                return
            answer = _encode(exchange, match, response)
            exchange.responder.send(answer.status, answer.headers, answer.body)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            self._answer_error(exchange, error)

    # --- Invoke

    def _begin_invoke(self, handler: InvokeHandler, exchange: Exchange) -> None:
        """Raises ServiceError; else answers, or a job does."""
        request = exchange.request
        caller = self._auth.verify(request, "lambda")
        arguments = fast_arguments(request)
        if arguments is None:
            match = exchange.protocol.match(request)
            if match.operation.name != INVOKE[1]:
                raise NotImplementedHere(
                    f"Hearth does not support lambda:{match.operation.name} yet."
                )
            arguments = arguments_from_members(_members(exchange, match))
        call = handler.prepare(arguments, request, caller, exchange.request_id)
        if arguments.invocation_type == DRY_RUN:
            answer = handler.dry_run(call)
            exchange.responder.send(answer.status, answer.headers, answer.body)
            return
        if arguments.invocation_type == EVENT:
            self._jobs.spawn(self._finish_invoke(handler.accept, exchange, call), name="invoke")
        else:
            self._jobs.begin(self._finish_invoke(handler.run, exchange, call), name="invoke")

    async def _finish_invoke(self, run: RunInvoke, exchange: Exchange, call: InvokeCall) -> None:
        """The client may leave meanwhile: the function runs on, and the answer goes nowhere."""
        try:
            answer = await run(call)
            exchange.responder.send(answer.status, answer.headers, answer.body)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            self._answer_error(exchange, error)

    def _begin_stream(
        self, handler: StreamInvokeHandler, exchange: Exchange, match: Match, caller: Caller
    ) -> None:
        """Raises ServiceError; else answers, or a job does."""
        arguments = arguments_from_members(_members(exchange, match))
        call = handler.prepare(arguments, exchange.request, caller, exchange.request_id)
        if handler.is_dry_run(arguments):
            answer = handler.dry_run(call)
            exchange.responder.send(answer.status, answer.headers, answer.body)
        else:
            self._jobs.spawn(self._finish_stream(handler, exchange, call), name="invoke-stream")

    async def _finish_stream(
        self, handler: StreamInvokeHandler, exchange: Exchange, call: InvokeCall
    ) -> None:
        try:
            await handler.run(call, exchange.responder)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            self._answer_error(exchange, error)

    # --- errors

    def _answer_error(self, exchange: Exchange, error: Exception) -> None:
        if isinstance(error, ServiceError):
            shown = error
        else:
            log.error(
                "request failed",
                error=error,
                request=exchange.request_id,
                method=exchange.request.method,
                target=exchange.request.target,
            )
            shown = InternalFailure("An error occurred and the request cannot be processed.")
        answer = exchange.protocol.encode_error(shown, exchange.request_id)
        exchange.responder.send(answer.status, answer.headers, answer.body)

    def _has(self, service: str, name: str) -> bool:
        if (service, name) == INVOKE and self._invoke is not None:
            return True
        if (service, name) == INVOKE_STREAM and self._invoke_stream is not None:
            return True
        return (service, name) in self._handlers

    def _check_handlers(self) -> None:
        names = {
            (p.model.name, n) for p in self._services.protocols for n in p.model.operation_names
        }
        unknown = self._handlers.keys() - names
        if unknown:
            raise ValueError(f"operations that no model has: {sorted(unknown)}")


class BadRequest(ServiceError):
    """Bytes that were no acceptable HTTP."""

    code = "BadRequestException"
    status = 400


def protocol_of(model: ServiceModel) -> WireProtocol:
    """Raises KeyError for a protocol that Hearth does not speak."""
    return PROTOCOLS[model.metadata.protocol](model)


def _members(exchange: Exchange, match: Match) -> dict[str, Any]:
    """Decoded and validated. Raises ServiceError."""
    members = exchange.protocol.decode(match, exchange.request)
    if match.operation.input is None:
        return members
    try:
        check(match.operation.input, members)
    except ValidationFailed as error:
        invalid = INVALID_MEMBERS.get(exchange.protocol.model.name)
        if invalid is None:
            raise
        raise invalid(error.message) from error
    return members


def _encode(exchange: Exchange, match: Match, response: OperationResponse) -> Answer:
    answer = exchange.protocol.encode(match.operation, response.members, exchange.request_id)
    status = answer.status if response.status is None else response.status
    if status != 204:
        return Answer(status, answer.headers, answer.body)
    headers = [(name, value) for name, value in answer.headers if name != "Content-Type"]
    return Answer(status, headers, b"")
