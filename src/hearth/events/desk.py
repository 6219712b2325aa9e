"""What can an operator see of events, and do about them? The queues, read and changed in place.

Nothing here is kept: each answer is read from the queues. An event that runs is still in its queue
and shown as waiting. Redriving and purging go one event after the other, and can be cut short
anywhere: what is in one place at first may then be in both, and never in none.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.engine.contract import Queue, Stored
from hearth.events.places import (
    LATER,
    NEW,
    PARTITIONS,
    aside_place,
    dead_place,
    function_at,
    function_tokens,
    later_place,
    new_place,
    place,
    shard_of,
)
from hearth.events.settling import Settling, message_id
from hearth.events.stored import Unreadable, read_dead, read_delivery, read_event, write_event
from hearth.model.events import (
    AsyncEvent,
    Backlog,
    Delivery,
    EventRow,
    EventState,
    Settlement,
)
from hearth.model.ids import FunctionKey, RequestId

DEAD_BYTES_MAX: Final = 1024**3

log = Log("events")

Found = tuple[Queue, Stored]


class Dispatching(Protocol):
    """What this needs of the dispatcher."""

    @property
    def lanes(self) -> frozenset[FunctionKey]: ...

    def forget(self, key: FunctionKey) -> None: ...


class Desk:
    """An EventDesk."""

    def __init__(
        self,
        queues: Sequence[Queue],
        deliveries: Queue,
        dead: Queue,
        settling: Settling,
        dispatching: Dispatching,
        clock: Clock,
        new_id: Callable[[], str],
        dead_age_s: float,
    ) -> None:
        """`dead_age_s`: how long the engine keeps dead events; 0 for ever."""
        self._queues = queues
        self._deliveries = deliveries
        self._dead = dead
        self._settling = settling
        self._dispatching = dispatching
        self._clock = clock
        self._new_id = new_id
        self._dead_age_s = dead_age_s

    async def backlogs(self) -> tuple[Backlog, ...]:
        found: dict[FunctionKey, dict[str, int]] = {}
        for queue in self._queues:
            for at, number in (await queue.counts()).items():
                name = "delayed" if at.startswith(f"{LATER}.") else "waiting"
                _add(found, at, name, number)
        for at, number in (await self._deliveries.counts()).items():
            _add(found, at, "deliveries", number)
        for at, number in (await self._dead.counts()).items():
            _add(found, at, "dead", number)
        lanes = self._dispatching.lanes
        return tuple(
            [
                Backlog(
                    key=key,
                    **found[key],
                    oldest_ms=await self._oldest_ms(key) if "waiting" in found[key] else None,
                    has_own_lane=key in lanes,
                )
                for key in sorted(found, key=FunctionKey.arn)
            ]
        )

    async def rows(
        self, key: FunctionKey, state: EventState, *, after: int = 0, limit: int = 100
    ) -> tuple[EventRow, ...]:
        rows = []
        async for _, stored in self._walk(key, state, after):
            row = self._row(state, stored)
            if row is not None:
                rows.append(row)
            if len(rows) == limit:
                break
        return tuple(rows)

    async def find(self, key: FunctionKey, request: RequestId) -> EventRow | None:
        stored = await self._hands(key).next(later_place(key, request))
        if stored is not None:
            return self._row(EventState.DELAYED, stored)
        for state in (EventState.WAITING, EventState.DEAD, EventState.DELIVERY):
            async for _, stored in self._walk(key, state):
                row = self._row(state, stored)
                if row is not None and row.event.call.request == request:
                    return row
        return None

    async def redrive(self, key: FunctionKey, request: RequestId | None = None) -> int:
        redriven = 0
        async for queue, stored in self._walk(key, EventState.DEAD):
            try:
                dead = read_dead(stored.body)
            except Unreadable:
                continue
            if request is None or _event_of(dead).call.request == request:
                await self._redrive(dead)
                await queue.remove(stored.sequence)
                redriven += 1
        log.info("dead events redriven", function=key.arn(), n=redriven)
        return redriven

    async def purge(
        self, key: FunctionKey, state: EventState, request: RequestId | None = None
    ) -> int:
        purged = 0
        if request is None:
            for queue, prefix in self._where(key, state):
                purged += await queue.purge(prefix)
            if state is EventState.WAITING:
                self._dispatching.forget(key)
        else:
            async for queue, stored in self._walk(key, state):
                row = self._row(state, stored)
                if row is not None and row.event.call.request == request:
                    purged += await queue.remove(stored.sequence)
        log.warning("events purged", function=key.arn(), state=state, n=purged)
        return purged

    async def _redrive(self, dead: Settlement | Delivery) -> None:
        """Under new message ids: the engine would take the old ones for repetitions."""
        old = _event_of(dead)
        event = replace(old, incarnation=self._new_id())
        if isinstance(dead, Delivery):
            settlement = replace(dead.settlement, event=event)
            await self._settling.enqueue(replace(dead, settlement=settlement, tries=0))
            return
        event = replace(event, attempts=0, throttles=0, accepted_ms=self._clock.epoch_ms())
        await self._hands(event.key).publish(
            new_place(event.key), write_event(event), message_id(event)
        )

    def _hands(self, key: FunctionKey) -> Queue:
        return self._queues[shard_of(key)]

    def _where(self, key: FunctionKey, state: EventState) -> list[tuple[Queue, str]]:
        match state:
            case EventState.WAITING:
                return [(self._hands(key), new_place(key)), (self._hands(key), aside_place(key))]
            case EventState.DELAYED:
                return [(self._hands(key), place(LATER, function_tokens(key)))]
            case EventState.DEAD:
                return [(self._dead, dead_place(key))]
            case EventState.DELIVERY:
                tokens = function_tokens(key)
                partitions = (place(NEW, partition, tokens) for partition in range(PARTITIONS))
                return [
                    (self._deliveries, prefix)
                    for prefix in chain(partitions, [place(LATER, tokens)])
                ]

    async def _walk(
        self, key: FunctionKey, state: EventState, after: int = 0
    ) -> AsyncIterator[Found]:
        """What there is when it begins, oldest first, each read when it is asked for."""
        last = 0
        heads: list[tuple[Queue, str, Stored]] = []
        for queue, prefix in self._where(key, state):
            stored = await queue.next(prefix, after)
            if stored is not None:
                heads.append((queue, prefix, stored))
        end = await self._end(heads)
        while heads:
            queue, prefix, stored = min(heads, key=lambda head: head[2].sequence)
            heads.remove((queue, prefix, stored))
            last = stored.sequence
            yield queue, stored
            following = await queue.next(prefix, last)
            if following is not None and following.sequence <= end:
                heads.append((queue, prefix, following))

    async def _end(self, heads: Sequence[tuple[Queue, str, Stored]]) -> int:
        """The last sequence now: a walk that adds to what it walks over would not end."""
        return max([await queue.last() for queue, _, _ in heads], default=0)

    async def _oldest_ms(self, key: FunctionKey) -> int | None:
        async for _, stored in self._walk(key, EventState.WAITING):
            row = self._row(EventState.WAITING, stored)
            return None if row is None else row.event.accepted_ms
        return None

    def _row(self, state: EventState, stored: Stored) -> EventRow | None:
        try:
            return self._read(state, stored)
        except Unreadable as error:
            log.warning("event cannot be read", at=stored.key, error=error)
            return None

    def _read(self, state: EventState, stored: Stored) -> EventRow:
        """Raises Unreadable."""
        if state in (EventState.WAITING, EventState.DELAYED):
            return EventRow(
                state=state,
                sequence=stored.sequence,
                event=read_event(stored.body),
                due_ms=stored.due_ms,
            )
        found = (
            read_delivery(stored.body) if state is EventState.DELIVERY else read_dead(stored.body)
        )
        delivery = found if isinstance(found, Delivery) else None
        settlement = found.settlement if isinstance(found, Delivery) else found
        due_ms = stored.due_ms
        if state is EventState.DEAD and self._dead_age_s:
            due_ms = settlement.settled_ms + int(self._dead_age_s * 1000)
        return EventRow(
            state=state,
            sequence=stored.sequence,
            event=settlement.event,
            due_ms=due_ms,
            condition=settlement.condition,
            invoke_count=settlement.invoke_count,
            response=settlement.response,
            target=None if delivery is None else delivery.target,
            tries=0 if delivery is None else delivery.tries,
            reason="" if delivery is None else delivery.reason,
        )


def _event_of(dead: Settlement | Delivery) -> AsyncEvent:
    return dead.settlement.event if isinstance(dead, Delivery) else dead.event


def _add(found: dict[FunctionKey, dict[str, int]], at: str, name: str, number: int) -> None:
    key = function_at(at)
    if key is not None:
        counts = found.setdefault(key, {})
        counts[name] = counts.get(name, 0) + number
