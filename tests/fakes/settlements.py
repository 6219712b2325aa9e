"""How events ended, for tests: complete, valid, and short to write."""

from dataclasses import replace
from typing import Any

from fakes.invokes import invoke_call
from hearth.frontend.lineage import with_run
from hearth.model.events import (
    AsyncEvent,
    Condition,
    Delivery,
    Response,
    Settlement,
    TargetKind,
)
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

KEY = FunctionKey(AccountId("123456789012"), Region("us-east-1"), FunctionName("f"))
REQUEST = "11111111-2222-4333-8444-555555555555"
TRACE = "Root=1-65000000-000000000000000000000000;Parent=0000000000000000;Sampled=0"
SEEN = with_run(TRACE, KEY)
"""The header that the function saw."""

SETTLED_MS = 1_795_894_900_186
FAILED = Response(
    payload=b'{"errorMessage": "no", "errorType": "E"}',
    executed_version="$LATEST",
    function_error="Unhandled",
)


def settlement(
    condition: Condition = Condition.RETRIES_EXHAUSTED,
    response: Response | None = FAILED,
    *,
    count: int = 3,
    **call: Any,
) -> Settlement:
    """`call`: fields of the InvokeCall."""
    members: dict[str, Any] = {"request": REQUEST, "payload": b'{"n": 1.10}', "trace_id": TRACE}
    invoke = replace(invoke_call("f"), **members | call)
    event = AsyncEvent(key=KEY, call=invoke, accepted_ms=SETTLED_MS - 1_000, attempts=count)
    return Settlement(
        event=event,
        condition=condition,
        invoke_count=count,
        response=response,
        settled_ms=SETTLED_MS,
    )


def succeeded(answer: bytes = b'"done"', **call: Any) -> Settlement:
    response = Response(payload=answer, executed_version="$LATEST")
    return settlement(Condition.SUCCESS, response, count=1, **call)


def record_for(target: str, ended: Settlement) -> Delivery:
    return Delivery(settlement=ended, target=target, kind=TargetKind.DESTINATION)


def dead_letter_for(target: str, ended: Settlement) -> Delivery:
    return Delivery(settlement=ended, target=target, kind=TargetKind.DEAD_LETTER)
