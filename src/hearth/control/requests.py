"""What may be asked of the functions room? One frozen value a change; None means: leave it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hearth.model import limits
from hearth.model.durable import DurableConfig
from hearth.model.functions import Architecture
from hearth.model.ids import FunctionKey
from hearth.model.layers import LayerKey, LayerUse
from hearth.model.log_settings import LogSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Object:
    """A package that lies in a bucket."""

    bucket: str
    key: str
    version: str | None = None
    """None: the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateFunction:
    key: FunctionKey
    runtime: str | None
    handler: str | None
    role: str
    package: bytes | S3Object | None
    """The zip, or where it is."""
    description: str = ""
    timeout_s: int = limits.TIMEOUT_S_DEFAULT
    memory_mb: int = limits.MEMORY_MB_DEFAULT
    tmp_mb: int = limits.TMP_MB_DEFAULT
    architecture: Architecture = Architecture.X86_64
    environment: Mapping[str, str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[LayerUse, ...] = ()
    dead_letter_arn: str | None = None
    logging: LogSettings = field(default_factory=LogSettings)
    is_traced: bool = False
    snap_start: bool = False
    per_tenant: bool = False
    durable: DurableConfig | None = None
    publish: bool = False
    """Make it version 1 too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCode:
    key: FunctionKey
    package: bytes | S3Object | None
    architecture: Architecture | None = None
    revision_id: str | None = None
    """Only if the function is still at this one."""
    dry_run: bool = False
    """Judge, and say what it would be, but change nothing."""
    publish: bool = False
    """Make a version of it, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfiguration:
    key: FunctionKey
    runtime: str | None = None
    handler: str | None = None
    role: str | None = None
    description: str | None = None
    timeout_s: int | None = None
    memory_mb: int | None = None
    tmp_mb: int | None = None
    environment: Mapping[str, str] | None = None
    """All variables, not only the changed ones."""
    layers: tuple[LayerUse, ...] | None = None
    """All layers; an empty tuple takes all away."""
    dead_letter_arn: str | None = None
    """Empty: none any more."""
    logging: Callable[[LogSettings], LogSettings] | None = None
    """What becomes of the settings that are there."""
    is_traced: bool | None = None
    snap_start: bool | None = None
    durable: Callable[[DurableConfig], DurableConfig] | None = None
    """What becomes of the settings that are there."""
    revision_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishVersion:
    key: FunctionKey
    code_sha256: str | None = None
    """In base64; only if $LATEST still has this code."""
    revision_id: str | None = None
    """Only if $LATEST is still at this one."""
    description: str | None = None
    """Instead of that of $LATEST."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAlias:
    key: FunctionKey
    name: str
    version: str
    description: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateAlias:
    key: FunctionKey
    name: str
    version: str | None = None
    description: str | None = None
    weights: Mapping[str, float] | None = None
    """All of them; an empty one ends the routing."""
    revision_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishLayer:
    key: LayerKey
    package: bytes | S3Object | None
    description: str = ""
    license: str | None = None
    runtimes: tuple[str, ...] = ()
    """That it is made for, as its publisher says; nothing is checked against them."""
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CodeUsage:
    """Of one account and region."""

    code_bytes: int
    functions: int
