"""InvokeAsync, the deprecated way to hand over an event.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_InvokeAsync.html
"""

from collections.abc import Awaitable, Callable

from hearth.api.invoke import EMPTY_PAYLOAD, EVENT, check_payload, check_size
from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.model.errors import ValidationFailed
from hearth.model.ids import FunctionReference, RequestId
from hearth.model.invocations import InvokeCall

Accept = Callable[[InvokeCall], Awaitable[object]]
"""Put an event on disk. Raises ServiceError."""


def operations(accept: Accept) -> tuple[Operation, ...]:
    async def invoke_async(request: OperationRequest) -> OperationResponse:
        text, payload = request.members["FunctionName"], request.members["InvokeArgs"]
        try:
            reference = FunctionReference.parse(text)
        except ValueError as error:
            raise ValidationFailed(f"{text} is not a function name or ARN") from error
        check_size(len(payload), EVENT)
        if payload:
            check_payload(payload)
        await accept(
            InvokeCall(
                caller=request.caller,
                reference=reference,
                payload=payload or EMPTY_PAYLOAD,
                request=RequestId(request.request_id),
            )
        )
        return OperationResponse(members={"Status": 202})

    return (Operation("lambda", "InvokeAsync", invoke_async),)
