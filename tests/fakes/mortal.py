"""A kill, played: a coroutine is closed where it waits, at its first, second, ... suspension."""

from collections.abc import Coroutine, Generator
from typing import Any


class Killed(Exception):
    pass


class Mortal:
    """Awaits a coroutine, and kills it where it waits for the `life`-th time."""

    def __init__(self, work: Coroutine[Any, Any, object], life: int) -> None:
        self._work = work
        self._life = life

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        for _ in range(self._life):
            try:
                waits_for = next(steps)
            except StopIteration:
                return
            yield waits_for
        self._work.close()
        raise Killed
