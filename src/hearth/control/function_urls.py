"""Which functions have a URL of their own, and how may it be called?

A URL belongs to a function or to an alias of it. Its id stays for as long as it does; where it is
served is up to whoever wires this, and not kept.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html. Texts: recorded; that
of empty origins as AWS's users see it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from hearth.base.clock import Clock
from hearth.control.documents import Document, Documents, Kind
from hearth.control.rules import instant
from hearth.control.validation import no_tenants
from hearth.model.errors import (
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
)
from hearth.model.functions import FunctionVersion
from hearth.model.ids import Region

NO_URL: Final = "The resource you requested does not exist."

Address = Callable[[Region, str], str]
"""Where the URL with that id is served in that region: `http://…/`."""


class UrlAuth(StrEnum):
    NONE = "NONE"
    AWS_IAM = "AWS_IAM"


class InvokeMode(StrEnum):
    BUFFERED = "BUFFERED"
    RESPONSE_STREAM = "RESPONSE_STREAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionUrl:
    id: str
    """32 characters, in the URL's host name."""
    auth: UrlAuth
    cors: dict[str, Any] | None = None
    """The model's members; None where CORS is off."""
    mode: InvokeMode = InvokeMode.BUFFERED
    created: str
    modified: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlChange:
    """None means: leave it."""

    auth: UrlAuth | None = None
    cors: Mapping[str, Any] | None = None
    """Empty turns CORS off."""
    mode: InvokeMode | None = None


URLS: Final = Kind("function-url", FunctionUrl)


class FunctionUrls:
    def __init__(
        self,
        documents: Documents,
        clock: Clock,
        ids: Callable[[], str],
        address: Address,
    ) -> None:
        """`ids`: a new UUID at each call."""
        self._documents = documents
        self._clock = clock
        self._ids = ids
        self._address = address

    def address(self, function: FunctionVersion, url: FunctionUrl) -> str:
        return self._address(function.key.region, url.id)

    def get(self, function: FunctionVersion, alias: str | None) -> FunctionUrl:
        """Raises ResourceNotFound."""
        url = self._documents.get(URLS, function, alias)
        if url is None:
            raise ResourceNotFound(NO_URL)
        return url

    def find_all(self, function: FunctionVersion) -> tuple[tuple[str | None, FunctionUrl], ...]:
        """With their aliases; the function's own is first."""
        return tuple(
            (document.qualifier, document.value)
            for document in self._documents.find_all(URLS, function)
        )

    async def create(
        self, function: FunctionVersion, alias: str | None, change: UrlChange
    ) -> FunctionUrl:
        """Raises ResourceConflict, InvalidParameterValue."""
        if function.per_tenant:
            raise no_tenants("A function URL")
        _check_cors(change.cors)
        assert change.auth is not None, "the model requires it"
        now = instant(self._clock.utc())
        url = FunctionUrl(
            id=self._ids().replace("-", ""),
            auth=change.auth,
            cors=dict(change.cors) if change.cors else None,
            mode=change.mode or InvokeMode.BUFFERED,
            created=now,
            modified=now,
        )

        def decide(before: Document[FunctionUrl] | None) -> FunctionUrl:
            if before is not None:
                raise ResourceConflict(
                    "Failed to create function url config for "
                    f"[functionArn = {function.key.arn(alias)}]. "
                    "Error message:  FunctionUrlConfig exists for this Lambda function"
                )
            return url

        await self._documents.change(URLS, function, decide, alias)
        return url

    async def update(
        self, function: FunctionVersion, alias: str | None, change: UrlChange
    ) -> FunctionUrl:
        """Raises ResourceNotFound, InvalidParameterValue."""
        _check_cors(change.cors)

        def decide(before: Document[FunctionUrl] | None) -> FunctionUrl:
            if before is None:
                raise ResourceNotFound(NO_URL)
            url = before.value
            cors = url.cors if change.cors is None else dict(change.cors) or None
            return replace(
                url,
                auth=change.auth or url.auth,
                cors=cors,
                mode=change.mode or url.mode,
                modified=instant(self._clock.utc()),
            )

        document = await self._documents.change(URLS, function, decide, alias)
        assert document is not None, "decide always answers a value"
        return document.value

    async def delete(self, function: FunctionVersion, alias: str | None) -> None:
        """Raises ResourceNotFound."""

        def decide(before: Document[FunctionUrl] | None) -> None:
            if before is None:
                raise ResourceNotFound(NO_URL)

        await self._documents.change(URLS, function, decide, alias)


def _check_cors(cors: Mapping[str, Any] | None) -> None:
    if cors and not cors.get("AllowOrigins"):
        raise InvalidParameterValue("You can't leave AllowOrigins as empty when Cors is enabled.")
