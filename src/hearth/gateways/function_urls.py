"""How is a request to a function URL answered? Found, let in, made an event, run, made an answer.

    preflight      by the URL's CORS settings, without the function
    refused        403: not permitted; 404: no such URL; 413, 429, 5xx as for Invoke
    answered       what the function says (url_response.py), at once or bit by bit (url_stream.py)
    502            a function that failed, or whose answer is none of HTTP: `Internal Server Error`

A client that leaves does not stop the function.
Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import msgspec

from hearth.base.clock import Clock
from hearth.base.http1 import HttpRequest, StreamingResponder
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.control.function_urls import InvokeMode
from hearth.control.url_index import FoundUrl
from hearth.gateways.cors import is_preflight, preflight_headers, with_cors
from hearth.gateways.url_access import UrlAccess
from hearth.gateways.url_address import UrlAddress, address_of
from hearth.gateways.url_event import UrlRequest, event_of
from hearth.gateways.url_response import JSON_TYPE, BadResponse, Headers, UrlAnswer, answer_of
from hearth.gateways.url_stream import Pace, UrlStream
from hearth.model.errors import (
    InternalFailure,
    RequestEntityTooLarge,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.ids import PARTITION, Caller, FunctionReference, RequestId
from hearth.model.invocations import InvokeCall, InvokeResult
from hearth.model.traces import from_traceparent

log = Log("function-url")

EVENT_BYTES_MAX: Final = 6_291_456
BAD_GATEWAY: Final = b"Internal Server Error"
_TRACE_ID = re.compile(r"[\x21-\x7e]{1,512}")


class Urls(Protocol):
    """Which URLs there are; app.py supplies it."""

    def find(self, url_id: str) -> FoundUrl | None: ...


class Invoker(Protocol):
    """What this room needs of the invoke path; app.py supplies it."""

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """Raises ServiceError when the function was not run."""
        ...


class BadRequest(ServiceError):
    code = "BadRequestException"
    status = 400


@dataclass(frozen=True, slots=True)
class Visit:
    """One request on its way: all that answering it needs."""

    http: HttpRequest
    responder: StreamingResponder
    request_id: str
    trace_id: str
    found: FoundUrl | None = None

    def headers(self, given: Headers) -> Headers:
        """As they go out."""
        cors = None if self.found is None else self.found.url.cors
        shown = with_cors(given, cors, self.http.headers.get("origin"))
        return [
            *shown,
            ("x-amzn-RequestId", self.request_id),
            ("X-Amzn-Trace-Id", self.trace_id),
        ]

    def answer(self, answer: UrlAnswer) -> None:
        self.responder.send(answer.status, self.headers(answer.headers), answer.body)


class FunctionUrlGateway:
    """`handle` is the handler of an HttpServer for the requests that `is_for_url` picks."""

    def __init__(
        self,
        urls: Urls,
        access: UrlAccess,
        invoker: Invoker,
        clock: Clock,
        jobs: Jobs,
        ids: Callable[[], str],
        trace_ids: Callable[[], str],
        domain: str,
        pace: Pace,
    ) -> None:
        """`domain`: what stands behind the region in the name of a URL's host."""
        self._urls = urls
        self._access = access
        self._invoker = invoker
        self._clock = clock
        self._jobs = jobs
        self._ids = ids
        self._trace_ids = trace_ids
        self._domain = domain
        self._pace = pace

    def handle(self, request: HttpRequest, responder: StreamingResponder) -> None:
        """Answer `request`, now or later. Never raises."""
        given = request.headers.get("x-amzn-trace-id", "")
        if not _TRACE_ID.fullmatch(given):
            given = from_traceparent(request.headers.get("traceparent", "")) or self._trace_ids()
        visit = Visit(request, responder, self._ids(), given)
        try:
            self._begin(visit)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            _refuse(visit, error)

    def _begin(self, visit: Visit) -> None:
        """Raises ServiceError; else answers, or a job does."""
        request = visit.http
        address = address_of(request)
        found = None if address is None else self._urls.find(address.id)
        if address is None or found is None or address.region not in {None, _region(found)}:
            raise ResourceNotFound("There is no function URL at this address.")
        visit = Visit(request, visit.responder, visit.request_id, visit.trace_id, found)
        cors = found.url.cors
        if cors is not None and is_preflight(request.method, request.headers):
            answered = preflight_headers(cors, request.headers)
            visit.responder.send(200, [*answered, ("x-amzn-RequestId", visit.request_id)])
            return
        try:
            caller = self._access.check(request, found)
            call = self._call(visit, found, address, caller)
        except ServiceError as error:
            _refuse(visit, error)
            return
        self._jobs.spawn(self._finish(visit, found, call), name="function-url")

    def _call(
        self, visit: Visit, found: FoundUrl, address: UrlAddress, caller: Caller | None
    ) -> InvokeCall:
        """Raises BadRequest, RequestEntityTooLarge."""
        key = found.function.key
        host, port = _host_and_port(visit.http.headers.get("host", ""))
        if address.region is None:
            host = f"{address.id}.lambda-url.{key.region}.{self._domain}"
        request = UrlRequest(
            http=visit.http,
            raw_path=address.path,
            url_id=found.url.id,
            domain_name=host,
            port=port,
            request_id=visit.request_id,
            trace_id=visit.trace_id,
            at=self._clock.utc(),
            caller=caller,
        )
        try:
            payload = event_of(request)
        except ValueError as error:
            raise BadRequest("There are too many query parameters.") from error
        if len(payload) > EVENT_BYTES_MAX:
            raise RequestEntityTooLarge(
                f"Request must be smaller than {EVENT_BYTES_MAX} bytes for the InvokeFunction "
                "operation"
            )
        return InvokeCall(
            # He has been let in; from here on the function's own account runs it.
            caller=Caller(key.account, key.region, "", f"arn:{PARTITION}:iam::{key.account}:root"),
            reference=FunctionReference(key.name, key.account, key.region, found.alias),
            payload=payload,
            request=RequestId(visit.request_id),
            trace_id=visit.trace_id,
        )

    async def _finish(self, visit: Visit, found: FoundUrl, call: InvokeCall) -> None:
        """The client may leave meanwhile: the function runs on, and the answer goes nowhere."""
        if found.url.mode is InvokeMode.RESPONSE_STREAM:
            await self._finish_stream(visit, call)
            return
        try:
            result = await self._invoker.invoke(call)
            _answer(visit, result)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            _refuse(visit, error)

    async def _finish_stream(self, visit: Visit, call: InvokeCall) -> None:
        sink = UrlStream(visit.responder, visit.headers, self._pace)
        try:
            result = await self._invoker.invoke(replace(call, sink=sink))
            _end_stream(visit, sink, result)
        except Exception as error:  # noqa: BLE001 -- the last place that can answer
            if sink.stream is None:
                _refuse(visit, error)
            else:
                _log_bug(visit, error)
                sink.stream.abort()
        finally:
            sink.close()


