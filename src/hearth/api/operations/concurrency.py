"""PutFunctionConcurrency, GetFunctionConcurrency, DeleteFunctionConcurrency.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionConcurrency.html
"""

from typing import Protocol

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed_latest
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, FunctionKey


class Functions(Protocol):
    """control's Functions."""

    async def get(self, key: FunctionKey, qualifier: str | None = None) -> FunctionVersion:
        """Raises ResourceNotFound."""
        ...


class Reservations(Protocol):
    """control's ReservedConcurrency."""

    def get(self, function: FunctionVersion) -> int | None: ...

    async def put(self, function: FunctionVersion, amount: int) -> None: ...

    async def delete(self, function: FunctionVersion) -> None: ...


def operations(functions: Functions, reservations: Reservations) -> tuple[Operation, ...]:
    async def put(request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "PutFunctionConcurrency")
        amount = request.members["ReservedConcurrentExecutions"]
        await reservations.put(await functions.get(key, LATEST), amount)
        return OperationResponse(members={"ReservedConcurrentExecutions": amount})

    async def get(request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "GetFunctionConcurrency")
        return OperationResponse(members=reserved(reservations.get(await functions.get(key))))

    async def delete(request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "DeleteFunctionConcurrency")
        await reservations.delete(await functions.get(key))
        return OperationResponse(status=204)

    return (
        Operation("lambda", "PutFunctionConcurrency", put),
        Operation("lambda", "GetFunctionConcurrency", get),
        Operation("lambda", "DeleteFunctionConcurrency", delete),
    )


def reserved(amount: int | None) -> dict[str, int]:
    """The model's Concurrency; empty where nothing is reserved."""
    return {} if amount is None else {"ReservedConcurrentExecutions": amount}
