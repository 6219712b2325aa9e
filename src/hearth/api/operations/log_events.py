"""CloudWatch Logs: streams and events. Put, get, filter.

A page of GetLogEvents has two tokens, `f/ID/s` and `b/ID/s`: what was written after that event,
and before it. The same token comes back where there is nothing more in its direction, as AWS's
does.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html,
API_FilterLogEvents.html, API_PutLogEvents.html, API_DescribeLogStreams.html
"""

from dataclasses import dataclass
from typing import Any, Final

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.log_addresses import (
    NO_GROUP,
    NO_STREAM,
    LogsAlreadyExists,
    LogsInvalidParameter,
    LogsNotFound,
    LogsUnavailable,
    arn_of,
    group_of,
    page,
)
from hearth.base.clock import Clock
from hearth.logs.catalog import DAY_MS, Made, first_shown_ms
from hearth.logs.filter_pattern import compiled
from hearth.logs.reading import FUTURE_MS_MAX, LogPage, LogQuery, Matches
from hearth.logs.store import LogStore
from hearth.logs.streams import Stream
from hearth.model.logs import EventId, LogEvent, LogGroup

PAGE_STREAMS: Final = 50
PAGE_EVENTS: Final = 10_000
PAST_MS_MAX: Final = 14 * DAY_MS
BATCH_BYTES_MAX: Final = 1_048_576
EVENT_OVERHEAD: Final = 26
"""What an event counts besides its own bytes, says AWS's page of PutLogEvents."""
BATCH_SPAN_MS_MAX: Final = DAY_MS
SEQUENCE_TOKEN: Final = "49590302345678901234567890123456789012345678901234567890"  # noqa: S105
"""AWS ignores these tokens since 2023, and answers one all the same."""


def operations(logs: LogStore, clock: Clock) -> tuple[Operation, ...]:
    of = _LogEvents(logs, clock)
    return tuple(
        Operation("logs", name, handler)
        for name, handler in (
            ("CreateLogStream", of.create_stream),
            ("DeleteLogStream", of.delete_stream),
            ("DescribeLogStreams", of.describe_streams),
            ("PutLogEvents", of.put),
            ("GetLogEvents", of.get),
            ("FilterLogEvents", of.filter),
        )
    )


@dataclass(frozen=True, slots=True)
class _LogEvents:
    logs: LogStore
    clock: Clock

    async def create_stream(self, request: OperationRequest) -> OperationResponse:
        name = request.members["logStreamName"]
        made = await self.logs.catalog.create_stream(group_of(request), name)
        if made is Made.NO_GROUP:
            raise LogsNotFound(NO_GROUP)
        if made is Made.THERE_ALREADY:
            raise LogsAlreadyExists("The specified log stream already exists")
        return OperationResponse()

    async def delete_stream(self, request: OperationRequest) -> OperationResponse:
        name = request.members["logStreamName"]
        deleted = await self.logs.catalog.delete_stream(group_of(request), name)
        if deleted is None:
            raise LogsNotFound(NO_GROUP)
        if not deleted:
            raise LogsNotFound(NO_STREAM)
        return OperationResponse()

    async def describe_streams(self, request: OperationRequest) -> OperationResponse:
        members, group = request.members, group_of(request)
        by_time = members.get("orderBy", "LogStreamName") == "LastEventTime"
        prefix = members.get("logStreamNamePrefix", "")
        if by_time and prefix:
            raise LogsInvalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
        streams = [s for s in await self._streams(group) if s.name.startswith(prefix)]
        if by_time:
            streams.sort(key=lambda stream: (stream.last_ms or 0, stream.name))
        if members.get("descending", False):
            streams.reverse()
        names = [stream.name for stream in streams]
        chosen, token = page(names, members.get("nextToken"), members.get("limit", PAGE_STREAMS))
        described = [_described(group, stream) for stream in streams[chosen]]
        answer: dict[str, Any] = {"logStreams": described}
        if token is not None:
            answer["nextToken"] = token
        return OperationResponse(members=answer)

    async def put(self, request: OperationRequest) -> OperationResponse:
        group, name = group_of(request), request.members["logStreamName"]
        events = request.members["logEvents"]
        _check_batch(events)
        if all(stream.name != name for stream in await self._streams(group)):
            raise LogsNotFound(NO_STREAM)
        now_ms = self.clock.epoch_ms()
        old = sum(event["timestamp"] < now_ms - PAST_MS_MAX for event in events)
        new = sum(event["timestamp"] > now_ms + FUTURE_MS_MAX for event in events)
        lost_before = self.logs.lines_lost
        for event in events[old : len(events) - new]:
            self.logs.append(group, name, event["timestamp"], [event["message"].encode()])
        await self.logs.flush()
        if self.logs.lines_lost != lost_before:
            raise LogsUnavailable("The events could not all be stored; put them again.")
        answer: dict[str, Any] = {"nextSequenceToken": SEQUENCE_TOKEN}
        if old or new:
            rejected: dict[str, int] = {}
            if old:
                rejected["tooOldLogEventEndIndex"] = old
            if new:
                rejected["tooNewLogEventStartIndex"] = len(events) - new
            answer["rejectedLogEventsInfo"] = rejected
        return OperationResponse(members=answer)

    async def get(self, request: OperationRequest) -> OperationResponse:
        members, group = request.members, group_of(request)
        name, token = members["logStreamName"], members.get("nextToken")
        if all(stream.name != name for stream in await self._streams(group)):
            raise LogsNotFound(NO_STREAM)
        direction, at = _direction(token, from_head=members.get("startFromHead", False))
        query = LogQuery(
            start_ms=await self._start_ms(group, members.get("startTime", 0)),
            end_ms=members.get("endTime"),
            streams=frozenset({name}),
            after=at if direction == "f" else None,
            before=at if direction == "b" else None,
            limit=members.get("limit", PAGE_EVENTS),
        )
        found = await self._found(group, query, newest=direction == "b")
        forward, backward = _tokens(found, at)
        return OperationResponse(
            members={
                "events": [_shown(event) for event in _in_time(found)],
                "nextForwardToken": forward,
                "nextBackwardToken": backward,
            }
        )

    async def filter(self, request: OperationRequest) -> OperationResponse:
        members, group = request.members, group_of(request)
        names, prefix = members.get("logStreamNames"), members.get("logStreamNamePrefix", "")
        if names is not None and prefix:
            raise LogsInvalidParameter(
                "LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters."
            )
        there = {stream.name for stream in await self._streams(group)}
        if names is not None and not set(names) <= there:
            raise LogsNotFound(NO_STREAM)
        token = members.get("nextToken")
        query = LogQuery(
            start_ms=await self._start_ms(group, members.get("startTime", 0)),
            end_ms=members["endTime"] + 1 if "endTime" in members else None,
            streams=None if names is None else frozenset(names),
            prefix=prefix,
            after=None if token is None else EventId(token),
            matches=matches_of(members.get("filterPattern", "")),
            limit=members.get("limit", PAGE_EVENTS),
        )
        found = await self._found(group, query)
        events = [
            {**_shown(event), "logStreamName": event.stream, "eventId": event.event_id}
            for event in _in_time(found)
        ]
        answer: dict[str, Any] = {"events": events, "searchedLogStreams": []}
        if found.more:
            answer["nextToken"] = found.cursor
        return OperationResponse(members=answer)

    async def _streams(self, group: LogGroup) -> list[Stream]:
        """Raises LogsNotFound."""
        streams = await self.logs.catalog.streams(group)
        if streams is None:
            raise LogsNotFound(NO_GROUP)
        return streams

    async def _start_ms(self, group: LogGroup, asked_ms: int) -> int:
        file = await self.logs.catalog.group(group)
        if file is None:
            raise LogsNotFound(NO_GROUP)
        return max(asked_ms, first_shown_ms(file, self.clock.epoch_ms()))

    async def _found(self, group: LogGroup, query: LogQuery, *, newest: bool = False) -> LogPage:
        try:
            return await self.logs.find(group, query, newest=newest)
        except ValueError as error:
            raise LogsInvalidParameter("The specified nextToken is invalid.") from error