def _region(found: FoundUrl) -> str:
    return found.function.key.region


def _host_and_port(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port.isdecimal() else (host, "80")


def _answer(visit: Visit, result: InvokeResult) -> None:
    """What a whole response, or an error, is to the client."""
    if result.function_error is None:
        try:
            visit.answer(answer_of(result.payload, result.content_type))
        except BadResponse as error:
            log.info("a function's answer is none of HTTP", request=visit.request_id, why=error)
        else:
            return
    visit.answer(UrlAnswer(502, [("Content-Type", JSON_TYPE)], BAD_GATEWAY))


def _end_stream(visit: Visit, sink: UrlStream, result: InvokeResult) -> None:
    if result.function_error is None:
        sink.complete()
    if sink.stream is not None:
        if result.function_error is None:
            sink.stream.end()
        else:
            sink.stream.abort()
    elif sink.has_begun and result.function_error is None:
        why = sink.bad or BadResponse("the prelude does not end")
        log.info("a function's answer is none of HTTP", request=visit.request_id, why=why)
        visit.answer(UrlAnswer(502, [("Content-Type", JSON_TYPE)], BAD_GATEWAY))
    else:
        _answer(visit, result)


def _refuse(visit: Visit, error: Exception) -> None:
    """What stopped the request before the function ran."""
    _log_bug(visit, error)
    shown = error if isinstance(error, ServiceError) else InternalFailure("")
    headers = [("x-amzn-ErrorType", shown.code), *shown.headers.items()]
    if shown.status == 502:
        visit.answer(UrlAnswer(502, [*headers, ("Content-Type", JSON_TYPE)], BAD_GATEWAY))
        return
    text = shown.message if shown.status < 500 else "Internal Server Error"
    document = dict(shown.fields) | {"Message": text}
    body = msgspec.json.encode(document)
    visit.answer(UrlAnswer(shown.status, [*headers, ("Content-Type", JSON_TYPE)], body))


def _log_bug(visit: Visit, error: Exception) -> None:
    if not isinstance(error, ServiceError):
        log.error("request failed", error=error, request=visit.request_id, target=visit.http.target)
