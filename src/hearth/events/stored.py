"""How are events written down? As MessagePack, with the payload as it came.

A record carries the number of its form; one that this Hearth cannot read raises Unreadable.
"""

from typing import Final

import msgspec

from hearth.model.events import AsyncEvent, Condition, Delivery, Response, Settlement, TargetKind
from hearth.model.ids import (
    AccountId,
    Caller,
    FunctionKey,
    FunctionName,
    FunctionReference,
    Region,
    RequestId,
)
from hearth.model.invocations import InvokeCall

FORM: Final = 1


class Unreadable(Exception):
    """Not a record of this Hearth's."""


class _Event(msgspec.Struct, omit_defaults=True, rename=None):
    request: str
    function: tuple[str, str, str]
    caller: tuple[str, str, str, str]
    accepted_ms: int
    payload: bytes
    form: int = FORM
    reference: tuple[str, str | None, str | None, str | None] | None = None
    """None: the function's name alone."""
    qualifier: str | None = None
    client_context: str | None = None
    trace_id: str | None = None
    attempts: int = 0
    throttles: int = 0
    incarnation: str = ""
    tenant: str | None = None


class _Response(msgspec.Struct, omit_defaults=True):
    payload: bytes
    status_code: int = 200
    executed_version: str | None = None
    function_error: str | None = None


class _Settlement(msgspec.Struct, omit_defaults=True):
    event: _Event
    condition: Condition
    invoke_count: int
    settled_ms: int
    response: _Response | None = None


class _Delivery(msgspec.Struct, omit_defaults=True):
    """Also what is kept of a dead event, which has no target."""

    settlement: _Settlement
    target: str | None = None
    kind: TargetKind = TargetKind.DESTINATION
    tries: int = 0
    reason: str = ""


_encode: Final = msgspec.msgpack.Encoder().encode
_event: Final = msgspec.msgpack.Decoder(_Event).decode
_delivery: Final = msgspec.msgpack.Decoder(_Delivery).decode


def write_event(event: AsyncEvent) -> bytes:
    return _encode(_row(event))


def read_event(body: bytes) -> AsyncEvent:
    """Raises Unreadable."""
    try:
        return _read(_event(body))
    except msgspec.MsgspecError as error:
        raise Unreadable("an event in another form") from error


def write_delivery(delivery: Delivery) -> bytes:
    return _encode(
        _Delivery(
            _settlement_row(delivery.settlement),
            delivery.target,
            delivery.kind,
            delivery.tries,
            delivery.reason,
        )
    )


def read_delivery(body: bytes) -> Delivery:
    """Raises Unreadable."""
    found = read_dead(body)
    if not isinstance(found, Delivery):
        raise Unreadable("a dead event")
    return found


def write_dead(dead: Settlement | Delivery) -> bytes:
    if isinstance(dead, Delivery):
        return write_delivery(dead)
    return _encode(_Delivery(_settlement_row(dead)))


def read_dead(body: bytes) -> Settlement | Delivery:
    """A delivery, if its target could not be told. Raises Unreadable."""
    try:
        row = _delivery(body)
        settlement = _read_settlement(row.settlement)
    except msgspec.MsgspecError as error:
        raise Unreadable("a settlement in another form") from error
    if row.target is None:
        return settlement
    return Delivery(
        settlement=settlement,
        target=row.target,
        kind=row.kind,
        tries=row.tries,
        reason=row.reason,
    )


def _row(event: AsyncEvent) -> _Event:
    call = event.call
    named = call.reference
    has_more = named.account or named.region or named.qualifier
    is_plain = not has_more and named.name == event.key.name
    return _Event(
        request=call.request,
        function=(event.key.account, event.key.region, event.key.name),
        caller=(
            call.caller.account,
            call.caller.region,
            call.caller.access_key,
            call.caller.user_arn,
        ),
        accepted_ms=event.accepted_ms,
        payload=call.payload,
        reference=(
            None if is_plain else (named.name, named.account, named.region, named.qualifier)
        ),
        qualifier=call.qualifier,
        client_context=call.client_context,
        trace_id=call.trace_id,
        attempts=event.attempts,
        throttles=event.throttles,
        incarnation=event.incarnation,
        tenant=call.tenant,
    )


def _read(row: _Event) -> AsyncEvent:
    if row.form != FORM:
        raise Unreadable(f"form {row.form}")
    account, region, name = row.function
    caller = row.caller
    reference = FunctionReference(FunctionName(name))
    if row.reference is not None:
        named, its_account, its_region, qualifier = row.reference
        reference = FunctionReference(
            FunctionName(named),
            None if its_account is None else AccountId(its_account),
            None if its_region is None else Region(its_region),
            qualifier,
        )
    return AsyncEvent(
        key=FunctionKey(AccountId(account), Region(region), FunctionName(name)),
        call=InvokeCall(
            caller=Caller(AccountId(caller[0]), Region(caller[1]), caller[2], caller[3]),
            reference=reference,
            qualifier=row.qualifier,
            payload=row.payload,
            client_context=row.client_context,
            request=RequestId(row.request),
            trace_id=row.trace_id,
            tenant=row.tenant,
        ),
        accepted_ms=row.accepted_ms,
        attempts=row.attempts,
        throttles=row.throttles,
        incarnation=row.incarnation,
    )


def _settlement_row(settlement: Settlement) -> _Settlement:
    response = settlement.response
    return _Settlement(
        event=_row(settlement.event),
        condition=settlement.condition,
        invoke_count=settlement.invoke_count,
        settled_ms=settlement.settled_ms,
        response=(
            None
            if response is None
            else _Response(
                response.payload,
                response.status_code,
                response.executed_version,
                response.function_error,
            )
        ),
    )


def _read_settlement(row: _Settlement) -> Settlement:
    found = row.response
    return Settlement(
        event=_read(row.event),
        condition=row.condition,
        invoke_count=row.invoke_count,
        settled_ms=row.settled_ms,
        response=(
            None
            if found is None
            else Response(
                payload=found.payload,
                status_code=found.status_code,
                executed_version=found.executed_version,
                function_error=found.function_error,
            )
        ),
    )
