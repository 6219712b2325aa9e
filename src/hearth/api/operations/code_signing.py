"""Code signing configurations, and which functions use them.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_CreateCodeSigningConfig.html and its
siblings.
"""

from collections.abc import Mapping
from typing import Any

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed_latest
from hearth.api.operations.lookups import Functions
from hearth.api.operations.pages import page
from hearth.control.code_signing import CodeSigning, SigningChange, SigningConfig, Untrusted
from hearth.control.documents import AccountScope


def operations(functions: Functions, signing: CodeSigning) -> tuple[Operation, ...]:
    handlers = _Handlers(functions, signing)
    return (
        Operation("lambda", "CreateCodeSigningConfig", handlers.create),
        Operation("lambda", "GetCodeSigningConfig", handlers.get),
        Operation("lambda", "UpdateCodeSigningConfig", handlers.update),
        Operation("lambda", "DeleteCodeSigningConfig", handlers.delete),
        Operation("lambda", "ListCodeSigningConfigs", handlers.list_page),
        Operation("lambda", "ListFunctionsByCodeSigningConfig", handlers.list_functions),
        Operation("lambda", "PutFunctionCodeSigningConfig", handlers.attach),
        Operation("lambda", "GetFunctionCodeSigningConfig", handlers.attached),
        Operation("lambda", "DeleteFunctionCodeSigningConfig", handlers.detach),
    )


class _Handlers:
    def __init__(self, functions: Functions, signing: CodeSigning) -> None:
        self._functions = functions
        self._signing = signing

    async def create(self, request: OperationRequest) -> OperationResponse:
        tags = request.members.get("Tags") or {}
        config = await self._signing.create(_scope(request), _change(request.members), dict(tags))
        return _answer(config)

    async def get(self, request: OperationRequest) -> OperationResponse:
        return _answer(self._signing.get(_scope(request), _arn(request)))

    async def update(self, request: OperationRequest) -> OperationResponse:
        change = _change(request.members)
        return _answer(await self._signing.update(_scope(request), _arn(request), change))

    async def delete(self, request: OperationRequest) -> OperationResponse:
        await self._signing.delete(_scope(request), _arn(request))
        return OperationResponse(status=204)

    async def list_page(self, request: OperationRequest) -> OperationResponse:
        configs = self._signing.find_all(_scope(request))
        shown, marker = page([(config.id, _shown(config)) for config in configs], request.members)
        return OperationResponse(members={"CodeSigningConfigs": shown} | marker)

    async def list_functions(self, request: OperationRequest) -> OperationResponse:
        keys = self._signing.functions_of(_scope(request), _arn(request))
        shown, marker = page([(key.name, key.arn()) for key in keys], request.members)
        return OperationResponse(members={"FunctionArns": shown} | marker)

    async def attach(self, request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "PutFunctionCodeSigningConfig")
        function = await self._functions.get(key)
        arn = _arn(request)
        await self._signing.attach(function, arn)
        return OperationResponse(members={"CodeSigningConfigArn": arn, "FunctionName": key.name})

    async def attached(self, request: OperationRequest) -> OperationResponse:
        """Nothing in it where the function has none."""
        key = addressed_latest(request, "GetFunctionCodeSigningConfig")
        arn = self._signing.of(await self._functions.get(key))
        if arn is None:
            return OperationResponse()
        return OperationResponse(members={"CodeSigningConfigArn": arn, "FunctionName": key.name})

    async def detach(self, request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "DeleteFunctionCodeSigningConfig")
        await self._signing.detach(await self._functions.get(key))
        return OperationResponse(status=204)


def _scope(request: OperationRequest) -> AccountScope:
    return AccountScope(request.caller.account, request.caller.region)


def _arn(request: OperationRequest) -> str:
    return str(request.members["CodeSigningConfigArn"])


def _change(members: Mapping[str, Any]) -> SigningChange:
    publishers = members.get("AllowedPublishers")
    policy = (members.get("CodeSigningPolicies") or {}).get("UntrustedArtifactOnDeployment")
    return SigningChange(
        publishers=None if publishers is None else tuple(publishers["SigningProfileVersionArns"]),
        untrusted=None if policy is None else Untrusted(policy),
        description=members.get("Description"),
    )


def _answer(config: SigningConfig) -> OperationResponse:
    return OperationResponse(members={"CodeSigningConfig": _shown(config)})


def _shown(config: SigningConfig) -> dict[str, Any]:
    members = {
        "CodeSigningConfigId": config.id,
        "CodeSigningConfigArn": config.arn,
        "AllowedPublishers": {"SigningProfileVersionArns": list(config.publishers)},
        "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": str(config.untrusted)},
        "LastModified": config.last_modified,
    }
    if config.description is not None:
        members["Description"] = config.description
    return members
