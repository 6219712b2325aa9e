"""Which operation is at this method and path? A tree of dicts, built once from the model.

    /2015-03-31/functions/{FunctionName}/invocations

is one step per segment: a literal wins over a label, a label over a greedy one (`{Key+}`, which
takes slashes too). Operations that share method and path differ in literal query parameters
(`?find=LayerVersion`); the one that asks for most is tried first. A slash at the end is ignored:
older clients send `/2015-03-31/functions/`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from hearth.api.shapes import ServiceModel, parse_literal_query

Query = Mapping[str, list[str]]


@dataclass(slots=True)
class _Leaf:
    name: str
    labels: tuple[str, ...]
    """Names of the labels on the way here, in order."""
    query: tuple[tuple[str, str | None], ...]


@dataclass(slots=True)
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    label: "_Node | None" = None
    greedy: "_Node | None" = None
    leaves: dict[str, list[_Leaf]] = field(default_factory=dict)
    """By method; those with most literal query parameters first."""


@dataclass(frozen=True, slots=True)
class Route:
    """What was found."""

    operation: str
    labels: dict[str, str]


class WrongMethod(Exception):
    """The path exists, but not with this method (or these query parameters)."""


class Routes:
    """All routes of one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._root = _Node()
        for name in model.operation_names:
            self._add(name, *model.route(name))

    def find(self, method: str, path: str, query: Query) -> Route | None:
        """None if no operation has that path. Raises WrongMethod if one has, but otherwise."""
        segments = path.split("/")[1:]
        while segments and not segments[-1]:
            segments.pop()
        path_exists = False
        for node, values in _walk(self._root, segments, 0):
            path_exists = path_exists or bool(node.leaves)
            for leaf in node.leaves.get(method, ()):
                if _has(query, leaf.query):
                    texts = (unquote(value) for value in values)
                    return Route(leaf.name, dict(zip(leaf.labels, texts, strict=True)))
        if path_exists:
            raise WrongMethod(method)
        return None

    def _add(self, name: str, method: str, uri: str) -> None:
        path, _, query = uri.partition("?")
        node = self._root
        labels: list[str] = []
        for segment in path.split("/")[1:]:
            if segment:
                node = _step(node, segment, labels)
        leaves = node.leaves.setdefault(method, [])
        leaves.append(_Leaf(name, tuple(labels), parse_literal_query(query)))
        leaves.sort(key=lambda leaf: -len(leaf.query))


def _step(node: _Node, segment: str, labels: list[str]) -> _Node:
    if not segment.startswith("{"):
        return node.literals.setdefault(segment, _Node())
    is_greedy = segment.endswith("+}")
    labels.append(segment[1:-2] if is_greedy else segment[1:-1])
    if is_greedy:
        node.greedy = node.greedy or _Node()
        return node.greedy
    node.label = node.label or _Node()
    return node.label


def _walk(node: _Node, segments: list[str], at: int) -> Iterable[tuple[_Node, list[str]]]:
    """Every node that the segments lead to, best first, with the values of its labels."""
    if at == len(segments):
        yield node, []
        return
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from _walk(literal, segments, at + 1)
    if node.label is not None and segment:
        for found, values in _walk(node.label, segments, at + 1):
            yield found, [segment, *values]
    if node.greedy is not None:
        for end in range(at + 1, len(segments) + 1):  # so that a literal after it wins
            taken = "/".join(segments[at:end])
            for found, values in _walk(node.greedy, segments, end):
                yield found, [taken, *values]


def _has(query: Query, wanted: tuple[tuple[str, str | None], ...]) -> bool:
    return all(name in query and (value is None or value in query[name]) for name, value in wanted)
