"""What is an asynchronous event, how can it end, and what is told about its end?

    accepted ── waiting | delayed | running ──> settled: exactly one Settlement
    Settlement ──> one Delivery for each target that the function's owner has named
               ──> kept as a dead event, if it failed and nobody has named one

An event keeps its request id in every attempt, every copy and every Delivery.
Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hearth.model.ids import FunctionKey
from hearth.model.invocations import InvokeCall
from hearth.model.values import value

RETRIES_DEFAULT: Final = 2
AGE_S_DEFAULT: Final = 21_600


class Condition(StrEnum):
    """Why an event is settled, in AWS's words."""

    SUCCESS = "Success"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    EVENT_AGE_EXCEEDED = "EventAgeExceeded"
    ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"


class TargetKind(StrEnum):
    """How a target is told: by a record of the whole invocation, or by the event alone."""

    DESTINATION = "destination"
    DEAD_LETTER = "dead-letter"


class EventState(StrEnum):
    WAITING = "waiting"
    """In the queue, or running."""
    DELAYED = "delayed"
    """Comes back to the queue at a set time."""
    DEAD = "dead"
    """Failed, without a target that could be told; kept for a while."""
    DELIVERY = "delivery"
    """Settled; a target has not been told yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """What the owner of a function wants done with its events; by function and qualifier."""

    retries_max: int = RETRIES_DEFAULT
    age_max_s: int = AGE_S_DEFAULT
    on_success: str | None = None
    """ARNs of targets."""
    on_failure: str | None = None
    dead_letter: str | None = None


@value(frozen=True, slots=True, kw_only=True)
class AsyncEvent:
    """One accepted event, as it waits."""

    key: FunctionKey
    call: InvokeCall
    """As it was asked for: resolved anew by each attempt."""
    accepted_ms: int
    """Since the epoch. Ages begin here, and begin anew with a redrive."""
    attempts: int = 0
    """Runs that ended in an error of the function."""
    throttles: int = 0
    """In a row: refusals by limits or by a system that could not run it. Never counted."""
    incarnation: str = ""
    """Made anew by each redrive: what is written for it then is no repetition."""

    @property
    def qualifier(self) -> str | None:
        return self.call.qualifier or self.call.reference.qualifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the last attempt answered."""

    payload: bytes
    """JSON; for an attempt that Lambda refused, the error as its client would see it."""
    status_code: int = 200
    executed_version: str | None = None
    """None if the function was not run."""
    function_error: str | None = None
    """`Unhandled`, or the code of the refusal's error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The end of an event."""

    event: AsyncEvent
    condition: Condition
    invoke_count: int
    """AWS's approximateInvokeCount."""
    response: Response | None
    """None if no attempt was ever made."""
    settled_ms: int
    """Since the epoch."""

    @property
    def function_arn(self) -> str:
        """With the qualifier that was invoked; `$LATEST` if none was."""
        return self.event.key.arn(self.event.qualifier or "$LATEST")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One settlement on its way to one target."""

    settlement: Settlement
    target: str
    """Its ARN."""
    kind: TargetKind
    tries: int = 0
    """That failed so far."""
    reason: str = ""
    """Why the last of them did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One event as `hearth events` shows it."""

    state: EventState
    sequence: int
    """Of its place in its queue: what a next page begins after."""
    event: AsyncEvent
    due_ms: int | None = None
    """When it comes back to the queue, or when a dead one goes."""
    condition: Condition | None = None
    """Of one that is settled."""
    invoke_count: int | None = None
    """Of one that is settled: all runs, while those of its event are those that were retried."""
    response: Response | None = None
    target: str | None = None
    """Of one that is to be told to a target."""
    tries: int = 0
    """To tell it, that failed so far."""
    reason: str = ""
    """Why the last of them did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits for one function."""

    key: FunctionKey
    waiting: int = 0
    delayed: int = 0
    dead: int = 0
    deliveries: int = 0
    oldest_ms: int | None = None
    """When the oldest waiting event was accepted; None if none waits."""
    has_own_lane: bool = False
    """Its events wait apart from those of others: it is flooded or throttled."""
