"""How does Prometheus scrape Hearth? `GET /metrics`, on the admin socket and where --metrics says.

The second door is for monitoring alone: without credentials, nothing but these numbers, which name
accounts and functions.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from hearth.api.admin import Parameters, Routes, Text
from hearth.base.http1 import HttpLimits, HttpRequest, Responder
from hearth.base.jobs import Jobs
from hearth.base.log import Log

PATH: Final = "/metrics"
METRICS_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
METRICS_LIMITS: Final = HttpLimits(
    head_bytes_max=16_384, body_bytes_max=1_024, connections_max=16, idle_timeout_s=75.0
)

log = Log("metrics")

Scrape = Callable[[], Awaitable[bytes]]


def metrics_routes(scrape: Scrape) -> Routes:
    """For the admin socket."""

    async def show(_: Parameters) -> Text:
        return Text(METRICS_TYPE, await scrape())

    return {PATH: ("GET", show)}


class MetricsDoor:
    """Give `handle` to an HttpServer with METRICS_LIMITS."""

    def __init__(self, scrape: Scrape, jobs: Jobs) -> None:
        self._scrape = scrape
        self._jobs = jobs

    def handle(self, request: HttpRequest, responder: Responder) -> None:
        if urlsplit(request.target).path != PATH:
            responder.send(HTTPStatus.NOT_FOUND, _PLAIN, f"There is only {PATH}.\n".encode())
        elif request.method != "GET":
            responder.send(HTTPStatus.METHOD_NOT_ALLOWED, _PLAIN, b"Only GET.\n")
        else:
            job = self._jobs.spawn(self._answer(responder), name="scrape")
            responder.on_gone(lambda: _cancel(job.cancel))

    async def _answer(self, responder: Responder) -> None:
        try:
            text = await self._scrape()
        except Exception as error:  # noqa: BLE001 - a bug, or the engine does not answer
            log.error("metrics could not be collected", error=error)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            responder.send(status, _PLAIN, b"Internal error; see Hearth's log.\n")
        else:
            responder.send(HTTPStatus.OK, (("Content-Type", METRICS_TYPE),), text)


_PLAIN: Final = (("Content-Type", "text/plain; charset=utf-8"),)


def _cancel(cancel: Callable[[], bool]) -> None:
    cancel()
