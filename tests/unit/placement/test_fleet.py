from collections import Counter
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.invokes import function_version
from hearth.model.ids import FunctionKey, SandboxId, WorkerId
from hearth.model.workers import WorkerLoad
from hearth.placement.fleet import Fleet, Stage
from hearth.placement.leases import grant

FUNCTIONS = [function_version(name, memory_mb=mb) for name, mb in [("a", 128), ("b", 512)]]
NOTHING = WorkerLoad(
    memory_mb=1000,
    available_mb=900,
    committed_mb=0,
    sandboxes=0,
    starting=0,
    starting_max=4,
    cpu_count=2,
)


def test_the_larger_of_report_and_account_counts() -> None:
    fleet = Fleet()
    fleet.add(WorkerId("w"), grant(0.0, 0.0))
    fleet.place(SandboxId("s"), WorkerId("w"), FUNCTIONS[0])
    snapshot = fleet.snapshot(WorkerId("w"), NOTHING)
    assert (snapshot.committed_mb, snapshot.starting) == (128, 1)


def test_a_worker_is_registered_once() -> None:
    fleet = Fleet()
    fleet.add(WorkerId("w"), grant(0.0, 0.0))
    with pytest.raises(AssertionError):
        fleet.add(WorkerId("w"), grant(0.0, 0.0))


def test_only_sandboxes_that_run_can_be_idle() -> None:
    fleet = Fleet()
    fleet.add(WorkerId("w"), grant(0.0, 0.0))
    names = [SandboxId(f"s{number}") for number in range(3)]
    for name in names:
        fleet.place(name, WorkerId("w"), FUNCTIONS[0])
    fleet.started(names[0])
    fleet.stopping(names[1])
    known = fleet.idle([*names, SandboxId("unknown")])
    assert [(each.sandbox, each.memory_mb) for each in known] == [("s0", 128)]


class FleetMachine(RuleBasedStateMachine):
    """The model recounts everything from the list of sandboxes, each time."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.names = count(1)
        self.workers: list[WorkerId] = []
        self.model: dict[SandboxId, tuple[WorkerId, FunctionKey, int, Stage]] = {}

    @precondition(lambda self: len(self.workers) < 4)
    @rule()
    def add(self) -> None:
        worker = WorkerId(f"w{next(self.names)}")
        self.workers.append(worker)
        self.fleet.add(worker, grant(0.0, 0.0))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        self.workers.remove(worker)
        lost = {sandbox for sandbox, row in self.model.items() if row[0] == worker}
        assert set(self.fleet.remove(worker)) == lost
        self.model = {s: row for s, row in self.model.items() if s not in lost}

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), number=st.integers(0, 1))
    def place(self, data: st.DataObject, number: int) -> None:
        worker, function = data.draw(st.sampled_from(self.workers)), FUNCTIONS[number]
        sandbox = SandboxId(f"s{next(self.names)}")
        self.fleet.place(sandbox, worker, function)
        self.model[sandbox] = (worker, function.key, function.memory_mb, Stage.STARTING)

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        sandbox = data.draw(st.sampled_from([*self.model, SandboxId("unknown")]))
        how = data.draw(st.sampled_from(["started", "stopping", "forget"]))
        getattr(self.fleet, how)(sandbox)
        if sandbox not in self.model:
            return
        *rest, stage = self.model[sandbox]
        if how == "forget":
            del self.model[sandbox]
        elif how == "stopping":
            self.model[sandbox] = (*rest, Stage.STOPPING)  # type: ignore[assignment]
        elif stage is Stage.STARTING:
            self.model[sandbox] = (*rest, Stage.RUNNING)  # type: ignore[assignment]

    @invariant()
    def the_totals_are_those_of_a_recount(self) -> None:
        for worker in self.workers:
            rows = [row for row in self.model.values() if row[0] == worker]
            account = self.fleet.accounts[worker]
            by_function: Counter[FunctionKey] = Counter()
            for _, function, memory_mb, _ in rows:
                by_function[function] += memory_mb
            starting = Counter(row[1] for row in rows if row[3] is Stage.STARTING)
            stopping = [row for row in rows if row[3] is Stage.STOPPING]
            assert account.committed_mb == sum(row[2] for row in rows)
            assert account.stopping == len(stopping)
            assert account.stopping_mb == sum(row[2] for row in stopping)
            assert account.starting == starting.total()
            assert account.mb_by_function == dict(by_function)
            assert account.starting_by_function == dict(starting)


FleetMachine.TestCase.settings = settings(max_examples=50, deadline=None)
TestFleet = FleetMachine.TestCase
