"""PublishVersion, ListVersionsByFunction: from the model's members to the room, and back.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html and
https://docs.aws.amazon.com/lambda/latest/api/API_ListVersionsByFunction.html.
"""

from typing import Any

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed_latest
from hearth.api.operations.functions import configuration, configured
from hearth.api.operations.unsupported import check_supported
from hearth.control.functions import Functions
from hearth.control.requests import PublishVersion


def operations(functions: Functions) -> tuple[Operation, ...]:
    async def publish(request: OperationRequest) -> OperationResponse:
        members = request.members
        key = addressed_latest(request, "PublishVersion")
        check_supported(members)
        version = await functions.versions.publish(
            PublishVersion(
                key=key,
                code_sha256=members.get("CodeSha256"),
                revision_id=members.get("RevisionId"),
                description=members.get("Description"),
            )
        )
        return OperationResponse(members=configuration(version, version.version))

    async def list_page(request: OperationRequest) -> OperationResponse:
        members = request.members
        latest = await functions.get(addressed_latest(request, "ListVersionsByFunction"))
        page = functions.versions.list_page(
            latest, marker=members.get("Marker"), items_max=members.get("MaxItems")
        )
        answer: dict[str, Any] = {
            "Versions": [configured(version, version.version) for version in page.items]
        }
        if page.next_marker is not None:
            answer["NextMarker"] = page.next_marker
        return OperationResponse(members=answer)

    return (
        Operation("lambda", "PublishVersion", publish),
        Operation("lambda", "ListVersionsByFunction", list_page),
    )
