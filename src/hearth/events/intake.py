"""How is an event accepted? Checked like a synchronous invoke, and on disk before the answer.

When the queues are full, or the engine does not take it, the event is refused as AWS does when it
cannot accept one: ServiceException, status 503, which AWS's clients try again. Then it was not
accepted; one whose writing had no answer may still run.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable, Queue
from hearth.events.contract import Invoker, Meter
from hearth.events.flow import Flow
from hearth.events.places import aside_place, new_place, shard_of
from hearth.events.settling import message_id
from hearth.events.stored import write_event
from hearth.model.errors import ServiceError
from hearth.model.events import AsyncEvent
from hearth.model.ids import FunctionKey
from hearth.model.invocations import InvokeCall

PUBLISH_S_MAX: Final = 15.0
MEASURE_S: Final = 1.0
MEASURE_EMPTY_S: Final = 60.0
"""While they are less than half full."""

log = Log("events")


class NotAccepted(ServiceError):
    code = "ServiceException"
    status = 503
    blame = "Service"


class Flows(Protocol):
    """What this needs of the dispatcher."""

    def flow(self, key: FunctionKey) -> Flow: ...

    def is_aside(self, key: FunctionKey) -> bool: ...


class Intake:
    """`run` it for as long as events are accepted: it watches how full the queues are."""

    def __init__(
        self,
        queues: Sequence[Queue],
        invoker: Invoker,
        flows: Flows,
        meter: Meter,
        clock: Clock,
        bytes_max: int,
    ) -> None:
        self._queues = queues
        self._invoker = invoker
        self._flows = flows
        self._meter = meter
        self._clock = clock
        self._bytes_max = bytes_max
        self._bytes = 0
        self._bytes_meanwhile = 0  # accepted while it is measured
        self._half_full = asyncio.Event()
        self._was_full = False

    async def accept(self, call: InvokeCall, key: FunctionKey | None = None) -> None:
        """Return when the event is on disk. Raises ServiceError if it is not accepted. `key` is
        what the call's function was found to be, if somebody has looked."""
        if key is None:
            key = self._invoker.accept(call)
        event = AsyncEvent(key=key, call=call, accepted_ms=self._clock.epoch_ms())
        body = write_event(event)
        if self._bytes + len(body) > self._bytes_max:
            self._say_full()
            raise NotAccepted(
                "The queue of asynchronous events is full. Try again when events have been "
                "handled, or give it more room with --async-queue-mb."
            )
        self._bytes += len(body)
        self._bytes_meanwhile += len(body)
        if self._bytes > self._bytes_max // 2:
            self._half_full.set()
        try:
            queue = self._queues[shard_of(key)]
            if queue.is_busy:
                async with asyncio.timeout(PUBLISH_S_MAX):
                    await self._publish(queue, event, body)
            else:  # the engine's own deadline is enough, and a second one a twentieth of all this
                await self._publish(queue, event, body)
        except (EngineUnavailable, TimeoutError) as error:
            log.warning("event not accepted", request=call.request, error=error)
            raise NotAccepted("The event could not be stored. Try again.") from error
        self._meter.received(key)

    async def _publish(self, queue: Queue, event: AsyncEvent, body: bytes) -> None:
        key = event.key
        flow = self._flows.flow(key)
        name = message_id(event)
        if self._flows.is_aside(key):
            flow.publishing += 1
            try:
                await queue.publish(aside_place(key), body, name)
            finally:
                flow.publishing -= 1
        else:
            flow.waiting_shared += 1
            try:
                await queue.publish(new_place(key), body, name)
            except BaseException:
                flow.waiting_shared = max(0, flow.waiting_shared - 1)
                raise

    def _say_full(self) -> None:
        if not self._was_full:
            log.error("queue of asynchronous events is full", size_bytes=self._bytes)
        self._was_full = True

    async def run(self) -> None:
        while True:
            try:
                await self.measure()
            except EngineUnavailable as error:
                log.debug("queues could not be measured", error=error)
            await asyncio.sleep(MEASURE_S)
            await self._wait_half_full(MEASURE_EMPTY_S)

    async def _wait_half_full(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._half_full.wait()
        except TimeoutError:
            return

    async def measure(self) -> None:
        """What was accepted while it is asked may be counted twice, for a second."""
        self._bytes_meanwhile = 0
        sizes = [await queue.size() for queue in self._queues]
        self._bytes = sum(size.size_bytes for size in sizes) + self._bytes_meanwhile
        if self._bytes <= self._bytes_max // 2:
            self._half_full.clear()
        if self._bytes < self._bytes_max * 0.95:
            self._was_full = False
