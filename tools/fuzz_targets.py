"""What does the fuzzer try? One function per target, each making one input from a seeded random.

A target raises if its input was not taken as it must be; `fuzz.py` has the rules.
"""

import random
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from fakes.constraint_breakers import sound
from fakes.control import function_key
from fakes.function_api import CREATE
from fakes.http import FakeResponder, http_request
from fakes.packages import FILE, LINK, zip_entries, zip_of
from fakes.whole_edge import AUTHORIZATION, Echo, WholeEdge, whole_edge
from fakes.wire_requests import rest_request
from fuzz_mutations import mutate, mutate_members, mutate_text
from hearth.api.edge import SERVICES, Edge
from hearth.api.invoke import InvokeHandler
from hearth.api.invoke_stream import StreamInvokeHandler
from hearth.api.keys import AccessKey
from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.shapes import load_service
from hearth.api.sigv4 import OpenAuth, SigV4Verifier
from hearth.base.clock import SystemClock
from hearth.base.http1_fields import HttpRefusal
from hearth.base.http1_parser import HttpLimits, HttpRequest, RequestParser
from hearth.base.jobs import Jobs
from hearth.control.zips import check_zip
from hearth.model.errors import ServiceError
from hearth.model.ids import AccountId

PLATFORM_BATCHES: Final = 8
"""After so many batches the control plane starts anew: what it was told to store is no leak."""

Try = Callable[[random.Random], Awaitable[None]]


class Broken(Exception):
    """An input that was not taken as it must be."""


# --- inputs


@cache
def models() -> tuple[OperationModel, ...]:
    found = []
    for service in SERVICES:
        model = ServiceModel(Loader().load_service_model(service, "service-2"))
        found += [model.operation_model(name) for name in model.operation_names]
    return tuple(found)


def request_of(rng: random.Random) -> HttpRequest:
    """A request to some operation: members changed, or the bytes of one of its parts."""
    operation = rng.choice(models())
    full = rng.random() < 0.5
    members = _members(operation, full=full)
    if rng.random() < 0.7:
        members = mutate_members(rng, members)
    request = _wire(operation, members)
    match rng.randrange(10):
        case 0 | 1 | 2:
            request.body = mutate(rng, request.body)
        case 3 | 4:
            request.target = _as_parsed(mutate_text(rng, request.target))
        case 5:
            name = rng.choice([*request.headers, "x-amz-target", "x-amz-client-context", "host"])
            request.headers[name] = _field(mutate_text(rng, request.headers.get(name, "Zm9v")))
        case 6:
            request.method = rng.choice(("GET", "PUT", "POST", "DELETE", "PATCH", "X"))
    return request


def _members(operation: OperationModel, *, full: bool) -> dict[str, Any]:
    shape = operation.input_shape
    if shape is None:
        return {}
    if operation.service_model.service_name != "lambda":
        return dict.fromkeys(shape.members, "f")
    members: dict[str, Any] = sound(shape, full=full)
    return members


def _wire(operation: OperationModel, members: dict[str, Any]) -> HttpRequest:
    name = operation.service_model.service_name
    if name == "lambda":
        try:
            return rest_request(operation, members, authorization=AUTHORIZATION)
        except UnicodeError:  # a lone surrogate cannot stand in a path
            return rest_request(operation, {}, authorization=AUTHORIZATION)
    scope = AUTHORIZATION.replace("/lambda/", f"/{name}/")
    form = f"Action={operation.name}&Version={operation.service_model.api_version}"
    for key, value in members.items():
        form += f"&{key}={value}&{key}.member.1={value}"
    return http_request("POST", "/", body=form.encode("utf-8", "replace"), authorization=scope)


def _as_parsed(target: str) -> str:
    """What the parser lets through: no spaces or control characters, a slash first."""
    return "/" + "".join(c for c in target if c > " " and c != "\x7f").lstrip("/")


def _field(value: str) -> str:
    return "".join(c for c in value if c >= " " and c != "\x7f").strip()


SEEDS: Final = tuple(
    text.replace("|", "\r\n").encode()
    for text in (
        "GET / HTTP/1.1|Host: a||",
        "POST /2015-03-31/functions/f/invocations HTTP/1.1|Host: l|Content-Length: 2||{}",
        "PUT /x HTTP/1.1|Host: a|Transfer-Encoding: chunked||5;q=1|hello|0|A: b||",
        "POST / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 1||aGET / HTTP/1.1|Host: a||",
        "GET http://h:1/p?q HTTP/1.0|Connection: keep-alive||",
    )
)
"""A bar is a line break."""


# --- targets: each makes one input from the random it is given, and raises if something is broken


async def try_parser(rng: random.Random) -> None:
    data = mutate(rng, rng.choice(SEEDS) * rng.choice((1, 1, 2)))
    whole = _parsed([data])
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    if _parsed(pieces) != whole:
        raise Broken(f"pieces matter: {pieces}")


def _parsed(pieces: list[bytes]) -> list[object]:
    parser = RequestParser(HttpLimits(head_bytes_max=4_096, body_bytes_max=65_536))
    found: list[object] = []
    try:
        for piece in pieces:
            if piece:
                parser.feed(piece)
            while (request := parser.next_request()) is not None:
                found.append((request, parser.keep_alive))
    except HttpRefusal as refusal:
        if not 400 <= refusal.status <= 505:
            raise
        found.append((refusal.status, refusal.reason))
    return found


