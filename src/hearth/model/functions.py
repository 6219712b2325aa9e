"""What is a function? Its configuration, as stored, and the states that it passes through.

    create:  Pending ---code ready---> Active        (or Failed, with a reason)
    update:  LastUpdateStatus InProgress ---> Successful | Failed

Source: https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from hearth.model import limits
from hearth.model.durable import DurableConfig
from hearth.model.ids import LATEST, FunctionKey
from hearth.model.layers import LayerUse
from hearth.model.log_settings import LogSettings


class State(StrEnum):
    PENDING = "Pending"
    ACTIVE = "Active"
    FAILED = "Failed"


class UpdateStatus(StrEnum):
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    IN_PROGRESS = "InProgress"


class Architecture(StrEnum):
    X86_64 = "x86_64"
    ARM64 = "arm64"


class Initialization(StrEnum):
    """Why an environment is initialised, as AWS_LAMBDA_INITIALIZATION_TYPE has it."""

    ON_DEMAND = "on-demand"
    PROVISIONED = "provisioned-concurrency"
    SNAP_START = "snap-start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A package, by content. `sha256` is lower-case hex; AWS shows the same digest in base64."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionVersion:
    """One version of a function: all that is needed to run it and to describe it."""

    key: FunctionKey
    version: str = LATEST
    runtime: str
    handler: str
    role: str
    code: Code
    description: str = ""
    timeout_s: int = limits.TIMEOUT_S_DEFAULT
    memory_mb: int = limits.MEMORY_MB_DEFAULT
    tmp_mb: int = limits.TMP_MB_DEFAULT
    architecture: Architecture = Architecture.X86_64
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_given: bool = False
    """AWS answers `Environment` only where one was ever given."""
    tags: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[LayerUse, ...] = ()
    """In the order in which they are laid over one another: a later one covers an earlier one."""
    dead_letter_arn: str | None = None
    """The queue or topic that gets events whose attempts have all failed. Versions have that of
    $LATEST at their time, but it is that of $LATEST now that counts, for all of them."""
    logging: LogSettings = field(default_factory=LogSettings)
    is_traced: bool = False
    """TracingConfig, Mode Active."""
    snap_start: bool = False
    """SnapStart, ApplyOn PublishedVersions: a published version is initialised beforehand."""
    per_tenant: bool = False
    """TenancyConfig PER_TENANT: no environment serves two tenants. Said when it is created."""
    durable: DurableConfig | None = None
    """Invokes start durable executions."""
    state: State = State.PENDING
    state_reason: str | None = None
    state_reason_code: str | None = None
    update_status: UpdateStatus = UpdateStatus.SUCCESSFUL
    update_reason: str | None = None
    update_reason_code: str | None = None
    last_modified: str
    """As AWS prints it: `2026-11-23T15:04:05.000+0000`."""
    revision_id: str
    """Changes with every write; what callers compare and swap on."""
    touch: tuple[str, str] | None = None
    """The revision of the configuration, and what a touch made of it: see touched()."""
    instance_id: str
    """Made at create, kept for life: tells a function from an earlier one of the same name."""
    initialization: Initialization = Initialization.ON_DEMAND
    """Of one environment, when a worker is asked to start it; never stored."""
    is_debugged: bool = False
    """Of one environment, that waits for a debugger; never stored."""
    tenant: str | None = None
    """Whom one environment serves, if it is `per_tenant`; said by each invoke, never stored."""

    @property
    def arn(self) -> str:
        """Unqualified for $LATEST, as CreateFunction answers it."""
        return self.key.arn(None if self.version == LATEST else self.version)

    @property
    def qualified_arn(self) -> str:
        return self.key.arn(self.version)

    @property
    def runtime_version_arn(self) -> str:
        """AWS names a runtime's build by a digest. Ours has no builds: it is of the name."""
        digest = hashlib.sha256(self.runtime.encode()).hexdigest()
        return f"arn:aws:lambda:{self.key.region}::runtime:{digest}"

    @property
    def configuration_revision(self) -> str:
        """`revision_id`, as it was before it was only touched."""
        if self.touch is not None and self.touch[1] == self.revision_id:
            return self.touch[0]
        return self.revision_id

    @property
    def has_snapshot(self) -> bool:
        """Whether its environments begin with what was initialised when it was published."""
        return self.snap_start and self.version != LATEST

    @property
    def init_timeout_s(self) -> float:
        """How long the Init phase of an environment may take."""
        if self.is_debugged:
            return float(self.timeout_s)
        if self.initialization is not Initialization.ON_DEMAND:
            return max(limits.PROVISIONED_INIT_TIMEOUT_S_MIN, float(self.timeout_s))
        return limits.INIT_TIMEOUT_S


