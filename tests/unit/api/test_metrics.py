"""The door for Prometheus: one page, one method, and an error that tells nothing."""

import asyncio
from collections.abc import Awaitable, Callable

from fakes.http import FakeResponder, http_request
from hearth.api.metrics import METRICS_TYPE, MetricsDoor
from hearth.base.jobs import Jobs


async def scrape() -> bytes:
    return b"hearth_up 1\n"


def asked(
    target: str, method: str = "GET", scraped: Callable[[], Awaitable[bytes]] = scrape
) -> FakeResponder:
    async def scene() -> FakeResponder:
        responder = FakeResponder()
        async with Jobs() as jobs:
            MetricsDoor(scraped, jobs).handle(http_request(method, target), responder)
            await jobs.wait_idle()
        return responder

    return asyncio.run(scene())


def test_the_page_is_there_for_get_alone() -> None:
    found = asked("/metrics?name=x")
    assert (found.status, found.body) == (200, b"hearth_up 1\n")
    assert found.headers["Content-Type"] == METRICS_TYPE
    assert asked("/metrics", "POST").status == 405
    assert asked("/").status == 404
    assert asked("/metrics/more").status == 404


def test_a_defect_tells_nothing() -> None:
    async def broken() -> bytes:
        raise RuntimeError("secret")

    found = asked("/metrics", scraped=broken)
    assert found.status == 500
    assert b"secret" not in found.body


def test_who_goes_away_is_not_waited_for() -> None:
    async def scene() -> None:
        begun, responder = asyncio.Event(), FakeResponder()

        async def slow() -> bytes:
            begun.set()
            await asyncio.Event().wait()
            return b""

        async with Jobs() as jobs:
            MetricsDoor(slow, jobs).handle(http_request("GET", "/metrics"), responder)
            await begun.wait()
            responder.leave()
            await jobs.wait_idle()

    asyncio.run(scene())
