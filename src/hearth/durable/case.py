"""What does this process hold of one execution? Its facts, while somebody works with them.

One decision at a time: `change` holds the lock from the decision until its facts are on disk. If
it is not known whether they are, they are read again before anything else is decided; an empty
message is written first, behind which nothing can come any more that was written before it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from hearth.durable.contract import unwell
from hearth.durable.execution import Execution
from hearth.durable.facts import Fact
from hearth.durable.store import Record, Store
from hearth.engine.contract import EngineUnavailable
from hearth.model.durable import ExecutionStatus
from hearth.model.errors import ResourceNotFound

T = TypeVar("T")


class Case:
    def __init__(self, record: Record, store: Store) -> None:
        self.id = record.id
        self.ended = asyncio.Event()
        self.running: str | None = None
        """The request id of the invocation that this process runs."""
        self.is_new = True
        """Whether an invocation that is under way may be one of an earlier process."""
        self.chains: set[str] = set()
        """Operations whose chained invokes this process runs."""
        self.waiters = 0
        self.due_ms: int | None = None
        self.execution: Execution | None = None
        self.status: ExecutionStatus | None = None
        """When it was looked at last; only its changes change it."""
        self._record = record
        self._store = store
        self._lock = asyncio.Lock()
        self._is_doubtful = False

    @property
    def record(self) -> Record:
        """As it is now."""
        return self._store.get(self.id) or self._record

    @property
    def is_idle(self) -> bool:
        """Whether nobody would miss what it holds."""
        busy = self.running is not None or self.chains or self.waiters
        return not busy and not self._lock.locked()

    @property
    def size_bytes(self) -> int:
        execution = self.execution
        return 0 if execution is None else execution.size_bytes + 512 * len(execution.facts)

    def forget(self) -> None:
        self.execution = None

    async def change(
        self,
        decide: Callable[[Execution], Sequence[Fact]],
        show: Callable[[Execution], T],
    ) -> T:
        """Decide, write, apply, and show what it is then.

        Raises what `decide` raises, ResourceNotFound if it was deleted, EngineUnwell.
        """
        async with self._lock:
            try:
                execution = await self._loaded()
                facts = decide(execution)
                if facts:
                    await self._write(execution, facts)
            except EngineUnavailable as error:
                raise unwell() from error
            return show(execution)

    async def _write(self, execution: Execution, facts: Sequence[Fact]) -> None:
        self._is_doubtful = True  # until it is known, also if this is cancelled
        await self._store.append(self.record, facts)
        self._is_doubtful = False
        execution.apply(facts)

    async def _loaded(self) -> Execution:
        if self._is_doubtful:
            self.execution = None
            await self._store.append(self.record, [])
            self._is_doubtful = False
        if self.execution is None:
            facts = await self._store.read(self.record)
            if not facts:
                raise ResourceNotFound(f"Durable execution not found: {self.record.arn}")
            execution = Execution(facts[0])
            execution.apply(facts[1:])
            self.execution = execution
        return self.execution
