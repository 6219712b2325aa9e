"""Which service is a request for? One port serves them all, so the request has to say.

In this order: what the signature was made for, X-Amz-Target, the first label of Host, a path that
a rest service has, Version and Action of a form. What says nothing goes to the first service,
whose 404 is then the answer.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from hearth.api.protocols.contract import WireProtocol
from hearth.api.protocols.json import Json
from hearth.api.protocols.query import Query, form_of
from hearth.api.protocols.restjson import RestJson
from hearth.base.http1 import HttpRequest
from hearth.model.errors import NotImplementedHere, ServiceError

_SCOPE = re.compile(r"Credential=[^,\s]*?/\d{8}/[^/,\s]*/([A-Za-z0-9-]+)/aws4_request")
FORM_TYPE: Final = "application/x-www-form-urlencoded"


class Services:
    """All services of one edge."""

    def __init__(self, protocols: Sequence[WireProtocol]) -> None:
        self.protocols: Final = tuple(protocols)
        self._by_signing_name = {p.model.signing_name: p for p in protocols}
        self._by_endpoint = {p.model.metadata.endpoint_prefix: p for p in protocols}
        self._by_target = {
            p.model.metadata.target_prefix: p for p in protocols if p.model.metadata.target_prefix
        }

    def find(self, request: HttpRequest) -> WireProtocol:
        """Raises NotImplementedHere if the request is signed for a service that is not here."""
        signed_for = credential_service(request)
        if signed_for is not None:
            found = self._by_signing_name.get(signed_for)
            if found is None:
                raise NotImplementedHere(f"Hearth does not support the service {signed_for} yet.")
            return found
        headers = request.headers
        return (
            self._by_target.get(headers.get("x-amz-target", "").rpartition(".")[0])
            or self._by_endpoint.get(headers.get("host", "").partition(".")[0].lower())
            or self._by_path_or_action(request)
            or self.protocols[0]
        )

    def like(self, request: HttpRequest) -> WireProtocol:
        """One whose errors a client of a service that is not here can read."""
        if "x-amz-target" in request.headers:
            kind: type[WireProtocol] = Json
        elif request.headers.get("content-type", "").startswith(FORM_TYPE):
            kind = Query
        else:
            kind = RestJson
        return next((p for p in self.protocols if isinstance(p, kind)), self.protocols[0])

    def _by_path_or_action(self, request: HttpRequest) -> WireProtocol | None:
        for protocol in self.protocols:
            if isinstance(protocol, RestJson) or _may_be_query(protocol, request):
                try:
                    protocol.match(request)
                except ServiceError:
                    continue
                return protocol
        return None


def _may_be_query(protocol: WireProtocol, request: HttpRequest) -> bool:
    if not isinstance(protocol, Query):
        return False
    is_form = request.headers.get("content-type", "").startswith(FORM_TYPE)
    return (is_form or "Action=" in request.target) and "Action" in form_of(request)


def credential_service(request: HttpRequest) -> str | None:
    """The service in the credential scope, from the header or a presigned query."""
    found = _SCOPE.search(request.headers.get("authorization", ""))
    if found is not None:
        return found[1]
    if "X-Amz-Credential=" not in request.target:
        return None
    query = parse_qs(request.target.partition("?")[2])
    found = _SCOPE.search("Credential=" + query.get("X-Amz-Credential", [""])[0])
    return found[1] if found else None
