"""CreateAlias, GetAlias, ListAliases, UpdateAlias, DeleteAlias: from the model's members to the
room, and back.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_AliasConfiguration.html.
"""

from collections.abc import Mapping
from typing import Any

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed_latest
from hearth.control.functions import Functions
from hearth.control.requests import CreateAlias, UpdateAlias
from hearth.model.functions import Alias


def operations(functions: Functions) -> tuple[Operation, ...]:
    handlers = _Handlers(functions)
    return (
        Operation("lambda", "CreateAlias", handlers.create),
        Operation("lambda", "GetAlias", handlers.get),
        Operation("lambda", "ListAliases", handlers.list_page),
        Operation("lambda", "UpdateAlias", handlers.update),
        Operation("lambda", "DeleteAlias", handlers.delete),
    )


class _Handlers:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._aliases = functions.aliases

    async def create(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        alias = await self._aliases.create(
            CreateAlias(
                key=addressed_latest(request, "CreateAlias"),
                name=members["Name"],
                version=members["FunctionVersion"],
                description=members.get("Description", ""),
                weights=_weights(members) or {},
            )
        )
        return OperationResponse(members=_described(alias))

    async def get(self, request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "GetAlias")
        alias = await self._aliases.get(key, request.members["Name"])
        return OperationResponse(members=_described(alias))

    async def list_page(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        function = await self._functions.get(addressed_latest(request, "ListAliases"))
        page = self._aliases.list_page(
            function.key,
            members.get("FunctionVersion"),
            marker=members.get("Marker"),
            items_max=members.get("MaxItems"),
        )
        answer: dict[str, Any] = {"Aliases": [_described(alias) for alias in page.items]}
        if page.next_marker is not None:
            answer["NextMarker"] = page.next_marker
        return OperationResponse(members=answer)

    async def update(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        alias = await self._aliases.update(
            UpdateAlias(
                key=addressed_latest(request, "UpdateAlias"),
                name=members["Name"],
                version=members.get("FunctionVersion"),
                description=members.get("Description"),
                weights=_weights(members),
                revision_id=members.get("RevisionId"),
            )
        )
        return OperationResponse(members=_described(alias))

    async def delete(self, request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "DeleteAlias")
        await self._aliases.delete(key, request.members["Name"])
        return OperationResponse()


def _weights(members: Mapping[str, Any]) -> Mapping[str, float] | None:
    """None where no RoutingConfig was given; an empty one ends the routing."""
    routing = members.get("RoutingConfig")
    if routing is None:
        return None
    weights: Mapping[str, float] = routing.get("AdditionalVersionWeights") or {}
    return {version: float(share) for version, share in weights.items()}


def _described(alias: Alias) -> dict[str, Any]:
    """An AliasConfiguration."""
    members: dict[str, Any] = {
        "AliasArn": alias.arn,
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    }
    if alias.weights:
        members["RoutingConfig"] = {"AdditionalVersionWeights": dict(alias.weights)}
    return members
