"""How often may something happen? So many a second, and so many at once.

What happened is owed, and paid off continuously; no more than the burst may be owed. So what is
not used is refilled as time passes, and never accrues beyond the burst.
"""

from math import inf
from typing import Final

TOLERANCE: Final = 1e-6
"""Of one; so that the rounding of times does not decide."""


class Pace:
    """`burst` at once, refilled with `per_s` a second."""

    __slots__ = ("_at_s", "_most", "_owed", "_per_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self._at_s = -inf
        self._owed = 0.0
        self.resize(per_s, burst)

    def resize(self, per_s: float, burst: float) -> None:
        """From now on this much; what is owed stays owed."""
        self._per_s = per_s
        self._most = burst - 1.0 + TOLERANCE

    def allow(self, now_s: float) -> bool:
        """Whether one more may happen now; it is counted if so."""
        owed = self._owed
        if owed:
            owed -= (now_s - self._at_s) * self._per_s
            if owed < 0.0:
                owed = 0.0
        if owed > self._most:
            return False
        self._at_s = now_s
        self._owed = owed + 1.0
        return True

    def refund(self) -> None:
        """The last one that was allowed did not happen."""
        self._owed = max(self._owed - 1.0, 0.0)

    def is_unused(self, now_s: float) -> bool:
        """Whether a new Pace would allow as much."""
        return not self._owed or self._owed <= (now_s - self._at_s) * self._per_s

    def wait_s(self, now_s: float) -> float:
        """How long until one more is allowed; infinite if never."""
        if self._most < 0.0 or not self._per_s:
            return inf
        if not self._owed:
            return 0.0
        return max((self._owed - self._most) / self._per_s - (now_s - self._at_s), 0.0)
