"""Create, read, list, change and delete aliases: names for versions, with or without a split.

Aliases are part of their function's record: a version cannot go while an alias comes that points
to it, and a function takes its aliases along.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html,
https://docs.aws.amazon.com/lambda/latest/api/API_CreateAlias.html. Texts: recorded, or as users of
AWS have quoted them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from hearth.control.pages import Page, page
from hearth.control.replica import Replica
from hearth.control.requests import CreateAlias, UpdateAlias
from hearth.control.rules import check_revision
from hearth.control.store import (
    ATTEMPTS_MAX,
    FunctionStore,
    not_found,
    update_in_progress,
)
from hearth.control.versions import Forget
from hearth.model.errors import InvalidParameterValue, ResourceConflict, ResourceNotFound
from hearth.model.functions import Alias, Function, FunctionVersion
from hearth.model.ids import LATEST, FunctionKey

T = TypeVar("T")

PAGE_ITEMS_MAX: Final = 10_000
WEIGHTS_MAX: Final = 1


@dataclass(eq=False, slots=True)
class Aliases:
    """The aliases of all functions. Every method raises ServiceError with AWS's text."""

    store: FunctionStore
    replica: Replica
    ids: Callable[[], str]
    """A new UUID at each call."""
    forget: Forget

    async def create(self, request: CreateAlias) -> Alias:
        def decide(function: Function) -> Alias:
            if request.name in function.aliases:
                raise ResourceConflict(f"Alias already exists: {request.key.arn(request.name)}")
            return Alias(
                key=request.key,
                name=request.name,
                version=request.version,
                description=request.description,
                weights=dict(request.weights),
                revision_id=self.ids(),
            )

        return await self._write(request.key, decide, not_found(request.key, request.version))

    async def update(self, request: UpdateAlias) -> Alias:
        key, name = request.key, request.name

        def decide(function: Function) -> Alias:
            now = function.aliases.get(name)
            if now is None:
                raise _no_alias(key, name)
            check_revision(now.revision_id, request.revision_id)
            return replace(
                now,
                version=_first(request.version, now.version),
                description=_first(request.description, now.description),
                weights=dict(_first(request.weights, now.weights)),
                revision_id=self.ids(),
            )

        return await self._write(key, decide, _no_alias(key, name))

    async def get(self, key: FunctionKey, name: str) -> Alias:
        """From the local copy; one that is not there is looked for in the engine too."""
        found = self.replica.qualified(key, name)
        if found is None:
            stored = await self.store.read(key)
            found = stored.whole.aliases.get(name) if stored is not None else None
        if not isinstance(found, Alias):
            raise _no_alias(key, name)
        return found

    def list_page(
        self, key: FunctionKey, version: str | None, *, marker: str | None, items_max: int | None
    ) -> Page[Alias]:
        """By name; those that may run `version`, if it is given."""
        aliases = [a for a in self.replica.aliases(key) if version is None or version in a.targets]
        return page(
            aliases,
            lambda alias: (alias.name, 0),
            marker=marker,
            items_max=items_max,
            most=PAGE_ITEMS_MAX,
        )

    async def delete(self, key: FunctionKey, name: str) -> None:
        """One that is not there is as good as deleted. Raises ResourceNotFound (no function)."""

        def without(now: Function) -> Function:
            if name not in now.aliases:
                return now
            aliases = {other: alias for other, alias in now.aliases.items() if other != name}
            return replace(now, aliases=aliases, write_id=self.ids())

        function = await self.store.change_whole(key, without)
        await self.forget(function.latest, name)

    async def _write(
        self, key: FunctionKey, decide: Callable[[Function], Alias], missing: ResourceNotFound
    ) -> Alias:
        """Write what `decide` makes of the function's alias. Raises `missing` (no function)."""
        for _attempt in range(ATTEMPTS_MAX):
            before = await self.store.read(key)
            if before is None:
                raise missing
            alias = decide(before.whole)
            _check_weights(alias)
            await self._check_targets(before.whole, alias)
            aliases = {**before.whole.aliases, alias.name: alias}
            after = replace(before.whole, aliases=aliases, write_id=self.ids())
            if await self.store.replace_whole(before, after):
                return alias
        raise update_in_progress(key)

    async def _check_targets(self, function: Function, alias: Alias) -> None:
        """Each version is there; two of them share a role, or one would act as the other."""
        roles = set()
        for number in (alias.version, *alias.weights):
            version = await self._version(function, number)
            if version is None:
                raise not_found(alias.key, number)
            roles.add(version.role)
        if len(roles) > 1:
            raise InvalidParameterValue(
                "Specified versions must be associated with the same execution role"
            )

    async def _version(self, function: Function, number: str) -> FunctionVersion | None:
        if number == LATEST:
            return function.latest
        record = function.versions.get(number)
        if record is None:
            return None
        found = self.replica.qualified(function.latest.key, number)
        if isinstance(found, FunctionVersion):
            return found
        stored = await self.store.read_version(function.latest.key, record)
        return stored.version if stored is not None else None


def _check_weights(alias: Alias) -> None:
    weights: Mapping[str, float] = alias.weights
    if len(weights) > WEIGHTS_MAX:
        raise InvalidParameterValue(
            f"Number of items in AdditionalVersionWeights cannot be greater than {WEIGHTS_MAX}"
        )
    if weights and alias.version == LATEST:
        raise InvalidParameterValue(
            "$LATEST is not supported for an alias pointing to more than 1 version"
        )
    if alias.version in weights:
        raise InvalidParameterValue(
            f"Invalid function version {alias.version}. Function version {alias.version} is "
            "already included in routing configuration."
        )


def _first(given: T | None, otherwise: T) -> T:
    return otherwise if given is None else given


def _no_alias(key: FunctionKey, name: str) -> ResourceNotFound:
    return ResourceNotFound(f"Cannot find alias arn: {key.arn(name)}")
