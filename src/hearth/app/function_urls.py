"""How are function URLs served here? The gateway and where its URLs are, wired from Parts."""

from urllib.parse import urlsplit

from hearth.app.choices import TraceIds, new_id, stream_rate
from hearth.app.parts import Parts
from hearth.control.function_urls import FunctionUrls
from hearth.control.permissions import Permissions
from hearth.control.url_index import UrlIndex
from hearth.gateways.function_urls import FunctionUrlGateway
from hearth.gateways.url_access import Authenticator, UrlAccess
from hearth.gateways.url_stream import Pace
from hearth.model.ids import Region
from hearth.settings import Settings


def function_urls(settings: Settings, parts: Parts, endpoint: str) -> FunctionUrls:
    """The URLs as the control plane shows them: their ids are kept, where they are is not."""
    port = urlsplit(endpoint).port

    def address(region: Region, url_id: str) -> str:
        return f"http://{url_id}.lambda-url.{region}.{settings.url_domain}:{port}/"

    return FunctionUrls(parts.documents, parts.clock, new_id, address)


def function_url_gateway(
    settings: Settings, parts: Parts, auth: Authenticator
) -> FunctionUrlGateway:
    clock = parts.clock
    return FunctionUrlGateway(
        UrlIndex(parts.documents, parts.replica),
        UrlAccess(auth, Permissions(parts.documents)),
        parts.invoker,
        clock,
        parts.jobs,
        new_id,
        TraceIds(clock).new,
        settings.url_domain,
        Pace(stream_rate(settings), clock.monotonic_s),
    )
