"""Requests to function URLs, over a real control plane, with an invoker that is a test's."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fakes.control import ACCOUNT, REGION, HandClock
from fakes.http import FakeResponder, http_request
from fakes.settings_api import OTHER_ACCOUNT, SettingsApi, play
from hearth.base.http1 import HttpRequest
from hearth.base.jobs import Jobs
from hearth.control.url_index import UrlIndex
from hearth.gateways.function_urls import FunctionUrlGateway
from hearth.gateways.url_access import FORBIDDEN, UrlAccess
from hearth.gateways.url_response import PRELUDE_BYTES_MAX, PRELUDE_TYPE
from hearth.gateways.url_stream import Pace
from hearth.model.errors import InitFailed, InternalFailure, ServiceError, TooManyRequests
from hearth.model.ids import AccountId, Caller, Region
from hearth.model.invocations import InvokeCall, InvokeResult, StreamStart

EVERYBODY: Any = {"Principal": "*", "StatementId": "url", "Action": "lambda:InvokeFunctionUrl"}
SIGNED: Any = {"authorization": "AWS4-HMAC-SHA256 Credential=..."}
OCTETS = "application/octet-stream"
BAD_GATEWAY = (502, b"Internal Server Error")


class Signers:
    """Who signed is up to the test."""

    def __init__(self) -> None:
        self.caller = Caller(ACCOUNT, REGION, "AKIA", f"arn:aws:iam::{ACCOUNT}:user/u")
        self.error: ServiceError | None = None

    def verify(self, request: HttpRequest, service: str) -> Caller:
        assert service == "lambda"
        if self.error is not None:
            raise self.error
        return self.caller


class Source:
    def pause(self) -> None: ...

    def resume(self) -> None: ...


Script = Callable[[InvokeCall], Coroutine[Any, Any, InvokeResult]]


def result(payload: bytes = b'"fine"', **more: Any) -> InvokeResult:
    return InvokeResult(payload=payload, executed_version="$LATEST", **more)


async def fine(call: InvokeCall) -> InvokeResult:
    return result()


class Scene:
    def __init__(self, api: SettingsApi, jobs: Jobs) -> None:
        self.api = api
        self.jobs = jobs
        self.signers = Signers()
        self.calls: list[InvokeCall] = []
        self.script: Script = fine
        self.index = UrlIndex(api.documents, api.plane.replica)
        self.gateway = FunctionUrlGateway(
            self.index,
            UrlAccess(self.signers, api.permissions),
            self,
            HandClock(),
            jobs,
            lambda: "request-1",
            lambda: "Root=1-2-3;Sampled=0",
            "localhost",
            Pace(None, HandClock().monotonic_s),
        )
        self.host = ""

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        self.calls.append(call)
        return await self.script(call)

    async def make(self, *, public: bool = True, **members: Any) -> str:
        """A URL of function f; returns its id."""
        made = await self.api.call(
            "CreateFunctionUrlConfig", **{"FunctionName": "f", "AuthType": "NONE"} | members
        )
        self.host = made["FunctionUrl"].split("/")[2]
        if public:
            named = {name: members[name] for name in ("Qualifier",) if name in members}
            await self.permit(**named)
        return self.host.partition(".")[0]

    async def permit(self, auth: str = "NONE", **members: Any) -> None:
        base = {"FunctionName": "f"} | EVERYBODY | members
        await self.api.call("AddPermission", **base, FunctionUrlAuthType=auth)
        both = {"StatementId": "run", "Action": "lambda:InvokeFunction"}
        await self.api.call("AddPermission", **base | both, InvokedViaFunctionUrl=True)

    async def request(
        self, method: str = "GET", target: str = "/", body: bytes = b"", **headers: str
    ) -> FakeResponder:
        responder = FakeResponder()
        given = {"host": self.host} | headers
        self.gateway.handle(http_request(method, target, body=body, **given), responder)
        await asyncio.wait_for(self.jobs.wait_idle(), 60)
        return responder

    @property
    def event(self) -> Any:
        return json.loads(self.calls[-1].payload)


def at(directory: Path, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def scenario(api: SettingsApi) -> None:
        async with Jobs() as jobs:
            await api.create()
            await story(Scene(api, jobs))

    play(directory, scenario)


def told(answer: FakeResponder) -> tuple[int | None, Any]:
    return answer.status, answer.json["Message"]


def test_a_request_runs_the_function_with_its_event(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        url_id = await scene.make()
        answer = await scene.request(target="/a/b?c=d")
        assert (answer.status, answer.body) == (200, b'"fine"')
        assert answer.headers == {
            "Content-Type": "application/json",
            "x-amzn-RequestId": "request-1",
            "X-Amzn-Trace-Id": "Root=1-2-3;Sampled=0",
        }
        (call,) = scene.calls
        assert (call.reference.name, call.reference.qualifier) == ("f", None)
        assert call.request == "request-1"
        assert scene.event["rawPath"] == "/a/b"
        assert scene.event["requestContext"]["apiId"] == url_id
        await scene.request(target=f"/lambda-url/{url_id}/a?c=d", host="127.0.0.1:4566")
        assert scene.event["rawPath"] == "/a"
        assert scene.event["requestContext"]["domainName"] == (
            f"{url_id}.lambda-url.{REGION}.localhost"
        )

    at(tmp_path, story)


def test_an_aliass_url_runs_the_alias(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.api.call("PublishVersion", FunctionName="f")
        await scene.api.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        await scene.make(Qualifier="live")
        assert (await scene.request()).status == 200
        assert scene.calls[0].reference.qualifier == "live"
        await scene.api.call("DeleteAlias", FunctionName="f", Name="live")
        assert (await scene.request()).status == 404

    at(tmp_path, story)


def test_there_is_no_url_where_none_was_made_or_where_it_was_deleted(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        url_id = await scene.make()
        for host in (
            f"{'0' * 32}.lambda-url.{REGION}.localhost",
            f"{url_id}.lambda-url.us-east-1.localhost",
            "x.lambda-url.localhost",
        ):
            answer = await scene.request(host=host)
            assert told(answer) == (404, "There is no function URL at this address.")
        await scene.api.call("DeleteFunctionUrlConfig", FunctionName="f")
        assert (await scene.request()).status == 404
        await scene.make(public=False)
        assert (await scene.request()).status == 200
        await scene.api.call("DeleteFunction", FunctionName="f")
        assert (await scene.request()).status == 404
        await scene.api.create()
        assert (await scene.request()).status == 404  # an earlier function's
        assert len(scene.calls) == 1

    at(tmp_path, story)


# --- who may


def test_a_public_url_needs_both_permissions(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(public=False)
        assert told(await scene.request()) == (403, FORBIDDEN)
        base = {"FunctionName": "f"} | EVERYBODY
        await scene.api.call("AddPermission", **base, FunctionUrlAuthType="NONE")
        assert told(await scene.request()) == (403, FORBIDDEN)
        run = {"StatementId": "run", "Action": "lambda:InvokeFunction"}
        await scene.api.call("AddPermission", **base | run, InvokedViaFunctionUrl=True)
        assert (await scene.request()).status == 200
        assert len(scene.calls) == 1

    at(tmp_path, story)


def test_a_permission_for_signed_urls_opens_no_public_one(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(public=False)
        await scene.permit(auth="AWS_IAM")
        assert (await scene.request()).status == 403

    at(tmp_path, story)


def test_a_signed_url_wants_a_signature(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(public=False, AuthType="AWS_IAM")
        assert told(await scene.request()) == (403, FORBIDDEN)
        assert (await scene.request(**SIGNED)).status == 200
        assert (await scene.request(target="/?X-Amz-Signature=1")).status == 200
        assert scene.event["requestContext"]["authorizer"]["iam"]["accessKey"] == "AKIA"

        class Mismatch(ServiceError):
            code = "InvalidSignatureException"
            status = 403

        scene.signers.error = Mismatch("The request signature we calculated does not match")
        answer = await scene.request(**SIGNED)
        assert told(answer) == (403, "The request signature we calculated does not match")
        assert answer.headers["x-amzn-ErrorType"] == "InvalidSignatureException"
        scene.signers.error = None
        scene.signers.caller = Caller(ACCOUNT, Region("us-east-1"), "A", "arn")
        assert "valid region" in told(await scene.request(**SIGNED))[1]

    at(tmp_path, story)


def test_other_accounts_need_both_permissions_and_the_own_one_heeds_a_deny(
    tmp_path: Path,
) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(public=False, AuthType="AWS_IAM")
        own = scene.signers.caller
        scene.signers.caller = Caller(OTHER_ACCOUNT, REGION, "B", f"arn:aws:iam::{OTHER_ACCOUNT}:u")
        assert told(await scene.request(**SIGNED)) == (403, FORBIDDEN)
        await scene.permit(auth="AWS_IAM", Principal=OTHER_ACCOUNT)
        assert (await scene.request(**SIGNED)).status == 200
        assert scene.calls[-1].caller.account == ACCOUNT  # let in, it is the function's own affair
        scene.signers.caller = Caller(AccountId("3" * 12), REGION, "C", "arn:aws:iam::3:u")
        assert (await scene.request(**SIGNED)).status == 403
        scene.signers.caller = own
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
        deny = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "lambda:InvokeFunctionUrl",
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": deny})
        await scene.api.call("PutResourcePolicy", ResourceArn=arn, Policy=policy)
        assert told(await scene.request(**SIGNED)) == (403, FORBIDDEN)

    at(tmp_path, story)


# --- CORS

CORS: Any = {"AllowOrigins": ["https://a.com"], "AllowMethods": ["GET"], "MaxAge": 60}
PREFLIGHT: Any = {"origin": "https://a.com", "access-control-request-method": "GET"}


def test_a_preflight_never_reaches_the_function(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(public=False, AuthType="AWS_IAM", Cors=CORS)
        answer = await scene.request("OPTIONS", **PREFLIGHT)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://a.com"
        assert answer.headers["Access-Control-Max-Age"] == "60"
        assert scene.calls == []

    at(tmp_path, story)


def test_answers_and_refusals_have_cors_headers(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(public=False, Cors=CORS)
        refused = await scene.request(origin="https://a.com")
        assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (
            403,
            "https://a.com",
        )
        await scene.permit()
        answered = await scene.request(origin="https://a.com")
        assert answered.headers["Access-Control-Allow-Origin"] == "https://a.com"
        assert "Access-Control-Allow-Origin" not in (await scene.request()).headers

    at(tmp_path, story)


def test_without_settings_options_is_a_method_like_any_other(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make()
        assert (await scene.request("OPTIONS", **PREFLIGHT)).body == b'"fine"'

    at(tmp_path, story)


# --- what goes wrong


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TooManyRequests("ConcurrentInvocationLimitExceeded"), 429, b"Rate Exceeded."),
        (InternalFailure("secret"), 500, b"Internal Server Error"),
        (InitFailed("secret"), 502, b"Internal Server Error"),
        (KeyError("secret"), 500, b"Internal Server Error"),
    ],
)
@pytest.mark.parametrize("mode", ["BUFFERED", "RESPONSE_STREAM"])
def test_what_stops_the_function_is_told(
    tmp_path: Path, mode: str, error: Exception, status: int, said: bytes
) -> None:
    async def refuses(call: InvokeCall) -> InvokeResult:
        raise error

    async def story(scene: Scene) -> None:
        await scene.make(InvokeMode=mode)
        scene.script = refuses
        answer = await scene.request()
        assert answer.status == status
        assert said in answer.body
        assert b"secret" not in answer.body

    at(tmp_path, story)


@pytest.mark.parametrize("mode", ["BUFFERED", "RESPONSE_STREAM"])
def test_a_function_that_fails_or_answers_nonsense_is_a_bad_gateway(
    tmp_path: Path, mode: str
) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(InvokeMode=mode)
        for bad in (
            result(b'{"errorMessage": "x"}', function_error="Unhandled"),
            result(b'{"statusCode": "x"}'),
            result(b"no JSON"),
        ):

            async def answers(call: InvokeCall, bad: InvokeResult = bad) -> InvokeResult:
                return bad

            scene.script = answers
            answer = await scene.request()
            assert (answer.status, answer.body) == BAD_GATEWAY

    at(tmp_path, story)


def test_what_is_too_large_is_refused_before_it_runs(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make()
        answer = await scene.request("POST", body=bytes(5_000_000))  # in base64 it is too much
        assert answer.status == 413
        answer = await scene.request(target="/?" + "&".join("a" for _ in range(10_001)))
        assert answer.status == 400
        assert scene.calls == []

    at(tmp_path, story)


# --- streams


def streaming(*pieces: bytes, content_type: str | None = None, **end: Any) -> Script:
    async def streams(call: InvokeCall) -> InvokeResult:
        assert call.sink is not None
        call.sink.begin(Source(), StreamStart(content_type, "$LATEST"))
        for piece in pieces:
            call.sink.write(piece)
            await asyncio.sleep(0)
        return result(**{"payload": b""} | end)

    return streams


def streamed(answer: FakeResponder) -> tuple[int | None, bytes, str | None]:
    assert answer.stream is not None
    return answer.status, b"".join(answer.stream.pieces), answer.stream.ending


HEAD = b'{"statusCode": 201, "headers": {"X": "1"}, "cookies": ["a=b"]}'
FAILED: Any = {"payload": b"{}", "function_error": "Unhandled"}


@pytest.mark.parametrize(
    ("pieces", "content_type", "status", "body", "shown_type"),
    [
        ((b"a", b"b"), None, 200, b"ab", OCTETS),
        ((b"a",), "text/plain", 200, b"a", "text/plain"),
        ((HEAD + bytes(8) + b"body",), PRELUDE_TYPE, 201, b"body", OCTETS),
        ((HEAD, bytes(8), b"bo", b"dy"), PRELUDE_TYPE, 201, b"body", OCTETS),
        (
            (HEAD[:5], HEAD[5:] + bytes(3), bytes(5)),
            PRELUDE_TYPE,
            201,
            b"",
            OCTETS,
        ),
        ((HEAD + bytes(9),), PRELUDE_TYPE, 201, b"\0", OCTETS),
    ],
)
def test_a_stream_leaves_as_it_is_written(
    tmp_path: Path,
    pieces: tuple[bytes, ...],
    content_type: str | None,
    status: int,
    body: bytes,
    shown_type: str,
) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(InvokeMode="RESPONSE_STREAM")
        scene.script = streaming(*pieces, content_type=content_type)
        answer = await scene.request()
        assert streamed(answer) == (status, body, "end")
        assert answer.headers["Content-Type"] == shown_type
        assert answer.headers["x-amzn-RequestId"] == "request-1"

    at(tmp_path, story)


def test_an_error_after_the_head_cuts_the_answer_off(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(InvokeMode="RESPONSE_STREAM")
        scene.script = streaming(b"some", **FAILED)
        assert streamed(await scene.request()) == (200, b"some", "abort")

    at(tmp_path, story)


def test_an_error_before_the_first_byte_is_a_bad_gateway(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(InvokeMode="RESPONSE_STREAM")
        for pieces in ((), (b"",)):
            scene.script = streaming(*pieces, **FAILED)
            answer = await scene.request()
            assert (answer.status, answer.body) == BAD_GATEWAY
            assert answer.stream is None
        scene.script = streaming()
        assert streamed(await scene.request()) == (200, b"", "end")

    at(tmp_path, story)


@pytest.mark.parametrize(
    ("pieces", "end"),
    [
        ((HEAD,), {}),
        ((HEAD,), FAILED),
        ((b"no JSON" + bytes(8), b"more"), {}),
        ((bytes(7) + b"x" * PRELUDE_BYTES_MAX, b"more"), {}),
        ((), {}),
    ],
    ids=["no end", "an error", "no JSON", "too long", "nothing"],
)
def test_an_error_before_the_preludes_end_is_a_bad_gateway(
    tmp_path: Path, pieces: tuple[bytes, ...], end: dict[str, Any]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.make(InvokeMode="RESPONSE_STREAM")
        scene.script = streaming(*pieces, content_type=PRELUDE_TYPE, **end)
        answer = await scene.request()
        assert (answer.status, answer.body) == BAD_GATEWAY
        assert answer.stream is None

    at(tmp_path, story)


def test_a_function_that_does_not_stream_is_answered_as_a_whole(tmp_path: Path) -> None:
    async def whole(call: InvokeCall) -> InvokeResult:
        return result(b'{"statusCode": 202, "body": "whole"}')

    async def story(scene: Scene) -> None:
        await scene.make(InvokeMode="RESPONSE_STREAM")
        scene.script = whole
        answer = await scene.request()
        assert (answer.status, answer.body, answer.stream) == (202, b"whole", None)

    at(tmp_path, story)


def test_a_buffered_url_collects_a_stream(tmp_path: Path) -> None:
    async def collected(call: InvokeCall) -> InvokeResult:
        assert call.sink is None
        return result(HEAD + bytes(8) + b"body", content_type=PRELUDE_TYPE)

    async def story(scene: Scene) -> None:
        await scene.make()
        scene.script = collected
        answer = await scene.request()
        assert (answer.status, answer.body) == (201, b"body")

    at(tmp_path, story)
