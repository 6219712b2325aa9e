"""How do spans get to X-Ray? By PutTraceSegments, at the address of `--endpoint xray=…`.

What functions sent to the daemon goes as it came, as AWS's daemon sends it. One call that fails
costs what was in it, and where X-Ray refuses it only what was sent by the function whose it is.
https://docs.aws.amazon.com/xray/latest/api/API_PutTraceSegments.html
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from hearth.app.aws_clients import make_client
from hearth.app.segments import document_of
from hearth.app.span_queue import Item, NotAllTaken, Segment
from hearth.model.endpoints import Endpoint
from hearth.settings import ClientSettings

PUT_MAX: Final = 50
"""Documents in one call."""
UNREACHABLE_MAX: Final = 2
"""Calls that nobody answers, before the rest of a batch is given up: each takes its time."""

_Owner = str
"""Whose document it is: a function's ARN, or empty for our own."""
_Document = tuple[_Owner, str]


class XRayExporter:
    """An Exporter."""

    name = "xray"

    def __init__(self, endpoint: Endpoint, told: ClientSettings, region: str) -> None:
        self._endpoint = endpoint
        self._told = told
        self._region = region
        self._clients: dict[str, Any] = {}

    def export(self, items: Sequence[Item]) -> None:
        """By region, some at a time. Raises NotAllTaken."""
        by_region: dict[str, list[_Document]] = {}
        for region, document in self._documents(items):
            by_region.setdefault(region, []).append(document)
        calls = deque(
            (region, documents[at : at + PUT_MAX])
            for region, documents in by_region.items()
            for at in range(0, len(documents), PUT_MAX)
        )
        lost, unreachable, why = 0, 0, ""
        while calls and unreachable < UNREACHABLE_MAX:
            region, documents = calls.popleft()
            try:
                lost += self._put(region, documents)
            except Exception as error:  # noqa: BLE001 -- botocore's kinds have no common base
                why = why or f"{error}"
                owners = _by_owner(documents)
                if not _is_refusal(error):
                    unreachable += 1
                    lost += len(documents)
                elif len(owners) == 1:
                    lost += len(documents)
                else:  # what one function sent must not cost the others theirs
                    calls.extendleft((region, own) for own in owners)
        lost += sum(len(documents) for _, documents in calls)
        if lost:
            raise NotAllTaken(lost, why or "X-Ray left some unprocessed")

    def _put(self, region: str, documents: list[_Document]) -> int:
        """How many were not taken. Raises what botocore does."""
        texts = [text for _, text in documents]
        answer = self._client(region).put_trace_segments(TraceSegmentDocuments=texts)
        return len(answer.get("UnprocessedTraceSegments") or ())

    def close(self) -> None:
        """Its requests have timeouts of their own."""

    def _documents(self, items: Sequence[Item]) -> Iterator[tuple[str, _Document]]:
        for item in items:
            if isinstance(item, Segment):
                document = item.document.decode(errors="replace")
                yield item.function.key.region, (item.function.arn, document)
            else:
                region = str(item.attributes.get("cloud.region", self._region))
                yield region, ("", msgspec.json.encode(document_of(item)).decode())

    def _client(self, region: str) -> Any:
        client = self._clients.get(region)
        if client is None:
            client = self._clients[region] = make_client(self._endpoint, self._told, region, 1)
        return client


def _by_owner(documents: Iterable[_Document]) -> list[list[_Document]]:
    found: dict[_Owner, list[_Document]] = {}
    for document in documents:
        found.setdefault(document[0], []).append(document)
    return list(found.values())


def _is_refusal(error: Exception) -> bool:
    """Whether the server has looked at these documents, and wants them no more."""
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return False
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in {400, 413}
