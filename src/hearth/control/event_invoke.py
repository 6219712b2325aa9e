"""How are asynchronous invokes of a function retried, and where do their results go?

The settings of a function, a version or an alias; unqualified means $LATEST. What a destination
may be is decided here, before anything is stored: a Lambda function that exists and is not the one
itself, a standard queue or topic, an event bus, and for failures a bucket. A service that this
Hearth was not told the address of is refused: nothing would ever arrive there.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html. Texts:
recorded.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from hearth.base.clock import Clock
from hearth.control.documents import Document, Documents, Kind
from hearth.model.endpoints import Endpoints, no_endpoint
from hearth.model.errors import InvalidParameterValue, ResourceNotFound
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, FunctionKey, FunctionReference
from hearth.model.targets import LAMBDA, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInvokeConfig:
    """None, or "" for a destination, is what was never set or was taken away."""

    retries_max: int | None = None
    age_max_s: int | None = None
    on_success: str | None = None
    on_failure: str | None = None
    modified: datetime
    """Aware, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInvokeChange:
    retries_max: int | None = None
    age_max_s: int | None = None
    on_success: str | None = None
    on_failure: str | None = None
    destinations_given: bool = False
    """Whether the caller spoke of destinations at all."""


CONFIGS: Final = Kind("event-invoke", EventInvokeConfig)

FindFunction = Callable[[FunctionKey, str | None], Awaitable[FunctionVersion]]
"""Raises ResourceNotFound."""


class EventInvokeConfigs:
    def __init__(
        self, documents: Documents, clock: Clock, find: FindFunction, endpoints: Endpoints
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._find = find
        self._endpoints = endpoints

    def get(self, function: FunctionVersion, qualifier: str | None) -> EventInvokeConfig:
        """Raises ResourceNotFound."""
        config = self._documents.get(CONFIGS, function, qualifier or LATEST)
        if config is None:
            raise no_config(function.key, qualifier)
        return config

    def find_all(self, function: FunctionVersion) -> tuple[tuple[str, EventInvokeConfig], ...]:
        """With their qualifiers, and by them."""
        return tuple(
            (document.qualifier or LATEST, document.value)
            for document in self._documents.find_all(CONFIGS, function)
        )

    async def put(
        self, function: FunctionVersion, qualifier: str | None, change: EventInvokeChange
    ) -> EventInvokeConfig:
        """Everything that the change does not name is taken away."""
        await self._check(function, change)
        config = EventInvokeConfig(
            retries_max=change.retries_max,
            age_max_s=change.age_max_s,
            on_success=change.on_success,
            on_failure=change.on_failure,
            modified=self._clock.utc(),
        )
        await self._documents.put(CONFIGS, function, config, qualifier or LATEST)
        return config

    async def update(
        self, function: FunctionVersion, qualifier: str | None, change: EventInvokeChange
    ) -> EventInvokeConfig:
        """Everything that the change does not name stays."""
        await self._check(function, change)

        def decide(before: Document[EventInvokeConfig] | None) -> EventInvokeConfig:
            if before is None:
                raise no_config(function.key, qualifier)
            named = {
                name: value
                for name in ("retries_max", "age_max_s", "on_success", "on_failure")
                if (value := getattr(change, name)) is not None
            }
            return replace(before.value, modified=self._clock.utc(), **named)

        document = await self._documents.change(CONFIGS, function, decide, qualifier or LATEST)
        assert document is not None, "decide always answers a value"
        return document.value

    async def delete(self, function: FunctionVersion, qualifier: str | None) -> None:
        def decide(before: Document[EventInvokeConfig] | None) -> None:
            if before is None:
                raise no_config(function.key, qualifier)

        await self._documents.change(CONFIGS, function, decide, qualifier or LATEST)

    async def _check(self, function: FunctionVersion, change: EventInvokeChange) -> None:
        for destination, is_failure in ((change.on_success, False), (change.on_failure, True)):
            if not destination:
                continue
            target = _target(destination)
            if target is None or (target.service == "s3" and not is_failure):
                raise InvalidParameterValue(
                    f"The provided destination config {_printed(change)} is invalid."
                )
            if target.service == LAMBDA:
                await self._check_function(function, destination)
            elif self._endpoints.find(target.service) is None:
                raise no_endpoint("DestinationConfig", target.service)

    async def _check_function(self, function: FunctionVersion, destination: str) -> None:
        reference = FunctionReference.parse(destination)
        assert reference.account is not None, "the model lets through whole ARNs only"
        assert reference.region is not None
        key = FunctionKey(reference.account, reference.region, reference.name)
        if key == function.key:
            raise InvalidParameterValue(
                "You can't specify the function as a destination for itself."
            )
        invalid = InvalidParameterValue(f"The destination ARN {destination} is invalid.")
        if key.region != function.key.region:
            raise invalid
        try:
            await self._find(key, reference.qualifier)
        except ResourceNotFound as error:
            raise invalid from error


def check_given(change: EventInvokeChange) -> None:
    """Raises InvalidParameterValue if the change changes nothing."""
    if change.retries_max is None and change.age_max_s is None and not change.destinations_given:
        raise InvalidParameterValue(
            "You must specify at least one of error handling or destination setting."
        )


def no_config(key: FunctionKey, qualifier: str | None) -> ResourceNotFound:
    return ResourceNotFound(
        f"The function {key.arn(qualifier or LATEST)} doesn't have an EventInvokeConfig"
    )


def _target(destination: str) -> Target | None:
    try:
        return Target.parse(destination)
    except ValueError:
        return None


def _printed(change: EventInvokeChange) -> str:
    success = f"OnSuccess(destination={change.on_success})" if change.on_success else "null"
    failure = f"OnFailure(destination={change.on_failure})" if change.on_failure else "null"
    return f"DestinationConfig(onSuccess={success}, onFailure={failure})"
