"""Publish, read, list and delete layer versions, and say what a function gets of them.

A layer's document has the number that was given last; each version is a document of its own, under
`NAME.NUMBER`. Publishing takes a number first, then writes the version: a kill between the two
leaves a gap, and no number is ever given twice, not even after all versions were deleted.

A function keeps what it needs of a version, its package by digest, in its own record: so a version
that was deleted goes on serving the functions that have it, and no new ones.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html and its siblings.
Texts: recorded; that of a missing package is like the one for functions.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hearth.base.clock import Clock
from hearth.control.deliveries import S3, Deliveries
from hearth.control.documents import AccountScope, Document, Documents, Kind
from hearth.control.packages import Packages
from hearth.control.requests import PublishLayer
from hearth.control.rules import shown
from hearth.control.zips import unzipped_bytes
from hearth.model.errors import InvalidParameterValue
from hearth.model.layers import LayerKey, LayerUse

NO_CONTENT: Final = "Please provide a source for layer content."


@dataclass(frozen=True, slots=True)
class Layer:
    """All that outlives the versions of a layer."""

    last_number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVersion:
    number: int
    sha256: str
    size_bytes: int
    unzipped_bytes: int
    description: str = ""
    license: str | None = None
    runtimes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    created: str


LAYERS: Final = Kind("layer", Layer)
VERSIONS: Final = Kind("layer-version", LayerVersion)


class Layers:
    """The layers of all accounts. Every method may raise InternalFailure."""

    def __init__(
        self, documents: Documents, packages: Packages, clock: Clock, s3: S3 | None = None
    ) -> None:
        """`s3`: where packages may be fetched from."""
        self._documents = documents
        self._packages = packages
        self._deliveries = Deliveries(packages, s3)
        self._clock = clock

    async def publish(self, request: PublishLayer) -> LayerVersion:
        """Raises ServiceError in AWS's words."""
        if request.package is None:
            raise InvalidParameterValue(NO_CONTENT)
        async with self._deliveries.receive(request.package, request.key.region) as package:
            code = await self._packages.put(package)
        unzipped = await asyncio.to_thread(unzipped_bytes, self._packages.path(code.sha256))
        version = LayerVersion(
            number=await self._next_number(request.key),
            sha256=code.sha256,
            size_bytes=code.size_bytes,
            unzipped_bytes=unzipped,
            description=request.description,
            license=request.license,
            runtimes=request.runtimes,
            architectures=request.architectures,
            created=shown(self._clock.utc()),
        )
        await self._documents.put(
            VERSIONS, _scope(request.key), version, version_name(request.key, version.number)
        )
        return version

    async def _next_number(self, key: LayerKey) -> int:
        def decide(before: Document[Layer] | None) -> Layer:
            return Layer(1 if before is None else before.value.last_number + 1)

        document = await self._documents.change(LAYERS, _scope(key), decide, key.name)
        assert document is not None, "decide always answers a value"
        return document.value.last_number

    def get(self, key: LayerKey, number: int) -> LayerVersion | None:
        return self._documents.get(VERSIONS, _scope(key), version_name(key, number))

    def versions(self, key: LayerKey) -> Iterator[LayerVersion]:
        """The newest first; none for a layer that is not there."""
        layer = self._documents.get(LAYERS, _scope(key), key.name)
        for number in range(0 if layer is None else layer.last_number, 0, -1):
            version = self.get(key, number)
            if version is not None:
                yield version

    def layers(self, scope: AccountScope) -> tuple[LayerKey, ...]:
        """By name; also those all of whose versions were deleted."""
        documents = self._documents.find_all(LAYERS, scope)
        names = (document.qualifier for document in documents)
        return tuple(LayerKey(scope.account, scope.region, name) for name in names if name)

    async def delete(self, key: LayerKey, number: int) -> None:
        """One that is not there is as good as deleted. Functions that have it keep it."""
        await self._documents.delete(VERSIONS, _scope(key), version_name(key, number))

    def package_bytes(self, scope: AccountScope) -> int:
        """What its versions take of the account's code storage."""
        return sum(d.value.size_bytes for d in self._documents.find_all(VERSIONS, scope))

    def packages(self) -> frozenset[str] | None:
        """The digests of all versions of all accounts; None while they are not all known."""
        if not self._documents.is_complete:
            return None
        return frozenset(version.sha256 for version in self._documents.every(VERSIONS))


def version_name(key: LayerKey, number: int) -> str:
    """Of the documents of a layer version."""
    return f"{key.name}.{number}"


def use_of(key: LayerKey, version: LayerVersion) -> LayerUse:
    return LayerUse(
        arn=key.version_arn(version.number),
        sha256=version.sha256,
        size_bytes=version.size_bytes,
        unzipped_bytes=version.unzipped_bytes,
    )


def check_distinct(keys: Sequence[tuple[LayerKey, int]]) -> None:
    """Raises InvalidParameterValue if two are versions of one layer."""
    seen: dict[LayerKey, int] = {}
    for key, number in keys:
        if key in seen:
            first, second = key.version_arn(seen[key]), key.version_arn(number)
            raise InvalidParameterValue(
                "Two different versions of the same layer are not allowed to be referenced in the "
                f"same function. {first} and {second} are versions of the same layer."
            )
        seen[key] = number


def _scope(key: LayerKey) -> AccountScope:
    return AccountScope(key.account, key.region)
