"""How do `hearth status`, `ps`, `logs` and `down` reach a running Hearth? Over a unix socket.

    GET  /status                                       StatusReport
    GET  /sandboxes                                    list of SandboxRow
    GET  /groups                                       list of LogGroup
    GET  /logs?account&region&group[&since_ms&after&limit&last]      LogAnswer
    GET  /logs/follow?account&region&group[&after&wait_s]            LogAnswer; waits for events
    GET  /metrics                                      text, for Prometheus
    /events…                                           see admin_events
    /debug…                                            see admin_debug
    POST /stop                                         {}; Hearth drains and ends

JSON over HTTP/1.1. Who may open the socket (mode 0600) may do all this: there are no credentials.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

import msgspec

from hearth.base.http1 import HttpLimits, HttpRequest, Responder
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable
from hearth.logs.reading import LogPage
from hearth.model.ids import AccountId, Region
from hearth.model.logs import EventId, LogGroup

ADMIN_LIMITS: Final = HttpLimits(
    head_bytes_max=16_384, body_bytes_max=7 * 1024 * 1024, connections_max=64, idle_timeout_s=75.0
)
FOLLOW_S_MAX: Final = 30.0

_JSON: Final = (("Content-Type", "application/json"),)

log = Log("admin")


class StemRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sandboxes that wait, launched, for functions of one account and runtime."""

    account: str
    runtime: str
    ready: int
    wanted: int


class SnapshotRow(msgspec.Struct, frozen=True, kw_only=True):
    """What of one SnapStart version was initialised beforehand."""

    account: str
    region: str
    function: str
    version: str
    waiting: int
    has_template: bool
    template_bytes: int
    forks: int
    """Of its template, so far."""
    why_not: str
    """Why it cannot be forked."""


class StemReport(msgspec.Struct, frozen=True, kw_only=True):
    kinds: list[StemRow] = []
    taken: int = 0
    """Starts that found one ready. Since the start, as the others."""
    missed: int = 0
    made: int = 0
    failed: int = 0
    ended: int = 0
    """Never used."""
    make_ms: float = 0.0
    memory_mb: int = 0
    memory_mb_max: int = 0


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    pid: int
    endpoint: str
    metrics: str | None = None
    """Where they may be scraped, but for the admin socket."""
    state: str
    auth: str
    sandbox: str
    """The backend's name."""
    uptime_s: float
    functions: int
    sandboxes: int
    sandboxes_busy: int
    concurrency_used: int
    concurrency_max: int
    invokes: int
    """Since the start."""
    log_lines_lost: int
    stems: StemReport = StemReport()
    snapshots: list[SnapshotRow] = []


class SandboxRow(msgspec.Struct, frozen=True, kw_only=True):
    sandbox: str
    account: str
    region: str
    function: str
    version: str
    tenant: str | None = None
    """Whom alone it serves, if its function keeps its tenants apart."""
    state: str
    age_s: float
    memory_bytes: int
    memory_max_bytes: int
    invokes: int


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    event_id: str
    at_ms: int
    stream: str
    message: str


class LogAnswer(msgspec.Struct, frozen=True, kw_only=True):
    events: list[LogLine]
    cursor: str | None
    """`after` for what comes next."""
    more: bool


class Status(Protocol):
    """What this file needs of the platform; app.py supplies it."""

    def report(self) -> StatusReport: ...


class Sandboxes(Protocol):
    def rows(self) -> Sequence[SandboxRow]: ...


class Logs(Protocol):
    async def groups(self) -> list[LogGroup]: ...

    async def read(
        self,
        group: LogGroup,
        start_ms: int = ...,
        limit: int = ...,
        *,
        after: EventId | None = ...,
    ) -> LogPage: ...

    async def read_last(
        self, group: LogGroup, limit: int = ..., *, start_ms: int = ...
    ) -> LogPage: ...

    async def read_next(
        self, group: LogGroup, after: EventId | None, *, wait_s: float = ...
    ) -> LogPage: ...


class Stop(Protocol):
    def stop(self) -> None:
        """Begin to drain; returns at once."""
        ...


