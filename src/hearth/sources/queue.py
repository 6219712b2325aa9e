"""How does a queue reach its function? Pollers that wait for messages, and take batches to it.

A poller receives, invokes, deletes what succeeded, and begins again. There is one while nothing
comes, and it waits in a long poll. Each that found something lets another one wait, up to five; one
that found nothing ends, if another one waits. All together are five at first; while all are at
work they may grow by five a second, as at AWS, up to what the mapping allows, since each may need
a sandbox that is still to be made. A function that is throttled halves the number.

What is never done: delete a message before its batch has succeeded. A batch that failed is left
alone: its messages come back when the queue's visibility timeout ends, or go to its dead letter
queue. One that could not be run is tried again for as long as its messages are ours. Of a FIFO
queue no group is in two batches.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.model.event_filters import Filters
from hearth.model.mappings import EventSourceMapping
from hearth.sources.calling import PAYLOAD_BYTES_MAX, Answer, Function, Outcome
from hearth.sources.contract import Queue, RawMessage, SourceFailed
from hearth.sources.queue_records import Message, batches, message_of, payload_bytes, payload_of
from hearth.sources.responses import failed_items
from hearth.sources.status import MappingStatus

LONG_POLL_S: Final = 20
RECEIVE_MAX: Final = 10
"""Of SQS: for one call, also to delete."""
WAITING_MAX: Final = 5
"""Long polls at a time to which others are added."""
POLLERS_FIRST: Final = 5
GROW_S: Final = 0.2
"""Between one more and one more."""
CONCURRENCY_MAX: Final = 1_000
"""Where the mapping says nothing; the account's concurrency is a bound too."""
PAUSE_S_MIN: Final = 0.25
PAUSE_S_MAX: Final = 20.0
MARGIN_S: Final = 1.0
"""Before its visibility timeout a message counts as not ours any more."""
DELETE_TRIES: Final = 4

log = Log("sources")


