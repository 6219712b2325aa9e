"""Which streams does a group have, and from when to when? Read from its segments.

Nothing is kept on disk about a stream but its events (and, if it was created by name, that). A
segment that is complete is looked through once in a process's life, the one that grows each time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from hearth.logs import group_file, records
from hearth.logs.group_file import GroupFile
from hearth.logs.segments import segments

SEGMENTS_CACHED_MAX: Final = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Times are milliseconds since the epoch; None where there is no event."""

    name: str
    created_ms: int
    first_ms: int | None = None
    last_ms: int | None = None
    ingested_ms: int | None = None


@dataclass(slots=True)
class _Span:
    created_ms: int
    first_ms: int
    last_ms: int
    ingested_ms: int


Spans = Mapping[str, _Span]


def streams_of(directory: Path) -> tuple[GroupFile, list[Stream]] | None:
    """The group and its streams in order of name; None if there is no such group. Blocking."""
    group = group_file.read(directory)
    if group is None:
        return None
    spans: dict[str, _Span] = {}
    for _, path in segments(directory):
        try:
            size = path.stat().st_size
        except FileNotFoundError:  # retired since it was listed
            continue
        for name, span in _scanned(path, size, tuple(sorted(group.deleted.items()))).items():
            spans[name] = _joined(spans.get(name), span)
    names = sorted({*spans, *group.streams})
    return group, [_stream(name, group, spans.get(name)) for name in names]


def _stream(name: str, group: GroupFile, span: _Span | None) -> Stream:
    created_ms = group.streams.get(name)
    if span is None:
        assert created_ms is not None
        return Stream(name=name, created_ms=created_ms)
    return Stream(
        name=name,
        created_ms=span.created_ms if created_ms is None else created_ms,
        first_ms=span.first_ms,
        last_ms=span.last_ms,
        ingested_ms=span.ingested_ms,
    )


@lru_cache(maxsize=SEGMENTS_CACHED_MAX)
def _scanned(path: Path, size: int, deleted: tuple[tuple[str, int], ...]) -> Spans:
    """`size` makes a segment that has grown another one."""
    try:
        with path.open("rb") as file:
            content = file.read(size)
    except FileNotFoundError:
        return {}
    hidden = dict(deleted)
    spans: dict[str, _Span] = {}
    for _, frame, _ in records.decode(content):
        if frame.ingested_ms <= hidden.get(frame.stream, -1):
            continue
        found = _Span(frame.ingested_ms, frame.at_ms, frame.at_ms, frame.ingested_ms)
        spans[frame.stream] = _joined(spans.get(frame.stream), found)
    return spans


def _joined(one: _Span | None, other: _Span) -> _Span:
    if one is None:
        return other
    return _Span(
        min(one.created_ms, other.created_ms),
        min(one.first_ms, other.first_ms),
        max(one.last_ms, other.last_ms),
        max(one.ingested_ms, other.ingested_ms),
    )
