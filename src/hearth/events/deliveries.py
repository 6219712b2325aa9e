"""How are targets told? From a queue of their own, again and again until it succeeds or is final.

A try that failed is written for later, with a pause that doubles from 1 s to 5 min, so that a
target that does not answer holds up nothing. After a day, or where the target says that it never
will take it, the delivery is given up: counted, said in the log, and kept with the dead events.
"""

import asyncio
from dataclasses import replace
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.engine.contract import Consumer, Queue, Taken
from hearth.events.contract import DeliveryFailed, Meter, Targets
from hearth.events.places import LATER, NEW, PARTITIONS, delivery_partition, function_tokens, place
from hearth.events.retry import delivery_wait_s
from hearth.events.settling import Settling, message_id, persist
from hearth.events.stored import Unreadable, read_delivery, write_delivery
from hearth.model.events import Delivery

BATCH_MAX: Final = 8
"""At a time, to the targets of one partition."""
KEEP_S: Final = 10.0
REASON_LENGTH_MAX: Final = 1_000
UNREADABLE_WAIT_S: Final = 3_600.0

log = Log("events")


class Deliveries:
    """`run` it once."""

    def __init__(
        self, queue: Queue, targets: Targets, settling: Settling, meter: Meter, clock: Clock
    ) -> None:
        self._queue = queue
        self._targets = targets
        self._settling = settling
        self._meter = meter
        self._clock = clock
        self._jobs = Jobs()
        self._in_hand: dict[int, Taken] = {}
        self._draining = asyncio.Event()
        self._drained = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with self._jobs, asyncio.TaskGroup() as loops:
            for partition in range(PARTITIONS):
                loops.create_task(self._serve(partition), name=f"deliveries-{partition}")
            loops.create_task(self._keep(), name="deliveries-keep")

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more, and return when what is being told was, or after `timeout_s`."""
        self._draining.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._jobs.wait_idle()
        except TimeoutError:
            log.info("targets are told again after the next start", n=len(self._in_hand))
            await self._jobs.cancel_all()
        self._drained.set()

    async def _serve(self, partition: int) -> None:
        async with (
            self._queue.consume(f"new-{partition}", place(NEW, partition)) as consumer,
            asyncio.TaskGroup() as tasks,
        ):
            taking = tasks.create_task(self._take(consumer))
            await self._draining.wait()
            taking.cancel()
            await self._drained.wait()

    async def _take(self, consumer: Consumer) -> None:
        slots = asyncio.Semaphore(BATCH_MAX)
        while True:
            async with slots:
                taken = await consumer.take(1)
            for some in taken:
                if some.sequence in self._in_hand:
                    self._in_hand[some.sequence] = some
                    continue
                await slots.acquire()
                self._in_hand[some.sequence] = some
                self._jobs.spawn(self._tell(some, slots), name="delivery")

    async def _tell(self, taken: Taken, slots: asyncio.Semaphore) -> None:
        try:
            delivery = read_delivery(taken.body)
            try:
                await self._targets.deliver(delivery)
            except DeliveryFailed as error:
                await self._failed(delivery, error)
            else:
                self._meter.delivered(delivery)
            await self._in_hand[taken.sequence].ack()
        except Unreadable as error:
            log.error("delivery cannot be read", sequence=taken.sequence, error=error)
            await taken.nak(UNREADABLE_WAIT_S)
        except Exception as error:  # noqa: BLE001 -- a defect of ours must not lose the delivery
            log.error("delivery broke", sequence=taken.sequence, error=error)
            await taken.nak(KEEP_S)
        finally:
            del self._in_hand[taken.sequence]
            slots.release()

    async def _failed(self, delivery: Delivery, error: DeliveryFailed) -> None:
        tries = delivery.tries + 1
        failed = replace(delivery, tries=tries, reason=str(error)[:REASON_LENGTH_MAX])
        now_ms = self._clock.epoch_ms()
        wait_s = None
        if not error.is_final:
            wait_s = delivery_wait_s(tries, delivery.settlement.settled_ms, now_ms)
        log.warning(
            "target of an event could not be told",
            request=delivery.settlement.event.call.request,
            function=delivery.settlement.function_arn,
            target=delivery.target,
            tries=tries,
            again_in_s=wait_s,
            error=error,
        )
        if wait_s is None:
            await self._settling.bury(failed)
            self._meter.delivery_failed(failed)
            return
        event = delivery.settlement.event
        tokens = function_tokens(event.key)
        partition = delivery_partition(delivery.target)
        name = message_id(event, delivery.kind, delivery.target, tries)
        at = place(LATER, tokens, event.call.request, delivery.kind)
        due_ms = now_ms + int(wait_s * 1000)
        body = write_delivery(failed)
        await persist(
            lambda: self._queue.schedule(
                at, body, name, due_ms=due_ms, target=place(NEW, partition, tokens)
            )
        )

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            for taken in list(self._in_hand.values()):
                await taken.in_progress()