def matches_of(pattern: str) -> Matches | None:
    if not pattern.strip():
        return None
    try:
        return compiled(pattern)
    except ValueError as error:
        raise LogsInvalidParameter(str(error)) from error


def _direction(token: str | None, *, from_head: bool) -> tuple[str, EventId | None]:
    if token is None:
        return ("f" if from_head else "b"), None
    direction, _, at = token.removesuffix("/s").partition("/")
    if direction not in {"f", "b"}:
        raise LogsInvalidParameter("The specified nextToken is invalid.")
    return direction, EventId(at) if at else None


def _tokens(found: LogPage, at: EventId | None) -> tuple[str, str]:
    """Forward and backward."""
    if not found.events:
        # Nothing in this direction now; the other one begins where this one was asked from.
        here = at or found.cursor or ""
        return f"f/{here}/s", f"b/{here}/s"
    first, last = found.events[0].event_id, found.events[-1].event_id
    return f"f/{last}/s", f"b/{first}/s"


def _in_time(found: LogPage) -> list[LogEvent]:
    return sorted(found.events, key=lambda event: event.at_ms)


def _shown(event: LogEvent) -> dict[str, Any]:
    return {
        "timestamp": event.at_ms,
        "message": event.message.decode(errors="replace"),
        "ingestionTime": event.ingested_ms,
    }


def _described(group: LogGroup, stream: Stream) -> dict[str, Any]:
    described: dict[str, Any] = {
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "arn": f"{arn_of(group)}:log-stream:{stream.name}",
        "uploadSequenceToken": SEQUENCE_TOKEN,
        "storedBytes": 0,
    }
    times = {
        "firstEventTimestamp": stream.first_ms,
        "lastEventTimestamp": stream.last_ms,
        "lastIngestionTime": stream.ingested_ms,
    }
    return described | {name: at_ms for name, at_ms in times.items() if at_ms is not None}


def _check_batch(events: list[dict[str, Any]]) -> None:
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        raise LogsInvalidParameter(
            "Log events in a single PutLogEvents request must be in chronological order."
        )
    if times[-1] - times[0] > BATCH_SPAN_MS_MAX:
        raise LogsInvalidParameter(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 "
            "hours."
        )
    size = sum(len(event["message"].encode()) + EVENT_OVERHEAD for event in events)
    if size > BATCH_BYTES_MAX:
        raise LogsInvalidParameter(f"Upload too large: {size} bytes exceeds limit of 1048576")
