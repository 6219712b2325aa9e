"""Put- and GetRuntimeManagementConfig: when does a function get another build of its runtime?

Here a runtime is an interpreter of this machine, and changes when its owner changes it: that is
Auto. Keeping an old build for one function (Manual, FunctionUpdate) is not possible, and refused.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html
"""

from typing import Final

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed
from hearth.api.operations.lookups import Functions
from hearth.api.operations.unsupported import unsupported
from hearth.model.errors import InvalidParameterValue

AUTO: Final = "Auto"


def operations(functions: Functions) -> tuple[Operation, ...]:
    async def answer(request: OperationRequest, action: str) -> OperationResponse:
        key, qualifier = addressed(request, action)
        await functions.get(key, qualifier)
        return OperationResponse(
            members={"UpdateRuntimeOn": AUTO, "FunctionArn": key.arn(qualifier)}
        )

    async def put(request: OperationRequest) -> OperationResponse:
        response = await answer(request, "PutRuntimeManagementConfig")
        mode = request.members["UpdateRuntimeOn"]
        if mode != AUTO:
            raise unsupported(f"UpdateRuntimeOn {mode}")
        if request.members.get("RuntimeVersionArn") is not None:
            raise InvalidParameterValue(
                "RuntimeVersionArn can only be set when UpdateRuntimeOn is Manual."
            )
        return response

    async def get(request: OperationRequest) -> OperationResponse:
        return await answer(request, "GetRuntimeManagementConfig")

    return (
        Operation("lambda", "PutRuntimeManagementConfig", put),
        Operation("lambda", "GetRuntimeManagementConfig", get),
    )