Parameters = Mapping[str, str]
BODY: Final = "\0body"
"""The parameter that is the request's body, where it has one."""
Route = Callable[[Parameters], Awaitable[Any]]
Routes = Mapping[str, tuple[str, Route]]
"""By path: the method, and who answers."""


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is no JSON."""

    content_type: str
    body: bytes


class AdminApi:
    """Give `handle` to an HttpServer with ADMIN_LIMITS on `listen(path)`. At the end `close` the
    server instead of draining it: somebody who follows a log would hold it up."""

    def __init__(
        self,
        *,
        status: Status,
        sandboxes: Sandboxes,
        logs: Logs,
        stop: Stop,
        jobs: Jobs,
        more: Routes | None = None,
    ) -> None:
        self._status = status
        self._sandboxes = sandboxes
        self._logs = logs
        self._stop = stop
        self._jobs = jobs
        self._routes: Routes = {
            "/status": ("GET", self._show_status),
            "/sandboxes": ("GET", self._list_sandboxes),
            "/groups": ("GET", self._list_groups),
            "/logs": ("GET", self._read_logs),
            "/logs/follow": ("GET", self._follow_logs),
            "/stop": ("POST", self._begin_stop),
            **(more or {}),
        }

    def handle(self, request: HttpRequest, responder: Responder) -> None:
        url = urlsplit(request.target)
        method, route = self._routes.get(url.path, ("", None))
        if route is None:
            _refuse(responder, HTTPStatus.NOT_FOUND, f"There is nothing at {url.path}.")
        elif request.method != method:
            _refuse(responder, HTTPStatus.METHOD_NOT_ALLOWED, f"{url.path} wants {method}.")
        else:
            parameters = dict(parse_qsl(url.query, keep_blank_values=True))
            if request.body:
                parameters[BODY] = request.body.decode(errors="surrogateescape")
            job = self._jobs.spawn(_answer(route, parameters, responder), name="admin-request")

            def give_up() -> None:
                job.cancel()

            responder.on_gone(give_up)

    async def _show_status(self, _: Parameters) -> StatusReport:
        return self._status.report()

    async def _list_sandboxes(self, _: Parameters) -> Sequence[SandboxRow]:
        return self._sandboxes.rows()

    async def _list_groups(self, _: Parameters) -> list[LogGroup]:
        return await self._logs.groups()

    async def _read_logs(self, parameters: Parameters) -> LogAnswer:
        group = _group(parameters)
        start_ms = number(parameters, "since_ms", 0)
        limit = number(parameters, "limit", 1_000)
        if "last" in parameters:
            return _answer_of(await self._logs.read_last(group, limit, start_ms=start_ms))
        page = await self._logs.read(group, start_ms, limit, after=_after(parameters))
        return _answer_of(page)

    async def _follow_logs(self, parameters: Parameters) -> LogAnswer:
        wait_s = min(FOLLOW_S_MAX, number(parameters, "wait_s", int(FOLLOW_S_MAX)))
        group, after = _group(parameters), _after(parameters)
        return _answer_of(await self._logs.read_next(group, after, wait_s=wait_s))

    async def _begin_stop(self, _: Parameters) -> dict[str, str]:
        log.info("asked to stop")
        self._stop.stop()
        return {}


def listen(path: Path) -> socket.socket:
    """A socket that only this user can connect to, in the place of one that a crash left.

    Only for who holds the lock of the run directory.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Bound by way of its directory's descriptor: a socket's path is at most 107 bytes long.
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            sock.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        path.chmod(0o600)  # nobody can have connected: it does not listen yet
        sock.listen()
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


async def _answer(route: Route, parameters: Parameters, responder: Responder) -> None:
    try:
        found = await route(parameters)
    except ValueError as error:
        _refuse(responder, HTTPStatus.BAD_REQUEST, f"{error}.")
    except EngineUnavailable as error:
        log.warning("admin request without the engine", error=error)
        _refuse(responder, HTTPStatus.BAD_GATEWAY, f"The engine does not answer: {error}")
    except Exception as error:  # noqa: BLE001 - a bug: log everything, tell the caller nothing
        log.error("admin request failed", error=error)
        _refuse(responder, HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error; see Hearth's log.")
    else:
        if isinstance(found, Text):
            headers = (("Content-Type", found.content_type),)
            responder.send(HTTPStatus.OK, headers, found.body)
        else:
            responder.send(HTTPStatus.OK, _JSON, msgspec.json.encode(found))


def _refuse(responder: Responder, status: HTTPStatus, message: str) -> None:
    responder.send(status, _JSON, msgspec.json.encode({"message": message}))


def _answer_of(page: LogPage) -> LogAnswer:
    lines = [
        LogLine(
            event_id=event.event_id,
            at_ms=event.at_ms,
            stream=event.stream,
            message=event.message.decode(errors="replace"),
        )
        for event in page.events
    ]
    return LogAnswer(events=lines, cursor=page.cursor, more=page.more)


def _group(parameters: Parameters) -> LogGroup:
    """Raises ValueError if it is none."""
    account, region, name = (parameters.get(key, "") for key in ("account", "region", "group"))
    return LogGroup(AccountId(account), Region(region), name)


def _after(parameters: Parameters) -> EventId | None:
    after = parameters.get("after")
    return EventId(after) if after else None


def number(parameters: Parameters, name: str, default: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise ValueError(f"{name} must be a whole number, not {text!r}")
    return int(text)
