"""Put-, Update-, Get-, List- and DeleteFunctionEventInvokeConfig.

The settings take effect with asynchronous invokes. Texts: recorded; each operation has its own
words for a function that is not there.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
"""

from collections.abc import Mapping
from typing import Any, Final

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed, addressed_latest
from hearth.api.operations.lookups import Functions, found
from hearth.api.operations.pages import page
from hearth.control.event_invoke import (
    EventInvokeChange,
    EventInvokeConfig,
    EventInvokeConfigs,
    check_given,
    no_config,
)
from hearth.model.errors import ResourceNotFound
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, FunctionKey

NO_FUNCTION: Final = "The function doesn't exist."


def operations(functions: Functions, configs: EventInvokeConfigs) -> tuple[Operation, ...]:
    handlers = _Handlers(functions, configs)
    return (
        Operation("lambda", "PutFunctionEventInvokeConfig", handlers.put),
        Operation("lambda", "UpdateFunctionEventInvokeConfig", handlers.update),
        Operation("lambda", "GetFunctionEventInvokeConfig", handlers.get),
        Operation("lambda", "ListFunctionEventInvokeConfigs", handlers.list_page),
        Operation("lambda", "DeleteFunctionEventInvokeConfig", handlers.delete),
    )


class _Handlers:
    def __init__(self, functions: Functions, configs: EventInvokeConfigs) -> None:
        self._functions = functions
        self._configs = configs

    async def put(self, request: OperationRequest) -> OperationResponse:
        change = _change(request.members)
        key, qualifier = addressed(request, "PutFunctionEventInvokeConfig")
        check_given(change)
        function = await found(self._functions, key, qualifier, NO_FUNCTION)
        config = await self._configs.put(function, qualifier, change)
        return OperationResponse(members=_shown(key, qualifier, config))

    async def update(self, request: OperationRequest) -> OperationResponse:
        change = _change(request.members)
        key, qualifier = addressed(request, "UpdateFunctionEventInvokeConfig")
        check_given(change)
        function = await found(self._functions, key, qualifier, NO_FUNCTION)
        config = await self._configs.update(function, qualifier, change)
        return OperationResponse(members=_shown(key, qualifier, config))

    async def get(self, request: OperationRequest) -> OperationResponse:
        key, qualifier = addressed(request, "GetFunctionEventInvokeConfig")
        function = await self._owner(key, qualifier)
        config = self._configs.get(function, qualifier)
        return OperationResponse(members=_shown(key, qualifier, config))

    async def list_page(self, request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "ListFunctionEventInvokeConfigs")
        function = await found(self._functions, key, None, NO_FUNCTION)
        shown, marker = page(
            [
                (qualifier, _shown(key, qualifier, config))
                for qualifier, config in self._configs.find_all(function)
            ],
            request.members,
        )
        return OperationResponse(members={"FunctionEventInvokeConfigs": shown} | marker)

    async def delete(self, request: OperationRequest) -> OperationResponse:
        key, qualifier = addressed(request, "DeleteFunctionEventInvokeConfig")
        await self._configs.delete(await self._owner(key, qualifier), qualifier)
        return OperationResponse(status=204)

    async def _owner(self, key: FunctionKey, qualifier: str | None) -> FunctionVersion:
        """Get and Delete do not tell what is missing: the function or its settings."""
        try:
            return await self._functions.get(key)
        except ResourceNotFound as error:
            raise no_config(key, qualifier) from error


def _change(members: Mapping[str, Any]) -> EventInvokeChange:
    destinations = members.get("DestinationConfig")
    given = destinations or {}
    return EventInvokeChange(
        retries_max=members.get("MaximumRetryAttempts"),
        age_max_s=members.get("MaximumEventAgeInSeconds"),
        on_success=(given.get("OnSuccess") or {}).get("Destination"),
        on_failure=(given.get("OnFailure") or {}).get("Destination"),
        destinations_given=destinations is not None,
    )


def _shown(key: FunctionKey, qualifier: str | None, config: EventInvokeConfig) -> dict[str, Any]:
    members: dict[str, Any] = {
        "LastModified": config.modified,
        "FunctionArn": key.arn(qualifier or LATEST),
        "DestinationConfig": {
            "OnSuccess": {"Destination": config.on_success} if config.on_success else {},
            "OnFailure": {"Destination": config.on_failure} if config.on_failure else {},
        },
    }
    if config.retries_max is not None:
        members["MaximumRetryAttempts"] = config.retries_max
    if config.age_max_s is not None:
        members["MaximumEventAgeInSeconds"] = config.age_max_s
    return members
