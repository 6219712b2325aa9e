"""What may the owner of this Hearth see and do? The admin socket, and a door for Prometheus."""

import asyncio
from contextlib import AsyncExitStack

from hearth.api import admin
from hearth.api.admin_debug import debug_routes
from hearth.api.admin_events import event_routes
from hearth.api.admin_mappings import mapping_routes
from hearth.api.metrics import METRICS_LIMITS, PATH, MetricsDoor, metrics_routes
from hearth.app.choices import bind, endpoint_of
from hearth.app.debugging import Debugging
from hearth.app.metrics_view import MetricsView
from hearth.app.parts import Parts
from hearth.app.view import View
from hearth.base.http1 import HttpServer
from hearth.base.log import Log
from hearth.settings import Settings

log = Log("app")


async def open_back_doors(
    settings: Settings, parts: Parts, endpoint: str, stop: asyncio.Event, stack: AsyncExitStack
) -> None:
    """`stack` closes them. Raises StartRefused if the address of --metrics cannot be had."""
    metrics = MetricsView(parts)
    metrics_url = None
    if settings.metrics is not None:
        sock = bind(*settings.metrics, "--metrics")
        metrics_url = endpoint_of(sock) + PATH
        door = HttpServer(MetricsDoor(metrics.text, parts.jobs).handle, METRICS_LIMITS)
        stack.push_async_callback(door.close)
        await door.start(sock)
        log.info("metrics are served", at=metrics_url)
    view = View(settings, parts, endpoint, metrics_url, stop)
    debugging = Debugging(parts)
    stack.push_async_callback(debugging.close)
    api = admin.AdminApi(
        status=view,
        sandboxes=view,
        logs=parts.logs,
        stop=view,
        jobs=parts.jobs,
        more={
            **debug_routes(debugging),
            **event_routes(parts.events.desk),
            **mapping_routes(parts.sources),
            **metrics_routes(metrics.text),
        },
    )
    back = HttpServer(api.handle, admin.ADMIN_LIMITS)
    stack.push_async_callback(back.close)
    await back.start(admin.listen(settings.paths.admin_socket))
