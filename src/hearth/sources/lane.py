"""How does a lane of a shard bring its records to the function? In batches, one after the other.

A shard has as many lanes as its mapping's ParallelizationFactor; records of one partition go
through one lane, in order. A lane never goes on before its batch is done or given up.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.model.mappings import EventSourceMapping
from hearth.sources.attempts import Batch, Condition, Verdict, after_failure, expired
from hearth.sources.calling import PAYLOAD_BYTES_MAX, Answer, Function, Outcome
from hearth.sources.contract import SourceFailed
from hearth.sources.failures import FailureTargets, GivenUp
from hearth.sources.queue_records import payload_bytes, payload_of
from hearth.sources.responses import failed_items
from hearth.sources.status import MappingStatus
from hearth.sources.streams import StreamRecord, Window

PAUSE_S_MIN: Final = 0.5
PAUSE_S_MAX: Final = 20.0
TELL_TRIES: Final = 5

log = Log("sources")

Done = Callable[[Sequence[StreamRecord]], Awaitable[None]]
"""Called with records that need never be read again; returns when that is on disk."""


class Lane:
    def __init__(
        self,
        mapping: EventSourceMapping,
        shard: str,
        function: Function,
        failures: FailureTargets,
        status: MappingStatus,
        clock: Clock,
        stopping: asyncio.Event,
        done: Done,
    ) -> None:
        self._mapping = mapping
        self._shard = shard
        self._function = function
        self._failures = failures
        self._status = status
        self._clock = clock
        self._stopping = stopping
        self._done = done
        self._waiting: deque[StreamRecord] = deque()
        self._came = asyncio.Event()
        self._is_last = False
        self.window: Window | None = None
        self.caught_up_ms = 0

    def put(self, record: StreamRecord) -> None:
        self._waiting.append(record)
        self._came.set()

    def end(self) -> None:
        """No more will come: return when all is done."""
        self._is_last = True
        self._came.set()

    def kept_window(self) -> Window | None:
        """What is on disk with the checkpoint."""
        return self.window

    def caught_up(self, now_ms: int) -> None:
        """The shard had nothing more than what was put here."""
        self.caught_up_ms = now_ms
        self._came.set()

    def stop(self) -> None:
        """`stopping` is set: return when what runs has ended."""
        self._came.set()

    async def run(self) -> None:
        while True:
            records = await self._gather()
            if not records or self._stopping.is_set():
                return
            await self._process(Batch(records))

    async def _gather(self) -> tuple[StreamRecord, ...]:
        """A batch; nothing at the end, or if this is stopped."""
        while not self._waiting:
            if self._is_last or self._stopping.is_set():
                return ()
            await self._wait(None)
        end_s = self._clock.monotonic_s() + self._mapping.window_s
        while not (self._is_full() or self._is_last or self._stopping.is_set()):
            left_s = end_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            await self._wait(left_s)
        return self._take()

    def _is_full(self) -> bool:
        if len(self._waiting) >= self._mapping.batch_size:
            return True
        size = sum(len(record.record) for record in self._waiting)
        return payload_bytes(size, len(self._waiting)) > PAYLOAD_BYTES_MAX

    def _take(self) -> tuple[StreamRecord, ...]:
        taken: list[StreamRecord] = []
        size = 0
        while self._waiting and len(taken) < self._mapping.batch_size:
            size += len(self._waiting[0].record)
            if taken and payload_bytes(size, len(taken) + 1) > PAYLOAD_BYTES_MAX:
                break
            taken.append(self._waiting.popleft())
        return tuple(taken)

    async def _wait(self, wait_s: float | None) -> None:
        self._came.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._came.wait()
        except TimeoutError:
            return

    async def _process(self, batch: Batch) -> None:
        """Until all of it is done or given up; not to the end if this is stopped meanwhile."""
        todo = deque([batch])
        answer: Answer | None = None
        pause_s = PAUSE_S_MIN
        while todo:
            old, rest = expired(self._mapping, todo.popleft(), self._clock.epoch_ms())
            if old is not None:
                await self._give_up(old, Condition.AGE, answer)
            if rest is None:
                continue
            answer = await self._call(rest)
            if answer.outcome is Outcome.REFUSED:
                self._status.call_failed(answer.reason)
                todo.appendleft(rest)
                verdict = None
            else:
                verdict = self._judge(rest, answer)
                if verdict.done:
                    await self._done(verdict.done)
                todo.extendleft(reversed(verdict.again))
                if verdict.given_up is not None:
                    await self._give_up(verdict.given_up, Condition.RETRIES, answer)
            if verdict is None or verdict.again:
                if await self._stops_within(pause_s):
                    return
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
            else:
                pause_s = PAUSE_S_MIN
            if self._stopping.is_set():
                return

    def _judge(self, batch: Batch, answer: Answer) -> Verdict:
        self._status.invoked += len(batch.records)
        reported: frozenset[str] | None = None
        if answer.outcome is Outcome.DONE:
            assert answer.result is not None
            reported = frozenset()
            if not self._takes(answer.result.payload):
                reported = None
            elif self._mapping.reports_failures:
                names = [record.sequence for record in batch.records]
                reported = failed_items(answer.result.payload, names)
            if reported is not None and not reported:
                self._status.succeeded()
                return Verdict(batch.records)
        verdict = after_failure(self._mapping, batch, reported)
        self._status.failed += len(batch.records) - len(verdict.done)
        self._status.call_failed(answer.reason or "the function reported failures")
        return verdict

    def _payload(self, batch: Batch) -> bytes:
        return payload_of([each.record for each in batch.records])

    def _takes(self, _answer: bytes) -> bool:
        """Is this how a function may answer that did not fail?"""
        return True

    async def _call(self, batch: Batch) -> Answer:
        if batch.records:
            age_ms = self._clock.epoch_ms() - batch.records[-1].arrived_ms
            self._status.iterator_age.add(max(0, age_ms) / 1000)
        self._status.running += 1
        try:
            return await self._function.call(self._payload(batch))
        finally:
            self._status.running -= 1

    async def _give_up(self, batch: Batch, condition: Condition, answer: Answer | None) -> None:
        mapping = self._mapping
        log.warning(
            "records of a stream are given up",
            mapping=mapping.uuid,
            shard=self._shard,
            condition=str(condition),
            records=len(batch.records),
            told=mapping.on_failure,
        )
        if mapping.on_failure and batch.records:
            now_ms = self._clock.epoch_ms()
            given_up = GivenUp(mapping, self._shard, batch, condition, answer, now_ms)
            if not await self._tell(given_up):
                return  # it is stopped, and comes again
        self._status.dropped += len(batch.records)
        await self._done(batch.records)

    async def _tell(self, given_up: GivenUp) -> bool:
        """False if it is to be tried again after the next start."""
        for number in range(TELL_TRIES):
            try:
                await self._failures.tell(given_up)
            except SourceFailed as error:
                log.error(
                    "failure destination could not be told",
                    mapping=given_up.mapping.uuid,
                    target=given_up.mapping.on_failure,
                    tries=number + 1,
                    error=error,
                )
            else:
                self._status.on_failure_delivered += len(given_up.batch.records)
                return True
            if await self._stops_within(2.0**number):
                return False
        return True

    async def _stops_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
