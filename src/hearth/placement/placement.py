"""On which worker does a new sandbox start, and when? Carries out what policy decides.

A start waits in a queue until a worker has room and a starting slot; until then it can be
withdrawn. When nothing has room, idle sandboxes are evicted, longest idle first; when that does
not help either for CAPACITY_WAIT_S, the start fails with NoCapacity.

Nothing here is asked for a warm invoke.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.model.errors import NoCapacity, ServiceError
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey, SandboxId, WorkerId
from hearth.model.workers import Placed, StartId, WorkerLoad
from hearth.placement.fleet import Fleet
from hearth.placement.leases import Lease, grant, is_placing, reuse_until_s
from hearth.placement.policy import Verdict, WorkerSnapshot, pick, victims
from hearth.placement.start_queue import QueuedStart, StartQueue

TICK_S: Final = 1.0
CAPACITY_WAIT_S: Final = 5.0
"""How long a start waits for memory that others may give back."""

START_WAIT_S_MAX: Final = 60.0
"""How long a start waits in the queue at all. A client's read timeout is 60 s by default."""

QUEUED_MAX: Final = 10_000

DRAINED_REUSE_S: Final = 1.0
"""For how long a sandbox that started while its worker was drained may be handed out."""

log = Log("placement")


class WorkerHandle(Protocol):
    """One worker, as placement sees it."""

    @property
    def id(self) -> WorkerId: ...

    async def start_sandbox(self, sandbox: SandboxId, function: FunctionVersion) -> None:
        """Make it and run its init phase. If it raises or is cancelled, nothing is left of it.

        Raises ServiceError for what the caller of the invoke may see.
        """
        ...

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        """Returns when its memory is free. Also for one that is gone already."""
        ...

    def load(self) -> WorkerLoad: ...


class Tenant(Protocol):
    """Whoever uses the sandboxes: the worker manager."""

    def idle_sandboxes(self) -> list[SandboxId]:
        """Longest idle first."""
        ...

    def evict(self, sandbox: SandboxId) -> None:
        """Stop it if it is idle."""
        ...

    def condemn(self, sandbox: SandboxId) -> None:
        """Give it no other invoke, and stop it when it is idle."""
        ...


@dataclass(frozen=True, slots=True)
class _Berth:
    """What the queue answers: where the sandbox goes."""

    sandbox: SandboxId
    worker: WorkerHandle
    lease: Lease


_Answer = _Berth | ServiceError | None


