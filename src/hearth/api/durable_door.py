"""What may a durable function ask of Lambda from inside its sandbox? Two operations, about itself.

Its SDK has to checkpoint whatever network it has, so they come in on the socket in its own network
namespace that is its Runtime API's. That socket is who it is: nobody else can connect to it, and
no credentials are looked at. All else is refused here, and needs a network and an endpoint.
"""

from collections.abc import Callable, Mapping
from typing import Final

from hearth.api.operation import Handler, OperationRequest
from hearth.api.protocols.contract import Match
from hearth.api.protocols.restjson import RestJson
from hearth.api.shapes import load_service
from hearth.api.validation import check
from hearth.base.http1 import HttpRequest, Responder
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.durable import ExecutionArn
from hearth.model.errors import AccessDenied, InternalFailure, NotImplementedHere, ServiceError
from hearth.model.functions import FunctionVersion
from hearth.model.ids import Caller

log = Log("api")

OPEN: Final = ("CheckpointDurableExecution", "GetDurableExecutionState")


class DurableDoor:
    """`handle` is what the worker calls."""

    def __init__(
        self, handlers: Mapping[str, Handler], jobs: Jobs, new_id: Callable[[], str]
    ) -> None:
        assert set(handlers) == set(OPEN)
        self._handlers = handlers
        self._jobs = jobs
        self._new_id = new_id
        self._protocol = RestJson(load_service("lambda"))

    def handle(self, function: FunctionVersion, request: HttpRequest, responder: Responder) -> None:
        """Answer, now or later. Never raises."""
        request_id = self._new_id()
        try:
            match = self._protocol.match(request)
            handler = self._handler(match.operation.name)
            asked = self._asked(function, match, request, request_id)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            self._refuse(error, responder, request_id)
            return
        work = self._finish(match, handler, asked, responder)
        self._jobs.spawn(work, name="durable-door")

    def _handler(self, operation: str) -> Handler:
        handler = self._handlers.get(operation)
        if handler is None:
            raise NotImplementedHere(f"lambda:{operation} is not served inside a sandbox.")
        return handler

    def _asked(
        self, function: FunctionVersion, match: Match, request: HttpRequest, request_id: str
    ) -> OperationRequest:
        """Raises ServiceError."""
        members = self._protocol.decode(match, request)
        assert match.operation.input is not None
        check(match.operation.input, members)
        key = function.key
        user = f"arn:aws:sts::{key.account}:assumed-role/{key.name}/{key.name}"
        arn = ExecutionArn.parse(members["DurableExecutionArn"])
        if arn is None or arn.function != key or arn.version != function.version:
            raise AccessDenied(
                f"User: {user} is not authorized to perform: lambda:{match.operation.name} on "
                f"resource: {members['DurableExecutionArn']}"
            )
        return OperationRequest(
            caller=Caller(key.account, key.region, "", user),
            request_id=request_id,
            members=members,
            endpoint="",
        )

    async def _finish(
        self, match: Match, handler: Handler, asked: OperationRequest, responder: Responder
    ) -> None:
        try:
            response = await handler(asked)
            answer = self._protocol.encode(match.operation, response.members, asked.request_id)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            self._refuse(error, responder, asked.request_id)
        else:
            responder.send(answer.status, answer.headers, answer.body)

    def _refuse(self, error: Exception, responder: Responder, request_id: str) -> None:
        if not isinstance(error, ServiceError):
            log.error("request from a sandbox failed", error=error, request=request_id)
            error = InternalFailure("An error occurred and the request cannot be processed.")
        answer = self._protocol.encode_error(error, request_id)
        responder.send(answer.status, answer.headers, answer.body)
