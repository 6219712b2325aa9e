"""What does Hearth answer to each operation of AWS? The one table behind docs/compatibility.md.

Three answers and no fourth: it works, it works but for something that is said here, or it answers
an error that says that it is not supported. A setting that would have no effect is refused by name.
A test compares the table with the operations that are there, another with the page.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hearth.api.compatibility_logs import LOGS
from hearth.api.support import Status, Support, unsupported, works, works_but

_REFUSED: Final = (
    "container images, VPC, file systems, KMS keys and "
    "capacity providers are refused by name unless they only repeat the default"
)
_SOURCES: Final = (
    "queues of SQS, streams of Kinesis and DynamoDB, at an --endpoint; other sources, enhanced "
    "fan-out, KMSKeyArn, LoggingConfig and ProvisionedPollerConfig are "
    "refused by name"
)
_NO_SIGNER: Final = (
    "signatures cannot be verified, as AWS Signer's profiles live at AWS: all code counts as "
    "unsigned, which Enforce refuses and Warn logs"
)

LAMBDA: Final[Mapping[str, Support]] = MappingProxyType(
    {
        **works(
            "AddLayerVersionPermission",
            "AddPermission",
            "CheckpointDurableExecution",
            "CreateAlias",
            "CreateFunctionUrlConfig",
            "DeleteAlias",
            "DeleteCodeSigningConfig",
            "DeleteDurableExecution",
            "DeleteEventSourceMapping",
            "DeleteFunction",
            "DeleteFunctionCodeSigningConfig",
            "DeleteFunctionConcurrency",
            "DeleteFunctionEventInvokeConfig",
            "DeleteFunctionUrlConfig",
            "DeleteLayerVersion",
            "DeleteProvisionedConcurrencyConfig",
            "DeleteResourcePolicy",
            "GetAccountSettings",
            "GetAlias",
            "GetCodeSigningConfig",
            "GetDurableExecution",
            "GetDurableExecutionHistory",
            "GetDurableExecutionState",
            "GetEventSourceMapping",
            "GetFunction",
            "GetFunctionCodeSigningConfig",
            "GetFunctionConcurrency",
            "GetFunctionConfiguration",
            "GetFunctionEventInvokeConfig",
            "GetFunctionRecursionConfig",
            "GetFunctionUrlConfig",
            "GetLayerVersion",
            "GetLayerVersionByArn",
            "GetLayerVersionPolicy",
            "GetPolicy",
            "GetProvisionedConcurrencyConfig",
            "GetResourcePolicy",
            "GetRuntimeManagementConfig",
            "Invoke",
            "InvokeAsync",
            "InvokeWithResponseStream",
            "ListAliases",
            "ListCodeSigningConfigs",
            "ListDurableExecutionsByFunction",
            "ListEventSourceMappings",
            "ListFunctionEventInvokeConfigs",
            "ListFunctionUrlConfigs",
            "ListFunctions",
            "ListFunctionsByCodeSigningConfig",
            "ListLayerVersions",
            "ListLayers",
            "ListProvisionedConcurrencyConfigs",
            "ListTags",
            "ListVersionsByFunction",
            "PauseDurableExecution",
            "PublishLayerVersion",
            "PublishVersion",
            "PutFunctionConcurrency",
            "PutFunctionRecursionConfig",
            "PutProvisionedConcurrencyConfig",
            "PutResourcePolicy",
            "RemoveLayerVersionPermission",
            "RemovePermission",
            "ResumeDurableExecution",
            "SendDurableExecutionCallbackFailure",
            "SendDurableExecutionCallbackHeartbeat",
            "SendDurableExecutionCallbackSuccess",
            "StopDurableExecution",
            "TagResource",
            "UntagResource",
            "UpdateAlias",
            "UpdateFunctionUrlConfig",
        ),
        **works_but(_REFUSED, "CreateFunction", "UpdateFunctionConfiguration"),
        **works_but(
            "container images, SourceKMSKeyArn and PublishTo are refused by name",
            "UpdateFunctionCode",
        ),
        **works_but(
            "only Auto is accepted: a runtime is this machine's interpreter, and an old build "
            "cannot be kept for one function",
            "PutRuntimeManagementConfig",
        ),
        **works_but(
            "a destination that is no function must be of a service with an --endpoint, and is not "
            "asked whether it is there",
            "PutFunctionEventInvokeConfig",
            "UpdateFunctionEventInvokeConfig",
        ),
        **works_but(
            _NO_SIGNER,
            "CreateCodeSigningConfig",
            "PutFunctionCodeSigningConfig",
            "UpdateCodeSigningConfig",
        ),
        **works_but(
            "there are none, as managed instances cannot be had here",
            "DeleteCapacityProvider",
            "GetCapacityProvider",
            "ListCapacityProviders",
            "ListFunctionVersionsByCapacityProvider",
            "UpdateCapacityProvider",
        ),
        **works_but(_SOURCES, "CreateEventSourceMapping", "UpdateEventSourceMapping"),
        **unsupported(
            "managed instances",
            "CreateCapacityProvider",
            "GetFunctionScalingConfig",
            "PutFunctionScalingConfig",
        ),
    }
)
"""Every operation of botocore's `lambda` model."""

