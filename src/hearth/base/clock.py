"""What time is it? Time as a dependency.

To know the time, ask the Clock you were given; decisions take the answer as an argument, `now_s`.
To wait, use asyncio (sleep, timeout): tests run it on an event loop with virtual time.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The only source of time in Hearth."""

    def monotonic_s(self) -> float:
        """For durations and deadlines: seconds from an arbitrary origin."""
        ...

    def utc(self) -> datetime:
        """For what a user sees (LastModified, log lines). Never subtract two of these."""
        ...

    def epoch_ms(self) -> int:
        """Wall-clock milliseconds: for deadlines that cross a process boundary."""
        ...


class SystemClock:
    """The machine's clock. Not the event loop's: uvloop's counts whole milliseconds."""

    monotonic_s = staticmethod(time.monotonic)  # asked a dozen times an invoke: no frame of ours

    def utc(self) -> datetime:
        return datetime.now(UTC)

    def epoch_ms(self) -> int:
        return time.time_ns() // 1_000_000
