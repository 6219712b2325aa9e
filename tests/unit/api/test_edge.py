"""The edge from end to end, with handlers made for each test and no sockets."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.http import FakeResponder, http_request
from fakes.invokes import CALLER
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.api.edge import SERVICES, Edge
from hearth.api.operation import Handler, Operation, OperationRequest, OperationResponse
from hearth.api.operations import sts
from hearth.api.shapes import load_service
from hearth.base.http1 import HttpRefusal, HttpRequest
from hearth.base.jobs import Jobs
from hearth.model.errors import ResourceNotFound, TooManyRequests
from hearth.model.ids import Caller

REQUEST_ID = "00000000-0000-0000-0000-000000000001"
FUNCTIONS = "/2015-03-31/functions"


class Believing:
    """Authentication that believes everybody, and remembers for which service it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.services: list[str] = []
        self._error = error

    def verify(self, request: HttpRequest, service: str) -> Caller:
        self.services.append(service)
        if self._error is not None:
            raise self._error
        return CALLER


def edge(jobs: Jobs, *operations: Operation, auth: Believing | None = None) -> Edge:
    return Edge(
        SERVICES,
        operations,
        auth or Believing(),
        VirtualClock(),
        jobs,
        request_ids=lambda: REQUEST_ID,
        invoke=None,
    )


def answered(request: HttpRequest, *operations: Operation, auth: Any = None) -> FakeResponder:
    async def scenario() -> FakeResponder:
        responder = FakeResponder()
        async with Jobs() as jobs:
            edge(jobs, *operations, auth=auth).handle(request, responder)
            await jobs.wait_idle()
        return responder

    return run_in_virtual_time(scenario())


def handler(
    respond: Callable[[OperationRequest], OperationResponse | Exception],
) -> Handler:
    async def handle(request: OperationRequest) -> OperationResponse:
        response = respond(request)
        if isinstance(response, Exception):
            raise response
        return response

    return handle


def operation(
    name: str, respond: Callable[[OperationRequest], OperationResponse | Exception]
) -> Operation:
    return Operation("lambda", name, handler(respond))


def test_a_handler_gets_members_and_its_answer_is_encoded() -> None:
    seen: list[OperationRequest] = []

    def respond(request: OperationRequest) -> OperationResponse:
        seen.append(request)
        return OperationResponse(members={"ReservedConcurrentExecutions": 7})

    got = answered(
        http_request(
            "PUT",
            "/2017-10-31/functions/f/concurrency",
            body={"ReservedConcurrentExecutions": 7, "Unknown": 1},
            host="localhost:4566",
        ),
        operation("PutFunctionConcurrency", respond),
    )
    assert (got.status, got.json) == (200, {"ReservedConcurrentExecutions": 7})
    assert got.headers["x-amzn-RequestId"] == REQUEST_ID
    assert got.headers["Content-Type"] == "application/json"
    assert seen[0].members == {"FunctionName": "f", "ReservedConcurrentExecutions": 7}
    assert seen[0].caller is CALLER
    assert seen[0].endpoint == "http://localhost:4566"


@pytest.mark.parametrize(("status", "sent"), [(None, 200), (204, 204)])
def test_a_handlers_status_beats_the_models(status: int | None, sent: int) -> None:
    got = answered(
        http_request("DELETE", f"{FUNCTIONS}/f"),
        operation("DeleteFunction", lambda _: OperationResponse(status=status)),
    )
    assert got.status == sent
    assert ("Content-Type" in got.headers) is (sent == 200)
    assert got.body == (b"{}" if sent == 200 else b"")


def test_a_service_error_is_answered_as_its_shape_spells_it() -> None:
    got = answered(
        http_request("GET", f"{FUNCTIONS}/f"),
        operation("GetFunction", lambda _: ResourceNotFound("Function not found: f")),
    )
    assert got.status == 404
    assert got.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert got.json == {"Type": "User", "Message": "Function not found: f"}


def test_further_fields_of_an_error_are_in_its_body_or_in_headers_as_modelled() -> None:
    def respond(request: OperationRequest) -> Exception:
        error = TooManyRequests("ConcurrentInvocationLimitExceeded")
        error.fields["retryAfterSeconds"] = "2"
        error.headers["X-Made"] = "up"
        return error

    got = answered(http_request("GET", f"{FUNCTIONS}/f"), operation("GetFunction", respond))
    assert got.status == 429
    assert got.headers["Retry-After"] == "2"
    assert got.headers["X-Made"] == "up"
    assert got.json == {
        "Reason": "ConcurrentInvocationLimitExceeded",
        "Type": "User",
        "message": "Rate Exceeded.",
    }


