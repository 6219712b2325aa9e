"""Invoke's way through the edge, with an invoker that does what each test says."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import pytest

from fakes.http import FakeResponder, http_request
from fakes.invokes import CALLER
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.api.edge import SERVICES, Edge
from hearth.api.invoke import SYNC_REQUEST_BYTES_MAX, InvokeHandler, fast_arguments
from hearth.base.http1 import HttpRequest
from hearth.base.jobs import Jobs
from hearth.model.errors import ResourceNotFound, ServiceError
from hearth.model.ids import Caller, FunctionReference
from hearth.model.invocations import InvokeCall, InvokeResult

REQUEST_ID = "01234567-89ab-cdef-0123-456789abcdef"
PATH = "/2015-03-31/functions/f/invocations"


class Believing:
    def verify(self, request: HttpRequest, service: str) -> Caller:
        return CALLER


class FakeInvoker:
    """Remembers its calls; answers with `result`, or raises it."""

    def __init__(self, result: InvokeResult | Exception, takes_s: float = 0.0) -> None:
        self.calls: list[InvokeCall] = []
        self.dry_runs: list[InvokeCall] = []
        self.accepted: list[InvokeCall] = []
        self.finished = 0
        self._result = result
        self._takes_s = takes_s

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        self.calls.append(call)
        await asyncio.sleep(self._takes_s)
        self.finished += 1
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def dry_run(self, call: InvokeCall) -> None:
        self.dry_runs.append(call)
        if isinstance(self._result, Exception):
            raise self._result

    async def accept(self, call: InvokeCall) -> None:
        await asyncio.sleep(self._takes_s)
        self.accepted.append(call)
        if isinstance(self._result, Exception):
            raise self._result


def result(**changes: Any) -> InvokeResult:
    return InvokeResult(**{"payload": b'{"a":1}', "executed_version": "$LATEST"} | changes)


def play(
    request: HttpRequest,
    invoker: FakeInvoker,
    meanwhile: Callable[[FakeResponder], None] = lambda _: None,
) -> FakeResponder:
    async def scenario() -> FakeResponder:
        responder = FakeResponder()
        clock = VirtualClock()
        async with Jobs() as jobs:
            edge = Edge(
                SERVICES,
                (),
                Believing(),
                clock,
                jobs,
                request_ids=lambda: REQUEST_ID,
                invoke=InvokeHandler(invoker, clock, invoker.accept),
            )
            edge.handle(request, responder)
            await asyncio.sleep(0)
            meanwhile(responder)
            await jobs.wait_idle()
        return responder

    return run_in_virtual_time(scenario())


def call_of(request: HttpRequest) -> InvokeCall:
    invoker = FakeInvoker(result())
    got = play(request, invoker)
    assert got.status == 200, got.body
    return invoker.calls[0]


def refusal(request: HttpRequest) -> FakeResponder:
    invoker = FakeInvoker(result())
    got = play(request, invoker)
    assert invoker.calls == []
    return got


def test_a_plain_invoke_gets_the_payload_and_awss_headers() -> None:
    got = play(http_request("POST", PATH, body=b'{"n": 1}'), FakeInvoker(result()))
    assert (got.status, got.body) == (200, b'{"a":1}')
    assert got.headers == {
        "Content-Type": "application/json",
        "x-amzn-RequestId": REQUEST_ID,
        "x-amzn-Remapped-Content-Length": "0",
        "X-Amz-Executed-Version": "$LATEST",
        "X-Amzn-Trace-Id": "Root=1-6955b900-0123456789abcdef01234567",
    }


def test_a_function_error_and_the_tail_of_the_log_are_headers() -> None:
    invoker = FakeInvoker(result(function_error="Unhandled", log_tail=b"START\n"))
    got = play(http_request("POST", PATH, x_amz_log_type="Tail"), invoker)
    assert got.status == 200
    assert got.headers["X-Amz-Function-Error"] == "Unhandled"
    assert base64.b64decode(got.headers["X-Amz-Log-Result"]) == b"START\n"
    assert invoker.calls[0].log_tail


def test_the_call_has_everything_that_the_request_said() -> None:
    call = call_of(
        http_request(
            "POST",
            PATH + "?Qualifier=live",
            body=b"[1, 2]",
            x_amz_client_context=base64.b64encode(b'{"custom": {"a": 1}}').decode(),
            x_amzn_trace_id="Root=1-5759e988-bd862e3fe1be46a994272793",
        )
    )
    assert call.caller is CALLER
    assert call.reference == FunctionReference.parse("f")
    assert call.qualifier == "live"
    assert call.payload == b"[1, 2]"
    assert call.client_context == '{"custom": {"a": 1}}'
    assert call.request == REQUEST_ID
    assert call.trace_id == "Root=1-5759e988-bd862e3fe1be46a994272793"
    assert not call.log_tail


def test_no_payload_is_an_empty_object() -> None:
    assert call_of(http_request("POST", PATH)).payload == b"{}"


@pytest.mark.parametrize(
    ("quoted", "name"),
    [
        ("arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af%3Alive", None),
        ("arn:aws:lambda:us-east-1:123456789012:function:f:live", None),
        ("123456789012:function:f", "123456789012:function:f"),
    ],
)
def test_a_function_may_be_named_by_its_arn(quoted: str, name: str | None) -> None:
    reference = call_of(
        http_request("POST", f"/2015-03-31/functions/{quoted}/invocations")
    ).reference
    expected = name or "arn:aws:lambda:us-east-1:123456789012:function:f:live"
    assert reference == FunctionReference.parse(expected)


@pytest.mark.parametrize(
    "target", [PATH, PATH + "/", PATH + "?Qualifier=%24LATEST", PATH + "?Qualifier=7"]
)
def test_the_usual_targets_need_no_model(target: str) -> None:
    assert fast_arguments(http_request("POST", target)) is not None


@pytest.mark.parametrize(
    "target", [PATH + "?x=1", PATH + "?Qualifier=live&x=1", PATH + "?Qualifier=$LATEST.PUBLISHED"]
)
def test_an_unusual_target_takes_the_long_way_to_the_same_call(target: str) -> None:
    request = http_request("POST", target, body=b"1")
    assert fast_arguments(request) is None or "x=" not in target
    assert call_of(request).payload == b"1"


def test_a_dry_run_answers_204_without_a_body() -> None:
    invoker = FakeInvoker(result())
    got = play(http_request("POST", PATH, x_amz_invocation_type="DryRun"), invoker)
    assert (got.status, got.body) == (204, b"")
    assert len(invoker.dry_runs) == 1
    assert invoker.calls == []


@pytest.mark.parametrize("kind", ["DryRun", "RequestResponse"])
def test_what_the_invoke_path_refuses_is_answered(kind: str) -> None:
    invoker = FakeInvoker(ResourceNotFound("Function not found: f"))
    got = play(http_request("POST", PATH, x_amz_invocation_type=kind), invoker)
    assert got.status == 404
    assert got.json == {"Type": "User", "Message": "Function not found: f"}


def test_a_bug_in_the_invoke_path_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    got = play(http_request("POST", PATH), FakeInvoker(ZeroDivisionError("secret")))
    assert got.status == 500
    assert b"secret" not in got.body
    assert [record.message for record in caplog.records] == ["request failed"]


def test_a_client_that_leaves_does_not_stop_the_function() -> None:
    invoker = FakeInvoker(result(), takes_s=3.0)
    got = play(http_request("POST", PATH), invoker, meanwhile=FakeResponder.leave)
    assert invoker.finished == 1
    assert got.body == b""


def test_an_event_is_answered_202_with_nothing_but_its_request_id() -> None:
    invoker = FakeInvoker(result(), takes_s=1.0)
    got = play(http_request("POST", PATH, body=b"[1]", x_amz_invocation_type="Event"), invoker)
    assert (got.status, got.body) == (202, b"")
    assert got.headers["x-amzn-RequestId"] == REQUEST_ID
    assert "X-Amz-Executed-Version" not in got.headers
    (call,) = invoker.accepted
    assert (call.request, call.payload) == (REQUEST_ID, b"[1]")
    assert not invoker.calls


def test_an_event_that_is_not_accepted_is_an_error() -> None:
    invoker = FakeInvoker(ServiceError("full"))
    got = play(http_request("POST", PATH, x_amz_invocation_type="Event"), invoker)
    assert got.status == 500
    assert got.json["Message"] == "full"


@pytest.mark.parametrize(
    ("kind", "size", "text"),
    [
        (
            "RequestResponse",
            SYNC_REQUEST_BYTES_MAX + 1,
            "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
        ),
        (
            "Event",
            1_048_577,
            "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
        ),
    ],
)
def test_a_payload_that_is_too_large_is_413(kind: str, size: int, text: str) -> None:
    got = refusal(http_request("POST", PATH, body=b"1" * size, x_amz_invocation_type=kind))
    assert got.status == 413
    assert got.headers["x-amzn-ErrorType"] == "RequestEntityTooLargeException"
    assert got.json == {"Message": text}


def test_the_largest_payload_goes_through() -> None:
    payload = b'"' + b"x" * (SYNC_REQUEST_BYTES_MAX - 2) + b'"'
    assert call_of(http_request("POST", PATH, body=payload)).payload is payload


def test_a_payload_that_is_no_json_is_refused_in_jacksons_words() -> None:
    got = refusal(http_request("POST", PATH, body=b"hello"))
    assert got.status == 400
    assert got.headers["x-amzn-ErrorType"] == "InvalidRequestContentException"
    assert got.json == {
        "Type": "User",
        "message": (
            "Could not parse request body into json: Could not parse payload into json: "
            "Unrecognized token 'hello': was expecting (JSON String, Number, Array, Object or "
            "token 'null', 'true' or 'false')\n at [Source: REDACTED "
            "(`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 6]"
        ),
    }


@pytest.mark.parametrize("payload", [b'"\\ud800"', '{"ä": "世"}'.encode(), b" null ", b"1e400"])
def test_json_that_aws_takes_is_taken(payload: bytes) -> None:
    assert call_of(http_request("POST", PATH, body=payload)).payload == payload


@pytest.mark.parametrize(
    "context",
    [
        "not base64!",
        base64.b64encode(b"no json").decode(),
        base64.b64encode(b"[1]").decode(),
        base64.b64encode(b"\xff").decode(),
        "",
    ],
)
def test_a_client_context_that_is_none_is_refused(context: str) -> None:
    got = refusal(http_request("POST", PATH, x_amz_client_context=context))
    assert got.status == 400
    assert got.headers["x-amzn-ErrorType"] == "InvalidRequestContentException"
    assert got.json == {"message": "Client context must be a valid Base64-encoded JSON object."}


def test_a_client_context_is_bounded() -> None:
    text = base64.b64encode(b'{"a": "' + b"x" * 2_700 + b'"}').decode()
    assert len(text) > 3_583
    assert refusal(http_request("POST", PATH, x_amz_client_context=text)).status == 400


@pytest.mark.parametrize(
    ("target", "headers", "path"),
    [
        (PATH, {"x_amz_invocation_type": "Sometimes"}, "invocationType"),
        (PATH, {"x_amz_log_type": "Head"}, "logType"),
        ("/2015-03-31/functions/a%20b/invocations", {}, "functionName"),
        (f"/2015-03-31/functions/{'x' * 257}/invocations", {}, "functionName"),
        (PATH + "?Qualifier=", {}, "qualifier"),
        (PATH + "?Qualifier=a%20b", {}, "qualifier"),
    ],
)
def test_what_breaks_the_model_is_refused_in_its_words(
    target: str, headers: dict[str, Any], path: str
) -> None:
    got = refusal(http_request("POST", target, **headers))
    assert got.status == 400
    assert got.headers["x-amzn-ErrorType"] == "ValidationException"
    assert f"at '{path}' failed to satisfy constraint: Member must" in got.json["message"]


@pytest.mark.parametrize("tenant", ["", "a,b", "x" * 257, "t\u00e4"])
def test_a_tenant_that_breaks_the_model_is_refused_in_its_words(tenant: str) -> None:
    got = refusal(http_request("POST", PATH, x_amz_tenant_id=tenant))
    assert (got.status, got.headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert "at 'tenantId' failed to satisfy constraint: Member must" in got.json["message"]


@pytest.mark.parametrize("tenant", ["blue", "x" * 256, "a-b_c.d:e/f=g+h@i j"])
def test_a_tenant_is_passed_on(tenant: str) -> None:
    arguments = fast_arguments(http_request("POST", PATH, x_amz_tenant_id=tenant))
    assert arguments is not None
    assert arguments.tenant == tenant


def test_a_durable_executions_name_is_passed_on() -> None:
    assert (
        call_of(http_request("POST", PATH, x_amz_durable_execution_name="n")).execution_name == "n"
    )
    assert call_of(http_request("POST", PATH)).execution_name is None


def test_a_path_that_only_looks_like_invoke_is_unknown() -> None:
    assert refusal(http_request("POST", PATH + "/more")).status == 404


def test_errors_of_authentication_are_answered() -> None:
    class Refusing(Believing):
        def verify(self, request: HttpRequest, service: str) -> Caller:
            raise ServiceError("no")

    async def scenario() -> None:
        responder = FakeResponder()
        clock = VirtualClock()
        async with Jobs() as jobs:
            invoker = FakeInvoker(result())
            handler = InvokeHandler(invoker, clock, invoker.accept)
            edge = Edge(SERVICES, (), Refusing(), clock, jobs, lambda: REQUEST_ID, handler)
            edge.handle(http_request("POST", PATH), responder)
        assert responder.status == 500
        assert responder.json["Message"] == "no"

    run_in_virtual_time(scenario())
