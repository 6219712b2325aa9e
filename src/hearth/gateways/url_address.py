"""Which function URL is a request for? Its host says so, or the start of its path. Pure.

As at AWS, with any domain at the end: `http://<id>.lambda-url.<region>.localhost:4566/path`; or,
for a client that cannot resolve that name: `http://127.0.0.1:4566/lambda-url/<id>/path`.
"""

import re
from dataclasses import dataclass
from typing import Final

from hearth.base.http1 import HttpRequest

PATH_PREFIX: Final = "/lambda-url/"
_MARK: Final = ".lambda-url."
_HOST = re.compile(
    r"(?P<id>[a-z0-9]{32})\.lambda-url\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+(?::\d+)?", re.IGNORECASE
)
_PATH = re.compile(r"/lambda-url/(?P<id>[a-z0-9]{32})(?P<path>/[^?]*)?(?:\?.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class UrlAddress:
    id: str
    region: str | None
    """None where the request does not say."""
    path: str
    """As it was sent, without what named the URL."""


def is_for_url(request: HttpRequest) -> bool:
    """A cheap look at every request."""
    return _MARK in request.headers.get("host", "") or request.target.startswith(PATH_PREFIX)


def address_of(request: HttpRequest) -> UrlAddress | None:
    """None if no URL looks like that."""
    host = request.headers.get("host", "")
    if _MARK in host:
        named = _HOST.fullmatch(host)
        if named is None:
            return None
        path = request.target.partition("?")[0]
        return UrlAddress(named["id"].lower(), named["region"].lower(), path)
    match = _PATH.fullmatch(request.target)
    return None if match is None else UrlAddress(match["id"], None, match["path"] or "/")
