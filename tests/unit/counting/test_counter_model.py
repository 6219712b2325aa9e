"""The counter against a naive model: leases in lists, limits added up from scratch each time."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.invokes import function_key
from hearth.counting.counter import Counter
from hearth.counting.pool import FINISHING_GRACE_S, REQUESTS_PER_S, Lease
from hearth.model.errors import TooManyRequests
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, LATEST

LIMIT = 6
FUNCTIONS = [function_key(name) for name in "fgh"]
VERSIONS = [LATEST, "1", "2"]
functions = st.integers(0, len(FUNCTIONS) - 1)


@dataclass(eq=False)
class Held:
    """One lease, and where the model says that it counts."""

    lease: Lease
    function: int
    provisioned: str | None
    """The version whose provisioned concurrency it draws from."""
    finishing_s: float | None = None


class CounterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.counter = Counter(LIMIT)
        self.now_s = 0.0
        self.held: list[Held] = []
        self.waiting: list[tuple[Lease, int, str]] = []
        self.reserved: dict[int, int] = {}
        self.available: dict[tuple[int, str], int] = {}
        self.entered = 0
        """Since all rates were refilled."""

    def provisioned_of(self, function: int) -> int:
        return sum(n for (f, _), n in self.available.items() if f == function)

    def on_demand_limit(self, function: int) -> int:
        if function in self.reserved:
            return self.reserved[function] - self.provisioned_of(function)
        outside = [f for f in range(len(FUNCTIONS)) if f not in self.reserved]
        taken = sum(self.reserved.values()) + sum(self.provisioned_of(f) for f in outside)
        return LIMIT - taken

    def on_demand_use(self, function: int) -> int:
        mine = [h.function for h in self.held if h.provisioned is None]
        if function in self.reserved:
            return mine.count(function)
        return sum(f not in self.reserved for f in mine)

    def provisioned_use(self, function: int, version: str) -> int:
        return sum((h.function, h.provisioned) == (function, version) for h in self.held)

    def has_room(self, function: int, version: str) -> str | None:
        """`provisioned`, `on-demand`, or None: where the next lease must come from."""
        if len(self.held) >= LIMIT:
            return None
        available = self.available.get((function, version), 0)
        excess = max(self.on_demand_use(function) - self.on_demand_limit(function), 0)
        if self.provisioned_use(function, version) + excess < available:
            return "provisioned"
        if self.on_demand_use(function) < self.on_demand_limit(function):
            return "on-demand"
        return None

    @rule(function=functions, version=st.sampled_from(VERSIONS))
    def acquire(self, function: int, version: str) -> None:
        room = self.has_room(function, version)
        self.entered += 1
        lease = self._acquired(function, version)
        if isinstance(lease, TooManyRequests):
            self._check_refusal(lease, function, room)
        elif lease.is_waiting:
            # Of its own pool: whoever waits in another one waits for another's.
            young = [
                h
                for h in self.held
                if self._in_one_pool(h.function, function)
                and h.finishing_s is not None
                and h.finishing_s + FINISHING_GRACE_S > self.now_s
            ]
            waiting = [f for _, f, _ in self.waiting if self._in_one_pool(f, function)]
            assert len(young) > len(waiting), "waits for nobody"
            assert room != "provisioned"
            self.waiting.append((lease, function, version))
        else:
            assert room is not None, "one too many"
            if self.entered <= REQUESTS_PER_S:
                assert lease.is_provisioned == (room == "provisioned")
            self._hold(lease, function, version)

    def _in_one_pool(self, one: int, other: int) -> bool:
        return one == other or not {one, other} & self.reserved.keys()

    def _acquired(self, function: int, version: str) -> Lease | TooManyRequests:
        try:
            return self.counter.acquire(FUNCTIONS[function], version, self.now_s)
        except TooManyRequests as refused:
            return refused

    def _check_refusal(self, refused: TooManyRequests, function: int, room: str | None) -> None:
        if "Rate" in refused.reason:
            assert self.entered > REQUESTS_PER_S
            return
        assert room is None, f"refused with room: {refused.reason}"
        if function in self.reserved and len(self.held) < LIMIT:
            assert refused.reason.startswith("Reserved")

    def _hold(self, lease: Lease, function: int, version: str) -> None:
        assert lease.is_held
        provisioned = version if lease.is_provisioned else None
        self.held.append(Held(lease, function, provisioned))

    @precondition(lambda self: any(h.finishing_s is None for h in self.held))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        running = [h for h in self.held if h.finishing_s is None]
        one = running[data.draw(st.integers(0, len(running) - 1))]
        one.lease.finish(self.now_s)
        one.finishing_s = self.now_s

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        one = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        heir = one.lease.release()
        if heir is not None:
            (row,) = [row for row in self.waiting if row[0] is heir]
            self.waiting.remove(row)
            self._hold(*row)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), wanted=st.booleans())
    def give_up(self, data: st.DataObject, wanted: bool) -> None:
        row = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        lease = row[0]
        if not wanted:
            lease.abandon()
        elif lease.give_up(self.now_s) is None:
            assert not lease.is_provisioned, "only provisioned concurrency spills over"
            self._hold(*row)
        else:
            assert not lease.is_held
            assert not lease.is_waiting

    @rule(function=functions, amount=st.integers(0, LIMIT))
    def reserve(self, function: int, amount: int) -> None:
        others = sum(n for f, n in self.reserved.items() if f != function)
        outside = sum(
            self.provisioned_of(f)
            for f in range(len(FUNCTIONS))
            if f != function and f not in self.reserved
        )
        amount = max(min(amount, LIMIT - others - outside), 0)
        if amount < self.provisioned_of(function):
            return  # control refuses it
        self.counter.reserve(FUNCTIONS[function], amount)
        self.reserved[function] = amount

    @rule(function=functions)
    def unreserve(self, function: int) -> None:
        self.counter.reserve(FUNCTIONS[function], None)
        self.reserved.pop(function, None)

    @rule(function=functions, version=st.sampled_from(VERSIONS[1:]), amount=st.integers(0, 3))
    def provision(self, function: int, version: str, amount: int) -> None:
        now = self.available.get((function, version), 0)
        spare = self.on_demand_limit(function)
        amount = min(amount, now + spare)
        self.counter.provision(FUNCTIONS[function], version, requested=amount, available=amount)
        self.available[function, version] = amount

    @rule(function=functions, version=st.sampled_from(VERSIONS[1:]))
    def unprovision(self, function: int, version: str) -> None:
        self.counter.provision(FUNCTIONS[function], version, requested=0, available=0)
        self.available.pop((function, version), None)

    @rule(seconds=st.sampled_from([0.01, FINISHING_GRACE_S, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        if seconds > 1.0:
            self.entered = 0

    @invariant()
    def the_account_holds_what_the_model_holds_and_never_too_much(self) -> None:
        usage = self.counter.usage(DEFAULT_ACCOUNT, DEFAULT_REGION)
        assert usage.in_use == self.counter.in_use == len(self.held) <= LIMIT
        assert usage.waiting == len(self.waiting)
        assert usage.finishing == sum(h.finishing_s is not None for h in self.held)

    @invariant()
    def the_parts_add_up_to_the_whole(self) -> None:
        for account in self.counter._accounts.values():
            assert sum(pool.limit for pool in account.pools()) == LIMIT

    @invariant()
    def every_pool_holds_what_its_functions_hold(self) -> None:
        for function, key in enumerate(FUNCTIONS):
            known = self.counter._functions.get(key)
            if known is None:
                continue
            assert known.on_demand.pool.in_use == self.on_demand_use(function)
            assert known.on_demand.pool.limit == self.on_demand_limit(function)
            for version, share in known.provisioned.items():
                assert share.in_use == self.provisioned_use(function, version)

    def teardown(self) -> None:
        """Everything comes back, and nothing is left."""
        for lease, _, _ in self.waiting:
            lease.abandon()
        for one in self.held:
            assert one.lease.release() is None
        assert self.counter.in_use == 0


TestCounter = CounterMachine.TestCase
TestCounter.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
