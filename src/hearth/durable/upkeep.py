"""What has to be done for executions in general? Open the store, take up what was left, and let go
of what was kept for as long as its function's owner wanted."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.durable.case import Case
from hearth.durable.contract import unwell
from hearth.durable.execution import Execution
from hearth.durable.executions import PAUSE_S, Executions
from hearth.durable.store import Name, Record, Store
from hearth.engine.contract import Conflict, Engine, EngineUnavailable
from hearth.model.durable import ExecutionStatus
from hearth.model.errors import ResourceConflict

log = Log("durable")

SWEEP_S: Final = 60.0
RECOVERIES_MAX: Final = 16
DAY_MS: Final = 86_400_000


class Upkeep:
    """`run` it for as long as Hearth runs."""

    def __init__(self, engine: Engine, executions: Executions, clock: Clock, jobs: Jobs) -> None:
        self._engine = engine
        self._executions = executions
        self._now_ms = clock.epoch_ms
        self._jobs = jobs
        self._settling: dict[str, asyncio.Task[None]] = {}
        self.ended: Counter[tuple[Name, str]] = Counter()
        """How many have ended since this process began, by function, and how."""
        executions.on_end = self._on_end

    async def run(self) -> None:
        store = await self._open()
        self._executions.opened(store)
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._executions.timers.run(), name="durable-timers")
            loops.create_task(self._recover(store), name="durable-recover")
            loops.create_task(self._sweep(store), name="durable-sweep")

    async def _open(self) -> Store:
        while True:
            try:
                return await Store.open(self._engine)
            except EngineUnavailable as error:
                log.warning("durable executions wait for the engine", error=error)
                await asyncio.sleep(PAUSE_S)

    async def _recover(self, store: Store) -> None:
        slots = asyncio.Semaphore(RECOVERIES_MAX)

        async def take_up(record: Record) -> None:
            async with slots:
                if record.status is ExecutionStatus.DELETING:
                    await self._delete(store, record)
                else:
                    await self._executions.wake(record)

        left = [r for r in store if r.status.is_open or r.status is ExecutionStatus.DELETING]
        if left:
            log.info("taking up durable executions", executions=len(left))
        async with asyncio.TaskGroup() as recovering:
            for record in left:
                recovering.create_task(take_up(record), name="durable-recovery")

    async def _sweep(self, store: Store) -> None:
        while True:
            now_ms = self._now_ms()
            for record in store:
                if record.ended_ms is None or record.status is ExecutionStatus.DELETING:
                    continue
                if now_ms >= record.ended_ms + record.config.retention_days * DAY_MS:
                    await self._delete(store, record)
            await asyncio.sleep(SWEEP_S)

    # --- the end of an execution, and of what is kept of it

    def _on_end(self, case: Case, execution: Execution) -> None:
        if case.record.status.is_open and case.id not in self._settling:
            self.ended[case.record.counted_as, str(execution.status)] += 1
            settle = self._settle(case, execution)
            self._settling[case.id] = self._jobs.spawn(settle, name="durable-settle")

    async def _settle(self, case: Case, execution: Execution) -> None:
        """Let its record say what its facts say."""
        store = await self._executions.store()
        try:
            while case.record.status.is_open:
                record = replace(case.record, status=execution.status, ended_ms=execution.ended_ms)
                try:
                    await store.update(record)
                except Conflict:
                    await store.read_again(record)
                except EngineUnavailable:
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._settling.pop(case.id, None)

    async def delete(self, case: Case) -> int:
        """Begin to, and say when. Raises ResourceConflict, EngineUnwell."""
        store = await self._executions.store()
        execution = await self._executions.change(case, lambda _e: (), lambda e: e)
        if execution.is_open:
            raise ResourceConflict(f"The execution cannot be deleted: it is {execution.status}.")
        if (settling := self._settling.get(case.id)) is not None:
            await asyncio.wait([settling])
        now_ms = self._now_ms()
        if case.record.status is not ExecutionStatus.DELETING:
            try:
                await store.update(replace(case.record, status=ExecutionStatus.DELETING))
            except (EngineUnavailable, Conflict) as error:
                raise unwell() from error
            self._jobs.spawn(self._delete(store, case.record), name="durable-delete")
        return now_ms

    async def _delete(self, store: Store, record: Record) -> None:
        while True:
            current = store.get(record.id)
            if current is None:
                break
            try:
                await store.delete(current)
            except Conflict:
                await store.read_again(current)
            except EngineUnavailable:
                await asyncio.sleep(PAUSE_S)
        self._executions.drop(record.id)
