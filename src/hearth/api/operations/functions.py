"""CreateFunction, GetFunction, GetFunctionConfiguration, ListFunctions, UpdateFunctionCode,
UpdateFunctionConfiguration, DeleteFunction: from the model's members to the room, and back.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html. Which
members are there, and when, was taken from recorded answers: no LastUpdateStatus while a new
function is Pending, no states in ListFunctions, no Environment unless one was ever given.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed, addressed_latest
from hearth.api.operations.code_sources import NOT_AN_IMAGE, check_package_type, code_source
from hearth.api.operations.durable_config import changed_durable, new_durable, shown_durable
from hearth.api.operations.log_settings import changed_settings, described, new_settings
from hearth.api.operations.unsupported import check_supported, unsupported
from hearth.control.functions import Functions
from hearth.control.requests import CreateFunction, UpdateCode, UpdateConfiguration
from hearth.control.rules import check_revision
from hearth.model import limits
from hearth.model.errors import InvalidParameterValue
from hearth.model.functions import Architecture, FunctionVersion, State
from hearth.model.ids import LATEST, Caller, FunctionKey
from hearth.model.layers import LayerUse

Members = Mapping[str, Any]
CodeLocation = Callable[[OperationRequest, FunctionVersion], str]
"""A link from which the caller can download the package."""

ReservedOf = Callable[[FunctionVersion], int | None]
"""The concurrency that is reserved for the function, if any is."""


TagsOf = Callable[[FunctionVersion], Mapping[str, str]]


class Signing(Protocol):
    """What code signing has to say to a deployment: control's CodeSigning."""

    def check_new(self, key: FunctionKey, arn: str) -> None: ...

    def check_update(self, function: FunctionVersion) -> None: ...

    async def attach(self, function: FunctionVersion, arn: str) -> None: ...


class Layers(Protocol):
    """What a function gets of layer versions: control's LayerAccess."""

    def uses(
        self, caller: Caller, function: FunctionKey, arns: Sequence[str]
    ) -> Sequence[LayerUse]: ...


def operations(
    functions: Functions,
    code_location: CodeLocation | None = None,
    reserved_of: ReservedOf | None = None,
    *,
    layers: Layers | None = None,
    tags_of: TagsOf = lambda function: function.tags,
    signing: Signing | None = None,
) -> tuple[Operation, ...]:
    """Without `code_location`, GetFunction answers no `Code.Location`; without `reserved_of`, no
    `Concurrency`; without `signing`, code signing configurations are refused, and without
    `layers` layers are."""
    handlers = _Handlers(functions, code_location, reserved_of, tags_of, signing, layers)
    return (
        Operation("lambda", "CreateFunction", handlers.create),
        Operation("lambda", "GetFunction", handlers.get),
        Operation("lambda", "GetFunctionConfiguration", handlers.get_configuration),
        Operation("lambda", "ListFunctions", handlers.list_page),
        Operation("lambda", "UpdateFunctionCode", handlers.update_code),
        Operation("lambda", "UpdateFunctionConfiguration", handlers.update_configuration),
        Operation("lambda", "DeleteFunction", handlers.delete),
    )


