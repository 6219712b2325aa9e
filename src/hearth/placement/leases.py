"""For how long may a worker be used before it is recycled? Pure.

A worker is leased for 6-8 hours, drawn anew each time so that a fleet does not turn over at once:

    granted        placing ends     reuse ends: a sandbox's own      lease ends
       |----------------|---------------|xxxxxxxxxxxxxx|---------------|
       | new sandboxes  | none new      | 30 min, drawn| 15 min: the longest invoke can end

- When placing ends, a worker that goes on gets a successor lease at once: sandboxes started from
  then on belong to that. A worker that leaves gets none.
- Each sandbox has its own end of reuse, spread over half an hour: one that is busy then finishes
  and is stopped, one that is idle is stopped. No invoke is ever killed by recycling, and no
  function loses all of its sandboxes in the same second.
- Every sandbox may live for at least REUSE_S_MIN.

Source: AWS: environments are recycled every few hours, even for functions that are invoked
continuously; workers are leased for 6-8 h (SRV409), 14 h at most (Lambda security whitepaper).
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from dataclasses import dataclass
from typing import Final

LEASE_S_MIN: Final = 6 * 3600.0
LEASE_S_MAX: Final = 8 * 3600.0
LONGEST_INVOKE_S: Final = 900.0
SPREAD_S: Final = 1800.0
REUSE_S_MIN: Final = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Monotonic seconds, all of them."""

    granted_s: float
    placing_until_s: float
    ends_s: float


def grant(now_s: float, draw: float, ends_s_max: float | None = None) -> Lease:
    """A lease from now on; `draw` in [0, 1) chooses its length.

    `ends_s_max` is when the worker itself must be empty: placing may end at once for it.
    """
    ends_s = now_s + LEASE_S_MIN + draw * (LEASE_S_MAX - LEASE_S_MIN)
    if ends_s_max is not None:
        ends_s = min(ends_s, ends_s_max)
    placing_until_s = ends_s - LONGEST_INVOKE_S - SPREAD_S - REUSE_S_MIN
    return Lease(granted_s=now_s, placing_until_s=placing_until_s, ends_s=ends_s)


def is_placing(lease: Lease, now_s: float) -> bool:
    """Whether a new sandbox may be started under it."""
    return now_s < lease.placing_until_s


def reuse_until_s(lease: Lease, draw: float) -> float:
    """When a sandbox under `lease` must get no further invoke; `draw` in [0, 1) spreads them."""
    return lease.ends_s - LONGEST_INVOKE_S - draw * SPREAD_S
