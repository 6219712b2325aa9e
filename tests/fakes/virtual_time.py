"""An event loop on which time is virtual: a test may sleep for an hour in a millisecond.

Where asyncio would block until the next timer, that much time has passed. When every task waits
and no timer will wake any of them, the test fails with a deadlock instead of hanging.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let `timeout` seconds have passed instead of waiting for them."""
        if timeout is None:
            raise RuntimeError("deadlock: every task waits, and no timer will wake any of them")
        self.now_s += max(timeout, 0.0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class VirtualClock:
    """The Clock of a virtual-time test: starts at a fixed day, moves with the loop."""

    ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def utc(self) -> datetime:
        return self.ORIGIN + timedelta(seconds=self.monotonic_s())

    def epoch_ms(self) -> int:
        return int(self.utc().timestamp() * 1000)


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
