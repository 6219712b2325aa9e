"""Where does AWS answer otherwise than its model and its common rule say? One table each.

Every row is a recorded answer (facts of 2026-11); rows are keyed by the name of a
shape.
"""

from collections.abc import Callable
from typing import Any, Final

from hearth.model.errors import InvalidParameterValue, ServiceError

RUNTIMES: Final = (
    "nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, nodejs22.x, "
    "java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, ruby3.2, python3.8, python3.9, "
    "java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, java8.al2"
)
"""The runtimes that AWS offers in its error texts; the model's enum has the retired ones too."""


def _runtime(value: Any, path: str) -> ServiceError:
    """The value unquoted, another code, and no count of errors."""
    return InvalidParameterValue(
        f"Value {value} at '{path}' failed to satisfy constraint: "
        f"Member must satisfy enum value set: [{RUNTIMES}] or be a valid ARN"
    )


SPECIAL: Final[dict[tuple[str, str], Callable[[Any, str], ServiceError]]] = {
    ("Runtime", "runtime"): _runtime,
}
"""Shape and path of members whose violation is another error altogether."""

PLAIN_ELEMENTS: Final = {
    "CompatibleRuntimes": f"Member must satisfy enum value set: [{RUNTIMES}]",
}
"""Lists whose elements are reported as if the list were one value."""

ELEMENTS_MAY_BE_NULL: Final = frozenset({"SecurityGroupIds"})
"""Lists whose elements' constraints do not end in `Member must not be null`."""

ENUM_ORDERS: Final = {
    "RecursiveLoop": ("Terminate", "Allow"),
    "EventSourcePosition": ("LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"),
}
"""Value sets that are printed in another order than that of Java's hashes."""
