"""How do spans get to X-Ray? By PutTraceSegments, at the address of `--endpoint xray=…`.

What functions sent to the daemon goes as it came, as AWS's daemon sends it.
https://docs.aws.amazon.com/xray/latest/api/API_PutTraceSegments.html
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from hearth.app.aws_clients import make_client
from hearth.app.segments import document_of
from hearth.app.span_queue import Item, Segment
from hearth.model.endpoints import Endpoint
from hearth.settings import ClientSettings

PUT_MAX: Final = 50
"""Documents in one call."""


class XRayExporter:
    """An Exporter."""

    name = "xray"

    def __init__(self, endpoint: Endpoint, told: ClientSettings, region: str) -> None:
        self._endpoint = endpoint
        self._told = told
        self._region = region
        self._clients: dict[str, Any] = {}

    def export(self, items: Sequence[Item]) -> None:
        """By region, some at a time. Raises what botocore does."""
        by_region: dict[str, list[str]] = {}
        for region, document in self._documents(items):
            by_region.setdefault(region, []).append(document)
        for region, documents in by_region.items():
            for at in range(0, len(documents), PUT_MAX):
                self._client(region).put_trace_segments(
                    TraceSegmentDocuments=documents[at : at + PUT_MAX]
                )

    def close(self) -> None:
        """Its requests have timeouts of their own."""

    def _documents(self, items: Sequence[Item]) -> Iterator[tuple[str, str]]:
        for item in items:
            if isinstance(item, Segment):
                yield item.function.key.region, item.document.decode(errors="replace")
            else:
                region = str(item.attributes.get("cloud.region", self._region))
                yield region, msgspec.json.encode(document_of(item)).decode()

    def _client(self, region: str) -> Any:
        client = self._clients.get(region)
        if client is None:
            client = self._clients[region] = make_client(self._endpoint, self._told, region, 1)
        return client
