"""What does a service's API look like? Operations and shapes, from botocore's models as data.

Only the JSON files are used. Importing botocore itself takes longer than everything here (its
auth and HTTP modules come along), and no code of it is needed to answer a request:

    locate the file (botocore is not imported) -> decode what we use of it -> shapes, on demand

A shape is compiled when it is first reached, so that a service of 600 shapes is ready in a few
milliseconds. The attributes of a reference (a member, an element) win over those of the shape it
names, as in botocore's own resolver.
Source: https://github.com/boto/botocore/tree/develop/botocore/data (format: service-2.json).
"""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec


class Kind(StrEnum):
    STRUCTURE = "structure"
    LIST = "list"
    MAP = "map"
    STRING = "string"
    CHARACTER = "character"
    INTEGER = "integer"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    BLOB = "blob"
    TIMESTAMP = "timestamp"


INTEGERS: Final = frozenset({Kind.INTEGER, Kind.LONG})
FLOATS: Final = frozenset({Kind.FLOAT, Kind.DOUBLE})
STRINGS: Final = frozenset({Kind.STRING, Kind.CHARACTER})
NESTED: Final = frozenset({Kind.STRUCTURE, Kind.LIST, Kind.MAP})


@dataclass(slots=True, eq=False, repr=False)
class Shape:
    """A type of the model. Shapes may contain themselves; two are the same if they are one."""

    name: str
    kind: Kind
    members: dict[str, "Ref"] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    payload: str | None = None
    """The member that is the whole body."""
    element: "Ref | None" = None
    key: "Ref | None" = None
    value: "Ref | None" = None
    min: int | float | None = None
    max: int | float | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    sensitive: bool = False
    eventstream: bool = False
    exception: bool = False
    error_code: str | None = None
    error_status: int | None = None

    def __repr__(self) -> str:
        return f"Shape({self.name}: {self.kind})"


@dataclass(slots=True, eq=False)
class Ref:
    """A place where a shape is used: a member, an element, a key, a value."""

    shape: Shape
    location: str | None = None
    """uri, querystring, header, headers, statusCode; None is the body."""
    wire_name: str | None = None
    flattened: bool = False
    timestamp_format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationModel:
    """One operation: where it is, what goes in, what comes out."""

    service: str
    name: str
    method: str
    path: str
    """`requestUri` without its query: labels in braces."""
    query: tuple[tuple[str, str | None], ...]
    """Query parameters that are part of the address: `?find=LayerVersion`."""
    status: int
    input: Shape | None
    output: Shape | None
    result_wrapper: str | None


class _RawRef(msgspec.Struct, rename="camel"):
    shape: str
    location: str | None = None
    location_name: str | None = None
    flattened: bool | None = None
    timestamp_format: str | None = None
    result_wrapper: str | None = None


class _RawError(msgspec.Struct, rename="camel"):
    code: str | None = None
    http_status_code: int | None = None


class _RawShape(msgspec.Struct, rename="camel"):
    type: str
    members: dict[str, _RawRef] = {}
    required: list[str] = []
    payload: str | None = None
    member: _RawRef | None = None
    key: _RawRef | None = None
    value: _RawRef | None = None
    min: int | float | None = None
    max: int | float | None = None
    pattern: str | None = None
    enum: list[str] = []
    sensitive: bool = False
    eventstream: bool = False
    exception: bool = False
    error: _RawError | None = None
    flattened: bool | None = None
    location_name: str | None = None
    timestamp_format: str | None = None


class _RawHttp(msgspec.Struct, rename="camel"):
    method: str = "POST"
    request_uri: str = "/"
    response_code: int = 200


class _RawOperation(msgspec.Struct):
    http: _RawHttp = msgspec.field(default_factory=_RawHttp)
    input: _RawRef | None = None
    output: _RawRef | None = None


class Metadata(msgspec.Struct, rename="camel"):
    """The model's own words for the service."""

    api_version: str
    protocol: str
    endpoint_prefix: str
    signing_name: str = ""
    target_prefix: str = ""
    json_version: str = "1.0"
    xml_namespace: str = ""


class _RawModel(msgspec.Struct):
    metadata: Metadata
    operations: dict[str, _RawOperation]
    shapes: dict[str, _RawShape]


class UnknownService(Exception):
    """There is no model of this name: a mistake in the edge table, never the caller's."""


