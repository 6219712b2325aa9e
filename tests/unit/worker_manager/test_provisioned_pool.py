"""Sandboxes that are kept: a few scenes, and any order of events against a few sets."""

from collections.abc import Sequence
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hearth.model.errors import InitFailed
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.workers import Placed, StartId
from hearth.worker_manager.pool_events import (
    CancelStart,
    Condemned,
    Instruction,
    Released,
    Responded,
    Retired,
    Started,
    StartFailed,
    StartSandbox,
    StartWithdrawn,
    StopSandbox,
    Tick,
    WakeAt,
)
from hearth.worker_manager.provisioned_pool import (
    REPLACE_AHEAD_S,
    RETRY_S_MAX,
    RETRY_S_MIN,
    ProvisionedPool,
)

LIFE_S = 10_000.0


def pool() -> ProvisionedPool:
    numbers = count(1)
    return ProvisionedPool(lambda: StartId(next(numbers)))


def placed(name: str, until_s: float = LIFE_S) -> Placed:
    return Placed(sandbox=SandboxId(name), worker=WorkerId("w"), reuse_until_s=until_s, start_s=0.1)


def started(kept: ProvisionedPool, start: int, now_s: float = 0.0) -> Sequence[Instruction]:
    return kept.handle(Started(StartId(start), placed(f"s{start}")), now_s)


def failed(kept: ProvisionedPool, start: int, now_s: float) -> Sequence[Instruction]:
    return kept.handle(StartFailed(StartId(start), InitFailed("no")), now_s)


def test_as_many_as_are_wanted_are_started_and_do_not_age() -> None:
    kept = pool()
    assert kept.provision(2, 0.0) == [StartSandbox(StartId(1)), StartSandbox(StartId(2))]
    assert list(started(kept, 1)) == []
    assert list(started(kept, 2)) == []
    assert list(kept.handle(Tick(), LIFE_S - REPLACE_AHEAD_S - 1.0)) == []
    assert kept.initialised == 2


def test_a_broken_sandbox_is_replaced() -> None:
    kept = pool()
    kept.provision(1, 0.0)
    started(kept, 1)
    assert kept.take(1.0) is not None
    todo = kept.handle(Released(SandboxId("s1"), sandbox_is_good=False), 2.0)
    assert list(todo) == [StopSandbox(SandboxId("s1")), StartSandbox(StartId(2))]
    assert kept.initialised == 0


def test_a_condemned_sandbox_is_replaced_while_it_still_runs() -> None:
    kept = pool()
    kept.provision(1, 0.0)
    started(kept, 1)
    kept.take(1.0)
    assert list(kept.handle(Condemned(SandboxId("s1")), 2.0)) == [StartSandbox(StartId(2))]
    assert kept.initialised == 0


def test_a_successor_is_started_before_a_sandbox_must_go() -> None:
    kept = pool()
    kept.provision(1, 0.0)
    started(kept, 1)
    now_s = LIFE_S - REPLACE_AHEAD_S
    assert list(kept.handle(Tick(), now_s)) == [StartSandbox(StartId(2))]
    assert kept.take(now_s) is not None, "the old one serves until its last moment"
    assert list(kept.handle(Tick(), now_s + 1.0)) == []
    kept.handle(Released(SandboxId("s1"), sandbox_is_good=True), now_s + 2.0)
    kept.handle(Started(StartId(2), placed("s2", 2 * LIFE_S)), now_s + 3.0)
    assert list(kept.handle(Tick(), LIFE_S)) == [StopSandbox(SandboxId("s1"))]


def test_starts_that_fail_are_tried_one_by_one_and_ever_more_rarely() -> None:
    kept = pool()
    kept.provision(3, 0.0)
    assert list(failed(kept, 1, 0.0)) == [WakeAt(RETRY_S_MIN)]
    assert list(failed(kept, 2, 0.0)) == [WakeAt(2 * RETRY_S_MIN)]
    assert list(failed(kept, 3, 0.0)) == [WakeAt(4 * RETRY_S_MIN)]
    assert list(kept.handle(Tick(), 4 * RETRY_S_MIN)) == [StartSandbox(StartId(4))]
    assert list(kept.handle(Tick(), 1_000.0)) == []
    assert list(failed(kept, 4, 2_000.0)) == [WakeAt(2_000.0 + 8 * RETRY_S_MIN)]
    for start in range(5, 40):
        kept.handle(Tick(), start * 10_000.0)
        failed(kept, start, start * 10_000.0)
    assert list(kept.handle(Tick(), 390_000.0)) == [WakeAt(390_000.0 + RETRY_S_MAX)]
    assert kept.provision(3, 390_001.0) == [StartSandbox(StartId(n)) for n in (40, 41, 42)]


def test_a_success_after_failures_lets_the_others_follow() -> None:
    kept = pool()
    kept.provision(3, 0.0)
    for start in (1, 2, 3):
        failed(kept, start, 0.0)
    kept.handle(Tick(), 10.0)
    assert list(started(kept, 4, 11.0)) == [StartSandbox(StartId(5)), StartSandbox(StartId(6))]


