"""Is every row of the retry policy what AWS documents?"""

from dataclasses import replace

import pytest

from fakes.invokes import function_key, invoke_call
from hearth.events.retry import (
    Again,
    Answered,
    Attempt,
    Impossible,
    Settle,
    Throttled,
    after_attempt,
    before_attempt,
    delivery_wait_s,
    targets,
    throttle_wait_s,
)
from hearth.model.events import AsyncEvent, Condition, EventSettings, Response

SETTINGS = EventSettings()
EVENT = AsyncEvent(key=function_key("f"), call=invoke_call(), accepted_ms=1_000)
GOOD = Response(payload=b"1", executed_version="$LATEST")
BAD = Response(payload=b"{}", executed_version="$LATEST", function_error="Unhandled")
REFUSED = Response(payload=b"{}", status_code=429, function_error="TooManyRequestsException")


def tried(attempts: int, throttles: int = 0) -> AsyncEvent:
    return replace(EVENT, attempts=attempts, throttles=throttles)


def at(seconds: float) -> int:
    """So long after it was accepted."""
    return EVENT.accepted_ms + int(seconds * 1000)


@pytest.mark.parametrize(
    ("event", "settings", "reserved", "after_s", "condition"),
    [
        (EVENT, SETTINGS, None, 0, None),
        (EVENT, SETTINGS, 1, 21_599.9, None),
        (EVENT, SETTINGS, None, 21_600, Condition.EVENT_AGE_EXCEEDED),
        (EVENT, EventSettings(age_max_s=60), None, 59.9, None),
        (EVENT, EventSettings(age_max_s=60), None, 60, Condition.EVENT_AGE_EXCEEDED),
        (EVENT, SETTINGS, 0, 0, Condition.ZERO_RESERVED_CONCURRENCY),
        (tried(1), SETTINGS, 0, 60, Condition.ZERO_RESERVED_CONCURRENCY),
    ],
)
def test_before_an_attempt(
    event: AsyncEvent,
    settings: EventSettings,
    reserved: int | None,
    after_s: float,
    condition: Condition | None,
) -> None:
    decision = before_attempt(event, settings, reserved, at(after_s))
    if condition is None:
        assert decision is None
    else:
        assert decision == Settle(condition, event.attempts, None)


@pytest.mark.parametrize(
    ("event", "attempt", "settings", "after_s", "decision"),
    [
        (EVENT, Answered(GOOD), SETTINGS, 0, Settle(Condition.SUCCESS, 1, GOOD)),
        (tried(2), Answered(GOOD), SETTINGS, 181, Settle(Condition.SUCCESS, 3, GOOD)),
        (EVENT, Answered(BAD), SETTINGS, 0, Again(tried(1), 60.0, is_throttled=False)),
        (tried(1), Answered(BAD), SETTINGS, 61, Again(tried(2), 120.0, is_throttled=False)),
        (tried(2), Answered(BAD), SETTINGS, 182, Settle(Condition.RETRIES_EXHAUSTED, 3, BAD)),
        (
            EVENT,
            Answered(BAD),
            EventSettings(retries_max=0),
            0,
            Settle(Condition.RETRIES_EXHAUSTED, 1, BAD),
        ),
        (
            EVENT,
            Answered(BAD),
            EventSettings(age_max_s=60),
            0,
            Settle(Condition.EVENT_AGE_EXCEEDED, 1, BAD),
        ),
        (
            tried(1),
            Answered(BAD),
            EventSettings(age_max_s=180),
            60,
            Settle(Condition.EVENT_AGE_EXCEEDED, 2, BAD),
        ),
        (
            tried(1, throttles=4),
            Answered(BAD),
            SETTINGS,
            61,
            Again(tried(2), 120.0, is_throttled=False),
        ),
        (EVENT, Throttled(REFUSED), SETTINGS, 0, Again(tried(0, 1), 1.0, is_throttled=True)),
        (
            tried(2, throttles=3),
            Throttled(REFUSED),
            SETTINGS,
            200,
            Again(tried(2, 4), 8.0, is_throttled=True),
        ),
        (
            tried(0, throttles=80),
            Throttled(REFUSED),
            SETTINGS,
            21_500,
            Again(tried(0, 81), 100.0, is_throttled=True),
        ),
        (
            tried(1),
            Impossible(REFUSED),
            SETTINGS,
            61,
            Settle(Condition.RETRIES_EXHAUSTED, 1, REFUSED),
        ),
    ],
)
def test_after_an_attempt(
    event: AsyncEvent,
    attempt: Attempt,
    settings: EventSettings,
    after_s: float,
    decision: Settle | Again,
) -> None:
    assert after_attempt(event, attempt, settings, at(after_s)) == decision


def test_throttles_wait_from_a_second_to_five_minutes() -> None:
    waits = [throttle_wait_s(throttles) for throttles in range(11)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert throttle_wait_s(10_000) == 300


def test_targets_are_told_for_a_day() -> None:
    assert [delivery_wait_s(tries, 0, 0) for tries in (1, 2, 3, 9, 10, 500)] == [
        *(1.0, 2.0, 4.0, 256.0, 300.0, 300.0)
    ]
    assert delivery_wait_s(300, 0, 86_399_999) == 300.0
    assert delivery_wait_s(1, 0, 86_400_000) is None


@pytest.mark.parametrize("condition", Condition)
def test_who_is_told(condition: Condition) -> None:
    everyone = EventSettings(on_success="s", on_failure="f", dead_letter="d")
    expected = ("s", None) if condition is Condition.SUCCESS else ("f", "d")
    assert targets(everyone, condition) == expected
    assert targets(EventSettings(on_success="", on_failure=""), condition) == (None, None)
