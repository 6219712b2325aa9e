"""How do spans become OTLP? OpenTelemetry's own exporter, over HTTP with protobuf.

Imported only where --otlp is used: it comes with the extra `otlp`. Everything but the address
(headers, certificates, compression, timeout) it reads from the OTEL_EXPORTER_OTLP_… variables, and
the resource from OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from hearth import __version__
from hearth.app.segments import spans_of
from hearth.app.span_queue import Item, Segment
from hearth.model.traces import Span, SpanKind

SERVICE: Final = "hearth"


class ExportFailed(Exception):
    """The collector did not take them."""


class OtlpExporter:
    """An Exporter. Raises ImportError where the extra is not installed."""

    name = "otlp"

    def __init__(self, endpoint: str, instance: str) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk import trace as sdk
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace.export import SpanExportResult
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        # What fails is told by the queue, once a minute, not by each try of the library.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._sdk: Any = sdk
        self._api: Any = trace
        self._well = SpanExportResult.SUCCESS
        self._exporter: Any = OTLPSpanExporter(endpoint=endpoint)
        own = {"service.version": __version__, "service.instance.id": instance}
        found = Resource.create(own)
        if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            found = found.merge(Resource({SERVICE_NAME: SERVICE}))
        self._resource = found
        self._scope = InstrumentationScope("hearth", __version__)
        self._kinds = {
            SpanKind.SERVER: trace.SpanKind.SERVER,
            SpanKind.INTERNAL: trace.SpanKind.INTERNAL,
            SpanKind.CONSUMER: trace.SpanKind.CONSUMER,
            SpanKind.PRODUCER: trace.SpanKind.PRODUCER,
        }

    def export(self, items: Sequence[Item]) -> None:
        """Raises ExportFailed."""
        spans: list[Any] = []
        for item in items:
            found = spans_of(item) if isinstance(item, Segment) else [item]
            spans += map(self._readable, found)
        if spans and self._exporter.export(spans) is not self._well:
            raise ExportFailed("the collector did not take them")

    def close(self) -> None:
        self._exporter.shutdown()

    def _readable(self, span: Span) -> Any:
        trace = int(span.trace, 16)
        failed = (
            self._api.StatusCode.ERROR if span.error is not None else self._api.StatusCode.UNSET
        )
        parent = None if span.parent is None else self._context(trace, span.parent, is_remote=True)
        return self._sdk.ReadableSpan(
            span.name,
            context=self._context(trace, span.span, is_remote=False),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=self._kinds[span.kind],
            status=self._api.Status(failed, span.error),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )

    def _context(self, trace: int, span: str, *, is_remote: bool) -> Any:
        sampled = self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        return self._api.SpanContext(trace, int(span, 16), is_remote, sampled)
