"""Traces: a collector of OTLP and an X-Ray of this test's own, real functions, real clients."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from compat.platform import Platform, create, wait_active

pytestmark = pytest.mark.compat

WITHIN_S = 60.0
T = TypeVar("T")
PARENT = "53995c3f42cd8ad8"

CODE = """
import json, os, socket

def handler(event, context):
    header = os.environ["_X_AMZN_TRACE_ID"]
    if event.get("segment"):
        fields = dict(part.split("=", 1) for part in header.split(";"))
        document = {
            "name": "## work", "id": "00000000000000bb", "type": "subsegment",
            "trace_id": fields["Root"], "parent_id": fields["Parent"],
            "start_time": 1700000000.0, "end_time": 1700000001.0,
        }
        host, port = os.environ["AWS_XRAY_DAEMON_ADDRESS"].split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
            head = json.dumps({"format": "json", "version": 1})
            daemon.sendto((head + "\\n" + json.dumps(document)).encode(), (host, int(port)))
    return header
"""


class Collector:
    """What came to /v1/traces as protobuf, and to X-Ray's /TraceSegments as JSON."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.documents: list[dict[str, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    collector.take(body, self.headers.get("x-team"))
                    answer = b""
                else:
                    assert self.path == "/TraceSegments"
                    texts = json.loads(body)["TraceSegmentDocuments"]
                    collector.documents += map(json.loads, texts)
                    answer = b'{"UnprocessedTraceSegments": []}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, body: bytes, header: str | None) -> None:
        self.headers.append(header)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(group.resource))
            for scope in group.scope_spans:
                self.spans += scope.spans

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def of(self, trace: str, *names: str) -> dict[str, Any]:
        """The spans of that trace, by name, once those are there."""

        def found() -> dict[str, Any] | None:
            spans = {span.name: span for span in self.spans if span.trace_id.hex() == trace}
            return spans if set(names) <= spans.keys() else None

        return wait_for(found)


def attributes(of: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of.attributes}


def wait_for(look: Callable[[], T | None]) -> T:
    """What `look` finds, once it does."""
    deadline = time.monotonic() + WITHIN_S
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Platform]:
    state: Path = tmp_path_factory.mktemp("traces") / "state"
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue")
        variables.setenv("OTEL_SERVICE_NAME", "our-lambda")
        running = Platform(state, "--otlp", collector.url, "--endpoint", f"xray={collector.url}")
        running.start()
    client = running.client()
    create(client, "plain", CODE)
    create(client, "active", CODE, TracingConfig={"Mode": "Active"})
    yield running
    running.close()


def call(
    platform: Platform, name: str, event: Any, header: str, value: str, **members: Any
) -> tuple[str, dict[str, str], str]:
    """What the function saw, the answer's headers, and the tail of its log."""
    client = platform.client()

    def with_trace(request: Any, **_more: Any) -> None:
        request.headers[header] = value

    client.meta.events.register("before-sign.lambda.Invoke", with_trace)
    members = {"LogType": "Tail"} | members
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event), **members)
    tail = base64.b64decode(answer.get("LogResult", "")).decode()
    body = answer["Payload"].read()
    seen = json.loads(body) if body else ""
    return seen, answer["ResponseMetadata"]["HTTPHeaders"], tail


def fields(header: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in header.split(";"))


def test_an_invoke_is_spans_below_its_callers(platform: Platform, collector: Collector) -> None:
    trace = "5759e988bd862e3fe1be46a994272793"
    value = f"00-{trace}-{PARENT}-01"
    seen, headers, tail = call(platform, "plain", {}, "traceparent", value)
    spans = collector.of(trace, "invoke plain", "run", "init", "launch")
    whole = spans["invoke plain"]
    assert whole.parent_span_id.hex() == PARENT
    told = fields(seen)
    assert (told["Root"], told["Sampled"]) == (f"1-{trace[:8]}-{trace[8:]}", "1")
    assert told["Parent"] == whole.span_id.hex()
    assert fields(headers["x-amzn-trace-id"]) == told
    described = attributes(whole)
    assert described["faas.name"] == "plain"
    assert described["faas.coldstart"] is True
    assert described["cloud.region"] == "us-east-1"
    assert described["aws.lambda.invoked_arn"].endswith(":function:plain")
    assert spans["run"].parent_span_id == whole.span_id
    assert spans["init"].parent_span_id == spans["sandbox"].span_id
    assert whole.start_time_unix_nano <= spans["run"].start_time_unix_nano
    assert collector.resources[0]["service.name"] == "our-lambda"
    assert collector.headers[0] == "blue"
    assert "XRAY" not in tail, "its tracing is not Active"


def test_a_caller_that_says_no_is_heard(platform: Platform, collector: Collector) -> None:
    trace = "11111111bd862e3fe1be46a994272793"
    given = f"Root=1-11111111-{trace[8:]};Parent={PARENT};Sampled=0"
    seen, _, _ = call(platform, "plain", {}, "X-Amzn-Trace-Id", given)
    assert seen.startswith(f"{given};Lineage=")
    after = "22222222bd862e3fe1be46a994272793"
    call(platform, "plain", {}, "traceparent", f"00-{after}-{PARENT}-01")
    collector.of(after, "invoke plain")
    assert all(span.trace_id.hex() != trace for span in collector.spans)


def test_an_active_function_tells_xray_itself(platform: Platform, collector: Collector) -> None:
    client = platform.client()
    config = client.get_function_configuration(FunctionName="active")
    assert config["TracingConfig"] == {"Mode": "Active"}
    trace = "33333333bd862e3fe1be46a994272793"
    root = f"1-{trace[:8]}-{trace[8:]}"
    given = f"Root={root};Sampled=1"
    seen, _, tail = call(platform, "active", {"segment": True}, "X-Amzn-Trace-Id", given)
    segment = fields(seen)["Parent"]
    assert f"\nXRAY TraceId: {root}\tSegmentId: {segment}\tSampled: true\t" in tail
    spans = collector.of(trace, "invoke active", "## work")
    assert spans["invoke active"].span_id.hex() == segment
    assert spans["## work"].parent_span_id.hex() == segment
    assert attributes(spans["## work"])["faas.name"] == "active"

    def documents() -> dict[str, Any] | None:
        known = {one["name"]: one for one in collector.documents if one["trace_id"] == root}
        return known if {"active", "## work"} <= known.keys() else None

    found = wait_for(documents)
    assert found["active"]["origin"] == "AWS::Lambda::Function"
    assert found["active"]["id"] == segment
    assert found["## work"]["parent_id"] == segment
    back = client.update_function_configuration(
        FunctionName="active", TracingConfig={"Mode": "PassThrough"}
    )
    assert back["TracingConfig"] == {"Mode": "PassThrough"}
    wait_active(client, "active")


def test_an_event_waits_in_its_trace(platform: Platform, collector: Collector) -> None:
    trace = "44444444bd862e3fe1be46a994272793"
    value = f"00-{trace}-{PARENT}-01"
    call(platform, "plain", {}, "traceparent", value, InvocationType="Event", LogType="None")
    spans = collector.of(trace, "queue plain", "invoke plain")
    assert spans["queue plain"].parent_span_id == spans["invoke plain"].span_id
    assert attributes(spans["invoke plain"])["faas.trigger"] == "pubsub"
