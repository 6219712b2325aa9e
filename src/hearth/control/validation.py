"""Is this configuration one that Lambda would take? Rules beyond the shapes of the model.

The edge has checked the shapes. The model's bounds are wider than what a function of the ordinary
kind may have (32,768 MB and 5,400 s are for managed instances), so the quotas are checked here.
Texts: recorded answers of CreateFunction and UpdateFunctionConfiguration.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from hearth.model import limits
from hearth.model.endpoints import Endpoints, no_endpoint
from hearth.model.errors import InvalidParameterValue, ValidationFailed
from hearth.model.ids import FunctionName
from hearth.model.targets import Target

NAME_LENGTH_MAX: Final = 64
TAGS_MAX: Final = 50

# In AWS's order, which is that of its error text (recorded).
_ENUM: Final = (
    "nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, nodejs22.x, "
    "java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, ruby3.2, python3.8, python3.9, "
    "java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, java8.al2"
)
RUNTIMES: Final = frozenset(_ENUM.split(", ")) | {
    # Newer than the recording; in the service model.
    "java8.al2023",
    "java11.al2023",
    "java17.al2023",
    "nodejs26.x",
    "python3.15",
    "ruby4.0",
}
"""What a function may be created with; which of them this machine can run is another question."""

_SNAP_START_FROM: Final = {"python3.": 12, "java": 11, "dotnet": 8}
"""The first version of each family that has SnapStart."""

RETIRED_RUNTIMES: Final = frozenset(
    {
        "dotnetcore1.0",
        "dotnetcore2.0",
        "dotnetcore2.1",
        "dotnetcore3.1",
        "go1.x",
        "java8",
        "nodejs",
        "nodejs10.x",
        "nodejs12.x",
        "nodejs14.x",
        "nodejs4.3",
        "nodejs4.3-edge",
        "nodejs6.10",
        "nodejs8.10",
        "provided",
        "python2.7",
        "python3.6",
        "python3.7",
        "ruby2.5",
        "ruby2.7",
    }
)

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html, "Reserved"
RESERVED_VARIABLES: Final = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)

_VARIABLES_PROBLEM: Final = (
    "Lambda was unable to configure your environment variables because the environment variables "
    "you have provided "
)


def check_name(name: FunctionName) -> None:
    """A name alone may have 64 characters; the model's 140 are for ARNs."""
    if len(name) > NAME_LENGTH_MAX:
        raise ValidationFailed(
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy "
            f"constraint: Member must have length less than or equal to {NAME_LENGTH_MAX}"
        )


def check_runtime(runtime: str) -> None:
    if runtime in RETIRED_RUNTIMES:
        raise InvalidParameterValue(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating "
            "AWS Lambda functions. We recommend you use a supported runtime while creating or "
            "updating functions."
        )
    if runtime not in RUNTIMES:
        raise InvalidParameterValue(
            f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy "
            f"enum value set: [{_ENUM}] or be a valid ARN"
        )


def check_sizes(timeout_s: int | None, memory_mb: int | None, tmp_mb: int | None) -> None:
    """The quotas of an ordinary function; None is not checked."""
    if memory_mb is not None and memory_mb > limits.MEMORY_MB_MAX:
        raise InvalidParameterValue(
            "'MemorySize' value failed to satisfy constraint: Member must have value less than "
            f"or equal to {limits.MEMORY_MB_MAX}"
        )
    for value, member, value_max in (
        (timeout_s, "timeout", limits.TIMEOUT_S_MAX),
        (tmp_mb, "ephemeralStorage.size", limits.TMP_MB_MAX),
    ):
        if value is not None and value > value_max:
            raise ValidationFailed(
                f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy "
                f"constraint: Member must have value less than or equal to {value_max}"
            )


def check_environment(environment: Mapping[str, str] | None) -> None:
    """All variables together, as compact JSON, may have 4 KB; some names are Lambda's own."""
    if not environment:
        return
    reserved = [name for name in environment if name in RESERVED_VARIABLES]
    if reserved:
        raise InvalidParameterValue(
            f"{_VARIABLES_PROBLEM}contains reserved keys that are currently not supported for "
            f"modification. Reserved keys used in this request: {', '.join(reserved)}"
        )
    measured = msgspec.json.encode(dict(environment))
    if len(measured) > limits.ENVIRONMENT_BYTES_MAX:
        raise InvalidParameterValue(
            f"{_VARIABLES_PROBLEM}exceeded the 4KB limit. String measured: {measured.decode()}"
        )


def check_dead_letter(arn: str | None, endpoints: Endpoints) -> None:
    """A standard queue or topic, of a service whose address is known. AWS's words for any other
    target are not known to us, but for how they begin."""
    if not arn:
        return
    try:
        target = Target.parse(arn)
    except ValueError:
        target = None
    if target is None or target.service not in {"sqs", "sns"}:
        raise InvalidParameterValue(
            f"Invalid dead letter ARN: {arn} is neither a standard SQS queue nor a standard SNS "
            "topic."
        )
    if endpoints.find(target.service) is None:
        raise no_endpoint("DeadLetterConfig", target.service)


def check_new_tags(tags: Mapping[str, str]) -> None:
    """Tags that a caller gives: how many, and whether they are his to give. Which words AWS has for
    its own prefix is known to us of other services only."""
    check_tag_number(tags)
    if any(name.lower().startswith("aws:") for name in tags):
        raise InvalidParameterValue("aws: prefixed tag key names are not allowed for external use.")


def check_tag_number(tags: Mapping[str, str]) -> None:
    if len(tags) > TAGS_MAX:
        raise InvalidParameterValue("Number of tags exceeds resource tag limit.")


def check_snap_start(runtime: str, tmp_mb: int, snap_start: bool) -> None:
    """SnapStart is for some runtimes only, and for the default size of /tmp.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html; the first text as users quote it.
    """
    if not snap_start:
        return
    family = re.match(r"(python3\.|java|dotnet)(\d+)", runtime)
    if family is None or int(family[2]) < _SNAP_START_FROM[family[1]]:
        raise InvalidParameterValue(f"{runtime} is not supported for SnapStart enabled functions.")
    if tmp_mb > limits.TMP_MB_DEFAULT:
        raise InvalidParameterValue(
            "SnapStart enabled functions cannot have ephemeral storage of more than "
            f"{limits.TMP_MB_DEFAULT} MB."
        )


def check_tenancy(per_tenant: bool, snap_start: bool) -> None:
    """A snapshot is made before anybody knows for which tenant. AWS's words are not known to us."""
    if per_tenant and snap_start:
        raise no_tenants("SnapStart")


def no_tenants(feature: str) -> InvalidParameterValue:
    """What a function that keeps its tenants apart cannot have.

    https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation.html
    """
    return InvalidParameterValue(
        f"{feature} is not supported for functions with tenant isolation (TenancyConfig)."
    )
