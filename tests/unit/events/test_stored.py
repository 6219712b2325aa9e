"""Does what is written to a queue come back as it was?"""

from dataclasses import replace

import msgspec
import pytest

from fakes.invokes import function_key, invoke_call
from hearth.events.places import (
    PARTITIONS,
    SHARDS,
    aside_place,
    dead_place,
    function_at,
    later_place,
    new_place,
    partition_of,
    partitions_of,
    shard_of,
)
from hearth.events.stored import (
    Unreadable,
    read_dead,
    read_delivery,
    read_event,
    write_dead,
    write_delivery,
    write_event,
)
from hearth.model.events import (
    AsyncEvent,
    Condition,
    Delivery,
    Response,
    Settlement,
    TargetKind,
)
from hearth.model.ids import AccountId, FunctionName, FunctionReference, Region, RequestId

EVENT = AsyncEvent(
    key=function_key("f"),
    call=invoke_call("f", payload=b'{"n": 1}', request=RequestId("r1")),
    accepted_ms=1_700_000_000_123,
)
SETTLEMENT = Settlement(
    event=EVENT,
    condition=Condition.SUCCESS,
    invoke_count=1,
    response=Response(payload=b"1", executed_version="3"),
    settled_ms=1_700_000_000_456,
)


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        replace(EVENT, attempts=2, throttles=7, incarnation="i"),
        replace(
            EVENT,
            call=replace(
                EVENT.call,
                reference=FunctionReference(
                    FunctionName("f"), AccountId("123456789012"), Region("eu-west-1"), "live"
                ),
                qualifier="live",
                tenant="blue",
                client_context='{"custom": {"ä": "\\n"}}',
                trace_id="Root=1-0-0;Lineage=00000000:3",
                payload=bytes(range(256)),
            ),
        ),
    ],
)
def test_an_event_comes_back_as_it_was(event: AsyncEvent) -> None:
    assert read_event(write_event(event)) == event


@pytest.mark.parametrize("response", [None, SETTLEMENT.response])
@pytest.mark.parametrize("kind", TargetKind)
def test_a_delivery_comes_back_as_it_was(response: Response | None, kind: TargetKind) -> None:
    settlement = replace(SETTLEMENT, response=response)
    delivery = Delivery(settlement=settlement, target="arn:aws:sqs:::q", kind=kind, tries=3)
    assert read_delivery(write_delivery(delivery)) == delivery
    assert read_dead(write_dead(delivery)) == delivery
    assert read_dead(write_dead(settlement)) == settlement


def test_what_is_in_another_form_is_unreadable() -> None:
    other = msgspec.msgpack.decode(write_event(EVENT)) | {"form": 99}
    for body in (b"", b"{}", b"\xc1", msgspec.msgpack.encode(other)):
        with pytest.raises(Unreadable):
            read_event(body)
    with pytest.raises(Unreadable):
        read_delivery(write_dead(SETTLEMENT))
    with pytest.raises(Unreadable):
        read_dead(b"nothing")


def test_every_function_has_one_partition_and_is_found_from_each_of_its_places() -> None:
    keys = [function_key(f"function-{number}_x") for number in range(400)]
    assert {partition_of(key) for key in keys} == set(range(PARTITIONS))
    for key in keys:
        assert partition_of(key) in partitions_of(shard_of(key))
        for at in (new_place(key), aside_place(key), later_place(key, "r-1"), dead_place(key)):
            assert function_at(at) == key
    assert function_at("probe") is None
    assert function_at("new.1.x") is None
    together = sorted(p for shard in range(SHARDS) for p in partitions_of(shard))
    assert together == list(range(PARTITIONS))
