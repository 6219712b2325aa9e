"""Hypothesis invents the order of events; the model is a few sets."""

from collections.abc import Sequence
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.rates import AnyRate
from hearth.model.errors import NoCapacity
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.workers import Placed, StartId
from hearth.worker_manager.pool import FINISHING_GRACE_S, Pool
from hearth.worker_manager.pool_events import (
    Assign,
    CancelStart,
    Condemned,
    Event,
    Evicted,
    Instruction,
    Refuse,
    Released,
    Responded,
    Retired,
    Started,
    StartFailed,
    StartSandbox,
    StartWithdrawn,
    StopSandbox,
    Tick,
    Ticket,
    Unwanted,
    WakeAt,
    Wanted,
)

KEEPALIVE_S = 10.0


class PoolMachine(RuleBasedStateMachine):
    """The model: who waits, who serves, which starts are due or withdrawn, who is idle since when.

    Starts are withdrawn at once when asked (if they have not begun), as the shell does it.
    """

    def __init__(self) -> None:
        super().__init__()
        numbers = count(1)
        self.names = count(1)
        self.pool = Pool(KEEPALIVE_S, lambda: StartId(next(numbers)), AnyRate())
        self.now_s = 0.0
        self.waiting: list[Ticket] = []
        self.due: list[StartId] = []
        self.begun: set[StartId] = set()
        self.busy: list[SandboxId] = []
        self.finishing: dict[SandboxId, float] = {}
        self.idle: dict[SandboxId, float] = {}
        self.reuse_until_s: dict[SandboxId, float] = {}
        self.condemned: set[SandboxId] = set()
        self.wake_at_s: float | None = None
        self.is_retired = False

    def feed(self, event: Event) -> None:
        self.obey(self.pool.handle(event, self.now_s))

    def obey(self, instructions: Sequence[Instruction]) -> None:
        withdrawn: list[StartId] = []
        for instruction in instructions:
            match instruction:
                case Assign(ticket, slot):
                    assert ticket == self.waiting.pop(0), "not the one who waited longest"
                    self.serve(slot.sandbox)
                case Refuse(ticket):
                    assert ticket == self.waiting.pop(0)
                case StartSandbox(start):
                    self.due.append(start)
                case CancelStart(start):
                    assert start in self.due
                    if start not in self.begun:
                        withdrawn.append(start)
                case StopSandbox(sandbox):
                    del self.idle[sandbox]  # never one that serves
                case WakeAt(at_s):
                    assert at_s > self.now_s
                    self.wake_at_s = at_s
        for start in withdrawn:
            self.due.remove(start)
            self.feed(StartWithdrawn(start))

    def serve(self, sandbox: SandboxId) -> None:
        assert sandbox == list(self.idle)[-1], "not the most recently used"
        assert self.reuse_until_s[sandbox] > self.now_s
        assert sandbox not in self.condemned
        del self.idle[sandbox]
        self.busy.append(sandbox)

    @rule()
    def arrive(self) -> None:
        slot = self.pool.take(self.now_s)
        if slot is not None:
            assert not self.waiting, "somebody was overtaken"
            self.serve(slot.sandbox)
            return
        ticket = Ticket(next(self.names))
        self.waiting.append(ticket)
        self.feed(Wanted(ticket))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(ticket)
        self.feed(Unwanted(ticket))

    @precondition(lambda self: self.due)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.begun.add(data.draw(st.sampled_from(self.due)))

    @precondition(lambda self: self.due)
    @rule(data=st.data(), works=st.booleans(), lease_s=st.sampled_from([1.0, 1000.0]))
    def end_start(self, data: st.DataObject, works: bool, lease_s: float) -> None:
        start = data.draw(st.sampled_from(self.due))
        self.due.remove(start)
        if not works:
            self.feed(StartFailed(start, NoCapacity("no")))
            return
        sandbox = SandboxId(f"s{next(self.names)}")
        self.idle[sandbox] = self.now_s
        self.reuse_until_s[sandbox] = self.now_s + lease_s
        self.feed(
            Started(
                start,
                Placed(
                    sandbox=sandbox,
                    worker=WorkerId("w"),
                    reuse_until_s=self.now_s + lease_s,
                    start_s=0.0,
                ),
            )
        )

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def respond(self, data: st.DataObject) -> None:
        sandbox = data.draw(st.sampled_from(self.busy))
        self.busy.remove(sandbox)
        self.finishing[sandbox] = self.now_s
        self.feed(Responded(sandbox))

    @precondition(lambda self: self.busy or self.finishing)
    @rule(data=st.data(), good=st.booleans())
    def release(self, data: st.DataObject, good: bool) -> None:
        sandbox = data.draw(st.sampled_from([*self.busy, *self.finishing]))
        if sandbox in self.finishing:
            del self.finishing[sandbox]
        else:
            self.busy.remove(sandbox)
        self.idle[sandbox] = self.now_s
        self.feed(Released(sandbox, good))
        if not good or sandbox in self.condemned:
            assert sandbox not in self.idle

    @precondition(lambda self: self.pool.slots)
    @rule(data=st.data(), how=st.sampled_from([Condemned, Evicted]))
    def remove(self, data: st.DataObject, how: type[Condemned] | type[Evicted]) -> None:
        sandbox = data.draw(st.sampled_from(sorted(self.pool.slots)))
        was_idle = sandbox in self.idle
        if how is Condemned:
            self.condemned.add(sandbox)
        self.feed(how(sandbox))
        assert sandbox not in self.idle
        assert was_idle == (sandbox not in self.pool.slots)

    @rule(seconds=st.sampled_from([0.0, 0.01, FINISHING_GRACE_S, 0.9, KEEPALIVE_S]))
    def time_passes(self, seconds: float) -> None:
        """Timers that were asked for fire on the way."""
        then_s = self.now_s + seconds
        while self.wake_at_s is not None and self.wake_at_s <= then_s:
            self.now_s, self.wake_at_s = self.wake_at_s, None
            self.feed(Tick())
        self.now_s = then_s
        self.feed(Tick())
        assert all(self.now_s - since_s < KEEPALIVE_S for since_s in self.idle.values())
        assert all(self.reuse_until_s[sandbox] > self.now_s for sandbox in self.idle)

    @rule()
    def retire(self) -> None:
        if next(self.names) % 7 == 0:  # rarely: a retired pool does little
            self.is_retired = True
            self.feed(Retired())

    @invariant()
    def every_sandbox_is_in_one_place(self) -> None:
        assert list(self.pool.idle) == list(self.idle)
        assert set(self.pool.finishing) == set(self.finishing)
        assert set(self.pool.slots) == {*self.idle, *self.busy, *self.finishing}
        assert list(self.pool.waiting) == self.waiting
        assert set(self.pool.starting) == set(self.due)

    @invariant()
    def nobody_waits_without_hope(self) -> None:
        timed = self.wake_at_s is not None and self.wake_at_s > self.now_s
        hopes = len(self.due) + (len(self.finishing) if timed else 0)
        assert len(self.waiting) <= hopes
        assert not (self.waiting and self.idle)

    @invariant()
    def nothing_is_started_that_nobody_needs(self) -> None:
        unbegun = [start for start in self.due if start not in self.begun]
        assert len(unbegun) <= len(self.waiting)

    @invariant()
    def a_retired_pool_keeps_nothing(self) -> None:
        assert not (self.is_retired and self.idle)


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPool = PoolMachine.TestCase
