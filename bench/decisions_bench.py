"""How many microseconds do resolve, counting and the worker manager add to a warm invoke?

    python bench/decisions_bench.py [invokes]

Real rooms, a worker that answers at once, the default event loop; the invokes run in one coroutine
one after the other, as a keep-alive client's do. Printed: the median and the best of several
rounds, for an invoke whose sandbox is released after the answer (the usual order) and before.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable

sys.path.insert(0, "tests")

from fakes.invokes import FunctionTable, function_version, invoke_call
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.counting.counter import Counter
from hearth.frontend.invoke import Invoker
from hearth.model.functions import FunctionVersion
from hearth.model.ids import SandboxId, WorkerId
from hearth.model.invocations import Invocation, InvokeResult
from hearth.model.workers import WorkerLoad
from hearth.placement.placement import Placement
from hearth.worker_manager.manager import WorkerManager

ROUNDS = 9
ENOUGH = 1_000_000
"""Concurrency: ten requests a second for each unit of it is what a benchmark exceeds at once."""


class InstantWorker:
    """Answers without doing anything; the benchmark says when the sandbox is released."""

    id = WorkerId("w")

    def __init__(self, *, releases_first: bool) -> None:
        self._releases_first = releases_first
        self.released: Callable[[bool], None] = lambda _good: None

    async def start_sandbox(self, sandbox: SandboxId, function: FunctionVersion) -> None: ...

    async def stop_sandbox(self, sandbox: SandboxId) -> None: ...

    def load(self) -> WorkerLoad:
        return WorkerLoad(
            memory_mb=8192,
            available_mb=8192,
            committed_mb=0,
            sandboxes=0,
            starting=0,
            starting_max=4,
            cpu_count=2,
        )

    async def run(
        self, _sandbox: SandboxId, invocation: Invocation, released: Callable[[bool], None]
    ) -> InvokeResult:
        if self._releases_first:
            released(True)
        else:
            self.released = released
        return InvokeResult(payload=b"{}", executed_version=invocation.function.version)


async def measure(invokes: int, *, releases_first: bool) -> list[float]:
    """Microseconds per invoke, a figure a round."""
    figures: list[float] = []
    async with Jobs() as jobs:
        clock = SystemClock()
        placement = Placement(clock, lambda: SandboxId("s"), random.Random(1).random)
        counter = Counter(ENOUGH)
        manager = WorkerManager(placement, clock, jobs, 600.0, counter)
        worker = InstantWorker(releases_first=releases_first)
        placement.register(worker)
        function = function_version()
        functions = FunctionTable(function)
        invoker = Invoker(
            functions, counter, manager, {worker.id: worker}, clock, lambda: "Root=1-0-0"
        )
        call = invoke_call()
        await invoker.invoke(call)
        if not releases_first:
            worker.released(True)
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            for _ in range(invokes):
                await invoker.invoke(call)
                if not releases_first:
                    worker.released(True)
            figures.append((time.perf_counter() - began_s) / invokes * 1e6)
    return figures


def main() -> None:
    invokes = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    for releases_first in (False, True):
        figures = asyncio.run(measure(invokes, releases_first=releases_first))
        order = "before" if releases_first else "after"
        median, best = statistics.median(figures), min(figures)
        print(f"released {order:6} the answer: median {median:5.1f} us, best {best:5.1f} us")


if __name__ == "__main__":
    main()