@pytest.mark.parametrize(
    "broken",
    [
        ZeroDivisionError("secret reason"),
        OperationResponse(members={"NoSuchMember": 1}),
    ],
)
def test_a_bug_is_a_500_that_says_nothing_of_it(
    broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    got = answered(
        http_request("GET", f"{FUNCTIONS}/f"), operation("GetFunction", lambda _: broken)
    )
    assert got.status == 500
    assert got.headers["x-amzn-ErrorType"] == "ServiceException"
    assert b"secret" not in got.body
    assert b"Traceback" not in got.body
    assert [record.message for record in caplog.records] == ["request failed"]


def test_an_operation_without_a_handler_is_named() -> None:
    got = answered(http_request("POST", f"{FUNCTIONS}/f/versions", body={}))
    assert got.status == 501
    assert got.headers["x-amzn-ErrorType"] == "NotImplementedException"
    assert got.json["message"] == "Hearth does not support lambda:PublishVersion yet."


def test_an_unknown_path_gets_the_answer_of_awss_framework() -> None:
    got = answered(http_request("GET", "/nothing/here"))
    assert (got.status, got.body) == (404, b"<UnknownOperationException/>\n")
    assert got.headers["x-amzn-RequestId"] == REQUEST_ID


def test_a_known_path_with_another_method_cannot_be_authorized() -> None:
    got = answered(http_request("PATCH", f"{FUNCTIONS}/f"))
    assert got.status == 403
    assert got.headers["x-amzn-ErrorType"] == "AccessDeniedException"
    assert b"Unable to determine service/operation name to be authorized" in got.body


def test_authentication_comes_before_everything_of_the_operation() -> None:
    got = answered(
        http_request("POST", FUNCTIONS, body=b"{not json"),
        auth=Believing(error=ResourceNotFound("who?")),
    )
    assert got.status == 404
    assert got.json == {"Type": "User", "Message": "who?"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"FunctionName": 1}', "NUMBER_VALUE can not be converted to a String"),
        (b'{"Timeout": "1"}', "STRING_VALUE can not be converted to an Integer"),
        (b'{"Timeout": true}', "TRUE_VALUE can not be converted to an Integer"),
        (b'{"Publish": 1}', "NUMBER_VALUE can not be converted to a Boolean"),
        (b'{"FunctionName": ["f"]}', "Start of list found where not expected"),
        (b'{"FunctionName": {}}', "Start of structure or map found where not expected."),
        (b'{"Layers": "l"}', "Expected list or null"),
        (b'{"Layers": {}}', "Start of structure or map found where not expected."),
        (b'{"Code": "c"}', "Expected null"),
        (b'{"Code": []}', "Start of list found where not expected"),
        (b'{"Code": {"ZipFile": "%%%"}}', "STRING_VALUE can not be converted to a Blob"),
        (b"[]", "Start of list found where not expected"),
        (b"{", None),
        (b"null", None),
        (b'"text"', None),
        (b"\xff", None),
    ],
)
def test_a_body_that_does_not_fit_is_a_serialization_error(
    body: bytes, message: str | None
) -> None:
    got = answered(
        http_request("POST", FUNCTIONS, body=body),
        operation("CreateFunction", lambda _: OperationResponse()),
    )
    assert got.status == 400
    assert got.headers["x-amzn-ErrorType"] == "SerializationException"
    assert got.json == ({} if message is None else {"message": message})


def test_a_query_parameter_of_the_wrong_type_is_one_too() -> None:
    got = answered(
        http_request("GET", f"{FUNCTIONS}?MaxItems=many"),
        operation("ListFunctions", lambda _: OperationResponse()),
    )
    assert got.headers["x-amzn-ErrorType"] == "SerializationException"


def test_members_that_break_constraints_are_refused_without_a_type() -> None:
    got = answered(
        http_request("GET", f"{FUNCTIONS}?MaxItems=0"),
        operation("ListFunctions", lambda _: OperationResponse()),
    )
    assert got.status == 400
    assert got.json == {
        "message": "1 validation error detected: Value '0' at 'maxItems' failed to satisfy "
        "constraint: Member must have value greater than or equal to 1"
    }


