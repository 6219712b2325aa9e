"""May one more invoke run? Counts what is in flight, in the pools of each account and region.

An invoke draws from exactly one pool, the first of these that its function has:

1. the provisioned concurrency of its version, if that is there and free (else it spills over);
2. the function's reserved concurrency;
3. what is unreserved in the account, which all other functions share.

The same is asked before each new environment: a function may start 1,000 in ten seconds.

Settings come from the local copy of the metadata, so nothing here waits for anybody. One front end
counts exactly; the ledger that several share comes in behind `Counter.acquire`.
Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from dataclasses import dataclass
from typing import Final

from hearth.counting.account import Account, Function, Provision
from hearth.counting.pool import Lease
from hearth.model.errors import TooManyRequests
from hearth.model.ids import AccountId, FunctionKey, Region

FUNCTIONS_KEPT_MAX: Final = 1_024
"""Beyond so many, functions without settings that do nothing are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Concurrency of one account in one region, now."""

    limit: int
    unreserved: int
    """What functions without a reservation or provisioned concurrency share."""
    in_use: int
    """Held and finishing."""
    unreserved_in_use: int
    finishing: int
    waiting: int
    throttled: int
    """Invokes refused since the account's pools were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedUsage:
    """Provisioned concurrency of one version, now, and since it was given."""

    function: FunctionKey
    version: str
    available: int
    in_use: int
    invocations: int
    spilled: int

    @property
    def utilization(self) -> float:
        return self.in_use / self.available if self.available else 0.0


class Counter:
    """The concurrency of all accounts. Each account has the same limit in each region."""

    def __init__(self, account_limit: int) -> None:
        self.account_limit = account_limit
        self._accounts: dict[tuple[AccountId, Region], Account] = {}
        self._functions: dict[FunctionKey, Function] = {}
        self._prune_at = FUNCTIONS_KEPT_MAX

    @property
    def in_use(self) -> int:
        """Leases that are held or finishing, over all accounts."""
        return sum(pool.in_use for a in self._accounts.values() for pool in a.pools())

    def acquire(self, function: FunctionKey, version: str, now_s: float) -> Lease:
        """A lease that is held, or waiting where one is about to come back.

        A waiting one becomes held when another's `release` returns it; whoever waits does so for
        FINISHING_GRACE_S at most and then calls `give_up`. Raises TooManyRequests.
        """
        known = self._functions.get(function)
        if known is None:
            known = self._meet(function, now_s)
        return known.acquire(version, now_s)

    def allow_start(self, function: FunctionKey, now_s: float) -> TooManyRequests | None:
        """Count one new environment of the function; answers the error to raise if it may not."""
        known = self._functions.get(function) or self._meet(function, now_s)
        return known.allow_start(now_s)

    def refund_start(self, function: FunctionKey) -> None:
        """An environment that was allowed was not started after all."""
        known = self._functions.get(function)
        if known is not None:
            known.starts.refund()

    def reserve(self, function: FunctionKey, reserved: int | None) -> None:
        """The function has this much of its own from now on, and no more; None: a share."""
        known = self._configured(function, has_setting=reserved is not None)
        if known is not None:
            self._account(function).reserve(known, reserved)

    def provision(
        self, function: FunctionKey, version: str, *, requested: int, available: int
    ) -> None:
        """So much is kept initialised for this version from now on. `requested` is set aside;
        `available` is what invokes may use: 0 until all are initialised."""
        known = self._configured(function, has_setting=requested > 0)
        if known is not None:
            provision = Provision(requested, available) if requested else None
            self._account(function).provision(known, version, provision)

    def usage(self, account: AccountId, region: Region) -> Usage:
        """For GetAccountSettings and status."""
        scope = self._accounts.get((account, region)) or Account(self.account_limit)
        pools = list(scope.pools())
        return Usage(
            limit=scope.limit,
            unreserved=max(scope.limit - scope.set_aside, 0),
            in_use=sum(pool.in_use for pool in pools),
            unreserved_in_use=scope.unreserved.in_use,
            finishing=sum(len(pool.finishing_since_s) for pool in pools),
            waiting=sum(len(pool.waiting) for pool in pools),
            throttled=sum(pool.throttled for pool in pools),
        )

    @property
    def scopes(self) -> tuple[tuple[AccountId, Region], ...]:
        """The accounts and regions in which anything was counted."""
        return tuple(self._accounts)

    def provisions(self) -> tuple[ProvisionedUsage, ...]:
        """Of every version that has or had provisioned concurrency."""
        return tuple(
            ProvisionedUsage(
                function=key,
                version=version,
                available=share.pool.limit,
                in_use=share.in_use,
                invocations=share.granted,
                spilled=share.spilled,
            )
            for key, function in self._functions.items()
            for version, share in function.provisioned.items()
        )

    def _configured(self, function: FunctionKey, *, has_setting: bool) -> Function | None:
        """What is known of the function; None if there is nothing to take away from it."""
        known = self._functions.get(function)
        if known is None and has_setting:
            known = self._remember(function)
        return known

    def _meet(self, function: FunctionKey, now_s: float) -> Function:
        if len(self._functions) >= self._prune_at:
            self._forget_idle(now_s)
        return self._remember(function)

    def _remember(self, function: FunctionKey) -> Function:
        account = self._account(function)
        known = self._functions[function] = Function(account.unreserved)
        account.functions.add(known)
        return known

    def _account(self, function: FunctionKey) -> Account:
        where = (function.account, function.region)
        account = self._accounts.get(where)
        if account is None:
            account = self._accounts[where] = Account(self.account_limit)
        return account

    def _forget_idle(self, now_s: float) -> None:
        """Functions, and then accounts, of which nothing would be lost."""
        for key, function in list(self._functions.items()):
            account = self._account(key)
            # Who waits in the shared pool is counted nowhere else until it is held.
            if function.is_forgettable(now_s) and not account.unreserved.waiting:
                del self._functions[key]
                account.functions.discard(function)
        self._accounts = {k: a for k, a in self._accounts.items() if a.functions}
        self._prune_at = max(FUNCTIONS_KEPT_MAX, 2 * len(self._functions))
