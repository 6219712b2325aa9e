"""What becomes of an event now? Every decision on retries, age and the end of an event is here.

    before an attempt   too old, reserved concurrency 0        -> settled without a run
    after an attempt    answered                               -> Success
                        an error of the function               -> again after 1, then 2 minutes
                        a throttle, or a system that failed    -> again after 1 s, doubling to
                                                                  5 min, not counted, until too old
                        what no attempt can run                -> RetriesExhausted

An event that would be too old at its next attempt after an error of the function is settled at
once (recorded). A throttled one is tried, and then settled, up to the end of its time.
Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from dataclasses import dataclass, replace
from typing import Final

from hearth.model.events import AsyncEvent, Condition, EventSettings, Response

ERROR_WAITS_S: Final = (60.0, 120.0)
THROTTLE_WAIT_S: Final = 1.0
THROTTLE_WAIT_S_MAX: Final = 300.0

DELIVERY_WAIT_S: Final = 1.0
DELIVERY_WAIT_S_MAX: Final = 300.0
DELIVERY_AGE_S_MAX: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Answered:
    """The function ran; the response says how."""

    response: Response


@dataclass(frozen=True, slots=True)
class Throttled:
    """A limit, or a system that could not run it now."""

    response: Response


@dataclass(frozen=True, slots=True)
class Impossible:
    """No later attempt could run it: there is no such function, it is denied, it is a loop."""

    response: Response


Attempt = Answered | Throttled | Impossible


@dataclass(frozen=True, slots=True)
class Settle:
    condition: Condition
    invoke_count: int
    response: Response | None


@dataclass(frozen=True, slots=True)
class Again:
    event: AsyncEvent
    """As it waits for that."""
    wait_s: float
    is_throttled: bool


def before_attempt(
    event: AsyncEvent, settings: EventSettings, reserved: int | None, now_ms: int
) -> Settle | None:
    """None: try it."""
    if reserved == 0:
        return Settle(Condition.ZERO_RESERVED_CONCURRENCY, event.attempts, None)
    if now_ms >= _expires_ms(event, settings):
        return Settle(Condition.EVENT_AGE_EXCEEDED, event.attempts, None)
    return None


def after_attempt(
    event: AsyncEvent, attempt: Attempt, settings: EventSettings, now_ms: int
) -> Settle | Again:
    match attempt:
        case Impossible(response):
            return Settle(Condition.RETRIES_EXHAUSTED, event.attempts, response)
        case Throttled():
            left_s = max(_expires_ms(event, settings) - now_ms, 0) / 1000
            wait_s = min(throttle_wait_s(event.throttles), left_s)
            return Again(replace(event, throttles=event.throttles + 1), wait_s, is_throttled=True)
        case Answered(response):
            if response.function_error is None:
                return Settle(Condition.SUCCESS, event.attempts + 1, response)
            return _after_error(event, response, settings, now_ms)


def _after_error(
    event: AsyncEvent, response: Response, settings: EventSettings, now_ms: int
) -> Settle | Again:
    attempts = event.attempts + 1
    if attempts > settings.retries_max:
        return Settle(Condition.RETRIES_EXHAUSTED, attempts, response)
    wait_s = ERROR_WAITS_S[min(attempts, len(ERROR_WAITS_S)) - 1]
    if now_ms + wait_s * 1000 >= _expires_ms(event, settings):
        return Settle(Condition.EVENT_AGE_EXCEEDED, attempts, response)
    return Again(replace(event, attempts=attempts, throttles=0), wait_s, is_throttled=False)


def throttle_wait_s(throttles: int) -> float:
    """After so many in a row before this one."""
    return _doubled(THROTTLE_WAIT_S, throttles, THROTTLE_WAIT_S_MAX)


def delivery_wait_s(tries: int, settled_ms: int, now_ms: int) -> float | None:
    """Before a target is told again, after so many tries that failed; None: no more."""
    if now_ms - settled_ms >= DELIVERY_AGE_S_MAX * 1000:
        return None
    return _doubled(DELIVERY_WAIT_S, tries - 1, DELIVERY_WAIT_S_MAX)


def targets(settings: EventSettings, condition: Condition) -> tuple[str | None, str | None]:
    """Of a settlement: the destination and the dead-letter target, each None without."""
    if condition is Condition.SUCCESS:
        return settings.on_success or None, None
    return settings.on_failure or None, settings.dead_letter or None


def _expires_ms(event: AsyncEvent, settings: EventSettings) -> int:
    return event.accepted_ms + settings.age_max_s * 1000


def _doubled(first_s: float, times: int, most_s: float) -> float:
    return min(first_s * 2.0 ** min(max(times, 0), 32), most_s)
