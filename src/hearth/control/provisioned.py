"""Which versions have provisioned concurrency, and how far is it?

What was asked for is a document of the function, by version or alias. What comes of it is not
stored: whenever a document, the function, a version or an alias changes (a call here, an alias that
moves on, a deletion, a start of Hearth), the wanted number for each version is added up again, the
environments are told how many to keep, and the counter how many of them there are.

Source: https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html. Texts: recorded,
or, for an alias with weights or on a provisioned version and for the minimum that stays unreserved,
as AWS's users have quoted them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.control.allocation import Allocation, Status
from hearth.control.concurrency import (
    PROVISIONINGS,
    AccountLocks,
    OutOfBounds,
    Provisioning,
    ReservedConcurrency,
    Usage,
    total_provisioned,
    unreserved_min,
)
from hearth.control.documents import Document, Documents, Place
from hearth.control.replica import Replica
from hearth.control.validation import no_tenants
from hearth.model.errors import (
    InitFailed,
    InvalidParameterValue,
    ProvisionedConcurrencyConfigNotFound,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import (
    Alias,
    ConfigurationId,
    FunctionVersion,
    State,
    configuration_id,
)
from hearth.model.ids import LATEST, AccountId, FunctionKey, Region

UNPUBLISHED: Final = (
    "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
)


class Counting(Protocol):
    """What this room needs of the counter."""

    def provision(
        self, function: FunctionKey, version: str, *, requested: int, available: int
    ) -> None: ...

    def usage(self, account: AccountId, region: Region) -> Usage: ...


class Kept(Protocol):
    """How it stands with the environments of one configuration."""

    @property
    def initialised(self) -> int: ...

    @property
    def failures(self) -> int:
        """Starts that failed one after the other."""
        ...

    @property
    def error(self) -> ServiceError | None:
        """Of the last of them."""
        ...


class Environments(Protocol):
    """What this room needs of the worker manager."""

    def provision(self, function: FunctionVersion, target: int) -> None:
        """Keep so many initialised; 0: let them go."""
        ...


@dataclass(frozen=True, slots=True)
class Provisioned:
    """One configuration, as its caller sees it."""

    qualifier: str
    asked: Provisioning
    status: Status
    reason: str | None
    allocated: int
    available: int


@dataclass(slots=True)
class _Served:
    """One version that is provisioned now."""

    function: FunctionVersion
    allocation: Allocation
    target: int = 0
    """What the environments were told last."""


class ProvisionedConcurrency:
    """The provisioned concurrency of all functions."""

    def __init__(
        self,
        documents: Documents,
        replica: Replica,
        reserved: ReservedConcurrency,
        counting: Counting,
        environments: Environments,
        locks: AccountLocks,
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._replica = replica
        self._reserved = reserved
        self._counting = counting
        self._environments = environments
        self._locks = locks
        self._clock = clock
        self._served: dict[FunctionKey, dict[str, _Served]] = {}
        documents.on_change(PROVISIONINGS, self._document_changed)
        replica.on_change(self._function_changed)
        replica.on_qualified(lambda latest, _qualifiers: self._reconcile(latest.key))

    # --- what callers ask for

    def get(self, function: FunctionVersion, qualifier: str) -> Provisioned:
        """`function` is $LATEST. Raises ProvisionedConcurrencyConfigNotFound."""
        self._check_there(function.key, qualifier)
        for provisioned in self.find_all(function):
            if provisioned.qualifier == qualifier:
                return provisioned
        raise ProvisionedConcurrencyConfigNotFound(
            "No Provisioned Concurrency Config found for this function"
        )

    def find_all(self, function: FunctionVersion) -> list[Provisioned]:
        """By qualifier. `function` is $LATEST."""
        spent: dict[str, tuple[int, int]] = {}
        return [
            self._shown(function.key, document, spent)
            for document in self._documents.find_all(PROVISIONINGS, function)
        ]

    async def put(self, function: FunctionVersion, qualifier: str, requested: int) -> Provisioned:
        """`function` is $LATEST. Raises ServiceError with AWS's text."""
        if function.per_tenant:
            raise no_tenants("Provisioned concurrency")
        async with self._locks.of(function.key):
            self._check_qualifier(function, qualifier)
            self._check_amount(function, qualifier, requested)
            asked = Provisioning(requested, self._clock.utc())
            await self._documents.put(PROVISIONINGS, function, asked, qualifier)
        shown = self.get(function, qualifier)
        # As AWS answers, even where nothing is left to be done.
        return replace(shown, status=Status.IN_PROGRESS, reason=None)

    async def delete(self, function: FunctionVersion, qualifier: str) -> None:
        """Also where there is none. `function` is $LATEST."""
        self._check_there(function.key, qualifier)
        async with self._locks.of(function.key):
            await self._documents.delete(PROVISIONINGS, function, qualifier)

    def _shown(
        self,
        key: FunctionKey,
        document: Document[Provisioning],
        spent: dict[str, tuple[int, int]],
    ) -> Provisioned:
        """Where several configurations mean one version, each is shown its part, in order."""
        qualifier = document.qualifier or LATEST
        asked = document.value
        version = self._version_of(key, qualifier)
        served = None if version is None else self._served.get(key, {}).get(version.version)
        if served is None:  # the version is not active yet
            return Provisioned(qualifier, asked, Status.IN_PROGRESS, None, 0, 0)
        allocation = served.allocation
        allocated, available = spent.get(served.function.version, (0, 0))
        mine = (
            max(min(allocation.allocated - allocated, asked.requested), 0),
            max(min(allocation.available - available, asked.requested), 0),
        )
        spent[served.function.version] = (allocated + mine[0], available + mine[1])
        return Provisioned(qualifier, asked, allocation.status, allocation.reason, *mine)

    # --- what may be asked for

    def _check_there(self, key: FunctionKey, qualifier: str) -> None:
        """Raises InvalidParameterValue for $LATEST, ResourceNotFound."""
        if qualifier == LATEST:
            raise InvalidParameterValue(
                "The function resource provided must be an alias or a published version."
            )
        if self._replica.qualified(key, qualifier) is None:
            if qualifier.isdecimal():
                raise ResourceNotFound(f"Function not found: {key.arn(qualifier)}")
            raise ResourceNotFound(f"Cannot find alias arn: {key.arn(qualifier)}")

    def _check_qualifier(self, function: FunctionVersion, qualifier: str) -> None:
        key = function.key
        if qualifier == LATEST:
            raise InvalidParameterValue(UNPUBLISHED)
        self._check_there(key, qualifier)
        found = self._replica.qualified(key, qualifier)
        provisioned = {d.qualifier for d in self._documents.find_all(PROVISIONINGS, function)}
        if isinstance(found, Alias):
            if found.version == LATEST:
                raise InvalidParameterValue(UNPUBLISHED)
            if found.weights:
                raise InvalidParameterValue(
                    "Alias with weights can not be used with Provisioned Concurrency"
                )
            if found.version in provisioned:
                raise ResourceConflict(
                    "Alias can't be used for Provisioned Concurrency configuration on an already "
                    "Provisioned version"
                )
        elif any(a.name in provisioned and qualifier in a.targets for a in self._aliases(key)):
            raise ResourceConflict("Version is pointed by a Provisioned Concurrency alias")

    def _aliases(self, key: FunctionKey) -> tuple[Alias, ...]:
        return self._replica.aliases(key)

    def _check_amount(self, function: FunctionVersion, qualifier: str, requested: int) -> None:
        before = self._documents.get(PROVISIONINGS, function, qualifier)
        mine = 0 if before is None else before.requested
        others = total_provisioned(self._documents, function) - mine
        reserved = self._reserved.get(function)
        if reserved is not None:
            if others + requested > reserved:
                raise OutOfBounds(
                    "Requested Provisioned Concurrency should not be greater than the "
                    "reservedConcurrentExecution for function"
                )
            return
        usage = self._counting.usage(function.key.account, function.key.region)
        free, least = usage.unreserved + mine, unreserved_min(usage.limit)
        if requested > free:
            raise OutOfBounds(
                "Specified ConcurrentExecutions for function is greater than account's unreserved "
                f"concurrency [{free}]."
            )
        if requested > mine and free - requested < least:
            raise OutOfBounds(
                "Specified ConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{least}]."
            )

    # --- what comes of it

    def kept(self, configuration: ConfigurationId, kept: Kept) -> None:
        """The environments of a configuration have become more or fewer, or one failed."""
        served = self._served.get(configuration.key, {}).get(configuration.version)
        if served is None or configuration_id(served.function) != configuration:
            return
        is_init = isinstance(kept.error, InitFailed)
        served.allocation.kept(kept.initialised, kept.failures if is_init else 0)
        self._apply(served)

    def _document_changed(self, place: Place) -> None:
        if place.function is None:
            return
        key = FunctionKey(place.account, place.region, place.function)
        self._reconcile(key, place.qualifier)

    def _function_changed(self, old: FunctionVersion | None, new: FunctionVersion | None) -> None:
        function = new or old
        assert function is not None, "one of them is there"
        self._reconcile(function.key)

    def _reconcile(self, key: FunctionKey, asked_again: str | None = None) -> None:
        """Make it what the documents say, whatever it is now. Safe to repeat."""
        wanted = self._wanted(key)
        served = self._served.get(key, {})
        for version in [v for v, s in served.items() if not _is_same(s, wanted.get(v))]:
            self._let_go(served.pop(version))
        again = None if asked_again is None else self._version_of(key, asked_again)
        for version, (function, requested) in wanted.items():
            one = served.setdefault(version, _Served(function, Allocation()))
            is_again = again is not None and again.version == version
            if one.allocation.requested != requested or is_again:
                one.allocation.want(requested)
                self._apply(one)
        if served:
            self._served[key] = served
        else:
            self._served.pop(key, None)

    def _wanted(self, key: FunctionKey) -> Mapping[str, tuple[FunctionVersion, int]]:
        """By version: how much, for all qualifiers that mean it."""
        latest = self._replica.get(key)
        if latest is None:
            return {}
        wanted: dict[str, tuple[FunctionVersion, int]] = {}
        for document in self._documents.find_all(PROVISIONINGS, latest):
            version = self._version_of(key, document.qualifier or LATEST)
            if version is not None and version.state is State.ACTIVE:
                _, before = wanted.get(version.version, (version, 0))
                wanted[version.version] = (version, before + document.value.requested)
        return wanted

    def _version_of(self, key: FunctionKey, qualifier: str) -> FunctionVersion | None:
        """The published version that the qualifier means; of an alias the main one."""
        found = self._replica.qualified(key, qualifier)
        if isinstance(found, Alias):
            found = self._replica.qualified(key, found.version)
        assert not isinstance(found, Alias), "no alias is named like a version"
        return found

    def _apply(self, served: _Served) -> None:
        """Tell the others, who may answer at once; hence what they were told is noted before."""
        allocation, function = served.allocation, served.function
        if served.target != allocation.target:
            served.target = allocation.target
            self._environments.provision(function, allocation.target)
        self._counting.provision(
            function.key,
            function.version,
            requested=allocation.requested,
            available=allocation.available,
        )

    def _let_go(self, served: _Served) -> None:
        function = served.function
        self._environments.provision(function, 0)
        self._counting.provision(function.key, function.version, requested=0, available=0)


def _is_same(served: _Served, wanted: tuple[FunctionVersion, int] | None) -> bool:
    return wanted is not None and configuration_id(wanted[0]) == configuration_id(served.function)
