"""Where can a package be downloaded? The link in GetFunction's `Code.Location`, and in a layer
version's `Content.Location`.

As on AWS the link is presigned: it works without credentials, for ten minutes, for this package
and no other. The signature is an HMAC with a secret of this process.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_FunctionCodeLocation.html
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from hearth.api.operation import OperationRequest
from hearth.base.clock import Clock
from hearth.base.http1 import HttpRequest, Responder
from hearth.base.jobs import Jobs
from hearth.model.functions import FunctionVersion

PREFIX = "/_hearth/packages/"
VALID_S = 600
_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>%s</Message></Error>"
)


class PackageDownloads:
    """Makes the links, and answers them."""

    def __init__(
        self, secret: bytes, package_path: Callable[[str], Path], clock: Clock, jobs: Jobs
    ) -> None:
        self._secret = secret
        self._package_path = package_path
        self._clock = clock
        self._jobs = jobs

    def link(self, request: OperationRequest, function: FunctionVersion) -> str:
        """The link to a function's package, at the address by which the caller reached us."""
        return self.link_to(request, function.code.sha256)

    def link_to(self, request: OperationRequest, sha256: str) -> str:
        """The same to the package of that digest."""
        expires = str(self._clock.epoch_ms() // 1000 + VALID_S)
        signature = self._sign(sha256, expires)
        path = f"{PREFIX}{sha256}?X-Amz-Expires={expires}&X-Amz-Signature={signature}"
        return request.endpoint + path

    def handle(self, request: HttpRequest, responder: Responder) -> None:
        """Answer a request below PREFIX."""
        url = urlsplit(request.target)
        sha256 = url.path.removeprefix(PREFIX)
        query = parse_qs(url.query)
        expires = query.get("X-Amz-Expires", [""])[0]
        signature = query.get("X-Amz-Signature", [""])[0]
        if request.method not in {"GET", "HEAD"}:
            _deny(responder, 405, b"The method is not allowed.")
        elif not hmac.compare_digest(
            signature.encode("latin-1", "replace"), self._sign(sha256, expires).encode()
        ):
            _deny(responder, 403, b"The signature does not match.")
        elif int(expires) < self._clock.epoch_ms() // 1000:
            _deny(responder, 403, b"Request has expired")
        else:
            self._jobs.spawn(self._send(sha256, responder), name="package-download")

    async def _send(self, sha256: str, responder: Responder) -> None:
        try:
            body = await asyncio.to_thread(self._package_path(sha256).read_bytes)
        except OSError:
            _deny(responder, 404, b"The package is not there any more.")
            return
        responder.send(200, (("Content-Type", "application/zip"),), body)

    def _sign(self, sha256: str, expires: str) -> str:
        return hmac.new(self._secret, f"{sha256}\n{expires}".encode(), hashlib.sha256).hexdigest()


def _deny(responder: Responder, status: int, message: bytes) -> None:
    responder.send(status, (("Content-Type", "application/xml"),), _DENIED % message)
