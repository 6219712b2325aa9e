r"""Which invokes share one limit, and what happens when it is reached?

    hold --room--> HELD --finish--> FINISHING --release--> RELEASED
     |              \________________release______________/
     +--full, but a lease is about to come back--> wait --another's release--> HELD
                                                     \--give_up--> RELEASED

A lease covers the sandbox, not the answer: it is given back when the runtime and every extension
have asked for their next event. Between the answer and that moment (usually 50-100 us) it is
*finishing*. A client that sends one invoke after the other must not be throttled by its own
previous one, so whoever finds the pool full only because of young finishing leases may wait for
one of them, FINISHING_GRACE_S at most. Nobody else waits: as in AWS, full means 429 at once.

A pool also has a pace: ten synchronous requests a second for each unit of its concurrency.
Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from math import ceil, isfinite
from typing import Final, Protocol

from hearth.counting.pace import Pace
from hearth.model.errors import TooManyRequests

FINISHING_GRACE_S: Final = 0.5
"""How long after its answer an invoke may be expected back at any moment.

A runtime asks for its next event some 50 µs after its answer, but one with 128 MB has 1.4 ms of
CPU in every 20, and a busy machine adds to that: callers that come one after another must not be
refused for it. Whoever is to be refused hears of it this much later at most.
"""

REQUESTS_PER_S: Final = 10
"""For each unit of concurrency."""


class LeaseState(Enum):
    NEW = auto()
    WAITING = auto()
    HELD = auto()
    FINISHING = auto()
    RELEASED = auto()


@dataclass(frozen=True, slots=True)
class Reasons:
    """AWS's ThrottleReason for each of a pool's two limits."""

    concurrency: str
    rate: str


UNRESERVED: Final = Reasons(
    "ConcurrentInvocationLimitExceeded", "FunctionInvocationRateLimitExceeded"
)
RESERVED: Final = Reasons(
    "ReservedFunctionConcurrentInvocationLimitExceeded",
    "ReservedFunctionInvocationRateLimitExceeded",
)


class Account(Protocol):
    """The pools of one account and region, together."""

    is_settling: bool
    """Some pool holds more than its limit, which was lowered."""

    def is_full(self) -> bool:
        """Only asked while it is settling: otherwise no pool has room in a full account."""
        ...


class Share:
    """What one function draws from one pool. A reservation moves it to another pool."""

    __slots__ = ("granted", "in_use", "is_provisioned", "pool", "spilled")

    def __init__(self, pool: "Pool", *, is_provisioned: bool = False) -> None:
        self.pool = pool
        self.in_use = 0
        self.is_provisioned = is_provisioned
        self.granted = 0
        """Leases that were ever held."""
        self.spilled = 0
        """Of one that is provisioned: those that were drawn from elsewhere instead."""

    def move(self, pool: "Pool") -> None:
        """Everything that this function has in its pool is in `pool` from now on.

        No lease is taken back: `pool` may hold more than its limit afterwards.
        """
        old, self.pool = self.pool, pool
        old.in_use -= self.in_use
        pool.in_use += self.in_use
        for lease in [lease for lease in old.finishing_since_s if lease.share is self]:
            pool.finishing_since_s[lease] = old.finishing_since_s.pop(lease)
        waiting = [lease for lease in old.waiting if lease.share is self]
        pool.waiting.extend(waiting)
        for lease in waiting:
            old.waiting.remove(lease)


class Lease:
    """The right to run one invoke."""

    __slots__ = ("_spill_to", "share", "state")

    def __init__(self, share: Share, spill_to: Share | None = None) -> None:
        self.share = share
        self.state = LeaseState.NEW
        self._spill_to = spill_to

    @property
    def is_waiting(self) -> bool:
        return self.state is LeaseState.WAITING

    @property
    def is_held(self) -> bool:
        return self.state is LeaseState.HELD

    @property
    def is_provisioned(self) -> bool:
        """It stands for an environment that is kept initialised."""
        return self.share.is_provisioned

    def give_up(self, now_s: float) -> TooManyRequests | None:
        """Nothing came back in time. Answers the error to raise, or None: it is held after all,
        because provisioned concurrency spills over. Only while it is waiting."""
        self.share.pool.stop_waiting(self)
        if self._spill_to is None:
            return self.share.pool.refuse_full()
        self.share.spilled += 1
        self.share = self._spill_to
        pool = self.share.pool
        return None if pool.enter(self, now_s) else pool.refuse(now_s)

    def is_for_event(self) -> None:
        """It does not count against the pace: that is for synchronous requests. While it is
        held."""
        self.share.pool.refund_pace()

    def abandon(self) -> None:
        """Stop waiting, because nobody wants it any more. Only while it is waiting."""
        self.share.pool.stop_waiting(self)

    def finish(self, now_s: float) -> None:
        """The invoke was answered; its sandbox is not ready for another one yet."""
        self.share.pool.finish(self, now_s)

    def release(self) -> "Lease | None":
        """Give it back, once. Answers the waiting lease that is held from now on, if any."""
        return self.share.pool.release(self)


class Pool:
    """Leases that share one limit.

    Invariant: no more than `limit` are held or finishing, unless the limit was lowered, which
    takes no lease back.
    """

    __slots__ = (
        "_account",
        "_pace",
        "_reasons",
        "finishing_since_s",
        "in_use",
        "limit",
        "throttled",
        "waiting",
    )

    def __init__(self, account: Account, limit: int, reasons: Reasons) -> None:
        self.limit = limit
        self.in_use = 0
        self.finishing_since_s: dict[Lease, float] = {}  # in order, longest finishing first
        self.waiting: deque[Lease] = deque()
        self.throttled = 0
        self._account = account
        self._reasons = reasons
        self._pace = Pace(REQUESTS_PER_S * limit, REQUESTS_PER_S * limit)

    def resize(self, limit: int) -> None:
        self.limit = limit
        self._pace.resize(REQUESTS_PER_S * limit, REQUESTS_PER_S * limit)

    def acquire(self, share: Share, now_s: float) -> Lease:
        """A lease that is held, or waits. Raises TooManyRequests."""
        lease = Lease(share)
        if self.enter(lease, now_s) or self.wait(lease, now_s):
            return lease
        raise self.refuse(now_s)

    def enter(self, lease: Lease, now_s: float) -> bool:
        """Let `lease` be held, if there is room and it does not come too soon."""
        account = self._account
        if (
            self.in_use >= self.limit
            or (account.is_settling and account.is_full())
            or not self._pace.allow(now_s)
        ):
            return False
        self.in_use += 1
        lease.share.in_use += 1
        lease.share.granted += 1
        lease.state = LeaseState.HELD
        return True

    def wait(self, lease: Lease, now_s: float) -> bool:
        """Let `lease` wait, if the pool is full and one more lease is about to come back."""
        if not self._one_more_comes_back(now_s) or not self._pace.allow(now_s):
            return False
        lease.state = LeaseState.WAITING
        self.waiting.append(lease)
        return True

    def refuse(self, now_s: float) -> TooManyRequests:
        """Why nobody was let in."""
        if self.in_use >= self.limit:
            return self.refuse_full()
        self.throttled += 1
        if self._account.is_settling and self._account.is_full():
            return TooManyRequests(UNRESERVED.concurrency)
        error = TooManyRequests(self._reasons.rate)
        retry_after(error, self._pace.wait_s(now_s))
        return error

    def stop_waiting(self, lease: Lease) -> None:
        assert lease.state is LeaseState.WAITING, lease.state
        self.waiting.remove(lease)
        self._pace.refund()
        lease.state = LeaseState.RELEASED

    def refund_pace(self) -> None:
        self._pace.refund()

    def finish(self, lease: Lease, now_s: float) -> None:
        assert lease.state is LeaseState.HELD, lease.state
        lease.state = LeaseState.FINISHING
        self.finishing_since_s[lease] = now_s

    def release(self, lease: Lease) -> Lease | None:
        if lease.state is LeaseState.FINISHING:
            del self.finishing_since_s[lease]
        else:
            assert lease.state is LeaseState.HELD, lease.state
        lease.state = LeaseState.RELEASED
        lease.share.in_use -= 1
        self.in_use -= 1
        if not self.waiting or self.in_use >= self.limit:
            return None
        heir = self.waiting.popleft()
        heir.state = LeaseState.HELD
        heir.share.in_use += 1
        heir.share.granted += 1
        self.in_use += 1
        return heir

    def refuse_full(self) -> TooManyRequests:
        self.throttled += 1
        return TooManyRequests(self._reasons.concurrency)

    def _one_more_comes_back(self, now_s: float) -> bool:
        """Whether more leases are finishing, and young, than others need to come back."""
        if self.in_use < self.limit:
            return False
        # The newest ones are spoken for: by those who wait, and by a limit that was lowered.
        spoken_for = len(self.waiting) + self.in_use - self.limit
        if len(self.finishing_since_s) <= spoken_for:
            return False
        newest_first = reversed(self.finishing_since_s.values())
        since_s = next(islice(newest_first, spoken_for, None))
        return since_s + FINISHING_GRACE_S > now_s


def retry_after(error: TooManyRequests, wait_s: float) -> None:
    """Say when it is worth trying again, in whole seconds, where that is known: after a rate.

    The model has the header; no recorded 429 for concurrency carries it.
    """
    if isfinite(wait_s):
        error.headers["Retry-After"] = str(max(ceil(wait_s), 1))
