"""What may the owner of this Hearth see and do? The admin socket, and a door for Prometheus."""

import asyncio
from contextlib import AsyncExitStack

from hearth.api import admin
from hearth.api.admin_debug import debug_routes
from hearth.api.admin_events import event_routes
from hearth.api.admin_mappings import mapping_routes
from hearth.api.metrics import METRICS_LIMITS, PATH, MetricsDoor, metrics_routes
from hearth.app.debugging import Debugging
from hearth.app.listening import Addresses, endpoint_of, listen
from hearth.app.metrics_view import MetricsView
from hearth.app.parts import Parts
from hearth.app.view import View
from hearth.base.http1 import HttpServer
from hearth.base.log import Log
from hearth.settings import Settings

log = Log("app")


async def open_back_doors(
    settings: Settings,
    addresses: Addresses,
    parts: Parts,
    stop: asyncio.Event,
    stack: AsyncExitStack,
) -> None:
    """`stack` closes them. Raises StartRefused if the address of --metrics cannot be had."""
    endpoint = endpoint_of(addresses.front)
    metrics = MetricsView(parts)
    metrics_url = None
    if addresses.metrics is not None:
        metrics_url = endpoint_of(addresses.metrics) + PATH
        door = HttpServer(MetricsDoor(metrics.text, parts.jobs).handle, METRICS_LIMITS)
        stack.push_async_callback(door.close)
        listen(addresses.metrics, "--metrics")
        await door.start(addresses.metrics)
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
