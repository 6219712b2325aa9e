"""How many sandboxes should wait, launched, for functions that nobody has named yet?

Pure: told what was demanded and when, it answers how many *stems* each kind should have. A shell
(sandboxes/stems.py) makes and ends them.

1. What may be taken before it can be replaced: the largest burst of the last hour, and half as
   much again, since the next may be larger. A burst is what came within BURST_S, since the shell
   makes stems one at a time and holds back while functions need the CPU.
2. What is taken while replacements are under way: Little's law, rate times the time that one takes.
3. Never fewer than `floor` for a kind that was used in the last hour; never more memory than
   `memory_mb` for all kinds together. Where that is short, kinds take turns.

Sources: J. Little, A Proof for the Queuing Formula L = λW (1961); Shahrad et al., Serverless in the
Wild (ATC'20), whose trace has most functions come in bursts minutes apart, and keep-alive follow
the recent past; Oakes et al., SOCK (ATC'18), for pools of forked interpreters.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar

Kind = TypeVar("Kind")

STEM_MB: Final = 5
"""Of memory, all in; measured are 4."""
WAITING_MB: Final = 40
"""Of one that was executed and not forked: a Node.js shares nothing with the next one."""
HISTORY_S: Final = 3600.0
BURST_S: Final = 3
RATE_S: Final = 60.0
HEADROOM: Final = 1.5
IDLE_S: Final = 3600.0
"""A kind that nobody wanted for so long has no stems any more."""
QUIET_S: Final = 0.02
"""Nothing is made until so long after the last start: a burst has the CPU for itself."""
CROWDED: Final = 1.0
"""Runnable processes for each CPU, above which making waits."""
PAUSE_S: Final = 0.02
PAUSE_PART: Final = 0.25
PAUSED_S_MAX: Final = 1.0
"""One stem is made so often, whatever else is going on; or a busy machine would never have any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StemBounds:
    """Set by whoever runs Hearth."""

    floor: int = 2
    memory_mb: int = 256

    @property
    def stems_max(self) -> int:
        return self.memory_mb // STEM_MB


DEFAULT_BOUNDS: Final = StemBounds()


@dataclass(slots=True)
class Demand:
    """For one kind: how many were wanted, and when. Costs the same however many those were."""

    seconds: deque[tuple[int, int]] = field(default_factory=deque)
    """How many in each second of the last RATE_S."""
    peaks: deque[tuple[int, int]] = field(default_factory=deque)
    """Bursts of the last HISTORY_S, each larger than all that came after it: when it was over, and
    how many it had."""
    last_s: float = -math.inf

    def note(self, now_s: float) -> None:
        second, count = int(now_s), 0
        if self.seconds and self.seconds[-1][0] == second:
            _, count = self.seconds.pop()
        self.seconds.append((second, count + 1))
        while self.seconds[0][0] <= now_s - RATE_S - 1:
            self.seconds.popleft()
        burst = sum(
            count for at, count in islice(reversed(self.seconds), BURST_S) if at > second - BURST_S
        )
        while self.peaks and self.peaks[-1][1] <= burst:
            self.peaks.pop()
        self.peaks.append((second, burst))
        self.last_s = now_s

    def burst(self, now_s: float) -> int:
        """The most that were wanted within BURST_S."""
        return next((size for second, size in self.peaks if second >= now_s - HISTORY_S), 0)

    def rate(self, now_s: float) -> float:
        """Per second, over the last minute."""
        return sum(count for second, count in self.seconds if second >= now_s - RATE_S) / RATE_S


def stems_wanted(demand: Demand, make_s: float, floor: int, now_s: float) -> int:
    """For one kind, if there were memory for all. `make_s`: how long a new one takes."""
    if now_s - demand.last_s >= IDLE_S:
        return 0
    meanwhile = demand.rate(now_s) * make_s
    return max(floor, math.ceil(demand.burst(now_s) * HEADROOM + meanwhile))


def share(
    wanted: Mapping[Kind, int], stems_max: int, cost: Callable[[Kind], int] = lambda _kind: 1
) -> dict[Kind, int]:
    """How many each may have. In turns, so that one that wants many leaves the others some.
    `cost`: for how many of `stems_max` one of the kind counts."""
    shares = dict.fromkeys(wanted, 0)
    left = stems_max
    while left > 0:
        hungry = [kind for kind in wanted if shares[kind] < wanted[kind] and cost(kind) <= left]
        if not hungry:
            break
        together = sum(map(cost, hungry))
        each = max(1, min(left // together, *(wanted[k] - shares[k] for k in hungry)))
        for kind in hungry:
            if each * cost(kind) <= left:
                shares[kind] += each
                left -= each * cost(kind)
    return shares


def pause_s(waited_s: float) -> float:
    """How long until the next look: longer each time, since what has lasted will last."""
    return max(PAUSE_S, min(waited_s * PAUSE_PART, PAUSED_S_MAX - waited_s))


def must_wait(*, quiet_s: float, runnable: Callable[[], float], waited_s: float) -> bool:
    """Whether to hold back before the next one is made. `quiet_s`: since the last start."""
    if waited_s >= PAUSED_S_MAX:
        return False
    return quiet_s < QUIET_S or runnable() > CROWDED
