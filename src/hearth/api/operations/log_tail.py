"""CloudWatch Logs: StartLiveTail. What is written to some groups from now on, once a second.

    HTTP 200 | initial-response | sessionStart | sessionUpdate, sessionUpdate, ...

A session ends when its client leaves, when Hearth stops, and after three hours with a
SessionTimeoutException. One that reads slowly gets no updates meanwhile, and then a sample of what
there was: nothing piles up.
Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartLiveTail.html
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar
from uuid import uuid4

import msgspec

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.log_addresses import (
    NO_GROUP,
    LogsInvalidParameter,
    LogsNotFound,
    arn_of,
    groups_of,
)
from hearth.api.operations.log_events import matches_of
from hearth.api.protocols.contract import REQUEST_ID_HEADER
from hearth.api.protocols.event_stream import CONTENT_TYPE, JSON, exception_message, message
from hearth.base.clock import Clock
from hearth.base.http1 import ResponseStream, StreamingResponder
from hearth.base.log import Log
from hearth.logs.reading import LogPage, LogQuery
from hearth.logs.store import LogStore
from hearth.model.errors import ServiceError
from hearth.model.ids import AccountId
from hearth.model.logs import EventId, LogEvent, LogGroup

UPDATE_S: Final = 1.0
UPDATE_EVENTS_MAX: Final = 500
SESSION_S_MAX: Final = 3 * 3_600
SESSIONS_MAX: Final = 15
"""At once, of an account."""
_ECHOED: Final = (
    "logGroupIdentifiers",
    "logStreamNames",
    "logStreamNamePrefixes",
    "logEventFilterPattern",
)

_T = TypeVar("_T")

log = Log("logs")


class LogsLimitExceeded(ServiceError):
    code = "LimitExceededException"
    status = 400
    blame = None


def operations(logs: LogStore, clock: Clock) -> tuple[Operation, ...]:
    return (Operation("logs", "StartLiveTail", _LiveTails(logs, clock).start),)


@dataclass(frozen=True, slots=True)
class _LiveTails:
    logs: LogStore
    clock: Clock
    running: Counter[AccountId] = field(default_factory=Counter)

    async def start(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        groups = groups_of(request, members["logGroupIdentifiers"])
        names, prefixes = members.get("logStreamNames"), members.get("logStreamNamePrefixes")
        if names and prefixes:
            raise LogsInvalidParameter(
                "LogStreamNames and LogStreamNamePrefixes are mutually exclusive parameters."
            )
        if (names or prefixes) and len(groups) > 1:
            raise LogsInvalidParameter(
                "LogStreamNames and LogStreamNamePrefixes need exactly one log group."
            )
        query = LogQuery(
            streams=frozenset(names) if names else None,
            prefix=tuple(prefixes) if prefixes else "",
            matches=matches_of(members.get("logEventFilterPattern", "")),
        )
        for group in groups:
            if await self.logs.catalog.group(group) is None:
                raise LogsNotFound(NO_GROUP)
        if self.running[request.caller.account] >= SESSIONS_MAX:
            raise LogsLimitExceeded(f"At most {SESSIONS_MAX} Live Tail sessions run at once.")
        return OperationResponse(stream=partial(self._run, request, groups, query))

    async def _run(
        self,
        request: OperationRequest,
        groups: list[LogGroup],
        query: LogQuery,
        responder: StreamingResponder,
    ) -> None:
        cursors = {group: (await self.logs.read_last(group, 1)).cursor for group in groups}
        left = asyncio.Event()
        responder.on_gone(left.set)
        headers = [("Content-Type", CONTENT_TYPE), (REQUEST_ID_HEADER, request.request_id)]
        stream = responder.begin(200, headers)
        account = request.caller.account
        self.running[account] += 1
        try:
            stream.write(_json("initial-response", {}))
            stream.write(_json("sessionStart", _session(request)))
            await self._update(stream, left, query, cursors)
        except Exception as error:  # noqa: BLE001 -- the 200 is out: an event must say it
            log.error("a live tail failed", error=error, request=request.request_id)
            _fail(stream, "SessionStreamingException", "The session failed. Start another.")
        finally:
            self.running[account] -= 1
            stream.end()

    async def _update(
        self,
        stream: ResponseStream,
        left: asyncio.Event,
        query: LogQuery,
        cursors: dict[LogGroup, EventId | None],
    ) -> None:
        end_s = self.clock.monotonic_s() + SESSION_S_MAX
        while not await _is_set(left, UPDATE_S):
            if self.logs.is_ending:
                return
            if self.clock.monotonic_s() >= end_s:
                _fail(stream, "SessionTimeoutException", "The session has lasted three hours.")
                return
            if not stream.is_full:
                stream.write(_json("sessionUpdate", await self._news(query, cursors)))

    async def _news(
        self, query: LogQuery, cursors: dict[LogGroup, EventId | None]
    ) -> dict[str, Any]:
        """What was written since the cursors, which move on."""
        found: list[tuple[LogGroup, LogEvent]] = []
        sampled = False
        for group, cursor in cursors.items():
            page: LogPage = await self.logs.find(group, replace(query, after=cursor))
            found += [(group, event) for event in page.events]
            cursors[group] = page.cursor
            if page.more:  # too much for a session that is live: go on from the end
                sampled = True
                cursors[group] = (await self.logs.read_last(group, 1)).cursor
        found.sort(key=lambda item: item[1].at_ms)
        shown = sample(found, UPDATE_EVENTS_MAX)
        return {
            "sessionMetadata": {"sampled": sampled or len(shown) < len(found)},
            "sessionResults": [_shown(group, event) for group, event in shown],
        }


def sample(items: list[_T], at_most: int) -> list[_T]:
    """All of them, or as many as may be, from all over."""
    if len(items) <= at_most:
        return items
    return [items[index * len(items) // at_most] for index in range(at_most)]


def _session(request: OperationRequest) -> dict[str, Any]:
    echoed = {name: request.members[name] for name in _ECHOED if name in request.members}
    return {"requestId": request.request_id, "sessionId": str(uuid4()), **echoed}


def _shown(group: LogGroup, event: LogEvent) -> dict[str, Any]:
    return {
        "logStreamName": event.stream,
        "logGroupIdentifier": arn_of(group),
        "message": event.message.decode(errors="replace"),
        "timestamp": event.at_ms,
        "ingestionTime": event.ingested_ms,
    }


def _json(event: str, members: Mapping[str, Any]) -> bytes:
    return message(event, JSON, msgspec.json.encode(members))


def _fail(stream: ResponseStream, code: str, text: str) -> None:
    stream.write(exception_message(code, msgspec.json.encode({"message": text})))


async def _is_set(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await event.wait()
    except TimeoutError:
        return False
