"""What does the asynchronous path need of the other rooms, and what does it offer them?

Settings    which retries, age and targets a function's owner has set        (control)
Invoker     runs an event, as it would a synchronous invoke                 (frontend)
Targets     tells one target of one settlement                              (senders)
Meter       counts                                                          (metrics)
EventDesk   list, show, redrive, purge: what an operator may do             (offered)
"""

from typing import Protocol

from hearth.model.events import (
    AsyncEvent,
    Backlog,
    Condition,
    Delivery,
    EventRow,
    EventSettings,
    EventState,
)
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region, RequestId
from hearth.model.invocations import InvokeCall, InvokeResult


class DeliveryFailed(Exception):
    """A target could not be told. The text is for the log and for `hearth events`.

    `is_final`: it never will be (there is no such target, or it may not be told): no more tries.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Targets(Protocol):
    """Senders. The durable step before them is in this room: a Delivery is in a queue of its own
    before its event is acknowledged, and is sent again, with growing pauses, until it succeeds, is
    final, or is older than a day."""

    async def deliver(self, delivery: Delivery) -> None:
        """Tell the target, within a deadline of the sender's own. May be called twice for one
        Delivery. Raises DeliveryFailed."""
        ...


class Settings(Protocol):
    def find(self, key: FunctionKey, qualifier: str | None, /) -> EventSettings:
        """What holds now: the defaults where nothing was set, or where the function is gone."""
        ...


class Reservations(Protocol):
    def reserved(self, key: FunctionKey, /) -> int | None:
        """The function's reserved concurrency; None without."""
        ...


class Invoker(Protocol):
    def accept(self, call: InvokeCall) -> FunctionKey:
        """Raises ServiceError for what no later attempt could run. Not for a recursive loop: its
        event is stopped when it runs, so that its owner hears of it."""
        ...

    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """Raises ServiceError when the function was not run."""
        ...


class Meter(Protocol):
    """AWS's metrics of the asynchronous path; each call is one event."""

    def received(self, key: FunctionKey) -> None:
        """AsyncEventsReceived."""
        ...

    def started(self, event: AsyncEvent, age_s: float) -> None:
        """AsyncEventAge: between acceptance and an attempt."""
        ...

    def settled(self, key: FunctionKey, condition: Condition) -> None: ...

    def dropped(self, key: FunctionKey, condition: Condition) -> None:
        """AsyncEventsDropped: failed, and no target was named."""
        ...

    def stopped_recursion(self, key: FunctionKey) -> None:
        """RecursiveInvocationsDropped."""
        ...

    def delivered(self, delivery: Delivery) -> None: ...

    def delivery_failed(self, delivery: Delivery) -> None:
        """For good: DestinationDeliveryFailures, or DeadLetterErrors by the delivery's kind."""
        ...


class EventDesk(Protocol):
    """What `hearth events` does. Supplied by this room."""

    async def backlogs(self) -> tuple[Backlog, ...]:
        """Of every function for which anything waits or is kept; by ARN."""
        ...

    async def rows(
        self, key: FunctionKey, state: EventState, *, after: int = 0, limit: int = 100
    ) -> tuple[EventRow, ...]:
        """The oldest first; a next page begins after a row's sequence."""
        ...

    async def find(self, key: FunctionKey, request: RequestId) -> EventRow | None:
        """One event, in whichever state it is."""
        ...

    async def redrive(self, key: FunctionKey, request: RequestId | None = None) -> int:
        """Put dead events, or that one, back into the queue with a fresh age and no attempts.
        Their request ids stay. Answers how many."""
        ...

    async def purge(
        self, key: FunctionKey, state: EventState, request: RequestId | None = None
    ) -> int:
        """Drop events for good. Answers how many. What runs at present runs to its end."""
        ...


def function_of(call: InvokeCall) -> FunctionKey:
    """Which function a call is for, whether there is one or not."""
    account: AccountId = call.reference.account or call.caller.account
    region: Region = call.reference.region or call.caller.region
    name: FunctionName = call.reference.name
    return FunctionKey(account, region, name)
