"""Put-, Get-, Delete- and ListProvisionedConcurrencyConfig(s).

Source: https://docs.aws.amazon.com/lambda/latest/api/API_PutProvisionedConcurrencyConfig.html
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed, addressed_latest
from hearth.control.pages import page
from hearth.control.provisioned import Provisioned
from hearth.model.errors import ResourceNotFound
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, FunctionKey


class Functions(Protocol):
    """control's Functions."""

    async def get(self, key: FunctionKey, qualifier: str | None = None) -> FunctionVersion:
        """Raises ResourceNotFound."""
        ...


class Configs(Protocol):
    """control's ProvisionedConcurrency. Each function given is $LATEST."""

    def get(self, function: FunctionVersion, qualifier: str) -> Provisioned: ...

    def find_all(self, function: FunctionVersion) -> Sequence[Provisioned]: ...

    async def put(
        self, function: FunctionVersion, qualifier: str, requested: int
    ) -> Provisioned: ...

    async def delete(self, function: FunctionVersion, qualifier: str) -> None: ...


def operations(functions: Functions, configs: Configs) -> tuple[Operation, ...]:
    handlers = _Handlers(functions, configs)
    return (
        Operation("lambda", "PutProvisionedConcurrencyConfig", handlers.put),
        Operation("lambda", "GetProvisionedConcurrencyConfig", handlers.get),
        Operation("lambda", "DeleteProvisionedConcurrencyConfig", handlers.delete),
        Operation("lambda", "ListProvisionedConcurrencyConfigs", handlers.list_page),
    )


class _Handlers:
    def __init__(self, functions: Functions, configs: Configs) -> None:
        self._functions = functions
        self._configs = configs

    async def put(self, request: OperationRequest) -> OperationResponse:
        function, qualifier = await self._addressed(request, "PutProvisionedConcurrencyConfig")
        requested = request.members["ProvisionedConcurrentExecutions"]
        config = await self._configs.put(function, qualifier, requested)
        return OperationResponse(members=_shown(config))

    async def get(self, request: OperationRequest) -> OperationResponse:
        function, qualifier = await self._addressed(request, "GetProvisionedConcurrencyConfig")
        return OperationResponse(members=_shown(self._configs.get(function, qualifier)))

    async def delete(self, request: OperationRequest) -> OperationResponse:
        function, qualifier = await self._addressed(request, "DeleteProvisionedConcurrencyConfig")
        await self._configs.delete(function, qualifier)
        return OperationResponse(status=204)

    async def list_page(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key = addressed_latest(request, "ListProvisionedConcurrencyConfigs")
        function = await self._functions.get(key)
        shown = page(
            self._configs.find_all(function),
            lambda config: (config.qualifier, 0),
            marker=members.get("Marker"),
            items_max=members.get("MaxItems"),
        )
        answer: dict[str, Any] = {
            "ProvisionedConcurrencyConfigs": [
                {"FunctionArn": key.arn(config.qualifier), **_shown(config)}
                for config in shown.items
            ]
        }
        if shown.next_marker is not None:
            answer["NextMarker"] = shown.next_marker
        return OperationResponse(members=answer)

    async def _addressed(
        self, request: OperationRequest, action: str
    ) -> tuple[FunctionVersion, str]:
        """$LATEST of the function, and the qualifier that is meant."""
        key, qualifier = addressed(request, action)
        qualifier = qualifier or LATEST
        try:
            return await self._functions.get(key), qualifier
        except ResourceNotFound as error:
            raise ResourceNotFound(f"Function not found: {key.arn(qualifier)}") from error


def _shown(config: Provisioned) -> dict[str, Any]:
    members: dict[str, Any] = {
        "RequestedProvisionedConcurrentExecutions": config.asked.requested,
        "AvailableProvisionedConcurrentExecutions": config.available,
        "AllocatedProvisionedConcurrentExecutions": config.allocated,
        "Status": str(config.status),
        "LastModified": _stamp(config.asked.modified),
    }
    if config.reason is not None:
        members["StatusReason"] = config.reason
    return members


def _stamp(moment: datetime) -> str:
    """`2019-11-21T19:32:12+0000`"""
    return f"{moment:%Y-%m-%dT%H:%M:%S}+0000"
