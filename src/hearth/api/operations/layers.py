"""Layers: PublishLayerVersion and its eight siblings.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html and its
siblings. Texts: recorded; that of another region is like the one for functions.
"""

import base64
from collections.abc import Callable, Iterable
from typing import Any, Final

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.code_sources import code_source
from hearth.api.operations.unsupported import check_supported
from hearth.control.documents import AccountScope
from hearth.control.layer_access import LayerAccess
from hearth.control.layers import Layers, LayerVersion
from hearth.control.pages import page
from hearth.control.policy_documents import Permission
from hearth.control.requests import PublishLayer
from hearth.model.errors import InvalidParameterValue, ResourceNotFound
from hearth.model.layers import LayerKey

NOTHING: Final = "The resource you requested does not exist."

Location = Callable[[OperationRequest, str], str]
"""A link from which the caller can download the package of that digest."""


def operations(layers: Layers, access: LayerAccess, location: Location) -> tuple[Operation, ...]:
    handlers = _Handlers(layers, access, location)
    return (
        Operation("lambda", "PublishLayerVersion", handlers.publish),
        Operation("lambda", "GetLayerVersion", handlers.get),
        Operation("lambda", "GetLayerVersionByArn", handlers.get_by_arn),
        Operation("lambda", "ListLayers", handlers.list_layers),
        Operation("lambda", "ListLayerVersions", handlers.list_versions),
        Operation("lambda", "DeleteLayerVersion", handlers.delete),
        Operation("lambda", "AddLayerVersionPermission", handlers.add_permission),
        Operation("lambda", "RemoveLayerVersionPermission", handlers.remove_permission),
        Operation("lambda", "GetLayerVersionPolicy", handlers.policy),
    )


