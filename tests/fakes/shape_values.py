"""Values for any shape of a service model, made up from a seed: for round trips.

Every member is present, except where a shape contains itself and gets too deep. Nothing is empty:
a form cannot say the difference between an empty list and none.
"""

import random
from datetime import UTC, datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

DEPTH_MAX = 6
TEXTS = ("plain", "two words", "Grüße, 世界", 'quoted "x" & <y>', "a/b:c+d%20=?#", "-1.5e3", "true")
HEADER_TEXTS = ("plain", "two words", "a;b=c", "x/y:z")


class Absent(Exception):
    """The value would be too deep; leave the member out."""


class ShapeValues:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def structure(self, shape: StructureShape, depth: int = 0) -> dict[str, Any]:
        """Raises Absent if nothing would be in it."""
        members: dict[str, Any] = {}
        for name, member in shape.members.items():
            try:
                members[name] = self._member(member, depth + 1)
            except Absent:
                continue
            if getattr(shape, "is_tagged_union", False):
                break
        if shape.members and not members:
            raise Absent
        return members

    def _member(self, shape: Shape, depth: int) -> Any:
        match shape.serialization.get("location"):
            case "statusCode":
                return 202
            case "header" | "headers":
                if shape.type_name == "string" and not self._enum(shape):
                    return self._random.choice(HEADER_TEXTS)
        return self.value(shape, depth)

    def value(self, shape: Shape, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise Absent
        if isinstance(shape, StructureShape):
            if not shape.members:
                raise Absent  # `{}` is nothing at all in a form
            return self.structure(shape, depth)
        if isinstance(shape, ListShape):
            count = self._random.randint(1, 3)
            return [self.value(shape.member, depth + 1) for _ in range(count)]
        if isinstance(shape, MapShape):
            keys = self._random.sample(TEXTS, self._random.randint(1, 3))
            return {key: self.value(shape.value, depth + 1) for key in keys}
        return self._scalar(shape)

    def _enum(self, shape: Shape) -> list[str]:
        return list(getattr(shape, "enum", ()))

    def _scalar(self, shape: Shape) -> Any:
        match shape.type_name:
            case "integer" | "long":
                return self._random.randint(-(2**31), 2**31 - 1)
            case "float" | "double":
                return self._random.choice((0.5, -2.0, 1e-3, 123456.75))
            case "boolean":
                return self._random.random() < 0.5
            case "blob":
                return self._random.randbytes(self._random.randint(1, 40))
            case "timestamp":
                return datetime.fromtimestamp(self._random.randint(0, 2_000_000_000), UTC)
        values = self._enum(shape)
        return self._random.choice(values or TEXTS)
