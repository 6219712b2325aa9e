"""Which event source mappings are there? Made, changed and deleted here; run by `sources`.

A mapping is a document of its account, not of its function: deleting the function leaves it, as at
AWS. Its state is what was last asked of it (Creating, Updating, …) until whoever runs it has come
up to that write; then it is Enabled or Disabled, or gone.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html. Texts:
recorded, or AWS's as its users see them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Final, Protocol

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.control.documents import AccountScope, Document, Documents, Kind
from hearth.control.mapping_rules import (
    BATCH_DEFAULT,
    MappingChange,
    check_change,
    check_new,
    check_whole,
    kind_of,
)
from hearth.control.tags import Tagged, Tagging
from hearth.control.validation import check_new_tags, no_tenants
from hearth.model.endpoints import Endpoints, no_endpoint
from hearth.model.errors import (
    InternalFailure,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import FunctionVersion
from hearth.model.ids import AccountId, FunctionKey, Region
from hearth.model.mappings import Change, EventSourceMapping, SourceFacts, SourceKind

log = Log("control")

MAPPINGS: Final = Kind("event-source-mapping", EventSourceMapping)

FindFunction = Callable[[FunctionKey, str | None], Awaitable[FunctionVersion]]
"""Raises ResourceNotFound."""


class ResourceInUse(ServiceError):
    code: ClassVar[str] = "ResourceInUseException"
    status: ClassVar[int] = 400


class Sources(Protocol):
    """What this needs of the services that have the sources."""

    async def describe(self, kind: SourceKind, arn: str) -> SourceFacts:
        """Raises ServiceError if there is no such source, or it cannot be reached."""
        ...


class Progress(Protocol):
    """What this needs of whoever runs the mappings."""

    def is_done(self, mapping: EventSourceMapping) -> bool:
        """Does it run, or stand still, as this write of it says?"""
        ...

    def last_result(self, uuid: str) -> str: ...


class EventSourceMappings:
    def __init__(
        self,
        documents: Documents,
        tagging: Tagging,
        clock: Clock,
        find: FindFunction,
        endpoints: Endpoints,
        sources: Sources,
        ids: Callable[[], str],
    ) -> None:
        """`ids`: a new UUID at each call."""
        self._documents = documents
        self._tagging = tagging
        self._clock = clock
        self._find = find
        self._endpoints = endpoints
        self._sources = sources
        self._ids = ids
        self._making = asyncio.Lock()

    # --- what callers ask for

    async def create(
        self,
        key: FunctionKey,
        qualifier: str | None,
        source_arn: str | None,
        change: MappingChange,
        tags: dict[str, str],
    ) -> EventSourceMapping:
        """Raises InvalidParameterValue, ResourceConflict (there is one already)."""
        kind = kind_of(source_arn)
        assert source_arn is not None, "it has a kind"
        check_new(kind, source_arn, change)
        check_change(kind, change, self._endpoints)
        check_new_tags(tags)
        mapping = self._changed(
            EventSourceMapping(
                uuid=self._ids(),
                account=key.account,
                region=key.region,
                function=key.name,
                qualifier=qualifier,
                source_arn=source_arn,
                kind=kind,
                batch_size=BATCH_DEFAULT[kind],
                position=change.position,
                position_at=change.position_at,
                last_modified=self._clock.utc(),
                write_id="",
            ),
            change,
            Change.CREATING,
        )
        check_whole(mapping)
        await self._check_ends(mapping)
        scope = AccountScope(key.account, key.region)
        async with self._making:
            self._refuse_double(scope, mapping)
            if tags:
                await self._tagging.add(Tagged(scope, mapping.uuid), tags)
            await self._documents.put(MAPPINGS, scope, mapping, mapping.uuid)
        return mapping

    def get(self, scope: AccountScope, uuid: str) -> EventSourceMapping:
        """Raises ResourceNotFound."""
        mapping = self._documents.get(MAPPINGS, scope, uuid)
        if mapping is None:
            raise _not_found()
        return mapping

    def find_all(self, scope: AccountScope) -> tuple[EventSourceMapping, ...]:
        """By uuid."""
        return tuple(document.value for document in self._documents.find_all(MAPPINGS, scope))

    async def update(
        self,
        scope: AccountScope,
        uuid: str,
        function: tuple[FunctionKey, str | None] | None,
        change: MappingChange,
    ) -> EventSourceMapping:
        """Everything that the change does not name stays. Raises ResourceNotFound, ResourceInUse,
        InvalidParameterValue, ResourceConflict."""
        before = self.get(scope, uuid)
        check_change(before.kind, change, self._endpoints)
        after = self._after(before, function, change)
        if after.enabled:  # else nothing comes of it, and it may be that they are gone
            await self._check_ends(after)

        def decide(found: Document[EventSourceMapping] | None) -> EventSourceMapping:
            if found is None:
                raise _not_found()
            return self._after(found.value, function, change)

        async with self._making:
            if function is not None:
                self._refuse_double(scope, after)
            document = await self._documents.change(MAPPINGS, scope, decide, uuid)
        assert document is not None, "decide always answers a value"
        return document.value

    async def delete(self, scope: AccountScope, uuid: str) -> EventSourceMapping:
        """It goes when what runs of it has ended. Raises ResourceNotFound, ResourceInUse."""

        def decide(found: Document[EventSourceMapping] | None) -> EventSourceMapping:
            if found is None:
                raise _not_found()
            _refuse_leaving(found.value)
            return self._written(found.value, change=Change.DELETING)

        document = await self._documents.change(MAPPINGS, scope, decide, uuid)
        assert document is not None, "decide always answers a value"
        return document.value

    def tagged(self, account: AccountId, region: Region, uuid: str) -> Tagged:
        """Raises ResourceNotFound."""
        scope = AccountScope(account, region)
        return Tagged(scope, self.get(scope, uuid).uuid)

    # --- what whoever runs them asks for

    def every(self) -> Iterator[EventSourceMapping]:
        """Of all accounts. Not those after one that a newer Hearth wrote."""
        try:
            yield from self._documents.every(MAPPINGS)
        except InternalFailure as error:
            log.error("event source mappings cannot be read", error=error)

    def find(self, mapping: EventSourceMapping) -> EventSourceMapping | None:
        """As it is now; None too for one that cannot be read, and should not be run."""
        scope = AccountScope(mapping.account, mapping.region)
        try:
            return self._documents.get(MAPPINGS, scope, mapping.uuid)
        except InternalFailure as error:
            log.error("event source mapping cannot be read", uuid=mapping.uuid, error=error)
            return None

    def on_change(self, listener: Callable[[], None]) -> None:
        self._documents.on_change(MAPPINGS, lambda _place: listener())

    async def forget(self, mapping: EventSourceMapping) -> None:
        """It was deleted, and nothing of it runs any more. Raises InternalFailure."""
        scope = AccountScope(mapping.account, mapping.region)
        await self._tagging.forget(Tagged(scope, mapping.uuid))
        await self._documents.delete(MAPPINGS, scope, mapping.uuid)

    # --- within

    def _after(
        self,
        before: EventSourceMapping,
        function: tuple[FunctionKey, str | None] | None,
        change: MappingChange,
    ) -> EventSourceMapping:
        _refuse_leaving(before)
        asked = Change.UPDATING
        if change.enabled is not None and change.enabled != before.enabled:
            asked = Change.ENABLING if change.enabled else Change.DISABLING
        after = self._changed(before, change, asked)
        if function is not None:
            key, qualifier = function
            after = replace(after, function=key.name, qualifier=qualifier)
        check_whole(after)
        return after

    def _changed(
        self, before: EventSourceMapping, change: MappingChange, asked: Change
    ) -> EventSourceMapping:
        named: dict[str, Any] = {
            name: value
            for name in (
                *("enabled", "batch_size", "window_s", "filters", "metrics", "parallel"),
                *("age_max_s", "retries_max", "bisects", "tumbling_s"),
            )
            if (value := getattr(change, name)) is not None
        }
        if change.response_types is not None:
            named["reports_failures"] = bool(change.response_types)
        if change.concurrency_max is not None:
            named["concurrency_max"] = change.concurrency_max or None
        if change.on_failure is not None:
            named["on_failure"] = change.on_failure or None
        return self._written(before, change=asked, **named)

    def _written(self, before: EventSourceMapping, **named: Any) -> EventSourceMapping:
        return replace(before, last_modified=self._clock.utc(), write_id=self._ids(), **named)

    async def _check_ends(self, mapping: EventSourceMapping) -> None:
        """Are there the function and the source, and do they fit?"""
        try:
            function = await self._find(mapping.key, mapping.qualifier)
        except ResourceNotFound as error:
            raise InvalidParameterValue("Function does not exist") from error
        if function.per_tenant:
            raise no_tenants("An event source mapping")
        service = mapping.kind.service
        if self._endpoints.find(service) is None:
            raise no_endpoint("EventSourceArn", service)
        facts = await self._sources.describe(mapping.kind, mapping.source_arn)
        visible_s = facts.visibility_s
        if visible_s is not None and visible_s < function.timeout_s:
            raise InvalidParameterValue(
                f"Queue visibility timeout: {visible_s} seconds is less than Function timeout: "
                f"{function.timeout_s} seconds"
            )

    def _refuse_double(self, scope: AccountScope, mapping: EventSourceMapping) -> None:
        for other in self.find_all(scope):
            if (
                other.uuid != mapping.uuid
                and other.source_arn == mapping.source_arn
                and other.function_arn == mapping.function_arn
            ):
                raise _double(other)


def _double(mapping: EventSourceMapping) -> ResourceConflict:
    name = mapping.function
    if mapping.qualifier is not None:
        name = f"{name}:{mapping.qualifier}"  # type: ignore[assignment]
    source = f'(" {mapping.source_arn} ") and function (" {name} ")'
    text = (
        f"An event source mapping with SQS arn {source} already exists."
        if mapping.kind is SourceKind.SQS
        else f"The event source arn {source} provided mapping already exists."
    )
    return ResourceConflict(
        f"{text} Please update or delete the existing mapping with UUID {mapping.uuid}"
    )


def _refuse_leaving(mapping: EventSourceMapping) -> None:
    if mapping.change is Change.DELETING:
        raise ResourceInUse("Cannot update the event source mapping because it is in use.")


def _not_found() -> ResourceNotFound:
    return ResourceNotFound("The resource you requested does not exist.")
