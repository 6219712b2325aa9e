"""What is written of events, settlements and deliveries is read back whole."""

from dataclasses import fields, replace

import pytest

from fakes.settlements import FAILED, record_for, settlement
from hearth.events.stored import (
    Unreadable,
    read_dead,
    read_delivery,
    read_event,
    write_dead,
    write_delivery,
    write_event,
)
from hearth.model.events import Delivery, TargetKind
from hearth.model.ids import AccountId, FunctionName, FunctionReference, Region

REFERENCE = FunctionReference(
    FunctionName("f"), AccountId("123456789012"), Region("us-east-1"), "live"
)
WHOLE = settlement(
    reference=REFERENCE, qualifier="live", client_context='{"a": 1}', payload=b'"\xc3\xa9"'
)
DELIVERY = replace(
    record_for("arn:aws:s3:::b", replace(WHOLE, response=replace(FAILED, status_code=400))),
    kind=TargetKind.DEAD_LETTER,
    tries=3,
    reason="AccessDenied: é",
)


def test_every_member_of_a_delivery_survives() -> None:
    assert read_delivery(write_delivery(DELIVERY)) == DELIVERY
    assert read_dead(write_dead(DELIVERY)) == DELIVERY
    defaults = {f.name for f in fields(Delivery) if getattr(DELIVERY, f.name) == f.default}
    assert not defaults, "give the new member a value here that is not its default"


def test_a_settlement_without_a_target_is_a_settlement() -> None:
    assert read_dead(write_dead(WHOLE)) == WHOLE
    never = replace(WHOLE, response=None)
    assert read_dead(write_dead(never)) == never
    with pytest.raises(Unreadable):
        read_delivery(write_dead(WHOLE))


def test_an_event_survives() -> None:
    event = replace(WHOLE.event, throttles=2, incarnation="i2")
    assert read_event(write_event(event)) == event


@pytest.mark.parametrize("body", [b"", b"\x00", b"{}", b"\x80"])
def test_what_is_no_record_is_refused(body: bytes) -> None:
    for read in (read_event, read_delivery, read_dead):
        with pytest.raises(Unreadable):
            read(body)
