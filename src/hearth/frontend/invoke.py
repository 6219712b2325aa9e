"""The synchronous invoke path, top to bottom: resolve, count, reserve, run.

Warm, this is one coroutine: no task, no future of its own, no I/O before the payload goes to the
worker. What an invoke holds, a lease and a sandbox, is in its Visit, whose `with` gives it back
whatever happens; from `run` on that is up to the worker, which says when the sandbox is free.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from hearth.base.clock import Clock
from hearth.frontend.lineage import RecursiveInvocation, with_run
from hearth.frontend.resolve import Functions, resolve
from hearth.frontend.sampling import Sampling, completed
from hearth.frontend.turns import Lease, Turns
from hearth.frontend.visit import Visit
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey, SandboxId, WorkerId
from hearth.model.invocations import Invocation, InvokeCall, InvokeResult


class Counting(Protocol):
    def acquire(self, function: FunctionKey, version: str, now_s: float) -> Lease:
        """Raises TooManyRequests."""
        ...


class Reserved(Protocol):
    """A sandbox that is ours for one invoke."""

    @property
    def sandbox(self) -> SandboxId: ...

    @property
    def worker(self) -> WorkerId: ...

    @property
    def invokes(self) -> int:
        """This one included."""
        ...

    @property
    def start_s(self) -> float: ...


class Sandboxes(Protocol):
    """What the front end needs of the worker manager."""

    def take(self, function: FunctionVersion, *, provisioned: bool = False) -> Reserved | None:
        """If `provisioned`, one that is kept initialised, where one is free."""
        ...

    async def wait(self, function: FunctionVersion) -> Reserved: ...

    def responded(self, sandbox: SandboxId) -> None: ...

    def released(self, sandbox: SandboxId, sandbox_is_good: bool) -> None: ...


class Worker(Protocol):
    async def run(
        self, sandbox: SandboxId, invocation: Invocation, released: Callable[[bool], None]
    ) -> InvokeResult:
        """Returns when the answer is there.

        Calls `released(sandbox_is_good)` exactly once, before or after that: when the sandbox can
        take its next invoke, or never will; also if it raises or is cancelled.
        """
        ...


class Durable(Protocol):
    """Who runs executions of durable functions."""

    async def invoke(self, call: InvokeCall, function: FunctionVersion, /) -> InvokeResult:
        """Start one, or join it. Raises ServiceError."""
        ...


class Invoker:
    """Raises ServiceError for what the caller may see."""

    def __init__(
        self,
        functions: Functions,
        counting: Counting,
        sandboxes: Sandboxes,
        workers: Mapping[WorkerId, Worker],
        clock: Clock,
        new_trace_id: Callable[[], str],
        sampling: Sampling | None = None,
    ) -> None:
        self._functions = functions
        self._counting = counting
        self._sandboxes = sandboxes
        self._workers = workers
        self._now_s = clock.monotonic_s
        self._new_trace_id = new_trace_id
        self._sampling = sampling
        self._turns = Turns(clock.monotonic_s)
        self.durable: Durable | None = None
        """Without it durable functions are run like any others."""

    def dry_run(self, call: InvokeCall) -> None:
        """Raises what `invoke` would before it counts."""
        resolve(call, self._functions)

    def accept(self, call: InvokeCall) -> FunctionKey:
        """Which function an event is for. Raises what `invoke` would, but not that it goes round
        in a loop: its owner hears of that when it is stopped."""
        return self.accepted(call)[0]

    def accepted(self, call: InvokeCall) -> tuple[FunctionKey, FunctionVersion | None]:
        """The same, and what the call means if it is an execution's matter."""
        try:
            function, _ = resolve(call, self._functions)
        except RecursiveInvocation:
            named, caller = call.reference, call.caller
            return FunctionKey(named.account or caller.account, caller.region, named.name), None
        return function.key, None if self._durable_for(call, function) is None else function

    def _durable_for(self, call: InvokeCall, function: FunctionVersion) -> Durable | None:
        is_one = function.durable is not None and not call.is_replay
        is_named = call.execution_name is not None and not call.is_chained
        return self.durable if is_one or is_named else None

    def hold(self, function: FunctionVersion) -> Callable[[], None]:
        """Count a run that goes another way; call what it answers when that has ended.

        Raises TooManyRequests.
        """
        now_s = self._now_s()
        lease = self._counting.acquire(function.key, function.version, now_s)
        if lease.is_waiting and (error := lease.give_up(now_s)) is not None:
            raise error
        return lambda: self._turns.give_back(lease)

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """Run it. Its caller shields this from its own cancellation: functions run to the end."""
        now_s = self._now_s
        began_s = now_s()
        function, arn = resolve(call, self._functions)
        if function.durable is not None or call.execution_name is not None:
            durable = self._durable_for(call, function)
            if durable is not None:
                return await durable.invoke(call, function)
        resolved_s = now_s()
        lease = self._counting.acquire(function.key, function.version, resolved_s)
        leased_s = resolved_s
        if has_waited := lease.is_waiting:
            await self._turns.wait(lease)
            leased_s = now_s()
        with Visit(lease, self._turns, self._sandboxes, now_s) as visit:
            if call.is_event:
                lease.is_for_event()
            if has_waited:  # time enough to be updated or deleted
                function, arn = resolve(call, self._functions)
            reserved = self._sandboxes.take(function, provisioned=lease.is_provisioned)
            if reserved is None:
                reserved = await self._sandboxes.wait(function)
            visit.sandbox = reserved.sandbox
            reserved_s = now_s()
            invocation = self._invocation(call, function, arn)
            worker = self._workers[reserved.worker]
            visit.is_running = True
            result = await worker.run(reserved.sandbox, invocation, visit.released)
        phases = result.phases
        phases.invocation = invocation
        phases.resolve_s = resolved_s - began_s
        phases.lease_s = leased_s - resolved_s
        phases.wait_s = reserved_s - leased_s
        phases.start_s = reserved.start_s if reserved.invokes == 1 else None
        phases.run_s = now_s() - reserved_s
        return result

    def _invocation(self, call: InvokeCall, function: FunctionVersion, arn: str) -> Invocation:
        trace_id, span = call.trace_id or self._new_trace_id(), None
        sampling = self._sampling
        if sampling is not None and (sampling.decides_all or function.is_traced):
            trace_id, span = sampling.decide(trace_id, function)
        return Invocation(
            request=call.request,
            function=function,
            invoked_arn=arn,
            payload=call.payload,
            client_context=call.client_context,
            trace_id=with_run(completed(trace_id, call.request), function.key),
            span=span,
            log_tail=call.log_tail,
            sink=call.sink,
        )
