"""AddPermission, RemovePermission, GetPolicy, and Put-, Get-, DeleteResourcePolicy.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html. Texts: recorded;
$LATEST's is AWS's as its users see it.
"""

from typing import Any, Final

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed, check_reachable
from hearth.api.operations.lookups import Functions
from hearth.control.permissions import Permissions
from hearth.control.policy_documents import Permission
from hearth.model.errors import InvalidParameterValue, ResourceNotFound
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, AccountId, FunctionKey, FunctionReference, Region

NOTHING: Final = "The resource you requested does not exist."
NOT_LATEST: Final = "We currently do not support adding policies for $LATEST."


def operations(functions: Functions, permissions: Permissions) -> tuple[Operation, ...]:
    handlers = _Handlers(functions, permissions)
    return (
        Operation("lambda", "AddPermission", handlers.add),
        Operation("lambda", "RemovePermission", handlers.remove),
        Operation("lambda", "GetPolicy", handlers.get),
        Operation("lambda", "PutResourcePolicy", handlers.put_whole),
        Operation("lambda", "GetResourcePolicy", handlers.get_whole),
        Operation("lambda", "DeleteResourcePolicy", handlers.delete_whole),
    )


class _Handlers:
    def __init__(self, functions: Functions, permissions: Permissions) -> None:
        self._functions = functions
        self._permissions = permissions

    async def add(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key, qualifier = addressed(request, "AddPermission")
        if qualifier == LATEST:
            raise InvalidParameterValue(NOT_LATEST)
        function = await self._owner(key, qualifier)
        permission = Permission(
            statement_id=members["StatementId"],
            action=members["Action"],
            principal=members["Principal"],
            source_arn=members.get("SourceArn"),
            source_account=members.get("SourceAccount"),
            event_source_token=members.get("EventSourceToken"),
            url_auth_type=members.get("FunctionUrlAuthType"),
            via_url=members.get("InvokedViaFunctionUrl"),
            org_id=members.get("PrincipalOrgID"),
        )
        statement = await self._permissions.add(
            function, qualifier, permission, members.get("RevisionId")
        )
        return OperationResponse(members={"Statement": statement})

    async def remove(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key, qualifier = addressed(request, "RemovePermission")
        function = await self._owner(key, qualifier)
        await self._permissions.remove(
            function, qualifier, members["StatementId"], members.get("RevisionId")
        )
        return OperationResponse(status=204)

    async def get(self, request: OperationRequest) -> OperationResponse:
        key, qualifier = addressed(request, "GetPolicy")
        return await self._policy(key, qualifier)

    async def put_whole(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key, qualifier = _named(request, "PutResourcePolicy")
        if qualifier == LATEST:
            raise InvalidParameterValue(NOT_LATEST)
        function = await self._owner(key, qualifier)
        policy, revision_id = await self._permissions.put(
            function, qualifier, members["Policy"], members.get("RevisionId")
        )
        return OperationResponse(members={"Policy": policy, "RevisionId": revision_id})

    async def get_whole(self, request: OperationRequest) -> OperationResponse:
        key, qualifier = _named(request, "GetResourcePolicy")
        return await self._policy(key, qualifier)

    async def delete_whole(self, request: OperationRequest) -> OperationResponse:
        key, qualifier = _named(request, "DeleteResourcePolicy")
        function = await self._owner(key, qualifier)
        await self._permissions.delete(function, qualifier, request.members.get("RevisionId"))
        return OperationResponse(status=204)

    async def _policy(self, key: FunctionKey, qualifier: str | None) -> OperationResponse:
        """AWS does not tell a function without a policy from one that is not there."""
        try:
            function = await self._functions.get(key)
        except ResourceNotFound as error:
            raise ResourceNotFound(NOTHING) from error
        found = self._permissions.get(function, qualifier)
        if found is None:
            raise ResourceNotFound(NOTHING)
        members: dict[str, Any] = {"Policy": found[0], "RevisionId": found[1]}
        return OperationResponse(members=members)

    async def _owner(self, key: FunctionKey, qualifier: str | None) -> FunctionVersion:
        """What a policy is attached to; there must be such a version or alias."""
        function = await self._functions.get(key)
        if qualifier in {None, LATEST}:
            return function
        assert qualifier is not None
        try:
            return await self._functions.get(key, qualifier)
        except ResourceNotFound as error:
            if qualifier.isdecimal():
                raise
            raise ResourceNotFound(f"Cannot find alias arn: {key.arn(qualifier)}") from error


def _named(request: OperationRequest, action: str) -> tuple[FunctionKey, str | None]:
    """The function that a PolicyResourceArn names."""
    text = str(request.members["ResourceArn"])
    if ":runtime/" in text:
        raise ResourceNotFound(NOTHING)  # of the service lambda-core, where customers make theirs
    reference = FunctionReference.parse(text)
    assert reference.account is not None, "the model lets through whole ARNs only"
    assert reference.region is not None
    key = FunctionKey(AccountId(reference.account), Region(reference.region), reference.name)
    check_reachable(request, key, reference.qualifier, action)
    return key, reference.qualifier
