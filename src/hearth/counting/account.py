"""How is one account's concurrency, in one region, divided into pools?

    account limit = unreserved pool
                  + for each function with a reservation: its reserved pool + its provisioned pools
                  + the provisioned pools of functions without a reservation

Provisioned concurrency takes its part from the function's reservation, or else from what is
unreserved: as much as is *available*, that is, kept initialised now. So the parts always add up to
the limit, and what is not available runs on demand instead; when it is available again, it waits
for what took its place. A reservation counts in full at once.

When a limit is lowered, what runs goes on, in the pool that its function draws from now. Until that
pool is within its limit again the account is settling: then a pool with room lets nobody in while
the account as a whole is full, so that there are never more than the account's limit.
Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hearth.counting.pace import Pace
from hearth.counting.pool import RESERVED, UNRESERVED, Lease, Pool, Share, retry_after
from hearth.model.errors import TooManyRequests

STARTS_BURST: Final = 1_000
STARTS_PER_S: Final = 100
"""New environments of one function: 1,000 in 10 s, refilled continuously."""


@dataclass(frozen=True, slots=True)
class Provision:
    """Provisioned concurrency of one version."""

    requested: int
    available: int
    """Kept initialised, and given to invokes: 0 until all are."""


class Function:
    """What one function may draw from, and what it does."""

    __slots__ = ("on_demand", "provisioned", "provisions", "reserved", "starts")

    def __init__(self, unreserved: Pool) -> None:
        self.reserved: int | None = None
        self.on_demand = Share(unreserved)
        self.provisions: dict[str, Provision] = {}
        self.provisioned: dict[str, Share] = {}
        """By version; one that was taken away stays until its last lease is back."""
        self.starts = Pace(STARTS_PER_S, STARTS_BURST)

    @property
    def is_configured(self) -> bool:
        return self.reserved is not None or bool(self.provisioned)

    @property
    def available(self) -> int:
        return sum(provision.available for provision in self.provisions.values())

    @property
    def set_aside(self) -> int:
        """What the account's other functions can no longer use."""
        if self.reserved is not None:
            return self.reserved
        return sum(provision.requested for provision in self.provisions.values())

    def is_forgettable(self, now_s: float) -> bool:
        """Nothing would be lost if this function were met for the first time again."""
        is_idle = not self.on_demand.in_use and self.starts.is_unused(now_s)
        return is_idle and not self.is_configured

    def acquire(self, version: str, now_s: float) -> Lease:
        """From exactly one pool. Raises TooManyRequests."""
        if self.provisioned:
            share = self.provisioned.get(version)
            if share is not None:
                if self._may_use(share.pool):
                    lease = Lease(share, spill_to=self.on_demand)
                    if share.pool.enter(lease, now_s) or share.pool.wait(lease, now_s):
                        return lease
                share.spilled += 1
        return self.on_demand.pool.acquire(self.on_demand, now_s)

    def _may_use(self, provisioned: Pool) -> bool:
        """Not what invokes on demand still occupy, from before it was available again."""
        on_demand = self.on_demand.pool
        excess = on_demand.in_use - on_demand.limit
        return excess <= 0 or provisioned.in_use + excess < provisioned.limit

    def allow_start(self, now_s: float) -> TooManyRequests | None:
        """Count a new environment, or answer why there may be none now."""
        if self.starts.allow(now_s):
            return None
        reasons = UNRESERVED if self.reserved is None else RESERVED
        error = TooManyRequests(reasons.rate)
        retry_after(error, self.starts.wait_s(now_s))
        return error


class Account:
    """The pools of one account in one region. Satisfies what a Pool asks of it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.is_settling = False
        self.unreserved = Pool(self, limit, UNRESERVED)
        self.functions: set[Function] = set()

    @property
    def set_aside(self) -> int:
        """Promised to functions: reservations, and provisioned concurrency outside of them."""
        return sum(function.set_aside for function in self.functions)

    def pools(self) -> Iterator[Pool]:
        """All of them, each once."""
        yield self.unreserved
        for function in self.functions:
            if function.reserved is not None:
                yield function.on_demand.pool
            for share in function.provisioned.values():
                yield share.pool

    def is_full(self) -> bool:
        """Whether nobody may be let in. Notices when the account has settled."""
        self._look_whether_settled()
        return sum(pool.in_use for pool in self.pools()) >= self.limit

    def reserve(self, function: Function, reserved: int | None) -> None:
        """None takes the reservation away."""
        if function.reserved == reserved:
            return
        if function.reserved is None:
            function.on_demand.move(Pool(self, 0, RESERVED))
        elif reserved is None:
            function.on_demand.move(self.unreserved)
        function.reserved = reserved
        self._divide()

    def provision(self, function: Function, version: str, provision: Provision | None) -> None:
        """None takes it away."""
        if provision is None:
            function.provisions.pop(version, None)
        else:
            function.provisions[version] = provision
            if version not in function.provisioned:
                pool = Pool(self, 0, UNRESERVED)
                function.provisioned[version] = Share(pool, is_provisioned=True)
        self._divide()

    def _divide(self) -> None:
        """Give every pool its part. Reservations first, so that a sum that is too large, which
        only an account limit that was lowered can make, is missing from what is unreserved."""
        left = self.limit
        for function in self.functions:
            self._divide_provisioned(function)
            available = function.available
            if function.reserved is None:
                left -= available
            else:
                function.on_demand.pool.resize(max(function.reserved - available, 0))
                left -= function.reserved
        self.unreserved.resize(max(left, 0))
        self._look_whether_settled()

    def _divide_provisioned(self, function: Function) -> None:
        for version, share in list(function.provisioned.items()):
            provision = function.provisions.get(version)
            share.pool.resize(0 if provision is None else provision.available)
            if provision is None and not share.in_use:
                del function.provisioned[version]

    def _look_whether_settled(self) -> None:
        self.is_settling = any(pool.in_use > pool.limit for pool in self.pools())
