r"""May one more invoke run? Counts what is in flight, for each account and region.

    acquire --room--> HELD --finish--> FINISHING --release--> RELEASED
       |                \_________________release______________/
       +--full, but a lease is about to come back--> WAITING --another's release--> HELD
       +--full--> TooManyRequests                       \--give_up--> RELEASED

A lease covers the sandbox, not the answer: it is given back when the runtime and every extension
have asked for their next event. Between the answer and that moment (usually 50-100 us) it is
*finishing*. A client that sends one invoke after the other must not be throttled by its own
previous one, so whoever finds the pool full only because of young finishing leases may wait for
one of them, FINISHING_GRACE_S at most. Nobody else waits: as in AWS, full means 429 at once,
without a Retry-After (no recorded answer has one).

An invoke draws from exactly one pool. Today that is the account's; a function's reserved pool and
the ledger that several front ends share come in behind `Counter.acquire`.
Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import Final

from hearth.model.errors import TooManyRequests
from hearth.model.ids import AccountId, FunctionKey, Region

FINISHING_GRACE_S: Final = 0.05
"""How long after its answer an invoke may be expected back at any moment."""

POOLS_KEPT_MAX: Final = 256
"""Beyond this many pools the unused ones are forgotten."""

ACCOUNT_LIMIT_REACHED: Final = "ConcurrentInvocationLimitExceeded"


class LeaseState(Enum):
    WAITING = auto()
    HELD = auto()
    FINISHING = auto()
    RELEASED = auto()


class Lease:
    """The right to run one invoke."""

    __slots__ = ("pool", "state")

    def __init__(self, pool: "Pool", state: LeaseState) -> None:
        self.pool = pool
        self.state = state

    @property
    def is_waiting(self) -> bool:
        return self.state is LeaseState.WAITING

    @property
    def is_held(self) -> bool:
        return self.state is LeaseState.HELD

    def give_up(self) -> TooManyRequests:
        """Stop waiting; answers the error to raise. Only while it is waiting."""
        return self.pool.give_up(self)

    def finish(self, now_s: float) -> None:
        """The invoke was answered; its sandbox is not ready for another one yet."""
        self.pool.finish(self, now_s)

    def release(self) -> "Lease | None":
        """Give it back, once. Answers the waiting lease that is held from now on, if any."""
        return self.pool.release(self)


class Pool:
    """Leases that share one limit.

    Invariant: no more than `limit` are held or finishing, unless the limit was lowered, which
    takes no lease back.
    """

    __slots__ = ("finishing_since_s", "in_use", "limit", "throttled", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self.finishing_since_s: dict[Lease, float] = {}  # in order, longest finishing first
        self.waiting: deque[Lease] = deque()
        self.throttled = 0

    def acquire(self, now_s: float) -> Lease:
        """See Counter.acquire."""
        if self.in_use < self.limit:
            self.in_use += 1
            return Lease(self, LeaseState.HELD)
        if not self._one_more_comes_back(now_s):
            raise self._throttle()
        lease = Lease(self, LeaseState.WAITING)
        self.waiting.append(lease)
        return lease

    def give_up(self, lease: Lease) -> TooManyRequests:
        assert lease.state is LeaseState.WAITING, lease.state
        self.waiting.remove(lease)
        lease.state = LeaseState.RELEASED
        return self._throttle()

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
        self.in_use -= 1
        if not self.waiting or self.in_use >= self.limit:
            return None
        heir = self.waiting.popleft()
        heir.state = LeaseState.HELD
        self.in_use += 1
        return heir

    def _one_more_comes_back(self, now_s: float) -> bool:
        """Whether more leases are finishing, and young, than are waited for already."""
        if len(self.finishing_since_s) <= len(self.waiting):
            return False
        # The newest ones are spoken for by those who wait; the next newest would be for this one.
        newest_first = reversed(self.finishing_since_s.values())
        since_s = next(islice(newest_first, len(self.waiting), None))
        return since_s + FINISHING_GRACE_S > now_s

    def _throttle(self) -> TooManyRequests:
        self.throttled += 1
        return TooManyRequests(ACCOUNT_LIMIT_REACHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Concurrency of one account in one region, now."""

    limit: int
    unreserved: int
    """What functions without a reservation share."""
    in_use: int
    """Held and finishing."""
    finishing: int
    waiting: int
    throttled: int
    """Invokes refused since the account's pool was made."""


class Counter:
    """The concurrency of all accounts. Each account has the same limit in each region."""

    def __init__(self, account_limit: int) -> None:
        self.account_limit = account_limit
        self._pools: dict[tuple[AccountId, Region], Pool] = {}

    @property
    def in_use(self) -> int:
        """Leases that are held or finishing, over all accounts."""
        return sum(pool.in_use for pool in self._pools.values())

    def usage(self, account: AccountId, region: Region) -> Usage:
        """For GetAccountSettings and status."""
        pool = self._pools.get((account, region)) or Pool(self.account_limit)
        return Usage(
            limit=pool.limit,
            unreserved=pool.limit,
            in_use=pool.in_use,
            finishing=len(pool.finishing_since_s),
            waiting=len(pool.waiting),
            throttled=pool.throttled,
        )

    def acquire(self, function: FunctionKey, now_s: float) -> Lease:
        """A lease that is held, or waiting where one is about to come back.

        A waiting one becomes held when another's `release` returns it; whoever waits does so for
        FINISHING_GRACE_S at most and then calls `give_up`. Raises TooManyRequests.
        """
        pool = self._pools.get((function.account, function.region))
        if pool is None:
            pool = self._open(function.account, function.region)
        return pool.acquire(now_s)

    def _open(self, account: AccountId, region: Region) -> Pool:
        if len(self._pools) >= POOLS_KEPT_MAX:
            self._pools = {where: pool for where, pool in self._pools.items() if pool.in_use}
        pool = self._pools[account, region] = Pool(self.account_limit)
        return pool
