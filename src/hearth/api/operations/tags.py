"""TagResource, UntagResource, ListTags: for functions, code signing configurations and mappings.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html. Texts: recorded, except
where an ARN names what this Hearth has none of.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import check_reachable
from hearth.api.operations.lookups import Functions
from hearth.control.tags import Tagged, Tagging, tagged_function
from hearth.model.errors import InvalidParameterValue, ResourceNotFound
from hearth.model.functions import FunctionVersion
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

FUNCTION: Final = "function"
CODE_SIGNING_CONFIG: Final = "code-signing-config"
EVENT_SOURCE_MAPPING: Final = "event-source-mapping"
NO_TAGS: Final = "An error occurred and the request cannot be processed."

FindSigningConfig = Callable[[AccountId, Region, str], Tagged]
"""By the configuration's ARN. Raises ResourceNotFound."""

FindMapping = Callable[[AccountId, Region, str], Tagged]
"""By the event source mapping's UUID. Raises ResourceNotFound."""

Touch = Callable[[FunctionKey, None], Awaitable[object]]
"""Gives a function another RevisionId."""


@dataclass(frozen=True, slots=True)
class _Resource:
    """A TaggableResource; the model's pattern has let through nothing else."""

    arn: str
    region: Region
    account: AccountId
    kind: str
    name: str
    qualifier: str | None

    @classmethod
    def parse(cls, arn: str) -> "_Resource":
        _, _, _, region, account, kind, name, *rest = arn.split(":")
        return cls(arn, Region(region), AccountId(account), kind, name, rest[0] if rest else None)


def operations(
    functions: Functions,
    tagging: Tagging,
    find_signing_config: FindSigningConfig,
    find_mapping: FindMapping,
    touch: Touch,
) -> tuple[Operation, ...]:
    async def resource(request: OperationRequest, action: str) -> Tagged:
        named = _Resource.parse(request.members["Resource"])
        caller = request.caller
        if named.kind == FUNCTION:
            return await _function(functions, request, named, action)
        if named.kind == CODE_SIGNING_CONFIG:
            return find_signing_config(caller.account, caller.region, named.arn)
        if named.kind == EVENT_SOURCE_MAPPING:
            if (named.account, named.region) == (caller.account, caller.region):
                return find_mapping(caller.account, caller.region, named.name)
            raise ResourceNotFound("The resource you requested does not exist.")
        raise ResourceNotFound(
            f"{named.kind.capitalize().replace('-', ' ')} not found: {named.arn}"
        )

    async def tag(request: OperationRequest) -> OperationResponse:
        tags = _some_tags(request)
        tagged = await resource(request, "TagResource")
        await tagging.add(tagged, tags)
        await _revise(tagged, touch)
        return OperationResponse(status=204)

    async def untag(request: OperationRequest) -> OperationResponse:
        names = set(request.members["TagKeys"])
        tagged = await resource(request, "UntagResource")
        await tagging.remove(tagged, names)
        await _revise(tagged, touch)
        return OperationResponse(status=204)

    async def list_tags(request: OperationRequest) -> OperationResponse:
        tags = tagging.of(await resource(request, "ListTags"))
        return OperationResponse(members={"Tags": dict(tags)})

    handlers: dict[str, Callable[[OperationRequest], Awaitable[OperationResponse]]] = {
        "TagResource": tag,
        "UntagResource": untag,
        "ListTags": list_tags,
    }
    return tuple(Operation("lambda", name, handler) for name, handler in handlers.items())


def _some_tags(request: OperationRequest) -> dict[str, str]:
    tags: dict[str, str] = request.members["Tags"]
    if not tags:
        raise InvalidParameterValue(NO_TAGS)
    return tags


async def _revise(tagged: Tagged, touch: Touch) -> None:
    """A function whose tags are others has another RevisionId, as in AWS."""
    if isinstance(tagged.owner, FunctionVersion):
        await touch(tagged.owner.key, None)


async def _function(
    functions: Functions, request: OperationRequest, named: _Resource, action: str
) -> Tagged:
    key = FunctionKey(named.account, named.region, FunctionName(named.name))
    check_reachable(request, key, named.qualifier, action)
    if named.qualifier is not None:
        raise InvalidParameterValue(
            "Tags on function aliases and versions are not supported. "
            "Please specify a function ARN."
        )
    return tagged_function(await functions.get(key))