async def try_zip(rng: random.Random) -> None:
    names = ("app.py", "a/b.py", "a", "../x", "/x", "l", "a\\b", "é", "", "x" * 300)
    match rng.randrange(3):
        case 0:
            package = zip_of({"app.py": b"x" * rng.randrange(2_000), "b": b""})
        case _:
            package = zip_entries(
                *(
                    (rng.choice(names), rng.choice((FILE, LINK, 0, 0o40755)), rng.choice(names))
                    for _ in range(rng.randrange(1, 5))
                )
            )
    if rng.random() < 0.8:
        package = mutate(rng, package)
    try:
        check_zip(package)
    except ServiceError as error:
        _check_refusal(error)


def _check_refusal(error: ServiceError) -> None:
    if error.status >= 500 and error.status != 501:
        raise Broken(f"{type(error).__name__}: {error}") from error


KEY: Final = AccessKey("AKIAEXAMPLE", "secret", AccountId("123456789012"), "arn:aws:iam::1:user/a")


class OneKey:
    def find(self, access_key: str) -> AccessKey | None:
        return KEY if access_key == KEY.access_key else None


VERIFIER: Final = SigV4Verifier(OneKey(), SystemClock())


async def try_sigv4(rng: random.Random) -> None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{KEY.access_key}/{stamp[:8]}/eu-central-1/lambda/aws4_request"
    request = http_request("GET", "/2015-03-31/functions/", host="localhost")
    if rng.random() < 0.6:
        request.headers["x-amz-date"] = _field(_maybe(rng, stamp))
        signature = rng.randbytes(32).hex()
        request.headers["authorization"] = _field(
            _maybe(
                rng,
                f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, "
                f"Signature={signature}",
            )
        )
    else:
        request.target += (
            f"?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope.replace('/', '%2F')}"
            f"&X-Amz-Date={stamp}&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
        )
        request.target = _as_parsed(_maybe(rng, request.target))
    try:
        VERIFIER.verify(request, "lambda")
    except ServiceError as error:
        _check_refusal(error)
    else:
        raise Broken(f"believed: {request}")
    OpenAuth().verify(request, "lambda")


def _maybe(rng: random.Random, text: str) -> str:
    return mutate_text(rng, text) if rng.random() < 0.8 else text


def check_answer(request: HttpRequest, responder: FakeResponder) -> None:
    """One answer, in a shape that a client can read."""
    status = responder.status
    if status is None:
        raise Broken(f"no answer: {request}")
    if status >= 500 and status != 501:
        raise Broken(f"{status} {responder.body!r}: {request}")
    body = responder.body
    if status >= 400 and not body.startswith((b"{", b"<")):
        raise Broken(f"an error that nobody can read: {status} {body!r}: {request}")


class Decoder:
    """Every operation is there, and answers nothing: what is tried is the way to it and back."""

    def __init__(self, jobs: Jobs) -> None:
        operations = [
            Operation(service, name, _answer_nothing)
            for service in SERVICES
            for name in load_service(service).operation_names
        ]
        clock = SystemClock()
        silent = Silent()
        handler = InvokeHandler(silent, clock, silent.accept)
        self._edge = Edge(
            SERVICES,
            operations,
            OpenAuth(),
            clock,
            jobs,
            lambda: "r",
            handler,
            invoke_stream=StreamInvokeHandler(handler, None, clock),
        )
        self._jobs = jobs

    async def attempt(self, rng: random.Random) -> None:
        request = request_of(rng)
        responder = FakeResponder()
        self._edge.handle(request, responder)
        if responder.status is None:
            await self._jobs.wait_idle()
        check_answer(request, responder)


class Silent(Echo):
    """Forgets what it was asked."""

    async def invoke(self, call: Any) -> Any:
        answer = await super().invoke(call)
        self.calls.clear()
        return answer

    async def accept(self, call: Any) -> None:
        await super().accept(call)
        self.calls.clear()


async def _answer_nothing(_: OperationRequest) -> OperationResponse:
    return OperationResponse()


STAGE: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("CreateFunction", CREATE),
    ("PublishVersion", {"FunctionName": "f"}),
    ("CreateAlias", {"FunctionName": "f", "Name": "f", "FunctionVersion": "1"}),
)


def _operation(name: str) -> OperationModel:
    return next(model for model in models() if model.name == name)


class Platform:
    """The real control plane; started anew every now and then."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._stage: WholeEdge | None = None
        self._batches = 0

    async def attempt(self, rng: random.Random) -> None:
        assert self._stage is not None
        if self._stage.plane.replica.get(function_key()) is None:
            await self._put_there(self._stage)
        request = request_of(rng)
        check_answer(request, await self._stage.answer(request))

    async def _put_there(self, stage: WholeEdge) -> None:
        """The function that the requests name."""
        for name, members in STAGE:
            answer = await stage.answer(_wire(_operation(name), members))
            if answer.status not in (200, 201):
                raise Broken(f"{name}: {answer.status} {answer.body!r}")
            await stage.plane.settled()

    async def renew(self) -> None:
        """Call between batches."""
        if self._stage is None or self._batches >= PLATFORM_BATCHES:
            await self.close()
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self._stage = await self._stack.enter_async_context(whole_edge(directory))
            self._batches = 0
        self._batches += 1

    async def close(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        self._stage = None
