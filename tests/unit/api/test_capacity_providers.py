"""There are no capacity providers: lists are empty, and none is found by its name or its ARN."""

import asyncio

import pytest

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.capacity_providers import OPERATIONS
from hearth.model.errors import ResourceNotFound
from hearth.model.ids import AccountId, Caller, Region

ARN = "arn:aws:lambda:eu-west-1:123456789012:capacity-provider:pool"
BY_NAME = {operation.name: operation for operation in OPERATIONS}


def answered(operation: Operation, **members: str) -> OperationResponse:
    caller = Caller(AccountId("123456789012"), Region("eu-west-1"), "AKIA", "arn:aws:iam::1:root")
    request = OperationRequest(caller=caller, request_id="r", members=members, endpoint="http://h")

    async def scenario() -> OperationResponse:
        return await operation.handler(request)

    return asyncio.run(scenario())


def test_the_list_is_empty() -> None:
    assert answered(BY_NAME["ListCapacityProviders"]).members == {"CapacityProviders": []}


@pytest.mark.parametrize("name", ["pool", ARN])
@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.name != "ListCapacityProviders"])
def test_none_is_found(operation: Operation, name: str) -> None:
    with pytest.raises(ResourceNotFound) as refused:
        answered(operation, CapacityProviderName=name)
    assert refused.value.message == f"Capacity provider not found: {ARN}"
