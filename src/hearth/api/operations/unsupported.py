"""Which settings of a function can this Hearth not honour yet? They are refused, by name.

A setting that is accepted and then has no effect is the worst answer: the caller believes in
what is not there. What only repeats the default (an empty list, PassThrough) is accepted, since
tools send it. Each row goes when its feature comes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from hearth.model.errors import InvalidParameterValue

Members = Mapping[str, Any]
_IsDefault = Callable[[Any], bool]


def _empty(value: Any) -> bool:
    """Nothing in it, at any depth: `{}`, `[]`, `""`, false, `{"SubnetIds": []}`."""
    if isinstance(value, Mapping):
        return all(_empty(part) for part in value.values())
    return not value


def _is(**defaults: Any) -> _IsDefault:
    """A structure in which every member, if given, has the value that it has by default."""
    return lambda value: all(part in (defaults.get(name), None) for name, part in value.items())


def _equals(default: Any) -> _IsDefault:
    return lambda value: value == default


def _never(_value: Any) -> bool:
    return False


_DEFAULTS: Final[Mapping[str, _IsDefault]] = {
    "AcceleratorConfig": _never,
    "CapacityProviderConfig": _never,
    "FileSystemConfigs": _empty,
    "ImageConfig": _empty,
    "KMSKeyArn": _empty,
    "PackageType": _equals("Zip"),
    "PublishTo": _never,
    "RuntimeConfig": _never,
    "S3ObjectStorageMode": _equals("COPY"),
    "SourceKMSKeyArn": _empty,
    "VpcConfig": _empty,
}


def check_supported(members: Members) -> None:
    """Raises InvalidParameterValue that names the first member that would have no effect."""
    _check_network(members.get("VpcConfig") or {})
    for name, value in {**members, **members.get("Code", {})}.items():
        is_default = _DEFAULTS.get(name)
        if is_default is not None and value is not None and not is_default(value):
            raise unsupported(name)
    if members.get("Runtime") == "custom":
        raise unsupported("Runtime custom")


def _check_network(config: Members) -> None:
    """There is no EC2 here, so there is no subnet either: AWS's words for that (recorded)."""
    subnets, groups = config.get("SubnetIds"), config.get("SecurityGroupIds")
    if bool(subnets) != bool(groups):
        raise InvalidParameterValue("SubnetIds and SecurityIds must coexist or be both empty list.")
    if subnets:
        which = "ID" if len(subnets) == 1 else "IDs"
        verb = "does" if len(subnets) == 1 else "do"
        raise InvalidParameterValue(
            "Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. "
            f"EC2 Error Message: The subnet {which} '{', '.join(subnets)}' {verb} not exist"
        )


def unsupported(member: str) -> InvalidParameterValue:
    return InvalidParameterValue(f"{member} is not supported by this version of Hearth.")
