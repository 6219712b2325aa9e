"""What is a trace? AWS's header, W3C's, and the spans that are kept of a request that is sampled.

    X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1
    traceparent:     00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01

The two name one trace: Root is a trace id with dashes in it. A header without `Sampled`, or with
`Sampled=?`, leaves the decision to whoever gets it.
https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
https://www.w3.org/TR/trace-context/#traceparent-header
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

_ROOT = re.compile(r"1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})")
_SPAN = re.compile(r"[0-9a-fA-F]{16}")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_DECIDED: Final = {"1": True, "0": False}
ROOT_ALONE: Final = len("Root=1-5759e988-bd862e3fe1be46a994272793")
"""The length of a header that says nothing else."""
_OURS: Final = frozenset({"Root", "Parent", "Sampled", "Self"})


class TraceHeader(NamedTuple):
    root: str
    parent: str | None
    sampled: bool | None
    """None: not decided."""
    rest: str
    """What else is in it, such as the lineage; with `;` in front, or empty."""

    @property
    def trace(self) -> str:
        """The 32 hex digits of the trace's id."""
        return (self.root[2:10] + self.root[11:]).lower()

    def sampled_as(self, span: str) -> str:
        """The header that goes on from this one's trace, below `span`."""
        return f"Root={self.root};Parent={span};Sampled=1{self.rest}"


def parse(header: str | None) -> TraceHeader | None:
    """None where it names no trace."""
    if not header:
        return None
    if len(header) == ROOT_ALONE and header.startswith("Root="):
        root = header[5:]
        return None if _ROOT.fullmatch(root) is None else TraceHeader(root, None, None, "")
    fields: dict[str, str] = {}
    rest = ""
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if not equals:
            continue
        if name in _OURS:
            fields[name] = value
        else:
            rest += f";{name}={value}"
    root = fields.get("Root", "")
    if _ROOT.fullmatch(root) is None:
        return None
    parent = fields.get("Parent", "")
    return TraceHeader(
        root,
        parent.lower() if _SPAN.fullmatch(parent) else None,
        _DECIDED.get(fields.get("Sampled", "")),
        rest,
    )


def from_traceparent(text: str) -> str | None:
    """AWS's header for W3C's, or None where that is not valid."""
    found = _TRACEPARENT.fullmatch(text.strip())
    if found is None:
        return None
    version, trace, span, flags = found.groups()
    if version == "ff" or not trace.strip("0") or not span.strip("0"):
        return None
    if version == "00" and len(text.strip()) != 55:
        return None
    return f"Root={root_of(trace)};Parent={span};Sampled={int(flags, 16) & 1}"


def root_of(trace: str) -> str:
    return f"1-{trace[:8]}-{trace[8:]}"


class SpanKind(StrEnum):
    SERVER = "server"
    INTERNAL = "internal"
    CONSUMER = "consumer"
    PRODUCER = "producer"


Attribute = str | int | float | bool


@dataclass(slots=True, kw_only=True)
class Span:
    """Something that took a time; ended."""

    trace: str
    """32 hex digits."""
    span: str
    """16 hex digits."""
    parent: str | None
    name: str
    start_ns: int
    end_ns: int
    kind: SpanKind = SpanKind.INTERNAL
    attributes: dict[str, Attribute] = field(default_factory=dict)
    error: str | None = None
    """What went wrong; None: nothing."""
    is_fault: bool = True
    """An error of the platform or the function; else one of the caller, as X-Ray tells them."""
    document: bytes | None = None
    """It came as a segment of X-Ray, and is this."""


class Spans(Protocol):
    """Where spans go. Must not block and must not raise."""

    def add(self, span: Span) -> None: ...
