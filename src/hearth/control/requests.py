"""What may be asked of the functions room? One frozen value a change; None means: leave it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hearth.model import limits
from hearth.model.functions import Architecture, FunctionVersion
from hearth.model.ids import FunctionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateFunction:
    key: FunctionKey
    runtime: str | None
    handler: str | None
    role: str
    package: bytes | None
    """The zip."""
    description: str = ""
    timeout_s: int = limits.TIMEOUT_S_DEFAULT
    memory_mb: int = limits.MEMORY_MB_DEFAULT
    tmp_mb: int = limits.TMP_MB_DEFAULT
    architecture: Architecture = Architecture.X86_64
    environment: Mapping[str, str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCode:
    key: FunctionKey
    package: bytes | None
    architecture: Architecture | None = None
    revision_id: str | None = None
    """Only if the function is still at this one."""
    dry_run: bool = False
    """Judge, and say what it would be, but change nothing."""


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
    revision_id: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionPage:
    """Some functions by name, and the marker that asks for those after them."""

    functions: tuple[FunctionVersion, ...]
    next_marker: str | None


@dataclass(frozen=True, slots=True)
class CodeUsage:
    """Of one account and region."""

    code_bytes: int
    functions: int
