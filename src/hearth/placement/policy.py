"""Which worker takes this sandbox? Filter, score, pick: pure functions over a snapshot.

Filter: the memory size must fit into what may be promised (OVERSUBSCRIPTION times the machine's
memory: most functions use a fraction of their size), the memory that is *measured* to be free must
allow for one more, and a starting slot must be free. The last slot of a worker is kept for a
function that is not starting there, so that one burst cannot shut out everybody else.

Score: pack densely, as Lambda does: 99 % load on the fewest workers, not an even spread.
First the workers on which this function has not yet more than its share (sandboxes of one function
are busy together: correlated); of those the ones that run it already (its code is there); of those
the most loaded. Ties are broken by id, so that a decision can be replayed.

Sources: Brooker et al., "Firecracker" (NSDI 2020), sections 4 and 5; AWS re:Invent SRV409 (2018).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey, SandboxId, WorkerId

OVERSUBSCRIPTION: Final = 8.0
"""Promised memory by real memory. The measured memory below is the real guard."""

FOOTPRINT_MB: Final = 64
"""What a sandbox has usually touched once it is initialised; less if its size is smaller."""

RESERVE_SHARE: Final = 0.05
"""Of a worker's memory that stays free, measured, whatever is asked."""

SLOTS_WITHOUT_LAST_KEPT: Final = 2
"""A worker that starts no more than this many at a time keeps no slot for others."""

CORRELATED_SHARE: Final = 0.5
"""Of what a worker may promise, before another worker is preferred for the same function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSnapshot:
    """One worker as the decision sees it."""

    worker: WorkerId
    memory_mb: int
    available_mb: int
    """Measured, now."""
    committed_mb: int
    """Promised to sandboxes that are there, starting or stopping."""
    stopping_mb: int
    """The part of committed_mb that is about to be given back."""
    stopping: int
    starting: int
    starting_max: int
    takes_new: bool
    """False while it is drained."""
    mb_by_function: Mapping[FunctionKey, int]
    """committed_mb by function, all versions of one together."""
    starting_by_function: Mapping[FunctionKey, int]

    @property
    def promise_mb(self) -> float:
        return self.memory_mb * OVERSUBSCRIPTION


class Verdict(Enum):
    """Why no worker was picked."""

    NO_SLOT = auto()
    """There is room, but its workers start as many as they can already."""
    NO_ROOM = auto()
    """No memory now."""
    NEVER = auto()
    """Larger than any worker, even an empty one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSandbox:
    sandbox: SandboxId
    worker: WorkerId
    memory_mb: int


def pick(function: FunctionVersion, workers: Sequence[WorkerSnapshot]) -> WorkerId | Verdict:
    """The worker on which the next sandbox of `function` starts, or why there is none."""
    size_mb = function.memory_mb
    roomy = [worker for worker in workers if worker.takes_new and has_room(worker, size_mb)]
    ready = [worker for worker in roomy if has_slot(worker, function.key)]
    if ready:
        return max(ready, key=lambda worker: score(worker, function)).worker
    if roomy:
        return Verdict.NO_SLOT
    if workers and all(size_mb > worker.promise_mb for worker in workers):
        return Verdict.NEVER
    return Verdict.NO_ROOM


def has_room(worker: WorkerSnapshot, size_mb: int) -> bool:
    """Enough memory, both promised and measured.

    What is starting has not touched its memory yet, so it is taken off what is measured.
    """
    expected_mb = FOOTPRINT_MB * worker.starting + min(size_mb, FOOTPRINT_MB)
    return (
        worker.committed_mb + size_mb <= worker.promise_mb
        and worker.available_mb - expected_mb >= worker.memory_mb * RESERVE_SHARE
    )


def has_slot(worker: WorkerSnapshot, function: FunctionKey) -> bool:
    """Whether it can start one more now without slowing down those that are starting."""
    free = worker.starting_max - worker.starting
    is_last = free == 1 and worker.starting_max > SLOTS_WITHOUT_LAST_KEPT
    return free > 0 and not (is_last and worker.starting_by_function.get(function, 0))


def score(worker: WorkerSnapshot, function: FunctionVersion) -> tuple[bool, bool, float, WorkerId]:
    """The largest wins."""
    there_mb = worker.mb_by_function.get(function.key, 0)
    return (
        there_mb + function.memory_mb <= worker.promise_mb * CORRELATED_SHARE,
        there_mb > 0,
        worker.committed_mb / worker.promise_mb,
        worker.worker,
    )


def victims(
    function: FunctionVersion, workers: Sequence[WorkerSnapshot], idle: Iterable[IdleSandbox]
) -> list[SandboxId]:
    """The idle sandboxes that must go so that `function` fits on some worker.

    `idle` comes longest idle first, and they go in that order. Of several workers, the one on
    which the fewest must go. Empty if none need to (enough are stopping already) or if it would
    not help.
    """
    on_worker: dict[WorkerId, list[IdleSandbox]] = {}
    for sandbox in idle:
        on_worker.setdefault(sandbox.worker, []).append(sandbox)
    plans: list[list[SandboxId]] = []
    for worker in workers:
        if not worker.takes_new:
            continue
        plan = _make_room(worker, function.memory_mb, on_worker.get(worker.worker, []))
        if plan is not None:
            plans.append(plan)
    return min(plans, key=len, default=[])


def _make_room(
    worker: WorkerSnapshot, size_mb: int, idle: Sequence[IdleSandbox]
) -> list[SandboxId] | None:
    """None: even without all of `idle` there is no room."""
    expected_mb = FOOTPRINT_MB * worker.starting + min(size_mb, FOOTPRINT_MB)
    promised_over_mb = worker.committed_mb - worker.stopping_mb + size_mb - worker.promise_mb
    reserve_mb = worker.memory_mb * RESERVE_SHARE
    stopping_gives_mb = FOOTPRINT_MB * worker.stopping
    measured_over_mb = reserve_mb + expected_mb - worker.available_mb - stopping_gives_mb
    plan: list[SandboxId] = []
    for sandbox in idle:
        if promised_over_mb <= 0 and measured_over_mb <= 0:
            break
        plan.append(sandbox.sandbox)
        promised_over_mb -= sandbox.memory_mb
        measured_over_mb -= min(sandbox.memory_mb, FOOTPRINT_MB)
    return plan if promised_over_mb <= 0 and measured_over_mb <= 0 else None
