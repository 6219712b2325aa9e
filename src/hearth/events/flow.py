"""How many events of one function may run now, and do its events wait apart from others'?

The shared partitions run a few events of a function at a time. A function that has more of them,
or that is throttled, is *aside*: its events wait in a lane of its own, which runs as many as the
function can take. That is found out: the window of a lane grows while nothing is refused, and
shrinks to what runs when something is. A refused event stays in hand and is tried when another run
of the function ends, or after its pause.

Pure: it is told what happened and when.
"""

from typing import Final

SHARED_RUNNING_MAX: Final = 8
"""Of one function, taken from the shared partitions."""
SHARED_WAITING_MAX: Final = 64
"""Of one function, before it is flooded."""
WINDOW_FIRST: Final = 8
WINDOW_MAX: Final = 256


class Flow:
    """What is known of the events of one function."""

    __slots__ = ("aside", "in_flight", "publishing", "running_shared", "waiting_shared")

    def __init__(self) -> None:
        self.aside: LaneWindow | None = None
        self.waiting_shared = 0
        """Accepted here for a shared partition and not yet taken out of it."""
        self.running_shared = 0
        self.in_flight = 0
        """Runs, however they were taken."""
        self.publishing = 0
        """Being written to the lane."""

    @property
    def is_idle(self) -> bool:
        return (
            self.aside is None
            and not self.waiting_shared
            and not self.running_shared
            and not self.publishing
            and not self.in_flight
        )

    @property
    def is_flooded(self) -> bool:
        return self.waiting_shared >= SHARED_WAITING_MAX

    @property
    def may_run_shared(self) -> bool:
        return self.aside is None and self.running_shared < SHARED_RUNNING_MAX


class LaneWindow:
    """How many events of a lane may run."""

    __slots__ = (
        "_is_growing_fast",
        "_successes",
        "completed",
        "paused_until_s",
        "refusals",
        "running",
        "window",
    )

    def __init__(self) -> None:
        self.window = WINDOW_FIRST
        self.running = 0
        self.completed = 0
        """Runs that have ended so far."""
        self.paused_until_s = 0.0
        self.refusals = 0
        """In a row, while nothing ran: what pauses grow with."""
        self._successes = 0
        self._is_growing_fast = True

    def may_start(self, now_s: float, most: int = WINDOW_MAX) -> bool:
        return self.running < min(self.window, most) and now_s >= self.paused_until_s

    def started(self) -> None:
        self.running += 1

    def ended(self) -> None:
        """One has run: what it used is free, and more may be there."""
        self.running -= 1
        self.completed += 1
        self.paused_until_s = 0.0
        self.refusals = 0
        self._successes += 1
        if self._successes >= self.window:
            self._successes = 0
            growth = self.window if self._is_growing_fast else 1
            self.window = min(self.window + growth, WINDOW_MAX)

    def refused(self, now_s: float, wait_s: float, began_after: int = -1) -> None:
        """One was not run. If others run, the end of one of them is the time to try again; if one
        has ended since this one began, when `began_after` were completed, that is now."""
        self.running -= 1
        if began_after not in (-1, self.completed):
            wait_s = 0.0
        elif not self.running:
            self.refusals += 1
        self.pause(now_s, wait_s)

    def pause(self, now_s: float, wait_s: float) -> None:
        self._is_growing_fast = False
        self._successes = 0
        self.window = max(1, min(self.window, self.running))
        self.paused_until_s = max(self.paused_until_s, now_s + wait_s)
