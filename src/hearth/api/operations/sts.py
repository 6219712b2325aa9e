"""GetCallerIdentity: who am I? Answered from what authentication left behind.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

from hearth.api.operation import Operation, OperationRequest, OperationResponse


async def get_caller_identity(request: OperationRequest) -> OperationResponse:
    """The user's id is its access key, a Hearth user has no other; or, as a root's, the account."""
    caller = request.caller
    return OperationResponse(
        members={
            "UserId": caller.access_key or caller.account,
            "Account": caller.account,
            "Arn": caller.user_arn,
        }
    )


OPERATIONS = (Operation("sts", "GetCallerIdentity", get_caller_identity),)