STS: Final[Mapping[str, Support]] = MappingProxyType(
    {
        **works("GetCallerIdentity"),
        **unsupported(
            "temporary credentials",
            "AssumeRole",
            "AssumeRoleWithSAML",
            "AssumeRoleWithWebIdentity",
            "AssumeRoot",
            "DecodeAuthorizationMessage",
            "GetAccessKeyInfo",
            "GetDelegatedAccessToken",
            "GetFederationToken",
            "GetSessionToken",
            "GetWebIdentityToken",
        ),
    }
)
"""Every operation of botocore's `sts` model."""

SERVICES: Final[Mapping[str, Mapping[str, Support]]] = MappingProxyType(
    {"lambda": LAMBDA, "sts": STS, "logs": LOGS}
)

BRIEF_FROM: Final = 100
"""Of a service with more operations the page lists those that are there."""

INTRODUCTION: Final = """\
# Compatibility

Generated by `tools/compatibility.py` from the table in `src/hearth/api/compatibility.py`.

Every operation of AWS's model, and what Hearth answers to it. Nothing is silent: what is not
supported answers an error that says so, and so does a setting that would have no effect.
"""

DIFFERENCES: Final = """
## Differences from AWS

The reasons are in `docs/decisions`.

### Functions and code

- The limit on stored code is one for the whole store, not for each account and region.
- A runtime is an interpreter of this machine. A runtime or an architecture that the machine has
  not is refused when the function is invoked.
- Node.js functions find the clients of 32 services in `/var/runtime`, not those of all; others
  belong into the package or a layer.
- Zip entries that are compressed with bzip2 or LZMA are refused.
- `Code.Location` of GetFunction is a link to Hearth itself.
- There is no EC2 here: a `VpcConfig` answers AWS's error for a subnet that does not exist.

### Versions and aliases

- A new version is Pending for some milliseconds, until its code is known to be ready.
- A function has room for some twenty thousand versions; beyond, `CodeStorageExceededException`.

### Concurrency

- A bucket of requests holds one second's worth; AWS does not say how much its own holds.
- After a start of Hearth, provisioned concurrency is IN_PROGRESS again until its environments are
  there again. FAILED comes after three failed inits in a row.
- A 429 by rate carries `Retry-After`; one by concurrency carries none, as recorded from AWS.
- A function whose init waits starts few environments at a time: the machine bounds them.

### Event source mappings

- `LastProcessingResult` is "No records processed" again after a start of Hearth, until there is
  another.
- A queue that comes back from an outage, or a function that was not there, is tried again at least
  every 20 seconds.
- A shard is read once a second while it has nothing, up to five times while it has something;
  shards are listed every 30 seconds, and when one has ended.
- A batch of a stream without `MaximumRecordAgeInSeconds` is tried for as long as Hearth runs; AWS
  ends that when the stream has dropped its records.
- A tumbling window ends early when its state has 500,000 bytes (AWS: 1 MB), and is not possible
  with a `ParallelizationFactor` above 1.
- A failure destination that cannot be told five times is not told: the log has what was dropped.
- `ListEventSourceMappings` of a function that is gone lists the mappings that it left.

### Permissions

- There are no identities within an account. Its owner may do everything, unless a resource policy
  denies it.
- A policy with an element that could not be evaluated (NotAction, IpAddress, ForAnyValue, …) is
  refused by name. `PrincipalOrgID` is kept and matches nobody.
- Any role is accepted: there is no IAM to ask.

### On the wire

- An operation that is not supported answers 501 `NotImplementedException`; a setting, 400
  `InvalidParameterValueException` with its name.
- The largest synchronous request is 6,291,456 bytes, the number in AWS's own refusal; AWS's page of
  quotas says 6 MB.
- Unicode classes in patterns (keys and values of tags) are checked a little more leniently.
"""


def count(status: Status, service: str) -> int:
    return sum(support.status is status for support in SERVICES[service].values())


def page() -> str:
    """docs/compatibility.md, whole."""
    lines = [INTRODUCTION]
    for service, table in SERVICES.items():
        lines += [f"## `{service}`: {len(table)} operations", ""]
        lines += [f"- {status}: {count(status, service)}" for status in Status]
        rows, rest = _rows(table)
        lines += ["", "| operation | | |", "| --- | --- | --- |", *rows, "", *rest]
    return "\n".join(lines).rstrip("\n") + "\n" + DIFFERENCES


def _rows(table: Mapping[str, Support]) -> tuple[list[str], list[str]]:
    """The rows, and a sentence for what is left out where most is not supported."""
    there = {n: s for n, s in table.items() if s.status is not Status.UNSUPPORTED}
    is_brief = len(table) > BRIEF_FROM
    shown = there if is_brief else table
    rows = [f"| {name} | {s.status} | {s.note} |" for name, s in sorted(shown.items(), key=_name)]
    rest = ["All other operations answer that they are not supported.", ""]
    return rows, rest if is_brief else []


def _name(row: tuple[str, Support]) -> str:
    return row[0]