class _Handlers:
    def __init__(
        self,
        functions: Functions,
        code_location: CodeLocation | None,
        reserved_of: ReservedOf | None,
        tags_of: TagsOf,
        signing: Signing | None,
        layers: Layers | None,
    ) -> None:
        self._functions = functions
        self._code_location = code_location
        self._reserved_of = reserved_of
        self._tags_of = tags_of
        self._signing = signing
        self._layers = layers

    async def create(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key = addressed_latest(request, "CreateFunction")
        check_package_type(members)
        check_supported(members)
        signed_by = members.get("CodeSigningConfigArn")
        if signed_by:
            self._code_signing().check_new(key, signed_by)
        function = await self._functions.create(
            CreateFunction(
                key=key,
                runtime=members.get("Runtime"),
                handler=members.get("Handler"),
                role=members["Role"],
                package=code_source(members["Code"]),
                description=members.get("Description", ""),
                timeout_s=members.get("Timeout", limits.TIMEOUT_S_DEFAULT),
                memory_mb=members.get("MemorySize", limits.MEMORY_MB_DEFAULT),
                tmp_mb=_tmp_mb(members) or limits.TMP_MB_DEFAULT,
                architecture=_architecture(members) or Architecture.X86_64,
                environment=_environment(members),
                tags=members.get("Tags") or {},
                layers=self._uses(request, key) or (),
                dead_letter_arn=_dead_letter_arn(members),
                logging=new_settings(members),
                is_traced=bool(_is_traced(members)),
                snap_start=bool(_snap_start(members)),
                per_tenant=bool(members.get("TenancyConfig")),
                durable=new_durable(members),
                publish=bool(members.get("Publish")),
            )
        )
        if signed_by:
            await self._code_signing().attach(function, signed_by)
        return OperationResponse(members=configuration(function))

    async def get(self, request: OperationRequest) -> OperationResponse:
        function, qualifier = await self._addressed(request, "GetFunction")
        code = {"RepositoryType": "S3"}
        if self._code_location is not None:
            code["Location"] = self._code_location(request, function)
        answer: dict[str, Any] = {
            "Configuration": configuration(function, qualifier),
            "Code": code,
        }
        if tags := self._tags_of(function):
            answer["Tags"] = dict(tags)
        amount = self._reserved_of(function) if self._reserved_of is not None else None
        if amount is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": amount}
        return OperationResponse(members=answer)

    async def get_configuration(self, request: OperationRequest) -> OperationResponse:
        function, qualifier = await self._addressed(request, "GetFunctionConfiguration")
        return OperationResponse(members=configuration(function, qualifier))

    async def list_page(self, request: OperationRequest) -> OperationResponse:
        members, caller = request.members, request.caller
        all_versions = members.get("FunctionVersion") == "ALL"
        if members.get("MasterRegion") is not None:
            if not all_versions:
                raise InvalidParameterValue("MasterRegion requires FunctionVersion ALL.")
            # Only Lambda@Edge replicas have a master, and there are none.
            return OperationResponse(members={"Functions": []})
        page = self._functions.list(
            caller.account,
            caller.region,
            marker=members.get("Marker"),
            items_max=members.get("MaxItems"),
            all_versions=all_versions,
        )
        answer: dict[str, Any] = {
            "Functions": [
                configured(function, function.version if all_versions else None)
                for function in page.items
            ]
        }
        if page.next_marker is not None:
            answer["NextMarker"] = page.next_marker
        return OperationResponse(members=answer)

    async def update_code(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key = addressed_latest(request, "UpdateFunctionCode")
        before = await self._check_revision(request, key)
        check_supported(members)
        if members.get("ImageUri"):
            raise InvalidParameterValue(NOT_AN_IMAGE)
        if self._signing is not None:
            self._signing.check_update(before)
        function = await self._functions.update_code(
            UpdateCode(
                key=key,
                package=code_source(members),
                architecture=_architecture(members),
                revision_id=members.get("RevisionId"),
                dry_run=bool(members.get("DryRun")),
                publish=bool(members.get("Publish")),
            )
        )
        qualifier = None if function.version == LATEST else function.version
        return OperationResponse(members=configuration(function, qualifier))

    async def update_configuration(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key = addressed_latest(request, "UpdateFunctionConfiguration")
        await self._check_revision(request, key)
        check_supported(members)
        function = await self._functions.update_configuration(
            UpdateConfiguration(
                key=key,
                runtime=members.get("Runtime"),
                handler=members.get("Handler"),
                role=members.get("Role"),
                description=members.get("Description"),
                timeout_s=members.get("Timeout"),
                memory_mb=members.get("MemorySize"),
                tmp_mb=_tmp_mb(members),
                environment=_environment(members),
                layers=self._uses(request, key),
                dead_letter_arn=_dead_letter_arn(members),
                logging=changed_settings(members),
                is_traced=_is_traced(members),
                snap_start=_snap_start(members),
                durable=changed_durable(members),
                revision_id=members.get("RevisionId"),
            )
        )
        return OperationResponse(members=configuration(function))

    async def delete(self, request: OperationRequest) -> OperationResponse:
        """204, as AWS answers it; the model has 200 and carries the status as a member."""
        key, qualifier = addressed(request, "DeleteFunction")
        await self._functions.delete(key, qualifier)
        return OperationResponse(status=204)

    async def _check_revision(self, request: OperationRequest, key: FunctionKey) -> FunctionVersion:
        """The function, which is as the caller knows it: looked at before what is to be changed."""
        function = await self._functions.get(key)
        check_revision(function.revision_id, request.members.get("RevisionId"))
        return function

    def _uses(self, request: OperationRequest, key: FunctionKey) -> tuple[LayerUse, ...] | None:
        """None where no Layers were given; an empty list takes all layers away."""
        arns = request.members.get("Layers")
        if not arns:
            return None if arns is None else ()
        if self._layers is None:
            raise unsupported("Layers")
        return tuple(self._layers.uses(request.caller, key, arns))

    def _code_signing(self) -> Signing:
        if self._signing is None:
            raise unsupported("CodeSigningConfigArn")
        return self._signing

    async def _addressed(
        self, request: OperationRequest, action: str
    ) -> tuple[FunctionVersion, str | None]:
        key, qualifier = addressed(request, action)
        return await self._functions.get(key, qualifier), qualifier


def configuration(function: FunctionVersion, qualifier: str | None = None) -> dict[str, Any]:
    """A FunctionConfiguration with its states; `qualifier` as the caller gave it."""
    members = configured(function, qualifier) | {
        "RuntimeVersionConfig": {"RuntimeVersionArn": function.runtime_version_arn},
        "State": str(function.state),
        "StateReason": function.state_reason,
        "StateReasonCode": function.state_reason_code,
    }
    if function.state is not State.PENDING:
        members |= {
            "LastUpdateStatus": str(function.update_status),
            "LastUpdateStatusReason": function.update_reason,
            "LastUpdateStatusReasonCode": function.update_reason_code,
        }
    return {name: value for name, value in members.items() if value is not None}


def configured(function: FunctionVersion, qualifier: str | None) -> dict[str, Any]:
    """What lists show of a function, or of a version of it."""
    members = {
        "FunctionName": function.key.name,
        "FunctionArn": function.key.arn(qualifier),
        "Runtime": function.runtime,
        "Role": function.role,
        "Handler": function.handler,
        "CodeSize": function.code.size_bytes,
        "Description": function.description,
        "Timeout": function.timeout_s,
        "MemorySize": function.memory_mb,
        "LastModified": function.last_modified,
        "CodeSha256": base64.b64encode(bytes.fromhex(function.code.sha256)).decode(),
        "Version": function.version,
        "TracingConfig": {"Mode": "Active" if function.is_traced else "PassThrough"},
        "RevisionId": function.revision_id,
        "PackageType": "Zip",
        "Architectures": [str(function.architecture)],
        "EphemeralStorage": {"Size": function.tmp_mb},
        "SnapStart": {
            "ApplyOn": "PublishedVersions" if function.snap_start else "None",
            "OptimizationStatus": "On" if function.has_snapshot else "Off",
        },
        "LoggingConfig": described(function.logging, function.key.name),
    }
    if function.durable is not None:
        members["DurableConfig"] = shown_durable(function.durable)
    if function.layers:
        members["Layers"] = [
            {"Arn": layer.arn, "CodeSize": layer.size_bytes} for layer in function.layers
        ]
    if function.dead_letter_arn is not None:
        members["DeadLetterConfig"] = {"TargetArn": function.dead_letter_arn}
    if function.per_tenant:
        members["TenancyConfig"] = {"TenantIsolationMode": "PER_TENANT"}
    if function.environment_given:
        members["Environment"] = {"Variables": dict(function.environment)}
    return members


def _environment(members: Members) -> Mapping[str, str] | None:
    """None where no Environment was given; an empty one takes all variables away."""
    environment = members.get("Environment")
    if environment is None:
        return None
    variables: Mapping[str, str] = environment.get("Variables") or {}
    return variables


def _dead_letter_arn(members: Members) -> str | None:
    """None where no DeadLetterConfig was given; an empty one takes the target away."""
    config = members.get("DeadLetterConfig")
    if config is None:
        return None
    arn: str = config.get("TargetArn") or ""
    return arn


def _is_traced(members: Members) -> bool | None:
    """None where nothing was said."""
    mode = (members.get("TracingConfig") or {}).get("Mode")
    return None if mode is None else mode == "Active"


def _snap_start(members: Members) -> bool | None:
    """None where nothing was said."""
    settings = members.get("SnapStart")
    return None if not settings else settings.get("ApplyOn") == "PublishedVersions"


def _tmp_mb(members: Members) -> int | None:
    size: int | None = (members.get("EphemeralStorage") or {}).get("Size")
    return size


def _architecture(members: Members) -> Architecture | None:
    names = members.get("Architectures")
    return Architecture(names[0]) if names else None
