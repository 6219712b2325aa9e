"""Which events of a group does a reader want? Reads segments; blocking, for the reading thread.

The writer may be at work meanwhile: a frame that is not all there yet ends the page, and the next
page begins with it. Segments are listed before they are read, so all but the last are complete.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hearth.logs import group_file, records
from hearth.logs.records import Frame, Place
from hearth.logs.segments import segments
from hearth.model.logs import EventId, LogEvent

PAGE_EVENTS_MAX: Final = 10_000
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
FUTURE_MS_MAX: Final = 2 * 3_600_000
"""How far an event's time may lie ahead of the moment it was written. CloudWatch takes no more:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""


Matches = Callable[[str], bool]

SCAN_BYTES_MAX: Final = 32 * 1024 * 1024
"""A page with a filter ends after so many bytes, even if it is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Times are milliseconds since the epoch: `start_ms` <= time < `end_ms`."""

    start_ms: int = 0
    end_ms: int | None = None
    streams: frozenset[str] | None = None
    after: EventId | None = None
    """Only what was written after this event: where the page before ended."""
    before: EventId | None = None
    """Only what was written before this event; for the newest events."""
    hidden: Mapping[str, int] = field(default_factory=dict)
    """Streams whose events do not count if they were ingested at that moment or before."""
    matches: Matches | None = None
    """Of an event's text."""
    prefix: str | tuple[str, ...] = ""
    """Of the streams' names; one of several."""
    limit: int = PAGE_EVENTS_MAX

    def wants(self, frame: Frame) -> bool:
        return (
            frame.at_ms >= self.start_ms
            and (self.end_ms is None or frame.at_ms < self.end_ms)
            and (self.streams is None or frame.stream in self.streams)
            and frame.stream.startswith(self.prefix)
            and frame.ingested_ms > self.hidden.get(frame.stream, -1)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Events in the order in which they were written."""

    events: tuple[LogEvent, ...]
    cursor: EventId | None
    """Ask for what comes `after` this next time; None while the group is empty."""
    more: bool
    """There is more already: the page was full."""


@dataclass(frozen=True, slots=True)
class _Line:
    place: Place
    frame: Frame

    def matches(self, matches: Matches | None) -> bool:
        return matches is None or matches(
            self.frame.lines[self.place.line].removesuffix(b"\n").decode(errors="replace")
        )

    def event(self) -> LogEvent:
        return LogEvent(
            event_id=self.place.event_id,
            stream=self.frame.stream,
            at_ms=self.frame.at_ms,
            ingested_ms=self.frame.ingested_ms,
            message=self.frame.lines[self.place.line],
        )


def first_page(directory: Path, query: LogQuery) -> LogPage:
    """The oldest events that the query wants. Raises ValueError for an `after` that is no id."""
    query = _with_what_is_hidden(directory, query)
    begin = Place(0, 0, -1) if query.after is None else records.place_of(query.after)
    limit = min(query.limit, PAGE_EVENTS_MAX)
    events: list[LogEvent] = []
    size = scanned = 0
    last: Place | None = None
    for number, path in segments(directory):
        if number < begin.segment or _is_older(path, query.start_ms):
            continue
        for line in _lines(number, path, begin.offset if number == begin.segment else 0):
            if line.place <= begin:
                continue
            if query.wants(line.frame) and line.matches(query.matches):
                if len(events) >= limit or size >= PAGE_BYTES_MAX:
                    cursor = query.after if last is None else last.event_id
                    return LogPage(events=tuple(events), cursor=cursor, more=True)
                events.append(event := line.event())
                size += len(event.message)
            last = line.place
        scanned += path.stat().st_size if path.exists() else 0
        if query.matches is not None and scanned > SCAN_BYTES_MAX and last is not None:
            return LogPage(events=tuple(events), cursor=last.event_id, more=True)
    cursor = query.after if last is None else last.event_id
    return LogPage(events=tuple(events), cursor=cursor, more=False)


def last_page(directory: Path, query: LogQuery) -> LogPage:
    """The newest events that the query wants; the cursor is the group's end, or `before`.
    Raises ValueError for a `before` that is no id."""
    query = _with_what_is_hidden(directory, query)
    end_place = None if query.before is None else records.place_of(query.before)
    limit = min(query.limit, PAGE_EVENTS_MAX)
    events: deque[LogEvent] = deque()
    size = 0
    cursor: EventId | None = None
    for number, path in reversed(segments(directory)):
        if end_place is not None and number > end_place.segment:
            continue
        if _is_older(path, query.start_ms) and cursor is not None:
            break
        lines = _until(_lines(number, path, 0), end_place)
        newest, end = _newest(lines, query, limit - len(events))
        cursor = cursor or end
        for event in reversed(newest):
            size += len(event.message)
            if events and size > PAGE_BYTES_MAX:
                return LogPage(events=tuple(events), cursor=cursor, more=True)
            events.appendleft(event)
        if len(events) >= limit:
            break
    return LogPage(events=tuple(events), cursor=cursor, more=False)


def _with_what_is_hidden(directory: Path, query: LogQuery) -> LogQuery:
    group = group_file.read(directory)
    return query if group is None or not group.deleted else replace(query, hidden=group.deleted)


def _until(lines: Iterator[_Line], end: Place | None) -> Iterator[_Line]:
    for line in lines:
        if end is not None and line.place >= end:
            return
        yield line


def _newest(
    lines: Iterator[_Line], query: LogQuery, limit: int
) -> tuple[list[LogEvent], EventId | None]:
    wanted: deque[_Line] = deque(maxlen=limit)
    last: _Line | None = None
    for last in lines:
        if query.wants(last.frame) and last.matches(query.matches):
            wanted.append(last)
    return [line.event() for line in wanted], None if last is None else last.place.event_id


def _lines(number: int, path: Path, start: int) -> Iterator[_Line]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            content = file.read()
    except FileNotFoundError:  # retired since it was listed
        return
    for offset, frame, _ in records.decode(content):
        for index in range(len(frame.lines)):
            yield _Line(Place(number, start + offset, index), frame)


def _is_older(path: Path, start_ms: int) -> bool:
    """True if no event of the segment can be that young: it was written to before."""
    if start_ms <= FUTURE_MS_MAX:
        return False
    try:
        return path.stat().st_mtime_ns // 1_000_000 + FUTURE_MS_MAX < start_ms
    except FileNotFoundError:
        return True
