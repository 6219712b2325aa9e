"""How is a function stored in the engine? Its key and its bytes, readable by later versions.

A record is JSON with the number of its format. Rules that keep old state readable:

- a new member comes with a default, and the format stays;
- a member that changes its meaning raises FORMAT and gets a step in MIGRATIONS;
- a record of a newer format is refused, never half understood; members nobody knows are left out.

    fn.<account>.<region>.<name>               a function: $LATEST, and what was published of it
    fn.<account>.<region>.<name>.ver.<name>    a version

Each part is one token of the engine's alphabet. A version's record is written first and is nothing
until its function names it, so publishing is one write, and so is its undoing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from hearth.model import limits
from hearth.model.durable import DurableConfig
from hearth.model.functions import (
    Alias,
    Architecture,
    Code,
    Function,
    FunctionVersion,
    State,
    UpdateStatus,
)
from hearth.model.ids import LATEST, AccountId, FunctionKey, FunctionName, Region
from hearth.model.layers import LayerUse
from hearth.model.log_settings import LogSettings

FORMAT: Final = 1
PREFIX: Final = "fn"
_VERSION: Final = "ver"
_TOKEN = re.compile(r"[a-zA-Z0-9_-]+")

Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: Final[Mapping[int, Migration]] = {}
"""From the format of the key to the next one."""


class UnreadableRecord(Exception):
    """Not a record, or one that a newer Hearth wrote."""


class _AliasRecord(msgspec.Struct, kw_only=True):
    name: str
    version: str
    description: str = ""
    weights: dict[str, float] = {}
    revision_id: str


class _Record(msgspec.Struct, kw_only=True):
    format: int
    account: str
    region: str
    name: str
    version: str = LATEST
    runtime: str
    handler: str
    role: str
    sha256: str
    size_bytes: int
    description: str = ""
    timeout_s: int = limits.TIMEOUT_S_DEFAULT
    memory_mb: int = limits.MEMORY_MB_DEFAULT
    tmp_mb: int = limits.TMP_MB_DEFAULT
    architecture: Architecture = Architecture.X86_64
    environment: dict[str, str] = {}
    environment_given: bool = False
    tags: dict[str, str] = {}
    layers: tuple[LayerUse, ...] = ()
    dead_letter_arn: str | None = None
    logging: LogSettings = LogSettings()
    is_traced: bool = False
    snap_start: bool = False
    per_tenant: bool = False
    durable: DurableConfig | None = None
    state: State
    state_reason: str | None = None
    state_reason_code: str | None = None
    update_status: UpdateStatus
    update_reason: str | None = None
    update_reason_code: str | None = None
    last_modified: str
    revision_id: str
    touch: tuple[str, str] | None = None
    instance_id: str


class _FunctionRecord(_Record, kw_only=True):
    serving: _Record | None = None
    last_number: int = 0
    last_description: str = ""
    versions: dict[str, str] = {}
    aliases: list[_AliasRecord] = []
    write_id: str = ""


def entry_key(key: FunctionKey) -> str | None:
    """The engine's key, or None where no function can have that name."""
    tokens = (key.account, key.region, key.name)
    if not all(_TOKEN.fullmatch(token) for token in tokens):
        return None
    return ".".join((PREFIX, *tokens))


def version_entry_key(key: FunctionKey, record: str) -> str:
    """The engine's key of a version's record, of a function that has a key itself."""
    entry = entry_key(key)
    assert entry is not None, f"{key} was read before it was published"
    return f"{entry}.{_VERSION}.{record}"


def place_at(entry: str) -> tuple[FunctionKey, str | None] | None:
    """The inverse of entry_key(), and of version_entry_key() with the record's name; None where
    the key is neither's."""
    tokens = entry.split(".")
    record: str | None
    match tokens:
        case [prefix, account, region, name] if prefix == PREFIX:
            record = None
        case [prefix, account, region, name, kind, record] if (prefix, kind) == (PREFIX, _VERSION):
            pass
        case _:
            return None
    return FunctionKey(AccountId(account), Region(region), FunctionName(name)), record


def encode(version: FunctionVersion) -> bytes:
    """One version alone, whichever it is."""
    return msgspec.json.encode(_Record(format=FORMAT, **_members(version)))


def encode_function(function: Function) -> bytes:
    return msgspec.json.encode(
        _FunctionRecord(
            format=FORMAT,
            **_members(function.latest),
            serving=None
            if function.serving is None
            else _Record(format=FORMAT, **_members(function.serving)),
            last_number=function.last_number,
            last_description=function.last_description,
            versions=dict(function.versions),
            aliases=[
                _AliasRecord(
                    name=alias.name,
                    version=alias.version,
                    description=alias.description,
                    weights=dict(alias.weights),
                    revision_id=alias.revision_id,
                )
                for alias in function.aliases.values()
            ],
            write_id=function.write_id,
        )
    )


def decode(value: bytes, like: FunctionVersion | None = None) -> FunctionVersion:
    """A version; $LATEST of a function's record. Raises UnreadableRecord.

    What it has in common with `like` is there once in memory: ten versions of a function differ in
    little, and so do functions of one owner.
    """
    return _version(_converted(value, _Record), like)


