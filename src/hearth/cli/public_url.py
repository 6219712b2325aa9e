"""hearth deploy --url: how does a function get an address that anybody may call?"""

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types_boto3_lambda.client import LambdaClient

PERMISSIONS: Final[tuple[dict[str, Any], ...]] = (
    {
        "StatementId": "FunctionURLAllowPublicAccess",
        "Action": "lambda:InvokeFunctionUrl",
        "FunctionUrlAuthType": "NONE",
    },
    {
        "StatementId": "FunctionURLAllowInvokeAction",
        "Action": "lambda:InvokeFunction",
        "InvokedViaFunctionUrl": True,
    },
)
"""Named as AWS's console names them."""


def public_url(client: "LambdaClient", name: str, *, streams: bool = False) -> str:
    """The function's URL; made, and opened to everybody, where that is not so yet.

    `streams`: it answers as the function writes. A URL that does stays so.
    """
    wanted: dict[str, Any] = {"AuthType": "NONE"}
    if streams:
        wanted["InvokeMode"] = "RESPONSE_STREAM"
    try:
        there: dict[str, Any] = {**client.get_function_url_config(FunctionName=name)}
    except client.exceptions.ResourceNotFoundException:
        there = {**client.create_function_url_config(FunctionName=name, **wanted)}
    if there | wanted != there:
        client.update_function_url_config(FunctionName=name, **wanted)
    for permission in PERMISSIONS:
        try:
            client.add_permission(FunctionName=name, Principal="*", **permission)
        except client.exceptions.ResourceConflictException:
            continue  # from an earlier time
    return str(there["FunctionUrl"])


def by_path(endpoint: str, url: str) -> str:
    """The same URL by Hearth's own address: names below `localhost` are not known everywhere."""
    url_id = (urlsplit(url).hostname or "").partition(".")[0]
    return f"{endpoint.rstrip('/')}/lambda-url/{url_id}/"
