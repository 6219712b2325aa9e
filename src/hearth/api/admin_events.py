"""How does `hearth events` reach the queues of a running Hearth? Routes of the admin API.

GET  /events/backlogs                                            list of BacklogRow
GET  /events?account&region&function&state[&after&limit]         list of EventLine
GET  /events/one?account&region&function&request                 list of at most one EventDetail
POST /events/redrive?account&region&function[&request]           Done
POST /events/purge?account&region&function&state[&request]       Done
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from hearth.api.admin import Parameters, Routes, number
from hearth.model.events import Backlog, EventRow, EventState, Response
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region, RequestId

ROWS_MAX: Final = 1_000


class BacklogRow(msgspec.Struct, frozen=True, kw_only=True):
    account: str
    region: str
    function: str
    waiting: int
    delayed: int
    dead: int
    deliveries: int
    oldest_ms: int | None
    """When the event that waits longest was accepted, since the epoch."""
    has_own_lane: bool


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    sequence: int
    request: str
    function_arn: str
    """With the qualifier that was invoked."""
    accepted_ms: int
    attempts: int
    """Runs so far, but for one that goes on."""
    throttles: int
    due_ms: int | None
    condition: str | None
    target: str | None
    tries: int
    """To tell the target, that failed so far."""
    payload_bytes: int


class EventDetail(msgspec.Struct, frozen=True, kw_only=True):
    event: EventLine
    payload: str
    client_context: str | None
    trace_id: str | None
    tenant: str | None = None
    status_code: int | None
    """Of the last attempt's answer, as what follows; None if there was none."""
    executed_version: str | None
    function_error: str | None
    response_payload: str | None
    reason: str
    """Why the target could not be told; empty if it was not tried."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    events: int
    """How many it was done to."""


class Desk(Protocol):
    """What this needs of `events`."""

    async def backlogs(self) -> tuple[Backlog, ...]: ...

    async def rows(
        self, key: FunctionKey, state: EventState, *, after: int = ..., limit: int = ...
    ) -> tuple[EventRow, ...]: ...

    async def find(self, key: FunctionKey, request: RequestId) -> EventRow | None: ...

    async def redrive(self, key: FunctionKey, request: RequestId | None = ...) -> int: ...

    async def purge(
        self, key: FunctionKey, state: EventState, request: RequestId | None = ...
    ) -> int: ...


def event_routes(desk: Desk) -> Routes:
    handlers = _Handlers(desk)
    return {
        "/events/backlogs": ("GET", handlers.list_backlogs),
        "/events": ("GET", handlers.list_events),
        "/events/one": ("GET", handlers.show),
        "/events/redrive": ("POST", handlers.redrive),
        "/events/purge": ("POST", handlers.purge),
    }


class _Handlers:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_backlogs(self, _: Parameters) -> list[BacklogRow]:
        return [
            BacklogRow(
                account=backlog.key.account,
                region=backlog.key.region,
                function=backlog.key.name,
                waiting=backlog.waiting,
                delayed=backlog.delayed,
                dead=backlog.dead,
                deliveries=backlog.deliveries,
                oldest_ms=backlog.oldest_ms,
                has_own_lane=backlog.has_own_lane,
            )
            for backlog in await self._desk.backlogs()
        ]

    async def list_events(self, parameters: Parameters) -> list[EventLine]:
        limit = min(number(parameters, "limit", 100), ROWS_MAX)
        rows = await self._desk.rows(
            _key(parameters), _state(parameters), after=number(parameters, "after", 0), limit=limit
        )
        return [_line(row) for row in rows]

    async def show(self, parameters: Parameters) -> list[EventDetail]:
        request = _request(parameters)
        if request is None:
            raise ValueError("request is missing")
        row = await self._desk.find(_key(parameters), request)
        return [] if row is None else [_detail(row)]

    async def redrive(self, parameters: Parameters) -> Done:
        return Done(events=await self._desk.redrive(_key(parameters), _request(parameters)))

    async def purge(self, parameters: Parameters) -> Done:
        state = _state(parameters)
        return Done(events=await self._desk.purge(_key(parameters), state, _request(parameters)))


def _line(row: EventRow) -> EventLine:
    event = row.event
    return EventLine(
        state=str(row.state),
        sequence=row.sequence,
        request=event.call.request,
        function_arn=event.key.arn(event.qualifier or "$LATEST"),
        accepted_ms=event.accepted_ms,
        attempts=event.attempts if row.invoke_count is None else row.invoke_count,
        throttles=event.throttles,
        due_ms=row.due_ms,
        condition=None if row.condition is None else str(row.condition),
        target=row.target,
        tries=row.tries,
        payload_bytes=len(event.call.payload),
    )


def _detail(row: EventRow) -> EventDetail:
    call, response = row.event.call, row.response
    answered: Response = response or Response(payload=b"")
    return EventDetail(
        event=_line(row),
        payload=call.payload.decode(errors="replace"),
        client_context=call.client_context,
        trace_id=call.trace_id,
        tenant=call.tenant,
        status_code=None if response is None else response.status_code,
        executed_version=answered.executed_version,
        function_error=answered.function_error,
        response_payload=None if response is None else response.payload.decode(errors="replace"),
        reason=row.reason,
    )


def _key(parameters: Mapping[str, str]) -> FunctionKey:
    account, region, name = (parameters.get(key, "") for key in ("account", "region", "function"))
    if not (account and region and name):
        raise ValueError("account, region and function must be given")
    return FunctionKey(AccountId(account), Region(region), FunctionName(name))


def _state(parameters: Mapping[str, str]) -> EventState:
    """Raises ValueError if it is none."""
    return EventState(parameters.get("state", ""))


def _request(parameters: Mapping[str, str]) -> RequestId | None:
    request = parameters.get("request")
    return RequestId(request) if request else None
