"""Who drives executions? Starts them, invokes their functions, wakes them, and ends them.

    attach(call)    a new execution, or the one that has its name
    change(case)    one decision, stored; and then what follows from it:
                    invoke, sleep until time does something, chain, or say that it is over

An execution that sleeps holds nothing here but its id and the time at which it wakes. What an
earlier process left, and what is kept for too long, is in `upkeep.py`.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.durable import rules
from hearth.durable.case import Case
from hearth.durable.chains import Chains
from hearth.durable.contract import Invoker, unwell
from hearth.durable.execution import Execution, Operation
from hearth.durable.facts import Fact, Kind, Origin
from hearth.durable.invocations import ended_of, invocation_payload, refused
from hearth.durable.rules import RESTARTED, Ended
from hearth.durable.shelf import Shelf
from hearth.durable.store import Name, Record, Store, UnreadableFacts
from hearth.durable.timers import Timers
from hearth.engine.contract import EngineUnavailable
from hearth.model.durable import ExecutionArn, ExecutionStatus
from hearth.model.errors import (
    DurableExecutionAlreadyStarted,
    EngineUnwell,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import FunctionVersion
from hearth.model.ids import Caller, FunctionReference, RequestId
from hearth.model.invocations import InvokeCall

log = Log("durable")
T = TypeVar("T")

PAUSE_S: Final = 1.0
"""After the engine could not be written to."""


class Executions:
    """All of this machine. Whoever asks before `opened` waits."""

    def __init__(
        self,
        invoker: Invoker,
        clock: Clock,
        jobs: Jobs,
        new_id: Callable[[], str],
        new_secret: Callable[[], str],
    ) -> None:
        self._invoker = invoker
        self._now_ms = clock.epoch_ms
        self._jobs = jobs
        self._new_id = new_id
        self._new_secret = new_secret
        self._chains = Chains(invoker, self, new_id, clock.epoch_ms)
        self._store: Store | None = None
        self._ready = asyncio.Event()
        self.shelf = Shelf()
        self.timers = Timers(clock, self._wake)
        self.on_end: Callable[[Case, Execution], None] = lambda _case, _execution: None
        """Told of each execution that is over, perhaps more than once."""
        self.started: Counter[Name] = Counter()
        """Since this process began, by account, region and function."""

    def opened(self, store: Store) -> None:
        self._store = store
        self._ready.set()

    async def store(self) -> Store:
        await self._ready.wait()
        assert self._store is not None
        return self._store

    # --- which execution

    async def attach(self, call: InvokeCall, function: FunctionVersion, *, is_async: bool) -> Case:
        """The execution that this invoke is about; it is on disk.

        Raises DurableExecutionAlreadyStarted, EngineUnwell.
        """
        store = await self.store()
        record = self._new_record(call, function)
        known = store.named(record.place)
        if known is None:
            try:
                known = await store.create(record, self._first(call, record, is_async=is_async))
            except EngineUnavailable as error:
                raise unwell() from error
            self.started[record.counted_as] += known.id == record.id
        if known.digest != record.digest or known.status is ExecutionStatus.DELETING:
            raise DurableExecutionAlreadyStarted(
                f"A durable execution with the name {known.name} has already been started."
            )
        case = self.case(known)
        await self.change(case, lambda e: rules.tick(e, self._now_ms()), lambda _e: None)
        return case

    async def find(self, arn: ExecutionArn) -> Case:
        """Raises ResourceNotFound."""
        record = (await self.store()).get(arn.id)
        if record is None or record.arn != arn:
            raise ResourceNotFound(f"Durable execution not found: {arn}")
        return self.case(record)

    async def find_id(self, id_: str) -> Case | None:
        record = (await self.store()).get(id_)
        return None if record is None else self.case(record)

    def running(self) -> Counter[Name]:
        """How many are not over; none before they have been read."""
        return Counter(r.counted_as for r in self._store or () if r.status.is_open)

    async def records(self) -> Iterable[Record]:
        return iter(await self.store())

    async def status(self, record: Record) -> ExecutionStatus:
        """As it is now: a record knows only whether its execution is over."""
        if not record.status.is_open:
            return record.status
        case = self.case(record)
        known = case.status
        if known is None:
            known = await self.shown(case, lambda execution: execution.status)
        return known

    async def shown(self, case: Case, show: Callable[[Execution], T]) -> T:
        return await self.change(case, lambda _e: (), show)

    async def status_of(self, arn: ExecutionArn) -> ExecutionStatus | None:
        """None if it is gone."""
        try:
            case = await self.find(arn)
            return await self.shown(case, lambda execution: execution.status)
        except ResourceNotFound:
            return None

    def case(self, record: Record) -> Case:
        assert self._store is not None
        return self.shelf.case(record, self._store)

    def drop(self, id_: str) -> None:
        """It is deleted."""
        self.shelf.drop(id_)

    def _new_record(self, call: InvokeCall, function: FunctionVersion) -> Record:
        assert function.durable is not None
        key = function.key
        # What comes out of the queue of events may come again.
        name = call.execution_name or (call.request if call.is_event else self._new_id())
        return Record(
            id=self._new_id(),
            name=name,
            account=key.account,
            region=key.region,
            function=key.name,
            instance=function.instance_id,
            version=function.version,
            digest=hashlib.sha256(call.payload).hexdigest(),
            status=ExecutionStatus.RUNNING,
            started_ms=self._now_ms(),
            config=function.durable,
        )

    def _first(self, call: InvokeCall, record: Record, *, is_async: bool) -> Fact:
        return Fact(
            kind=Kind.EXECUTION_STARTED,
            at_ms=record.started_ms,
            payload=call.payload.decode(errors="replace"),
            name=record.name,
            origin=Origin(
                id=record.id,
                arn=str(record.arn),
                config=record.config,
                is_async=is_async,
                secret=self._new_secret(),
                trace_id=call.trace_id,
                tenant=call.tenant,
                request=call.request,
            ),
        )

    # --- changes, and what follows from them

    async def change(
        self,
        case: Case,
        decide: Callable[[Execution], Sequence[Fact]],
        show: Callable[[Execution], T],
    ) -> T:
        """See Case.change."""
        try:
            shown = await case.change(decide, show)
        except EngineUnwell:
            self.timers.set(case, self._now_ms() + int(PAUSE_S * 1000))
            raise
        self.follow(case)
        return shown

    async def end_of(self, case: Case) -> Execution:
        """Wait until it is over, and say how it ended."""
        case.waiters += 1
        try:
            await case.ended.wait()
            return await self.shown(case, lambda execution: execution)
        finally:
            case.waiters -= 1

    def follow(self, case: Case) -> None:
        execution = case.execution
        if execution is None:
            return
        case.status = execution.status
        self.shelf.used(case)
        if not execution.is_open:
            case.ended.set()
            self.on_end(case, execution)
            return
        if case.running is None:
            if execution.invoking is not None:
                case.running = execution.invoking
                self._jobs.spawn(self._interrupted(case), name="durable-interrupted")
            elif execution.wants_invocation(self._now_ms()):
                case.running = self._new_id()
                if execution.invocations == 0 and execution.origin.request:
                    case.running = execution.origin.request
                self._jobs.spawn(self._invoke(case, case.running), name="durable-invoke")
        for operation in execution.chains.values():
            if operation.id not in case.chains:
                case.chains.add(operation.id)
                self._jobs.spawn(self._chain(case, operation), name="durable-chain")
        self.timers.set(case, execution.next_due_ms)

    async def _wake(self, case: Case) -> None:
        try:
            await self.change(case, lambda e: rules.tick(e, self._now_ms()), lambda _e: None)
        except EngineUnwell:
            log.warning("durable execution waits for the engine", execution=case.id)
        except ResourceNotFound:
            self.drop(case.id)
        except UnreadableFacts as error:
            log.error("durable execution cannot be read", execution=case.id, error=error)

    async def wake(self, record: Record) -> None:
        """Take up what an earlier process left."""
        await self._wake(self.case(record))

    # --- invocations

    async def _invoke(self, case: Case, request: str) -> None:
        case.is_new = False
        try:
            payload = await self._begin(case, request)
            if payload is not None:
                began_ms = self._now_ms()
                ended = await self._run(case, request, payload)
                await self._complete(case, request, ended, began_ms)
        except EngineUnwell:
            self.timers.set(case, self._now_ms() + int(PAUSE_S * 1000))
            return
        finally:
            case.running = None
        self.follow(case)

    async def _begin(self, case: Case, request: str) -> bytes | None:
        """What to invoke it with; None: not now after all."""
        seen = 0

        def decide(execution: Execution) -> list[Fact]:
            nonlocal seen
            seen = execution.told
            return rules.begin(execution, request, self._now_ms())

        def show(execution: Execution) -> bytes | None:
            if execution.invoking != request:
                return None
            return invocation_payload(execution, seen)

        return await case.change(decide, show)

    async def _run(self, case: Case, request: str, payload: bytes) -> Ended:
        key, record = case.record.key, case.record
        execution = case.execution
        call = InvokeCall(
            caller=Caller(key.account, key.region, "", f"arn:aws:iam::{key.account}:root"),
            reference=FunctionReference(key.name, key.account, key.region, record.version),
            payload=payload,
            request=RequestId(request),
            trace_id=None if execution is None else execution.origin.trace_id,
            tenant=None if execution is None else execution.origin.tenant,
            is_event=True,
            is_replay=True,
        )
        try:
            result = await self._invoker.invoke(call)
        except ServiceError as error:
            return refused(error)
        return ended_of(result.payload, result.function_error)

    async def _complete(self, case: Case, request: str, ended: Ended, began_ms: int) -> None:
        def decide(execution: Execution) -> list[Fact]:
            return rules.complete(execution, request, ended, began_ms, self._now_ms())

        while True:
            try:
                await case.change(decide, lambda _e: None)
            except EngineUnwell:
                await asyncio.sleep(PAUSE_S)
            except ResourceNotFound:
                return
            else:
                return

    async def _interrupted(self, case: Case) -> None:
        """It is not this process that invoked, or it has lost sight of it."""
        request = case.running
        assert request is not None
        ended = Ended("BROKEN", error=RESTARTED, at_once=case.is_new)
        case.is_new = False
        try:
            await self._complete(case, request, ended, self._now_ms())
        finally:
            case.running = None
        self.follow(case)

    async def _chain(self, case: Case, operation: Operation) -> None:
        execution = case.execution
        trace_id = None if execution is None else execution.origin.trace_id
        try:
            await self._chains.run(case, operation, trace_id)
        finally:
            case.chains.discard(operation.id)