def test_a_handler_goes_on_when_its_client_leaves() -> None:
    done: list[str] = []

    async def slow(request: OperationRequest) -> OperationResponse:
        await asyncio.sleep(5)
        done.append(request.request_id)
        return OperationResponse()

    async def scenario() -> None:
        responder = FakeResponder()
        async with Jobs() as jobs:
            served = edge(jobs, Operation("lambda", "DeleteFunction", slow))
            served.handle(http_request("DELETE", f"{FUNCTIONS}/f"), responder)
            await asyncio.sleep(1)
            responder.leave()
            await jobs.wait_idle()
        assert done == [REQUEST_ID]

    run_in_virtual_time(scenario())


def test_a_request_after_the_end_of_the_jobs_gets_a_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> FakeResponder:
        responder = FakeResponder()
        async with Jobs() as jobs:
            served = edge(jobs, operation("GetFunction", lambda _: OperationResponse()))
        served.handle(http_request("GET", f"{FUNCTIONS}/f"), responder)
        return responder

    assert run_in_virtual_time(scenario()).status == 500


# --- sts, the query protocol


def scope(service: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/{service}/aws4_request, "
        "SignedHeaders=host, Signature=00"
    )


def test_get_caller_identity_says_who_asks() -> None:
    auth = Believing()
    got = answered(
        http_request(
            "POST",
            "/",
            body=b"Action=GetCallerIdentity&Version=2011-06-15",
            authorization=scope("sts"),
        ),
        *sts.OPERATIONS,
        auth=auth,
    )
    assert got.status == 200
    assert got.headers["Content-Type"] == "text/xml"
    assert got.body.decode() == (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        "<GetCallerIdentityResult><UserId>test</UserId><Account>000000000000</Account>"
        "<Arn>arn:aws:iam::000000000000:root</Arn></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )
    assert auth.services == ["sts"]


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"Action=Nope&Version=2011-06-15", 400, "InvalidAction", "Nope for version 2011-06-15"),
        (b"Action=GetCallerIdentity&Version=1999", 400, "InvalidAction", "for version 1999"),
        (b"Version=2011-06-15", 400, "MissingAction", "missing Action"),
        (b"Action=GetSessionToken", 501, "NotImplementedException", "sts:GetSessionToken"),
        (b"\xff", 400, "MalformedInput", "could not be read"),
    ],
)
def test_an_error_of_sts_is_an_error_response(
    body: bytes, status: int, code: str, message: str
) -> None:
    got = answered(
        http_request("POST", "/", body=body, authorization=scope("sts")), *sts.OPERATIONS
    )
    text = got.body.decode()
    assert got.status == status
    assert text.startswith("<ErrorResponse xmlns=")
    assert f"<Code>{code}</Code>" in text
    assert message in text
    assert f"<RequestId>{REQUEST_ID}</RequestId></ErrorResponse>" in text


# --- which service


@pytest.mark.parametrize(
    ("request_", "service"),
    [
        (http_request("GET", FUNCTIONS, authorization=scope("lambda")), "lambda"),
        (
            http_request(
                "GET",
                "/?Action=GetCallerIdentity&X-Amz-Credential=A%2F20260101%2Fx%2Fsts%2Faws4_request",
            ),
            "sts",
        ),
        (http_request("GET", "/?Action=GetCallerIdentity", host="sts.us-east-1.made.up"), "sts"),
        (http_request("GET", "/?Action=GetCallerIdentity", host="localhost:4566"), "sts"),
        (
            http_request(
                "POST",
                "/",
                body=b"Action=GetCallerIdentity",
                content_type="application/x-www-form-urlencoded; charset=utf-8",
            ),
            "sts",
        ),
        (http_request("GET", FUNCTIONS, host="localhost:4566"), "lambda"),
        (http_request("GET", "/favicon.ico"), "lambda"),
    ],
)
def test_the_service_is_found_in_what_the_request_says(request_: HttpRequest, service: str) -> None:
    auth = Believing()
    answered(request_, auth=auth)
    assert auth.services == [service]


def test_a_request_signed_for_another_service_is_told_so() -> None:
    got = answered(http_request("GET", "/bucket/key", authorization=scope("s3")))
    assert got.status == 501
    assert got.json["message"] == "Hearth does not support the service s3 yet."