class QueuePoller:
    """A Poller. `run` it once."""

    def __init__(
        self,
        mapping: EventSourceMapping,
        queue: Queue,
        function: Function,
        status: MappingStatus,
        clock: Clock,
    ) -> None:
        self._mapping = mapping
        self._queue = queue
        self._function = function
        self._status = status
        self._clock = clock
        self._filters = Filters(mapping.kind, mapping.filters)
        self._most = mapping.concurrency_max or CONCURRENCY_MAX
        self._allowed = min(self._most, POLLERS_FIRST)
        self._grown_s = clock.monotonic_s()
        self._pollers: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        """Of the pollers: those that have begun nothing, and may be cancelled."""
        self._groups: set[str] = set()
        """Of messages that are ours."""
        self._visible_s = 0.0
        self._stopping = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            self._add()

    def stop(self) -> None:
        self._stopping.set()
        for task in self._waiting:
            task.cancel()

    # --- how many

    def _add(self) -> None:
        assert self._tasks is not None
        task = self._tasks.create_task(self._poll(), name="queue-poller")
        self._pollers.add(task)
        self._status.pollers += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._pollers.discard(task)
        self._status.pollers -= 1

    def _grow(self) -> None:
        """After a success."""
        now_s = self._clock.monotonic_s()
        is_full = len(self._pollers) >= self._allowed and not self._waiting
        if is_full and self._allowed < self._most and now_s - self._grown_s >= GROW_S:
            self._allowed += 1
            self._grown_s = now_s
            self._add()

    def _is_spare(self, *, found: bool) -> bool:
        """Is there nothing for it to do, or are there too many?"""
        return bool(self._waiting and not found) or len(self._pollers) > self._allowed

    async def _poll(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        while not self._stopping.is_set():
            held: list[Message] = []
            self._waiting.add(me)
            try:
                until_s = await self._gather(held)
            except asyncio.CancelledError:
                if not self._stopping.is_set():
                    raise
                me.uncancel()
                await self._put_back(held)
                return
            finally:
                self._waiting.discard(me)
            if not held:
                self._allowed = min(self._allowed, max(POLLERS_FIRST, len(self._pollers)))
            else:
                if len(self._waiting) < WAITING_MAX and len(self._pollers) < self._allowed:
                    self._add()
                await self._work(held, until_s)
            if self._is_spare(found=bool(held)):
                self._pollers.discard(me)  # now: else the last two would both be one too many
                return

    # --- taking

    async def _gather(self, held: list[Message]) -> float:
        """Receive into `held` until it is a batch; nothing, if nothing came in one long poll.

        Returns until when these messages are ours. Its caller has them also if it is cancelled.
        """
        await self._wait_usable()
        began_s = until_s = self._clock.monotonic_s()
        size, wait_s = 0, LONG_POLL_S
        while True:
            limit = min(RECEIVE_MAX, self._mapping.batch_size - len(held))
            asked_s = self._clock.monotonic_s()
            raw = await self._receive(limit, wait_s)
            now_s = self._clock.monotonic_s()
            if raw and not held:
                began_s, until_s = now_s, asked_s + self._visible_s - MARGIN_S
            size += await self._take(raw, held)
            left_s = began_s + self._mapping.window_s - now_s
            is_full = len(held) >= self._mapping.batch_size or left_s <= 0
            if not held or is_full or payload_bytes(size, len(held)) > PAYLOAD_BYTES_MAX:
                return until_s
            wait_s = min(LONG_POLL_S, math.ceil(left_s))

    async def _wait_usable(self) -> None:
        """Not before the function can be called: what is received meanwhile would only age."""
        pause_s = 1.0
        while (why := self._function.why_not()) is not None:
            self._status.call_failed(why)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _receive(self, limit: int, wait_s: int) -> Sequence[RawMessage]:
        """Again and again, while the queue cannot be reached."""
        pause_s = 1.0
        while True:
            try:
                if not self._visible_s:
                    self._visible_s = float(await self._queue.visibility_s())
                return await self._queue.receive(limit, wait_s)
            except SourceFailed as error:
                self._visible_s = 0.0
                self._status.source_failed(str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _take(self, raw: Sequence[RawMessage], held: list[Message]) -> int:
        """Returns how many bytes their records have."""
        size = 0
        others = []
        for one in raw:
            message = message_of(self._mapping, one)
            if self._mapping.is_fifo and message.group is not None:
                mine = {each.group for each in held}
                if message.group in self._groups and message.group not in mine:
                    others.append(message)  # no server should give it out now
                    continue
                self._groups.add(message.group)
            held.append(message)
            size += len(message.record)
        self._status.polled += len(raw) - len(others)
        if others:
            await self._put_back(others)
            await asyncio.sleep(PAUSE_S_MIN)
        return size

    # --- working

    async def _work(self, held: Sequence[Message], until_s: float) -> None:
        try:
            passing = held
            if self._filters:
                passing = [message for message in held if self._filters.passes(message.record)]
                kept = {id(message) for message in passing}
                dropped = [message for message in held if id(message) not in kept]
                self._status.filtered += len(dropped)
                await self._delete(dropped)
            is_whole = True
            for batch in batches(passing, self._mapping.batch_size):
                if self._stopping.is_set() or (self._mapping.is_fifo and not is_whole):
                    await self._put_back(batch)
                else:
                    is_whole = await self._run(batch, until_s)
        finally:
            self._groups -= {message.group for message in held if message.group is not None}

    async def _run(self, batch: Sequence[Message], until_s: float) -> bool:
        """Did all of it succeed?"""
        payload = payload_of([message.record for message in batch])
        pause_s = PAUSE_S_MIN
        while True:
            answer = await self._call(payload)
            if answer.outcome is not Outcome.REFUSED:
                break
            self._allowed = max(1, len(self._pollers) // 2)
            self._status.call_failed(answer.reason)
            if self._clock.monotonic_s() + pause_s > until_s:
                self._status.failed += len(batch)
                return False  # they come back by themselves
            if await self._stops_within(pause_s):
                await self._put_back(batch)
                return False
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
        return await self._settle(batch, answer)

    async def _call(self, payload: bytes) -> Answer:
        self._status.running += 1
        try:
            return await self._function.call(payload)
        finally:
            self._status.running -= 1

    async def _settle(self, batch: Sequence[Message], answer: Answer) -> bool:
        self._status.invoked += len(batch)
        if answer.outcome is Outcome.FAILED:
            self._status.failed += len(batch)
            self._status.call_failed(answer.reason)
            return False
        self._grow()
        failed: frozenset[str] | None = frozenset()
        if self._mapping.reports_failures:
            assert answer.result is not None
            failed = failed_items(answer.result.payload, [message.id for message in batch])
        if failed is None:
            self._status.failed += len(batch)
            self._status.call_failed("the function's report of failures cannot be read")
            return False
        self._status.failed += sum(message.id in failed for message in batch)
        self._status.succeeded()
        await self._delete([message for message in batch if message.id not in failed])
        return not failed

    async def _stops_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    # --- giving back

    async def _delete(self, messages: Sequence[Message]) -> None:
        """What cannot be deleted comes again: its function gets it twice, but it is not lost."""
        for part in _parts(messages):
            if await self._try(lambda part=part: self._queue.delete(part)):
                self._status.deleted += len(part)

    async def _put_back(self, messages: Sequence[Message]) -> None:
        for part in _parts(messages):
            await self._try(lambda part=part: self._queue.put_back(part), 1)

    async def _try(self, do: Any, tries: int = DELETE_TRIES) -> bool:
        for number in range(tries):
            try:
                await do()
            except SourceFailed as error:
                self._status.source_failed(str(error))
                if number + 1 < tries:
                    await asyncio.sleep(2.0**number)
            else:
                return True
        return False


def _parts(messages: Sequence[Message]) -> list[list[RawMessage]]:
    raw = [message.raw for message in messages]
    return [raw[at : at + RECEIVE_MAX] for at in range(0, len(raw), RECEIVE_MAX)]