class ServiceModel:
    """All operations and shapes of one service, compiled as they are asked for."""

    def __init__(self, name: str, raw: _RawModel) -> None:
        self.name: Final = name
        self.metadata: Final = raw.metadata
        self.operation_names: Final = tuple(raw.operations)
        self._raw = raw
        self._shapes: dict[str, Shape] = {}
        self._operations: dict[str, OperationModel] = {}

    @property
    def signing_name(self) -> str:
        """The service part of a credential scope."""
        return self.metadata.signing_name or self.metadata.endpoint_prefix

    def operation(self, name: str) -> OperationModel:
        """Raises KeyError if the service has no such operation."""
        found = self._operations.get(name)
        if found is None:
            found = self._operations[name] = self._compile_operation(name)
        return found

    def route(self, name: str) -> tuple[str, str]:
        """(method, requestUri) without compiling any shape."""
        http = self._raw.operations[name].http
        return http.method, http.request_uri

    def shape(self, name: str) -> Shape:
        """Raises KeyError if the model has no such shape."""
        found = self._shapes.get(name)
        if found is None:
            raw = self._raw.shapes[name]
            found = self._shapes[name] = Shape(name, Kind(raw.type))  # first, for recursive shapes
            self._fill(found, raw)
        return found

    @cached_property
    def errors(self) -> dict[str, Shape]:
        """Error shapes by their code, and by their name where that differs."""
        found: dict[str, Shape] = {}
        for name, raw in self._raw.shapes.items():
            if raw.exception or raw.error is not None:
                shape = self.shape(name)
                found.setdefault(name, shape)
                if shape.error_code:
                    found[shape.error_code] = shape
        return found

    def _compile_operation(self, name: str) -> OperationModel:
        raw = self._raw.operations[name]
        path, _, query = raw.http.request_uri.partition("?")
        return OperationModel(
            service=self.name,
            name=name,
            method=raw.http.method,
            path=path,
            query=parse_literal_query(query),
            status=raw.http.response_code,
            input=self.shape(raw.input.shape) if raw.input else None,
            output=self.shape(raw.output.shape) if raw.output else None,
            result_wrapper=raw.output.result_wrapper if raw.output else None,
        )

    def _fill(self, shape: Shape, raw: _RawShape) -> None:
        shape.members = {name: self._ref(member) for name, member in raw.members.items()}
        shape.required = frozenset(raw.required)
        shape.payload = raw.payload
        shape.element = self._ref(raw.member) if raw.member else None
        shape.key = self._ref(raw.key) if raw.key else None
        shape.value = self._ref(raw.value) if raw.value else None
        shape.min, shape.max, shape.pattern = raw.min, raw.max, raw.pattern
        shape.enum = tuple(raw.enum)
        shape.sensitive, shape.eventstream = raw.sensitive, raw.eventstream
        shape.exception = raw.exception
        if raw.error is not None:
            shape.error_code, shape.error_status = raw.error.code, raw.error.http_status_code

    def _ref(self, ref: _RawRef) -> Ref:
        target = self._raw.shapes[ref.shape]
        flattened = target.flattened if ref.flattened is None else ref.flattened
        return Ref(
            shape=self.shape(ref.shape),
            location=ref.location,
            wire_name=ref.location_name or target.location_name,
            flattened=bool(flattened),
            timestamp_format=ref.timestamp_format or target.timestamp_format,
        )


def parse_literal_query(query: str) -> tuple[tuple[str, str | None], ...]:
    """`find=LayerVersion&List` -> (("find", "LayerVersion"), ("List", None))"""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return tuple((name, value if equals else None) for name, equals, value in pairs)


# Made here and not at the first use: models are read by several threads at once, and msgspec finds
# out what its types are by the first use of each, which crashes if two threads do it together.
_model_decoder: Final = msgspec.json.Decoder(_RawModel)


def parse_model(name: str, text: bytes) -> ServiceModel:
    """A model from the text of a service-2.json file. Also from several threads at once."""
    return ServiceModel(name, _model_decoder.decode(text))


@cache
def load_service(name: str) -> ServiceModel:
    """The newest model of the service. Raises UnknownService if there is none."""
    try:
        versions = sorted(path for path in (_data_root() / name).iterdir() if path.is_dir())
    except FileNotFoundError as error:
        raise UnknownService(f"botocore has no model of a service {name!r}") from error
    return parse_model(name, _read(versions[-1]))


def _read(folder: Path) -> bytes:
    packed = folder / "service-2.json.gz"
    if packed.exists():
        return gzip.decompress(packed.read_bytes())
    return (folder / "service-2.json").read_bytes()


@cache
def _data_root() -> Path:
    spec = find_spec("botocore")  # finds a top-level package without importing it
    places: Iterable[str] = spec.submodule_search_locations or () if spec else ()
    for place in places:
        return Path(place) / "data"
    raise UnknownService("botocore is not installed, and its models are what Hearth answers from")
