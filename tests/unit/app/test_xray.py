"""What a bad document, or a bad moment of X-Ray's, costs others: nothing."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fakes.invokes import function_version
from hearth.app.span_queue import Item, NotAllTaken, Segment
from hearth.app.xray import PUT_MAX, UNREACHABLE_MAX, XRayExporter
from hearth.model.endpoints import Endpoint
from hearth.model.traces import Span
from hearth.settings import ClientSettings

GOOD, BAD = function_version("good"), function_version("bad")
TRACE = "6955b9000123456789abcdef01234567"
OURS = Span(trace=TRACE, span="00000000000000aa", parent=None, name="ours", start_ns=1, end_ns=2)


class XRay:
    """Refuses a call with a document that says `refuse`, and does what the next status says."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.calls = 0
        self.statuses: list[int] = []
        self.unprocessed = 0
        xray = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = xray.take(json.loads(body)["TraceSegmentDocuments"])
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, documents: list[str]) -> tuple[int, bytes]:
        self.calls += 1
        if self.statuses:
            return self.statuses.pop(0), b"{}"
        if any("refuse" in document for document in documents):
            return 400, b'{"__type": "InvalidRequestException", "message": "no"}'
        self.taken += documents
        return 200, json.dumps({"UnprocessedTraceSegments": [{}] * self.unprocessed}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def xray() -> Iterator[XRay]:
    made = XRay()
    yield made
    made.close()


def exporter(url: str) -> XRayExporter:
    told = ClientSettings(
        endpoint=None,
        region=None,
        access_key="test",
        secret_key="test",
        session_token=None,
        profile=None,
    )
    return XRayExporter(Endpoint("xray", url), told, "us-east-1")


def test_a_document_that_is_refused_costs_only_whose_it_is(xray: XRay) -> None:
    items: list[Item] = [OURS, Segment(b"1", GOOD), Segment(b"refuse", BAD), Segment(b"2", GOOD)]
    with pytest.raises(NotAllTaken) as failed:
        exporter(xray.url).export(items)
    assert failed.value.lost == 1
    assert sorted(xray.taken)[:2] == ["1", "2"]
    assert len(xray.taken) == 3
    assert "InvalidRequestException" in str(failed.value)


def test_a_call_that_fails_costs_only_what_was_in_it(xray: XRay) -> None:
    xray.statuses = [500]
    with pytest.raises(NotAllTaken) as failed:
        exporter(xray.url).export([Segment(b"1", GOOD)] * (3 * PUT_MAX))
    assert failed.value.lost == PUT_MAX
    assert len(xray.taken) == 2 * PUT_MAX


def test_when_nobody_answers_the_rest_is_given_up(xray: XRay) -> None:
    xray.statuses = [503] * 100
    with pytest.raises(NotAllTaken) as failed:
        exporter(xray.url).export([Segment(b"1", GOOD)] * (10 * PUT_MAX))
    assert failed.value.lost == 10 * PUT_MAX
    assert xray.calls == UNREACHABLE_MAX


def test_what_xray_leaves_unprocessed_is_counted(xray: XRay) -> None:
    xray.unprocessed = 2
    with pytest.raises(NotAllTaken) as failed:
        exporter(xray.url).export([Segment(b"1", GOOD)] * 5)
    assert failed.value.lost == 2
