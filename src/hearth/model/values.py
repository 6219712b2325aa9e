"""Values that are made for each invoke: frozen for who checks types, plain for the interpreter.

A frozen dataclass sets each of its fields by a call of its own, which is 2 to 3 µs for the larger
ones, and an invoke makes five. `@value(frozen=True, ...)` is `@dataclass(frozen=True, ...)` to
mypy, which refuses assignments; at run time nothing does.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen, **options):
        return dataclass(**options, unsafe_hash=frozen)


__all__ = ["value"]
