"""Which sandboxes did we put on which worker? The accounts that decisions are made from. Pure.

A worker's own report lags behind what was just decided, and knows of sandboxes that we do not; so
the larger of the two figures counts.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey, SandboxId, WorkerId
from hearth.model.workers import WorkerLoad
from hearth.placement.leases import Lease
from hearth.placement.policy import IdleSandbox, WorkerSnapshot


class Stage(Enum):
    STARTING = auto()
    RUNNING = auto()
    STOPPING = auto()


@dataclass(slots=True, eq=False)
class Tenancy:
    """One sandbox, from the decision to its end."""

    worker: WorkerId
    function: FunctionKey
    memory_mb: int
    stage: Stage = Stage.STARTING


@dataclass(slots=True, eq=False)
class WorkerAccount:
    lease: Lease
    takes_new: bool = True
    is_drained: bool = False
    committed_mb: int = 0
    stopping_mb: int = 0
    stopping: int = 0
    starting: int = 0
    sandboxes: set[SandboxId] = field(default_factory=set)
    mb_by_function: dict[FunctionKey, int] = field(default_factory=dict)
    starting_by_function: dict[FunctionKey, int] = field(default_factory=dict)


class Fleet:
    """Totals are kept, not recomputed; a property test compares them with a recount."""

    def __init__(self) -> None:
        self.accounts: dict[WorkerId, WorkerAccount] = {}
        self.tenancies: dict[SandboxId, Tenancy] = {}

    def add(self, worker: WorkerId, lease: Lease) -> None:
        assert worker not in self.accounts, f"worker {worker} is registered already"
        self.accounts[worker] = WorkerAccount(lease)

    def remove(self, worker: WorkerId) -> list[SandboxId]:
        """The worker is gone; answers the sandboxes that went with it."""
        account = self.accounts.pop(worker)
        for sandbox in account.sandboxes:
            del self.tenancies[sandbox]
        return sorted(account.sandboxes)

    def place(self, sandbox: SandboxId, worker: WorkerId, function: FunctionVersion) -> None:
        """Decided: `sandbox` starts there."""
        key, size_mb = function.key, function.memory_mb
        self.tenancies[sandbox] = Tenancy(worker, key, size_mb)
        account = self.accounts[worker]
        account.sandboxes.add(sandbox)
        account.committed_mb += size_mb
        account.starting += 1
        _add(account.mb_by_function, key, size_mb)
        _add(account.starting_by_function, key, 1)

    def started(self, sandbox: SandboxId) -> None:
        """Its init phase is over. Nothing happens if its worker is gone."""
        tenancy = self.tenancies.get(sandbox)
        if tenancy is not None and tenancy.stage is Stage.STARTING:
            self._end_start(tenancy)
            tenancy.stage = Stage.RUNNING

    def stopping(self, sandbox: SandboxId) -> None:
        """Its memory is about to be given back. May be said twice."""
        tenancy = self.tenancies.get(sandbox)
        if tenancy is None or tenancy.stage is Stage.STOPPING:
            return
        self.started(sandbox)
        tenancy.stage = Stage.STOPPING
        account = self.accounts[tenancy.worker]
        account.stopping += 1
        account.stopping_mb += tenancy.memory_mb

    def forget(self, sandbox: SandboxId) -> None:
        """It is gone. May be said twice."""
        self.stopping(sandbox)
        tenancy = self.tenancies.pop(sandbox, None)
        if tenancy is None:
            return
        account = self.accounts[tenancy.worker]
        account.sandboxes.remove(sandbox)
        account.committed_mb -= tenancy.memory_mb
        account.stopping_mb -= tenancy.memory_mb
        account.stopping -= 1
        _add(account.mb_by_function, tenancy.function, -tenancy.memory_mb)

    def snapshot(self, worker: WorkerId, load: WorkerLoad) -> WorkerSnapshot:
        account = self.accounts[worker]
        return WorkerSnapshot(
            worker=worker,
            memory_mb=load.memory_mb,
            available_mb=load.available_mb,
            committed_mb=max(account.committed_mb, load.committed_mb),
            stopping_mb=account.stopping_mb,
            stopping=account.stopping,
            starting=max(account.starting, load.starting),
            starting_max=load.starting_max,
            takes_new=account.takes_new,
            mb_by_function=account.mb_by_function,
            starting_by_function=account.starting_by_function,
        )

    def idle(self, sandboxes: list[SandboxId]) -> list[IdleSandbox]:
        """What `policy.victims` must know of them, in the same order."""
        return [
            IdleSandbox(sandbox=sandbox, worker=tenancy.worker, memory_mb=tenancy.memory_mb)
            for sandbox in sandboxes
            if (tenancy := self.tenancies.get(sandbox)) is not None
            and tenancy.stage is Stage.RUNNING
        ]

    def _end_start(self, tenancy: Tenancy) -> None:
        account = self.accounts[tenancy.worker]
        account.starting -= 1
        _add(account.starting_by_function, tenancy.function, -1)


def _add(tally: dict[FunctionKey, int], key: FunctionKey, amount: int) -> None:
    """Keys whose tally is zero are dropped, so that it stays as small as what it counts."""
    total = tally.get(key, 0) + amount
    if total:
        tally[key] = total
    else:
        del tally[key]
