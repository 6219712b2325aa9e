"""What did one attempt of an event come to? The front end's answer, as the retry policy sees it."""

import json
from dataclasses import replace
from typing import Final

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.events.contract import Invoker, Meter, Reservations, Settings
from hearth.events.hands import Hand
from hearth.events.retry import (
    Again,
    Answered,
    Attempt,
    Impossible,
    Settle,
    Throttled,
    after_attempt,
    before_attempt,
)
from hearth.model.errors import InternalFailure, ServiceError
from hearth.model.events import AsyncEvent, Response
from hearth.model.invocations import InvokeCall

RECURSION: Final = "RecursiveInvocationException"
TRANSIENT_STATUSES: Final = frozenset({409, 429})
"""And everything from 500 on. 409: the function is being made or changed."""

log = Log("events")


class Attempts:
    def __init__(
        self,
        invoker: Invoker,
        settings: Settings,
        reservations: Reservations,
        meter: Meter,
        clock: Clock,
    ) -> None:
        self._invoker = invoker
        self._settings = settings
        self._reservations = reservations
        self._meter = meter
        self._clock = clock

    async def attempt(self, hand: Hand) -> Settle | Again:
        """Run it, unless it has ended, with the settings that hold now."""
        event, flow = hand.event, hand.flow
        early = before_attempt(
            event,
            self._settings.find(event.key, event.qualifier),
            self._reservations.reserved(event.key),
            self._clock.epoch_ms(),
        )
        if early is not None:
            return early
        self._meter.started(event, (self._clock.epoch_ms() - event.accepted_ms) / 1000)
        flow.in_flight += 1
        try:
            attempt = await self._invoke(event.call)
        finally:
            flow.in_flight -= 1
        if isinstance(attempt, Impossible) and attempt.response.function_error == RECURSION:
            self._meter.stopped_recursion(event.key)
        return self._decide(event, attempt)

    def _decide(self, event: AsyncEvent, attempt: Attempt) -> Settle | Again:
        settings = self._settings.find(event.key, event.qualifier)  # it may have changed meanwhile
        if isinstance(attempt, Throttled) and self._reservations.reserved(event.key) == 0:
            settled = before_attempt(event, settings, 0, self._clock.epoch_ms())
            assert settled is not None
            return settled
        return after_attempt(event, attempt, settings, self._clock.epoch_ms())

    async def _invoke(self, call: InvokeCall) -> Attempt:
        try:
            result = await self._invoker.invoke(replace(call, is_event=True))
        except ServiceError as error:
            response = _refusal(error)
            if error.status in TRANSIENT_STATUSES or error.status >= 500:
                return Throttled(response)
            return Impossible(response)
        except Exception as error:  # noqa: BLE001 -- a defect of ours must not lose the event
            log.error("event could not be run", request=call.request, error=error)
            return Throttled(_refusal(InternalFailure("An error occurred in Lambda.")))
        return Answered(
            Response(
                payload=result.payload,
                executed_version=result.executed_version,
                function_error=result.function_error,
            )
        )


def _refusal(error: ServiceError) -> Response:
    told = {"errorMessage": error.message, "errorType": error.code}
    return Response(
        payload=json.dumps(told).encode(), status_code=error.status, function_error=error.code
    )