def test_clients_of_services_that_are_not_here_can_read_why() -> None:
    def asked(service: str, **headers: str) -> FakeResponder:
        signed = http_request("POST", "/", body=b"", authorization=scope(service), **headers)
        return answered(signed)

    form = asked("iam", content_type="application/x-www-form-urlencoded; charset=utf-8")
    assert b"<Code>NotImplementedException</Code>" in form.body
    assert b"<Message>Hearth does not support the service iam yet.</Message>" in form.body
    told = asked("dynamodb", x_amz_target="DynamoDB_20120810.ListTables").json
    assert told["__type"].endswith("NotImplementedException")
    assert asked("ecr").status == 501


# --- the table, the refusals of the server, mistakes of the wiring


def test_the_table_has_every_operation_and_says_which_are_answered() -> None:
    async def scenario() -> None:
        async with Jobs() as jobs:
            rows = edge(jobs, *sts.OPERATIONS).operations_table()
            assert len([row for row in rows if row.service == "lambda"]) == 91
            assert [row.name for row in rows if row.is_implemented] == ["GetCallerIdentity"]

    run_in_virtual_time(scenario())


@pytest.mark.parametrize(
    ("status", "code"), [(413, "RequestEntityTooLargeException"), (400, "BadRequestException")]
)
def test_what_the_server_refuses_is_answered_in_awss_shape(status: int, code: str) -> None:
    async def scenario() -> None:
        async with Jobs() as jobs:
            got, headers, body = edge(jobs).answer_refusal(HttpRefusal(status, "Too much."))
            assert got == status
            assert dict(headers)["x-amzn-ErrorType"] == code
            assert b"Too much." in body

    run_in_virtual_time(scenario())


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            ("POST", "/2015-03-31/functions"),
            "Request must be smaller than 70167211 bytes for the CreateFunction operation",
        ),
        (
            ("PUT", "/2015-03-31/functions/f/code?x=y"),
            "Request must be smaller than 70167211 bytes for the UpdateFunctionCode operation",
        ),
        (("POST", "/2015-03-31/functions/f/invocations"), "Too much."),
        (("POST", "/nowhere"), "Too much."),
        (("", ""), "Too much."),
    ],
)
def test_a_request_that_is_too_large_is_told_for_which_operation(
    asked: tuple[str, str], text: str
) -> None:
    async def scenario() -> None:
        async with Jobs() as jobs:
            refusal = HttpRefusal(413, "Too much.", asked)
            _, _, body = edge(jobs).answer_refusal(refusal)
            assert text in json.loads(body).values()

    run_in_virtual_time(scenario())


def test_an_operation_that_no_model_has_is_a_mistake_found_at_the_start() -> None:
    async def scenario() -> None:
        async with Jobs() as jobs:
            with pytest.raises(ValueError, match="CreateFunktion"):
                edge(jobs, operation("CreateFunktion", lambda _: OperationResponse()))

    run_in_virtual_time(scenario())


TARGETS = st.sampled_from(
    [
        "/",
        "",
        "*",
        FUNCTIONS,
        f"{FUNCTIONS}/f",
        f"{FUNCTIONS}/%ff%00",
        f"{FUNCTIONS}/f/code",
        f"{FUNCTIONS}?MaxItems=1&MaxItems=x",
        "/2017-03-31/tags/a?tagKeys=a&tagKeys=b",
        "/?Action=GetCallerIdentity",
        "/?X-Amz-Credential=%zz",
    ]
)
BODIES = st.sampled_from([b"", b"{}", b"[1]", b'{"Code": {"ZipFile": 1}}', b"Action=x", b"\xff"])
HEADERS = st.dictionaries(
    st.sampled_from(["host", "authorization", "content-type", "x-amz-target"]),
    st.sampled_from(["", "a.b", scope("lambda"), scope("sts"), "application/x-www-form-urlencoded"])
    | st.text(st.characters(max_codepoint=255), max_size=20),
)


@given(st.sampled_from(["GET", "PUT", "POST", "DELETE", "BREW"]), TARGETS, HEADERS, BODIES)
def test_any_request_gets_one_answer_and_none_is_a_bug(
    method: str, target: str, headers: dict[str, str], body: bytes
) -> None:
    request = http_request(method, target, body=body)
    request.headers.update(headers)
    every = [
        operation(name, lambda _: OperationResponse())
        for name in load_service("lambda").operation_names
    ]
    got = answered(request, *every, *sts.OPERATIONS)
    assert got.status is not None
    assert got.status != 500
    assert got.headers["x-amzn-RequestId"] == REQUEST_ID
