"""How do waiting events get to run, each function's without waiting for another's?

    16 partitions, shared    taken as they come; each event is begun at once or moved aside
    a lane for a function    that is flooded (64 events wait) or throttled: `lane.py`

A partition never waits for a function: eight of its events at most run from there, what is more is
written to its lane. Whoever accepts events writes those of such a function to the lane at once. A
lane closes when nothing was in it for a while.

What is in the queues is the only truth: this process may be killed at any point. Each step of an
event is on disk before the one before it is acknowledged, so that a crash can repeat a step, and
never skip one.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable, Queue, Taken
from hearth.events.attempts import Attempts
from hearth.events.contract import Settings
from hearth.events.flow import Flow
from hearth.events.hands import Hand, Hands, Load
from hearth.events.lane import Lane
from hearth.events.places import (
    ASIDE,
    NEW,
    aside_place,
    function_at,
    later_place,
    new_place,
    partitions_of,
    place,
    shard_of,
)
from hearth.events.retry import Again, Settle
from hearth.events.settling import Settling, message_id, persist
from hearth.events.stored import Unreadable, write_event
from hearth.model.events import AsyncEvent, Settlement
from hearth.model.ids import FunctionKey

BATCH_MAX: Final = 32
KEEP_S: Final = 10.0
SWEEP_S: Final = 5.0
SWEEP_IDLE_S: Final = 60.0
"""For what was written to a lane in its last moment."""
LANE_IDLE_S: Final = 10.0
LANES_MAX: Final = 256
LANES_RUNNING_MAX: Final = 512
UNREADABLE_WAIT_S: Final = 3_600.0

log = Log("events")


class Dispatcher:
    """`run` it once. Give it the queues in the order of their shards."""

    def __init__(
        self,
        queues: Sequence[Queue],
        attempts: Attempts,
        settling: Settling,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._load = Load()
        self._shards = [Hands(queue, self._load) for queue in queues]
        self._attempts = attempts
        self._settling = settling
        self._settings = settings
        self._clock = clock
        self._flows: dict[FunctionKey, Flow] = {}
        self._lanes: dict[FunctionKey, tuple[Lane, asyncio.Task[None]]] = {}
        self._jobs = Jobs()
        self._loops: asyncio.TaskGroup | None = None
        self._has_lanes = asyncio.Event()
        self._draining = asyncio.Event()
        self._drained = asyncio.Event()

    @property
    def in_hand(self) -> int:
        return self._load.number

    @property
    def lanes(self) -> frozenset[FunctionKey]:
        """Functions whose events wait apart."""
        return frozenset(self._lanes)

    async def run(self) -> None:
        """Dispatch until cancelled. Then what is in hand goes back to its queue."""
        try:
            async with self._jobs, asyncio.TaskGroup() as loops:
                self._loops = loops
                for shard, hands in enumerate(self._shards):
                    for partition in partitions_of(shard):
                        loops.create_task(self._serve(hands, partition), name=f"events-{partition}")
                loops.create_task(self._keep(), name="events-keep")
                loops.create_task(self._sweep(), name="events-sweep")
        finally:
            self._loops = None

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more, and return when what runs has ended, or after `timeout_s`."""
        self._draining.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._jobs.wait_idle()
        except TimeoutError:
            log.warning("events still run; they run again after the next start", n=self.in_hand)
            await self._jobs.cancel_all()
        self._drained.set()

    # --- where an accepted event goes

    def flow(self, key: FunctionKey) -> Flow:
        found = self._flows.get(key)
        if found is None:
            found = self._flows[key] = Flow()
        return found

    def is_aside(self, key: FunctionKey) -> bool:
        """Whether its events are to be written to a lane. Opens it, if it is time."""
        flow = self.flow(key)
        if flow.aside is None and flow.is_flooded and self._loops is not None:
            self._open_lane(key)
        if flow.aside is None:
            return False
        self._lanes[key][0].touch()
        return True

    # --- the shared partitions

    async def _serve(self, hands: Hands, partition: int) -> None:
        async with (
            hands.queue.consume(f"new-{partition}", place(NEW, partition)) as consumer,
            asyncio.TaskGroup() as tasks,
        ):

            async def take() -> None:
                while True:
                    await self._load.wait_room()
                    for taken in await consumer.take(BATCH_MAX):
                        await self._begin(hands, taken)

            taking = tasks.create_task(take())
            await self._draining.wait()
            taking.cancel()
            await self._drained.wait()  # what is acknowledged until then is heard

    async def _begin(self, hands: Hands, taken: Taken) -> None:
        event = await self._read(hands, taken)
        if event is None:
            return
        flow = self.flow(event.key)
        flow.waiting_shared = max(0, flow.waiting_shared - 1)
        hand = hands.hold(taken, event, flow)
        if flow.may_run_shared:
            flow.running_shared += 1
            self.spawn(self._run_shared(hand), hand)
        else:
            self.spawn(self._move_aside(hand), hand)

    async def _read(self, hands: Hands, taken: Taken) -> AsyncEvent | None:
        try:
            return await hands.receive(taken)
        except Unreadable as error:
            # Another version of Hearth wrote it: it stays, for that one or for its owner.
            log.error("event cannot be read", at=taken.key, sequence=taken.sequence, error=error)
            await taken.nak(UNREADABLE_WAIT_S)
            return None

    async def _run_shared(self, hand: Hand) -> None:
        try:
            again = await self.advance(hand)
        finally:
            hand.flow.running_shared -= 1
        if again is not None:
            hand.event = again.event
            await self._move_aside(hand, again.wait_s)

    async def _move_aside(self, hand: Hand, wait_s: float = 0.0) -> None:
        """To the lane of its function, which begins nothing for `wait_s`; if there are too many
        lanes, back to the queue later."""
        key, flow = hand.event.key, hand.flow
        if flow.aside is None and not self._open_lane(key):
            await self._put_off(hand, hand.event, max(wait_s, 1.0))
            return
        lane = self._lanes[key][0]
        lane.touch()
        if wait_s:
            lane.pause(wait_s)
        flow.publishing += 1
        try:
            event = hand.event
            body = write_event(event)
            name = message_id(event, "aside", event.attempts, event.throttles)
            queue = self._hands_of(key).queue
            await persist(lambda: queue.publish(aside_place(key), body, name))
            await self._hands_of(key).acknowledge(hand)
        finally:
            flow.publishing -= 1

    # --- lanes

    def forget(self, key: FunctionKey) -> None:
        """Its waiting events were purged: what is in hand of them is not begun."""
        self.flow(key).waiting_shared = 0
        found = self._lanes.get(key)
        if found is not None:
            for hand in found[0].clear():
                self._hands_of(key).drop(hand)

    @property
    def most_per_lane(self) -> int:
        return max(1, LANES_RUNNING_MAX // max(1, len(self._lanes)))

    def _open_lane(self, key: FunctionKey) -> bool:
        if self._loops is None or len(self._lanes) >= LANES_MAX:
            return False
        hands = self._hands_of(key)
        lane = Lane(key, self.flow(key), hands.queue, self, self._load, self._clock)
        task = self._loops.create_task(
            lane.run(self._draining, self._drained), name=f"events-lane-{key.name}"
        )
        self._lanes[key] = (lane, task)
        self._has_lanes.set()
        log.debug("lane opened", function=key.arn())
        return True

    def _close_lane(self, key: FunctionKey) -> None:
        lane, task = self._lanes.pop(key)
        if not self._lanes:
            self._has_lanes.clear()
        lane.flow.aside = None
        lane.flow.waiting_shared = 0
        task.cancel()
        log.debug("lane closed", function=key.arn())

    async def receive(self, key: FunctionKey, taken: Taken) -> Hand | None:
        """For a lane."""
        hands = self._hands_of(key)
        event = await self._read(hands, taken)
        return None if event is None else hands.hold(taken, event, self.flow(event.key))

    async def release(self, hand: Hand) -> None:
        """For a lane: back into the queue."""
        self._hands_of(hand.event.key).drop(hand)
        await hand.taken.nak()

    # --- one event

    def spawn(self, work: Coroutine[Any, Any, None], hand: Hand) -> None:
        """Do it in the background. Whatever happens, the event is in a queue."""
        self._jobs.spawn(self._guard(work, hand), name="event")

    async def _guard(self, work: Coroutine[Any, Any, None], hand: Hand) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 -- a defect of ours must not lose the event
            log.error("event failed", request=hand.event.call.request, error=error)
            self._hands_of(hand.event.key).drop(hand)
            await hand.taken.nak(KEEP_S)

    async def advance(self, hand: Hand) -> Again | None:
        """Attempt it and see to what follows, on disk; a throttle is answered."""
        decision = await self._attempts.attempt(hand)
        is_refused = isinstance(decision, Again) and decision.is_throttled
        if not is_refused and (lane := self._lanes.get(hand.event.key)) is not None:
            lane[0].wake()
        match decision:
            case Settle():
                await self._settle(hand, decision)
            case Again(is_throttled=True):
                return decision
            case Again(event, wait_s):
                await self._put_off(hand, event, wait_s)
        return None

    async def _settle(self, hand: Hand, end: Settle) -> None:
        event = hand.event
        settlement = Settlement(
            event=event,
            condition=end.condition,
            invoke_count=end.invoke_count,
            response=end.response,
            settled_ms=self._clock.epoch_ms(),
        )
        settings = self._settings.find(event.key, event.qualifier)
        await self._settling.settle(settlement, settings)
        await self._hands_of(event.key).acknowledge(hand)

    async def _put_off(self, hand: Hand, event: AsyncEvent, wait_s: float) -> None:
        """Back to its partition later. The engine sees to that."""
        key, hands = event.key, self._hands_of(event.key)
        due_ms = self._clock.epoch_ms() + int(wait_s * 1000)
        body = write_event(event)
        name = message_id(event, "later", event.attempts, event.throttles)
        await persist(
            lambda: hands.queue.schedule(
                later_place(key, event.call.request),
                body,
                name,
                due_ms=due_ms,
                target=new_place(key),
            )
        )
        await hands.acknowledge(hand)

    def _hands_of(self, key: FunctionKey) -> Hands:
        return self._shards[shard_of(key)]

    # --- what is done from time to time

    async def _keep(self) -> None:
        """What is in hand is not given to anybody else."""
        while True:
            await asyncio.sleep(KEEP_S)
            for hands in self._shards:
                await hands.keep()

    async def _sweep(self) -> None:
        """Lanes for what stands aside, from an earlier run too; none where nothing does."""
        looked_at_s = -SWEEP_IDLE_S
        while True:
            now_s = self._clock.monotonic_s()
            is_full = now_s - looked_at_s >= SWEEP_IDLE_S
            looked_at_s = now_s if is_full else looked_at_s
            for shard, hands in enumerate(self._shards):
                if self._draining.is_set() or not (is_full or self._has_spare_lane(shard)):
                    continue
                try:
                    await self._sweep_shard(hands)
                except EngineUnavailable as error:
                    log.debug("lanes cannot be looked at", error=error)
            idle = [key for key, flow in self._flows.items() if flow.is_idle]
            for key in idle:
                del self._flows[key]
            await self._wait_lanes(SWEEP_IDLE_S)
            await asyncio.sleep(SWEEP_S)

    def _has_spare_lane(self, shard: int) -> bool:
        before_s = self._clock.monotonic_s() - LANE_IDLE_S
        return any(
            lane.is_idle and lane.touched_s < before_s and shard_of(key) == shard
            for key, (lane, _) in self._lanes.items()
        )

    async def _wait_lanes(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._has_lanes.wait()
        except TimeoutError:
            return

    async def _sweep_shard(self, hands: Hands) -> None:
        asked_s = self._clock.monotonic_s()
        waiting = {
            key for at in await hands.queue.counts(ASIDE) if (key := function_at(at)) is not None
        }
        for key in waiting - self._lanes.keys():
            self._open_lane(key)
        for key, (lane, _) in list(self._lanes.items()):
            if self._hands_of(key) is not hands or key in waiting or not lane.is_idle:
                continue
            if lane.touched_s < asked_s - LANE_IDLE_S:
                self._close_lane(key)
