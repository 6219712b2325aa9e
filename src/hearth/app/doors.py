"""Which ways lead in, and what answers at each? The edge, function URLs, packages, the owner's."""

import asyncio
import secrets
from contextlib import AsyncExitStack

from hearth.api import downloads
from hearth.api.edge import SERVICES, Edge
from hearth.api.invoke import InvokeHandler
from hearth.api.invoke_stream import StreamInvokeHandler
from hearth.api.keys import KeyFile
from hearth.api.operations import (
    account,
    aliases,
    concurrency,
    invoke_async,
    provisioned,
    sts,
    versions,
)
from hearth.api.operations.logs import log_operations
from hearth.api.sigv4 import OpenAuth, SigV4Verifier
from hearth.app.back_doors import open_back_doors
from hearth.app.choices import edge_limits, new_id, open_files_max, stream_rate
from hearth.app.durable import accept_by
from hearth.app.function_urls import function_url_gateway, function_urls
from hearth.app.listening import Addresses, endpoint_of, listen
from hearth.app.parts import Doors, Parts
from hearth.app.setting_operations import function_operations, policies, setting_operations
from hearth.base.http1 import HttpRequest, HttpServer, StreamingResponder
from hearth.gateways.url_address import is_for_url
from hearth.settings import Auth, Settings


async def open_doors(
    settings: Settings, addresses: Addresses, parts: Parts, stop: asyncio.Event
) -> Doors:
    """Listen, now that there is somebody behind the doors. Raises StartRefused."""
    clock, jobs = parts.clock, parts.jobs
    endpoint = endpoint_of(addresses.front)
    keys = KeyFile(settings.paths.keys, clock)
    auth = SigV4Verifier(keys, clock) if settings.auth is Auth.SIGV4 else OpenAuth()
    links = downloads.PackageDownloads(secrets.token_bytes(32), parts.packages.path, clock, jobs)
    accept = accept_by(parts.front.accepted, parts.durable.starter, parts.events.intake.accept)
    invoke = InvokeHandler(parts.invoker, clock, accept)
    rate = stream_rate(settings)
    edge = Edge(
        SERVICES,
        (
            *function_operations(parts, links.link),
            *versions.operations(parts.functions),
            *aliases.operations(parts.functions),
            *account.operations(parts.functions, parts.counter, parts.layers),
            *concurrency.operations(parts.functions, parts.reserved),
            *provisioned.operations(parts.functions, parts.provisioned),
            *invoke_async.operations(accept),
            *parts.durable.operations(parts.functions),
            *setting_operations(parts, links.link_to, function_urls(settings, parts, endpoint)),
            *log_operations(parts.logs, clock),
            *parts.sources.operations(),
            *sts.OPERATIONS,
        ),
        auth,
        clock,
        jobs,
        new_id,
        invoke,
        policies(parts),
        StreamInvokeHandler(invoke, rate, clock),
    )

    urls = function_url_gateway(settings, parts, auth)

    def handle(request: HttpRequest, responder: StreamingResponder) -> None:
        if is_for_url(request):
            urls.handle(request, responder)
        elif request.target.startswith(downloads.PREFIX):
            links.handle(request, responder)
        else:
            edge.handle(request, responder)

    front = HttpServer(handle, edge_limits(open_files_max()), on_error=edge.answer_refusal)
    listen(addresses.front, "--listen")
    await front.start(addresses.front)
    back = AsyncExitStack()
    try:
        await open_back_doors(settings, addresses, parts, stop, back)
    except BaseException:
        await back.aclose()
        await front.close()
        raise
    return Doors(front, back, endpoint)
