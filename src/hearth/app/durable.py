"""How are durable executions wired to the rest? Who invokes and asks, and where sandboxes knock."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from hearth.api.durable_door import OPEN, DurableDoor
from hearth.api.operation import Operation
from hearth.api.operations import durable, durable_lists
from hearth.app.choices import new_id
from hearth.app.meter import MeteredInvoker
from hearth.base import metrics
from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.metrics import Metric, Values
from hearth.control.functions import Functions
from hearth.durable.executions import Executions
from hearth.durable.start import Starter
from hearth.durable.upkeep import Upkeep
from hearth.engine.contract import Engine
from hearth.frontend.invoke import Invoker
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey
from hearth.model.invocations import InvokeCall, InvokeResult
from hearth.worker.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class DurablePath:
    """Make it with `open_durable`; `upkeep.run()` it."""

    executions: Executions
    starter: Starter
    upkeep: Upkeep
    handlers: durable.Handlers

    def operations(self, functions: Functions) -> tuple[Operation, ...]:
        return (
            *durable.operations(self.handlers),
            *durable_lists.operations(functions, self.executions, self.handlers),
        )


class _Apart:
    """Invokes have no Task of their own, and executions wait in ways that need one."""

    def __init__(self, starter: Starter, jobs: Jobs) -> None:
        self._starter = starter
        self._jobs = jobs

    async def invoke(self, call: InvokeCall, function: FunctionVersion) -> InvokeResult:
        """Raises ServiceError."""
        return await self._jobs.apart(self._starter.invoke(call, function))


def open_durable(
    engine: Engine,
    front: Invoker,
    invoker: MeteredInvoker,
    worker: Worker,
    clock: Clock,
    jobs: Jobs,
) -> DurablePath:
    """Nothing is read and nothing runs yet."""
    executions = Executions(invoker, clock, jobs, new_id, lambda: secrets.token_hex(16))
    upkeep = Upkeep(engine, executions, clock, jobs)
    handlers = durable.Handlers(executions, upkeep.delete, clock.epoch_ms)
    starter = Starter(executions)
    front.durable = _Apart(starter, jobs)
    inside = dict(zip(OPEN, (handlers.checkpoint, handlers.state), strict=True))
    worker.durable = DurableDoor(inside, jobs, new_id).handle
    return DurablePath(
        executions=executions,
        starter=starter,
        upkeep=upkeep,
        handlers=handlers,
    )


def of_durable(path: DurablePath) -> Mapping[Metric, Values]:
    return {
        metrics.DURABLE_STARTED: path.executions.started.items(),
        metrics.DURABLE_ENDED: [
            ((*name, status), number) for (name, status), number in path.upkeep.ended.items()
        ],
        metrics.DURABLE_RUNNING: path.executions.running().items(),
    }


def accept_by(
    accepted: Callable[[InvokeCall], tuple[FunctionKey, FunctionVersion | None]],
    starter: Starter,
    accept: Callable[[InvokeCall, FunctionKey], Awaitable[None]],
) -> Callable[[InvokeCall], Awaitable[str | None]]:
    """Events of durable functions start executions at once; all others are queued."""

    async def accept_one(call: InvokeCall) -> str | None:
        key, durable = accepted(call)
        if durable is not None:
            return await starter.accept(call, durable)
        await accept(call, key)
        return None

    return accept_one
