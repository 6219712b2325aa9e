"""How is a document stored in the engine? Its place, its key and its bytes.

    doc.<account>.<region>.<function>.<kind>[.<qualifier>]     of a function
    doc.<account>.<region>.=.<kind>.<name>                     of an account

`=` is no function's name. `$` and `.` of a qualifier are written `=` and `/`, which the engine
takes and no qualifier has. The value is JSON: an envelope that belongs to the store, and the
document inside it. New members of a document's type need a default; the format then stays.
"""

import re
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from hearth.control.records import UnreadableRecord
from hearth.model.functions import FunctionVersion
from hearth.model.ids import AccountId, FunctionName, Region

T = TypeVar("T")

FORMAT: Final = 1
PREFIX: Final = "doc"
_SHARED: Final = "="
_TOKEN = re.compile(r"[a-zA-Z0-9_-]+")
_QUALIFIER = re.compile(r"[=/a-zA-Z0-9_-]+")
_ESCAPED = str.maketrans("$.", "=/")
_PLAIN = str.maketrans("=/", "$.")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of document: the token in its key, and the type of its value (a frozen dataclass or
    a msgspec.Struct that JSON can carry)."""

    name: str
    type: type[T]


@dataclass(frozen=True, slots=True)
class AccountScope:
    """Owns the documents of an account in a region that belong to no function."""

    account: AccountId
    region: Region


Owner = FunctionVersion | AccountScope


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document is. A function's own document has no qualifier, an account's has a name
    in its stead."""

    account: AccountId
    region: Region
    function: FunctionName | None
    kind: str
    qualifier: str | None


def place_of(owner: Owner, kind: str, qualifier: str | None) -> Place:
    if isinstance(owner, FunctionVersion):
        key = owner.key
        return Place(key.account, key.region, key.name, kind, qualifier)
    return Place(owner.account, owner.region, None, kind, qualifier)


def instance_of(owner: Owner) -> str:
    """What ties a document to one life of its function; an account has only one."""
    return owner.instance_id if isinstance(owner, FunctionVersion) else ""


def entry_key(place: Place) -> str | None:
    """The engine's key, or None where nothing can have that name."""
    function = _SHARED if place.function is None else place.function
    tokens = [place.account, place.region, place.kind]
    if place.function is not None:
        tokens.append(function)
    if not all(_TOKEN.fullmatch(token) for token in tokens):
        return None
    parts = [PREFIX, place.account, place.region, function, place.kind]
    if place.qualifier is not None:
        escaped = place.qualifier.translate(_ESCAPED)
        if not _QUALIFIER.fullmatch(escaped) or escaped.translate(_PLAIN) != place.qualifier:
            return None
        parts.append(escaped)
    return ".".join(parts)


def place_at(entry: str) -> Place | None:
    """The inverse of entry_key(); None where the key is not a document's."""
    tokens = entry.split(".")
    if len(tokens) not in {5, 6} or tokens[0] != PREFIX:
        return None
    _, account, region, function, kind = tokens[:5]
    qualifier = tokens[5].translate(_PLAIN) if len(tokens) == 6 else None
    name = None if function == _SHARED else FunctionName(function)
    return Place(AccountId(account), Region(region), name, kind, qualifier)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of a document without knowing its type."""

    format: int = FORMAT
    instance_id: str
    revision_id: str
    value: msgspec.Raw


def encode(instance_id: str, revision_id: str, value: object) -> bytes:
    raw = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode(
        Envelope(instance_id=instance_id, revision_id=revision_id, value=raw)
    )


def open_envelope(value: bytes) -> Envelope:
    """Raises UnreadableRecord."""
    try:
        envelope = msgspec.json.decode(value, type=Envelope)
    except msgspec.MsgspecError as error:
        raise UnreadableRecord("not a document") from error
    if envelope.format != FORMAT:
        raise UnreadableRecord(
            f"a document of format {envelope.format!r}; this Hearth knows {FORMAT}"
        )
    return envelope


def value_of(envelope: Envelope, kind: Kind[T]) -> T:
    """Raises UnreadableRecord."""
    try:
        return msgspec.json.decode(envelope.value, type=kind.type)
    except msgspec.MsgspecError as error:
        raise UnreadableRecord(f"not a document of kind {kind.name}") from error