class _Handlers:
    def __init__(self, layers: Layers, access: LayerAccess, location: Location) -> None:
        self._layers = layers
        self._access = access
        self._location = location

    async def publish(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key = _key(request)
        self._access.check(request.caller, key, None, "PublishLayerVersion")
        check_supported(members["Content"])
        version = await self._layers.publish(
            PublishLayer(
                key=key,
                package=code_source(members["Content"]),
                description=members.get("Description") or "",
                license=members.get("LicenseInfo"),
                runtimes=tuple(members.get("CompatibleRuntimes") or ()),
                architectures=tuple(members.get("CompatibleArchitectures") or ()),
            )
        )
        return self._whole(request, key, version)

    async def get(self, request: OperationRequest) -> OperationResponse:
        return self._got(request, *_version(request))

    async def get_by_arn(self, request: OperationRequest) -> OperationResponse:
        try:
            key, number = LayerKey.parse(str(request.members["Arn"]))
        except ValueError as error:  # one of AWS's own, which have no account
            raise ResourceNotFound(NOTHING) from error
        assert number is not None, "the model lets through ARNs of versions only"
        _check_reachable(request, key)
        _check_number(number)
        return self._got(request, key, number)

    async def list_layers(self, request: OperationRequest) -> OperationResponse:
        caller, members = request.caller, request.members
        scope = AccountScope(caller.account, caller.region)
        found = []
        for key in self._layers.layers(scope):
            newest = next(iter(self._matching(request, key)), None)
            if newest is not None:
                found.append((key, newest))
        chosen = page(
            found,
            lambda layer: (layer[0].name, 0),
            marker=members.get("Marker"),
            items_max=members.get("MaxItems"),
        )
        answer: dict[str, Any] = {
            "Layers": [
                {
                    "LayerName": key.name,
                    "LayerArn": key.arn,
                    "LatestMatchingVersion": _listed(key, newest),
                }
                for key, newest in chosen.items
            ]
        }
        if chosen.next_marker is not None:
            answer["NextMarker"] = chosen.next_marker
        return OperationResponse(members=answer)

    async def list_versions(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key = _key(request)
        self._access.check(request.caller, key, None, "ListLayerVersions")
        chosen = page(
            list(self._matching(request, key)),
            lambda version: (key.name, -version.number),
            marker=members.get("Marker"),
            items_max=members.get("MaxItems"),
        )
        answer: dict[str, Any] = {"LayerVersions": [_listed(key, v) for v in chosen.items]}
        if chosen.next_marker is not None:
            answer["NextMarker"] = chosen.next_marker
        return OperationResponse(members=answer)

    async def delete(self, request: OperationRequest) -> OperationResponse:
        key, number = _version(request)
        self._access.check(request.caller, key, number, "DeleteLayerVersion")
        await self._layers.delete(key, number)
        await self._access.forget(key, number)
        return OperationResponse(status=204)

    async def add_permission(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key, number = _version(request)
        self._access.check(request.caller, key, number, "AddLayerVersionPermission")
        permission = Permission(
            statement_id=members["StatementId"],
            action=members["Action"],
            principal=members["Principal"],
            org_id=members.get("OrganizationId"),
        )
        statement, revision_id = await self._access.add(
            key, number, permission, members.get("RevisionId")
        )
        return OperationResponse(members={"Statement": statement, "RevisionId": revision_id})

    async def remove_permission(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key, number = _version(request)
        self._access.check(request.caller, key, number, "RemoveLayerVersionPermission")
        await self._access.remove(key, number, members["StatementId"], members.get("RevisionId"))
        return OperationResponse(status=204)

    async def policy(self, request: OperationRequest) -> OperationResponse:
        key, number = _version(request)
        self._access.check(request.caller, key, number, "GetLayerVersionPolicy")
        policy, revision_id = self._access.policy(key, number)
        return OperationResponse(members={"Policy": policy, "RevisionId": revision_id})

    def _matching(self, request: OperationRequest, key: LayerKey) -> Iterable[LayerVersion]:
        """Its versions that say that they are made for what the caller asks for."""
        runtime = request.members.get("CompatibleRuntime")
        architecture = request.members.get("CompatibleArchitecture")
        for version in self._layers.versions(key):
            if runtime is not None and runtime not in version.runtimes:
                continue
            if architecture is not None and architecture not in version.architectures:
                continue
            yield version

    def _got(self, request: OperationRequest, key: LayerKey, number: int) -> OperationResponse:
        self._access.check(request.caller, key, number, "GetLayerVersion")
        version = self._layers.get(key, number)
        if version is None:
            raise ResourceNotFound(NOTHING)
        return self._whole(request, key, version)

    def _whole(
        self, request: OperationRequest, key: LayerKey, version: LayerVersion
    ) -> OperationResponse:
        content = {
            "Location": self._location(request, version.sha256),
            "CodeSha256": base64.b64encode(bytes.fromhex(version.sha256)).decode(),
            "CodeSize": version.size_bytes,
        }
        return OperationResponse(
            members={"Content": content, "LayerArn": key.arn} | _listed(key, version)
        )


def _listed(key: LayerKey, version: LayerVersion) -> dict[str, Any]:
    """What lists show of a version. What its publisher did not say is not there."""
    members: dict[str, Any] = {
        "LayerVersionArn": key.version_arn(version.number),
        "Version": version.number,
        "Description": version.description,
        "CreatedDate": version.created,
    }
    if version.runtimes:
        members["CompatibleRuntimes"] = list(version.runtimes)
    if version.architectures:
        members["CompatibleArchitectures"] = list(version.architectures)
    if version.license is not None:
        members["LicenseInfo"] = version.license
    return members


def _key(request: OperationRequest) -> LayerKey:
    """The layer of a name or an ARN. Raises ResourceNotFound for another region's."""
    text = str(request.members["LayerName"])
    if not text.startswith("arn:"):
        return LayerKey(request.caller.account, request.caller.region, text)
    key, _ = LayerKey.parse(text)
    _check_reachable(request, key)
    return key


def _version(request: OperationRequest) -> tuple[LayerKey, int]:
    number = int(request.members["VersionNumber"])
    _check_number(number)
    return _key(request), number


def _check_number(number: int) -> None:
    if number < 1:
        raise InvalidParameterValue("Layer Version Cannot be less than 1")


def _check_reachable(request: OperationRequest, key: LayerKey) -> None:
    if key.region != request.caller.region:
        raise ResourceNotFound(
            f"Layers from '{key.region}' are not reachable in this region "
            f"('{request.caller.region}')"
        )