def touched(function: FunctionVersion, revision_id: str) -> FunctionVersion:
    """The same configuration under another revision, since its permissions or its tags are others.

    Whatever changes the configuration gives a revision of its own, which ends the touch.
    """
    touch = (function.configuration_revision, revision_id)
    return replace(function, touch=touch, revision_id=revision_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name for a version, or for two of them."""

    key: FunctionKey
    name: str
    version: str
    """Where invokes go, but for the share of `weights`."""
    description: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Another version, and its share of the invokes, from 0 to 1; at most one."""
    revision_id: str
    """Changes with every write; what callers compare and swap on."""

    @property
    def arn(self) -> str:
        return self.key.arn(self.name)

    @property
    def targets(self) -> frozenset[str]:
        """All versions that an invoke of it may run."""
        return frozenset({self.version, *self.weights})


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as it is stored: $LATEST, and what was made of it. Written as a whole, so that
    a version cannot go while an alias comes that points to it."""

    latest: FunctionVersion
    serving: FunctionVersion | None = None
    """What invokes of $LATEST run while an update of it is in progress, or after one has failed;
    None where that is `latest` itself. See with_latest()."""
    last_number: int = 0
    """Of the version that was published last; numbers are never given again."""
    last_description: str = ""
    """That of $LATEST when it was; the version may have got one of its own."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """By number: the name of the record that holds it."""
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    write_id: str = ""
    """Of the last write that left $LATEST as it was; nobody else could have made it."""


def with_latest(function: Function, latest: FunctionVersion) -> Function:
    """The function after $LATEST has become `latest`.

    Invokes go on with the last configuration that was complete until the update is, and stay with
    it if the update fails, as in AWS:
    https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    """
    serving: FunctionVersion | None = None
    if latest.update_status is not UpdateStatus.SUCCESSFUL:
        serving = function.serving or (function.latest if _is_complete(function.latest) else None)
    return replace(function, latest=latest, serving=serving)


def _is_complete(function: FunctionVersion) -> bool:
    return function.state is State.ACTIVE and function.update_status is UpdateStatus.SUCCESSFUL


@dataclass(frozen=True, slots=True)
class Routes:
    """What an invoke of one function may mean, laid out to be looked up."""

    latest: FunctionVersion
    """What $LATEST runs now: see Function.serving."""
    arn: str
    """Unqualified."""
    qualified: Mapping[str, FunctionVersion | Alias]
    """Versions by number, aliases by name."""


class ConfigurationId(NamedTuple):
    """What a sandbox is bound to: never shared by two configurations of one function. A tuple: each
    invoke makes one, to look its sandboxes up.

    Two equal ids mean that a sandbox made for one may serve the other.
    """

    key: FunctionKey
    instance_id: str
    version: str
    revision_id: str
    tenant: str | None = None
    """Nor by two tenants of one configuration, where its function keeps them apart."""

    @property
    def of_all_tenants(self) -> "ConfigurationId":
        return self if self.tenant is None else self._replace(tenant=None)


def configuration_id(function: FunctionVersion) -> ConfigurationId:
    return ConfigurationId(
        function.key,
        function.instance_id,
        function.version,
        function.configuration_revision,
        function.tenant,
    )