def test_fewer_means_starts_are_withdrawn_first_and_then_idle_ones_stop() -> None:
    kept = pool()
    kept.provision(3, 0.0)
    started(kept, 1)
    started(kept, 2)
    assert kept.provision(1, 1.0) == [CancelStart(StartId(3)), StopSandbox(SandboxId("s1"))]
    assert kept.handle(StartWithdrawn(StartId(3)), 1.0) == []


def test_one_that_runs_stops_after_its_invoke_when_fewer_are_wanted() -> None:
    kept = pool()
    kept.provision(1, 0.0)
    started(kept, 1)
    kept.take(0.0)
    assert kept.provision(0, 1.0) == []
    kept.handle(Responded(SandboxId("s1")), 2.0)
    kept.handle(Released(SandboxId("s1"), sandbox_is_good=True), 2.0)
    assert list(kept.handle(Tick(), 3.0)) == [StopSandbox(SandboxId("s1"))]
    assert kept.is_empty


def test_a_pool_that_waits_for_its_next_try_is_not_forgotten() -> None:
    kept = pool()
    kept.provision(1, 0.0)
    failed(kept, 1, 0.0)
    assert not kept.is_empty


class ProvisionedMachine(RuleBasedStateMachine):
    """The model: which live, which of them run or are condemned, which starts are due."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pool()
        self.now_s = 0.0
        self.names = count(1)
        self.due: set[StartId] = set()
        self.cancelled: set[StartId] = set()
        self.ends_s: dict[SandboxId, float] = {}
        self.running: set[SandboxId] = set()
        self.condemned: set[SandboxId] = set()
        self.wake_s: float | None = None
        self.retired = False

    def obey(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case StartSandbox(start):
                    assert not self.retired, "started for nobody"
                    self.due.add(start)
                case CancelStart(start):
                    assert start in self.due - self.cancelled
                    self.cancelled.add(start)
                case StopSandbox(sandbox):
                    assert sandbox not in self.running, "stopped under an invoke"
                    del self.ends_s[sandbox]
                    self.condemned.discard(sandbox)
                case WakeAt(at_s):
                    assert at_s > self.now_s
                    self.wake_s = at_s
                case _:
                    raise AssertionError(f"nobody waits here: {instruction}")

    @rule(number=st.integers(0, 4))
    def provision(self, number: int) -> None:
        self.obey(self.pool.provision(number, self.now_s))

    @precondition(lambda self: self.due)
    @rule(data=st.data(), works=st.booleans(), life_s=st.sampled_from([1.0, 100.0, 1e6]))
    def settle(self, data: st.DataObject, works: bool, life_s: float) -> None:
        start = data.draw(st.sampled_from(sorted(self.due)))
        self.due.discard(start)
        if start in self.cancelled and data.draw(st.booleans()):
            self.cancelled.discard(start)
            self.obey(self.pool.handle(StartWithdrawn(start), self.now_s))
        elif works:
            self.cancelled.discard(start)
            name = f"s{next(self.names)}"
            self.ends_s[SandboxId(name)] = self.now_s + life_s
            event = Started(start, placed(name, self.now_s + life_s))
            self.obey(self.pool.handle(event, self.now_s))
        else:
            self.cancelled.discard(start)
            self.obey(self.pool.handle(StartFailed(start, InitFailed("no")), self.now_s))

    @rule()
    def take(self) -> None:
        slot = self.pool.take(self.now_s)
        if slot is not None:
            assert slot.sandbox not in self.running | self.condemned
            assert self.ends_s[slot.sandbox] > self.now_s
            self.running.add(slot.sandbox)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), good=st.booleans())
    def release(self, data: st.DataObject, good: bool) -> None:
        sandbox = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(sandbox)
        self.obey(self.pool.handle(Released(sandbox, good), self.now_s))

    @precondition(lambda self: self.ends_s)
    @rule(data=st.data())
    def condemn(self, data: st.DataObject) -> None:
        sandbox = data.draw(st.sampled_from(sorted(self.ends_s)))
        self.condemned.add(sandbox)
        self.obey(self.pool.handle(Condemned(sandbox), self.now_s))

    @rule()
    def retire(self) -> None:
        self.retired = True
        self.obey(self.pool.handle(Retired(), self.now_s))

    @rule(seconds=st.sampled_from([0.0, 1.0, 61.0, 5_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.obey(self.pool.handle(Tick(), self.now_s))

    @invariant()
    def what_is_kept_is_what_lives(self) -> None:
        assert self.pool.slots.keys() == self.ends_s.keys()
        assert self.pool.initialised == len(self.ends_s.keys() - self.condemned)
        assert self.pool.starting.keys() == self.due

    @invariant()
    def enough_are_kept_or_on_their_way_or_a_retry_is_due(self) -> None:
        if self.retired or (self.wake_s is not None and self.wake_s > self.now_s):
            return
        if self.pool.failures:
            return  # one at a time
        alive = len(self.ends_s.keys() - self.condemned)
        assert alive + len(self.due - self.cancelled) >= self.pool.target


TestProvisionedPool = ProvisionedMachine.TestCase
TestProvisionedPool.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