def decode_function(value: bytes, like: FunctionVersion | None = None) -> Function:
    """The same of a function."""
    record = _converted(value, _FunctionRecord)
    latest = _version(record, like)
    return Function(
        latest=latest,
        serving=None if record.serving is None else _version(record.serving, latest),
        last_number=record.last_number,
        last_description=record.last_description,
        versions=record.versions,
        aliases={
            alias.name: Alias(
                key=latest.key,
                name=alias.name,
                version=alias.version,
                description=alias.description,
                weights=alias.weights,
                revision_id=alias.revision_id,
            )
            for alias in record.aliases
        },
        write_id=record.write_id,
    )


R = TypeVar("R", bound=_Record)
T = TypeVar("T")


def _converted(value: bytes, kind: type[R]) -> R:
    """Nearly all records are of this format, and a start reads them all: these are decoded once."""
    record: R | None
    try:
        record = msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError:
        record = None  # of another format, or none: the long way tells
    if record is not None and record.format == FORMAT:
        return record
    try:
        return msgspec.convert(_migrated(value), kind)
    except msgspec.MsgspecError as error:
        raise UnreadableRecord("not a function's record") from error


def _members(function: FunctionVersion) -> dict[str, Any]:
    key, code = function.key, function.code
    return {
        "account": key.account,
        "region": key.region,
        "name": key.name,
        "version": function.version,
        "runtime": function.runtime,
        "handler": function.handler,
        "role": function.role,
        "sha256": code.sha256,
        "size_bytes": code.size_bytes,
        "description": function.description,
        "timeout_s": function.timeout_s,
        "memory_mb": function.memory_mb,
        "tmp_mb": function.tmp_mb,
        "architecture": function.architecture,
        "environment": dict(function.environment),
        "environment_given": function.environment_given,
        "tags": dict(function.tags),
        "layers": function.layers,
        "dead_letter_arn": function.dead_letter_arn,
        "logging": function.logging,
        "is_traced": function.is_traced,
        "snap_start": function.snap_start,
        "per_tenant": function.per_tenant,
        "durable": function.durable,
        "state": function.state,
        "state_reason": function.state_reason,
        "state_reason_code": function.state_reason_code,
        "update_status": function.update_status,
        "update_reason": function.update_reason,
        "update_reason_code": function.update_reason_code,
        "last_modified": function.last_modified,
        "revision_id": function.revision_id,
        "touch": function.touch,
        "instance_id": function.instance_id,
    }


def _version(record: _Record, like: FunctionVersion | None) -> FunctionVersion:
    known = like or _BLANK
    return FunctionVersion(
        key=_key(record, known.key),
        version=record.version,
        runtime=_shared(record.runtime, known.runtime),
        handler=_shared(record.handler, known.handler),
        role=_shared(record.role, known.role),
        code=_code(record, known.code),
        description=record.description,
        timeout_s=record.timeout_s,
        memory_mb=record.memory_mb,
        tmp_mb=record.tmp_mb,
        architecture=record.architecture,
        environment=_shared(record.environment, known.environment),
        environment_given=record.environment_given,
        tags=_shared(record.tags, known.tags),
        layers=_shared(record.layers, known.layers),
        dead_letter_arn=_shared(record.dead_letter_arn, known.dead_letter_arn),
        logging=_shared(record.logging, known.logging),
        is_traced=record.is_traced,
        snap_start=record.snap_start,
        per_tenant=record.per_tenant,
        durable=_shared(record.durable, known.durable),
        state=record.state,
        state_reason=record.state_reason,
        state_reason_code=record.state_reason_code,
        update_status=record.update_status,
        update_reason=record.update_reason,
        update_reason_code=record.update_reason_code,
        last_modified=record.last_modified,
        revision_id=record.revision_id,
        touch=record.touch,
        instance_id=_shared(record.instance_id, known.instance_id),
    )


def _key(record: _Record, known: FunctionKey) -> FunctionKey:
    account, region = known.account, known.region
    if record.account == account and record.region == region:
        if record.name == known.name:
            return known
        return FunctionKey(account, region, FunctionName(record.name))
    return FunctionKey(AccountId(record.account), Region(record.region), FunctionName(record.name))


def _code(record: _Record, known: Code) -> Code:
    if record.sha256 == known.sha256 and record.size_bytes == known.size_bytes:
        return known
    return Code(sha256=record.sha256, size_bytes=record.size_bytes)


def _shared(value: T, known: T) -> T:
    """Nobody changes it in place."""
    return known if value == known else value


_BLANK: Final = FunctionVersion(
    key=FunctionKey(AccountId(""), Region(""), FunctionName("")),
    runtime="",
    handler="",
    role="",
    code=Code(sha256="", size_bytes=0),
    last_modified="",
    revision_id="",
    instance_id="",
)
"""What a record is compared with where nothing like it is known."""


def _migrated(value: bytes) -> dict[str, Any]:
    members = msgspec.json.decode(value, type=dict[str, Any])
    format_now = members.get("format")
    if not isinstance(format_now, int) or format_now > FORMAT:
        raise UnreadableRecord(f"a record of format {format_now!r}; this Hearth knows {FORMAT}")
    while format_now < FORMAT:
        step = MIGRATIONS.get(format_now)
        if step is None:
            raise UnreadableRecord(f"a record of format {format_now!r} that nobody ever wrote")
        members = step(members)
        format_now += 1
    return members | {"format": FORMAT}
