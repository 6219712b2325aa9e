"""Put- and GetFunctionRecursionConfig.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionRecursionConfig.html
"""

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed_latest
from hearth.api.operations.lookups import Functions
from hearth.control.recursion import Recursions, RecursiveLoop


def operations(functions: Functions, recursions: Recursions) -> tuple[Operation, ...]:
    async def put(request: OperationRequest) -> OperationResponse:
        function = await functions.get(addressed_latest(request, "PutFunctionRecursionConfig"))
        loop = RecursiveLoop(request.members["RecursiveLoop"])
        await recursions.put(function, loop)
        return OperationResponse(members={"RecursiveLoop": str(loop)})

    async def get(request: OperationRequest) -> OperationResponse:
        function = await functions.get(addressed_latest(request, "GetFunctionRecursionConfig"))
        return OperationResponse(members={"RecursiveLoop": str(recursions.get(function))})

    return (
        Operation("lambda", "PutFunctionRecursionConfig", put),
        Operation("lambda", "GetFunctionRecursionConfig", get),
    )