class Placement:
    """`draw` gives numbers in [0, 1), as random.Random(seed).random does."""

    def __init__(
        self,
        clock: Clock,
        new_sandbox_id: Callable[[], SandboxId],
        draw: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._new_sandbox_id = new_sandbox_id
        self._draw = draw
        self._fleet = Fleet()
        self._handles: dict[WorkerId, WorkerHandle] = {}
        self._queue = StartQueue()
        self._answers: dict[StartId, asyncio.Future[_Answer]] = {}
        self._no_room_since_s: dict[FunctionKey, float] = {}
        self._tenant: Tenant | None = None
        self._is_pump_due = False

    def attach(self, tenant: Tenant) -> None:
        """Tell `tenant` from now on when its sandboxes are lost or stand in the way."""
        self._tenant = tenant

    def register(self, worker: WorkerHandle) -> None:
        """The worker takes sandboxes from now on."""
        lease = grant(self._clock.monotonic_s(), self._draw(), worker.load().lease_ends_s)
        self._fleet.add(worker.id, lease)
        self._handles[worker.id] = worker
        self._pump_soon()

    def drain(self, worker: WorkerId) -> None:
        """No new sandboxes on it, and its idle ones go; those that are busy end in peace."""
        account = self._fleet.accounts[worker]
        account.takes_new, account.is_drained = False, True
        for sandbox in sorted(account.sandboxes):
            self._condemn(sandbox)

    def deregister(self, worker: WorkerId) -> None:
        """The worker is gone, and its sandboxes with it."""
        del self._handles[worker]
        for sandbox in self._fleet.remove(worker):
            self._condemn(sandbox)

    def workers(self) -> Mapping[WorkerId, WorkerLoad]:
        """What each worker says now."""
        return {worker: handle.load() for worker, handle in self._handles.items()}

    @property
    def queued(self) -> int:
        """Starts that wait for a slot or for room."""
        return len(self._queue)

    async def start_sandbox(self, start: StartId, function: FunctionVersion) -> Placed | None:
        """Start one as soon as a worker takes it. None if it was withdrawn before that.

        Raises NoCapacity, and what the worker raises.
        """
        berth = await self._wait_for_berth(start, function)
        if berth is None:
            return None
        began_s = self._clock.monotonic_s()
        try:
            await berth.worker.start_sandbox(berth.sandbox, function)
        except BaseException:
            self._fleet.forget(berth.sandbox)
            raise
        finally:
            self._fleet.started(berth.sandbox)
            self._pump_soon()
        return self._placed(berth, began_s)

    def withdraw(self, start: StartId) -> bool:
        """Take a start back. False if it has begun already, and goes on."""
        if not self._queue.withdraw(start):
            return False
        self._answer(start, None)
        return True

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        """Returns when its memory is free. Also for one that is gone already."""
        tenancy = self._fleet.tenancies.get(sandbox)
        if tenancy is None:
            return
        self._fleet.stopping(sandbox)
        try:
            await self._handles[tenancy.worker].stop_sandbox(sandbox)
        finally:
            self._fleet.forget(sandbox)
            self._pump_soon()

    async def run(self) -> None:
        """Look again, once a tick, until cancelled: memory and leases change without a word."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """One turn of `run`."""
        self._pump()
        self._expire(self._clock.monotonic_s())

    async def _wait_for_berth(self, start: StartId, function: FunctionVersion) -> _Berth | None:
        if len(self._queue) >= QUEUED_MAX:
            raise NoCapacity("Too many sandboxes are waiting to be started.")
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._answers[start] = answer
        now_s = self._clock.monotonic_s()
        self._queue.add(QueuedStart(start=start, function=function, since_s=now_s))
        self._pump_soon()
        try:
            berth = await answer
        except asyncio.CancelledError:
            self._queue.withdraw(start)
            self._answers.pop(start, None)
            if not answer.cancelled() and isinstance(given := answer.result(), _Berth):
                self._fleet.forget(given.sandbox)  # given in the very turn of the cancellation
            raise
        if isinstance(berth, ServiceError):
            raise berth
        return berth

    def _placed(self, berth: _Berth, began_s: float) -> Placed:
        now_s, account = self._clock.monotonic_s(), self._fleet.accounts.get(berth.worker.id)
        if account is None:
            raise NoCapacity("The worker was lost while the sandbox started.")
        until_s = reuse_until_s(berth.lease, self._draw())
        if account.is_drained:  # who waits for this sandbox still gets it
            until_s = now_s + DRAINED_REUSE_S
        return Placed(
            sandbox=berth.sandbox,
            worker=berth.worker.id,
            reuse_until_s=until_s,
            start_s=now_s - began_s,
        )

    def _pump_soon(self) -> None:
        """Once for all that happens in this turn of the loop."""
        if not self._is_pump_due and len(self._queue):
            self._is_pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Begin every start that can begin now, function by function in turns."""
        self._is_pump_due = False
        if not len(self._queue):
            return
        now_s = self._clock.monotonic_s()
        workers = {worker: self._snapshot(worker, now_s) for worker in self._handles}
        blocked: set[FunctionKey] = set()
        while heads := [h for h in self._queue.heads() if h.function.key not in blocked]:
            for queued in heads:
                for worker in self._handles.keys() - workers.keys():
                    workers[worker] = self._snapshot(worker, now_s)
                choice = pick(queued.function, list(workers.values()))
                if choice is Verdict.NEVER:
                    self._fail(queued, "No worker has as much memory as this function asks for.")
                elif isinstance(choice, Verdict):
                    blocked.add(queued.function.key)
                    self._block(queued, choice, workers, now_s)
                else:
                    self._begin(queued, choice)
                    del workers[choice]  # has changed; to be looked at again if another comes

    def _snapshot(self, worker: WorkerId, now_s: float) -> WorkerSnapshot:
        """Also sees to it that a worker whose lease ends has its next one, if there is one."""
        load, account = self._handles[worker].load(), self._fleet.accounts[worker]
        if account.takes_new and not is_placing(account.lease, now_s):
            if load.lease_ends_s is None:
                account.lease = grant(now_s, self._draw())
                log.info("worker lease renewed", worker=worker)
            else:
                account.takes_new = False
                log.info("worker takes no more sandboxes", worker=worker)
        return self._fleet.snapshot(worker, load)

    def _begin(self, queued: QueuedStart, worker: WorkerId) -> None:
        self._queue.begin(queued)
        self._no_room_since_s.pop(queued.function.key, None)
        sandbox = self._new_sandbox_id()
        self._fleet.place(sandbox, worker, queued.function)
        berth = _Berth(sandbox, self._handles[worker], self._fleet.accounts[worker].lease)
        if not self._answer(queued.start, berth):
            self._fleet.forget(sandbox)

    def _block(
        self,
        queued: QueuedStart,
        why: Verdict,
        workers: dict[WorkerId, WorkerSnapshot],
        now_s: float,
    ) -> None:
        """It stays in the queue. Where memory is short, idle sandboxes make room."""
        if why is Verdict.NO_SLOT:
            self._no_room_since_s.pop(queued.function.key, None)
            return
        self._no_room_since_s.setdefault(queued.function.key, now_s)
        if self._tenant is None:
            return
        idle = self._fleet.idle(self._tenant.idle_sandboxes())
        for sandbox in victims(queued.function, list(workers.values()), idle):
            worker = self._fleet.tenancies[sandbox].worker
            self._fleet.stopping(sandbox)  # now: the next decision must not evict once more
            workers[worker] = self._snapshot(worker, now_s)
            self._tenant.evict(sandbox)

    def _expire(self, now_s: float) -> None:
        """Refuse who has waited too long."""
        queued_functions = {queued.function.key for queued in self._queue}
        for function in self._no_room_since_s.keys() - queued_functions:
            del self._no_room_since_s[function]
        for queued in self._queue:
            waited_s = now_s - queued.since_s
            no_room_s = now_s - self._no_room_since_s.get(queued.function.key, now_s)
            if min(waited_s, no_room_s) >= CAPACITY_WAIT_S:
                self._fail(queued, "No worker has memory left for another sandbox.")
            elif waited_s >= START_WAIT_S_MAX:
                self._fail(queued, "The workers are busy starting other sandboxes.")

    def _fail(self, queued: QueuedStart, why: str) -> None:
        log.warning("sandbox not placed", function=queued.function.arn, why=why)
        self._queue.withdraw(queued.start)
        self._answer(queued.start, NoCapacity(why))

    def _answer(self, start: StartId, answer: _Answer) -> bool:
        """False if whoever asked was cancelled in this very turn of the loop."""
        waiting = self._answers.pop(start)
        if waiting.done():
            return False
        waiting.set_result(answer)
        return True

    def _condemn(self, sandbox: SandboxId) -> None:
        if self._tenant is not None:
            self._tenant.condemn(sandbox)
