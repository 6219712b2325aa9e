"""What do callers hear who ask for capacity providers? That there are none.

Managed instances are instances of EC2, so nobody can make a capacity provider here
(CreateCapacityProvider is not supported). To look for one is no mistake: inventories and tools do,
and have AWS's own answer for one that is not there.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_GetCapacityProvider.html. Text: recorded.
"""

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.model.errors import ResourceNotFound
from hearth.model.ids import PARTITION


async def list_all(_request: OperationRequest) -> OperationResponse:
    return OperationResponse(members={"CapacityProviders": []})


async def not_there(request: OperationRequest) -> OperationResponse:
    name, caller = request.members["CapacityProviderName"], request.caller
    if not name.startswith("arn:"):
        place = f"arn:{PARTITION}:lambda:{caller.region}:{caller.account}"
        name = f"{place}:capacity-provider:{name}"
    raise ResourceNotFound(f"Capacity provider not found: {name}")


OPERATIONS = (
    Operation("lambda", "ListCapacityProviders", list_all),
    Operation("lambda", "GetCapacityProvider", not_there),
    Operation("lambda", "UpdateCapacityProvider", not_there),
    Operation("lambda", "DeleteCapacityProvider", not_there),
    Operation("lambda", "ListFunctionVersionsByCapacityProvider", not_there),
)
