"""How do spans and X-Ray's segments become one another?

A segment is the work of one service for one request, a subsegment a part of it; the X-Ray SDK and
Powertools send theirs as JSON. What a function sends is not to be trusted: what is no segment is
left out, and whose it is we say ourselves.
https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hearth.app.span_queue import Segment
from hearth.model.functions import FunctionVersion
from hearth.model.traces import Attribute, Span, SpanKind, parse, root_of

DEPTH_MAX: Final = 16
SPANS_MAX: Final = 256
NAME_MAX: Final = 200
TIME_MAX_S: Final = 1 << 33
"""Whoever takes spans has 64 bits for the nanoseconds of a moment."""
NUMBER_MAX: Final = (1 << 63) - 1
_ORIGIN: Final = "AWS::Lambda::Function"


class _Document(msgspec.Struct, kw_only=True):
    """What is read of a segment or a subsegment."""

    name: str
    id: str
    start_time: float
    end_time: float | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    namespace: str | None = None
    annotations: dict[str, str | int | float | bool] = {}
    error: bool = False
    fault: bool = False
    throttle: bool = False
    http: dict[str, Any] = {}
    subsegments: list["_Document"] = []


def spans_of(segment: Segment) -> list[Span]:
    """Those of a document and of all in it that have ended; none if it is not valid."""
    try:
        document = msgspec.json.decode(segment.document, type=_Document)
    except (msgspec.MsgspecError, RecursionError):
        return []
    header = parse(f"Root={document.trace_id}")
    if header is None:
        return []
    found = _flat(document, document.parent_id, header.trace, segment.function, 0)
    return [span for span, _ in zip(found, range(SPANS_MAX), strict=False)]


def _flat(
    document: _Document, parent: str | None, trace: str, function: FunctionVersion, depth: int
) -> Iterator[Span]:
    header = parse(f"Root={root_of(trace)};Parent={document.id}")
    if header is None or header.parent is None or depth > DEPTH_MAX:
        return
    above = parse(f"Root={root_of(trace)};Parent={parent}")
    ended = document.end_time
    if ended is not None and TIME_MAX_S >= ended >= document.start_time >= 0:
        yield Span(
            trace=trace,
            span=header.parent,
            parent=None if above is None else above.parent,
            name=document.name[:NAME_MAX],
            start_ns=int(document.start_time * 1e9),
            end_ns=int(ended * 1e9),
            attributes=_attributes(document, function),
            error=_error(document),
        )
    for part in document.subsegments:
        yield from _flat(part, header.parent, trace, function, depth + 1)


def _error(document: _Document) -> str | None:
    for name in ("fault", "throttle", "error"):
        if getattr(document, name):
            return name
    return None


def _attributes(document: _Document, function: FunctionVersion) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {
        f"aws.xray.annotations.{name}": value
        for name, value in document.annotations.items()
        if _is_taken(value)
    }
    if document.namespace:
        found["aws.xray.namespace"] = document.namespace
    request, response = document.http.get("request"), document.http.get("response")
    for name, part, key in (
        ("url.full", request, "url"),
        ("http.request.method", request, "method"),
        ("http.response.status_code", response, "status"),
    ):
        value = part.get(key) if isinstance(part, dict) else None
        if isinstance(value, str | int) and _is_taken(value):
            found[name] = value
    return {**found, **of_function(function)}


def _is_taken(value: Attribute) -> bool:
    return not isinstance(value, int) or abs(value) <= NUMBER_MAX


def of_function(function: FunctionVersion) -> dict[str, Attribute]:
    """https://opentelemetry.io/docs/specs/semconv/faas/ and …/cloud/"""
    return {
        "faas.name": function.key.name,
        "faas.version": function.version,
        "cloud.account.id": function.key.account,
        "cloud.region": function.key.region,
        "cloud.resource_id": function.qualified_arn,
    }


def document_of(span: Span) -> dict[str, Any]:
    """A span of ours as a segment (what serves a request), or as a subsegment of one."""
    document: dict[str, Any] = {
        "name": span.name,
        "id": span.span,
        "trace_id": root_of(span.trace),
        "start_time": span.start_ns / 1e9,
        "end_time": span.end_ns / 1e9,
        "metadata": {"hearth": dict(span.attributes)},
    }
    if span.parent is not None:
        document["parent_id"] = span.parent
    if span.kind is SpanKind.SERVER:
        attributes = span.attributes
        document["name"] = attributes.get("faas.name", span.name)
        document["origin"] = _ORIGIN
        document["resource_arn"] = attributes.get("cloud.resource_id", "")
        document["aws"] = {
            "account_id": attributes.get("cloud.account.id", ""),
            "request_id": attributes.get("faas.invocation_id", ""),
        }
    elif span.parent is not None:
        document["type"] = "subsegment"
    if span.error is not None:
        document["fault" if span.is_fault else "error"] = True
        document["metadata"]["hearth"]["error"] = span.error
    return document
