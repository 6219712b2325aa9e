"""Where do functions in the host's network find Hearth, and the services that it was told of?

At AWS a client inside a function finds AWS without a word. Here it finds in its environment, where
SDKs look, that Lambda, CloudWatch Logs and STS are this Hearth, and where the services of the
table of endpoints are. What the function's own variables say counts more; other services are
AWS's.
"""

from typing import Final

from hearth.model.endpoints import Endpoints

_OURS: Final = ("LAMBDA", "CLOUDWATCH_LOGS", "STS")
_SDK_NAMES: Final = {"dynamodbstreams": "DYNAMODB_STREAMS"}
"""Of services that SDKs spell otherwise: https://docs.aws.amazon.com/sdkref/latest/guide/ss-endpoints-table.html"""


def neighbours(endpoint: str, endpoints: Endpoints) -> dict[str, str]:
    """Variables, by name. `endpoint` is this Hearth's."""
    variables = {f"AWS_ENDPOINT_URL_{name}": endpoint for name in _OURS}
    for service, known in endpoints.by_service.items():
        if known.url is not None:
            name = _SDK_NAMES.get(service, service.upper())
            variables[f"AWS_ENDPOINT_URL_{name}"] = known.url
    return variables
