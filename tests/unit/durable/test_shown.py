"""What callers see of an execution: pages of operations, and events that AWS's model knows."""

import json
from typing import Any

import pytest

from hearth.api.protocols.restjson import RestJson
from hearth.api.shapes import load_service
from hearth.durable import rules
from hearth.durable.execution import Execution, Type
from hearth.durable.facts import INTERNAL, Error, Fact, Kind, Origin
from hearth.durable.invocations import ended_of, failure_payload, invocation_payload
from hearth.durable.shown import (
    PAGE_BYTES_MAX,
    event_members,
    events_page,
    operation_members,
    state_page,
)
from hearth.durable.tokens import read_marker
from hearth.durable.updates import Update
from hearth.model.durable import DurableConfig

PROTOCOL = RestJson(load_service("lambda"))
HISTORY = PROTOCOL.model.operation("GetDurableExecutionHistory")
STATE = PROTOCOL.model.operation("GetDurableExecutionState")


def begun() -> Execution:
    origin = Origin(id="e", arn="arn", config=DurableConfig(), is_async=False, secret="s")
    execution = Execution(
        Fact(kind=Kind.EXECUTION_STARTED, at_ms=0, payload='{"n": 1}', name="n", origin=origin)
    )
    execution.apply(rules.begin(execution, "r", 0))
    return execution


def with_steps(number: int, payload: str = "1") -> Execution:
    execution = begun()
    for n in range(number):
        updates = [
            Update(id=f"s{n}", type=Type.STEP, action="START"),
            Update(id=f"s{n}", type=Type.STEP, action="SUCCEED", payload=payload),
        ]
        execution.apply(rules.checkpoint(execution, execution.token, updates, None, "d", n).facts)
    return execution


def pages(execution: Execution, since: int = 0, **how: Any) -> list[list[str]]:
    found, after = [], 0
    while True:
        page = state_page(execution, since=since, after=after, **how)
        found.append([operation["Id"] for operation in page.operations])
        if page.next_marker is None:
            return found
        marker = read_marker(page.next_marker)
        assert marker is not None
        assert marker.since == since
        after = marker.after


def test_pages_have_every_operation_once_and_in_order() -> None:
    execution = with_steps(7)
    assert pages(execution, items_max=3) == [
        ["e", "s0", "s1"],
        ["s2", "s3", "s4"],
        ["s5", "s6"],
    ]
    assert pages(execution) == [["e", *(f"s{n}" for n in range(7))]]


def test_pages_end_before_they_are_too_large() -> None:
    execution = with_steps(6, "x" * (PAGE_BYTES_MAX // 4))
    assert [len(page) for page in pages(execution)] == [4, 3]


def test_what_has_changed_is_all_that_is_told_after_a_checkpoint() -> None:
    execution = with_steps(3)
    since = execution.told
    update = Update(id="s9", type=Type.STEP, action="START")
    execution.apply(rules.checkpoint(execution, execution.token, [update], None, "d", 9).facts)
    assert pages(execution, since) == [["s9"]]


def test_an_invocation_gets_its_operations_with_milliseconds() -> None:
    execution = with_steps(1)
    event = json.loads(invocation_payload(execution, 0))
    assert event["DurableExecutionArn"] == "arn"
    assert event["CheckpointToken"] == execution.token
    first, step = event["InitialExecutionState"]["Operations"]
    assert first["ExecutionDetails"] == {"InputPayload": '{"n": 1}'}
    assert (first["Id"], first["StartTimestamp"]) == ("e", 0)
    assert step["StepDetails"] == {"Attempt": 1, "Result": "1"}


assert HISTORY.output is not None
_events = HISTORY.output.members["Events"].shape.element
assert _events is not None
EVENT = _events.shape
EVENTS = sorted(set(Kind) - INTERNAL)


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("with_data", [True, False])
def test_every_event_is_one_of_awss_model(kind: Kind, with_data: bool) -> None:
    fact = Fact(
        kind=kind,
        at_ms=1_000,
        operation="o" if not kind.startswith(("Execution", "Invocation")) else None,
        parent="p",
        name="n",
        sub_type="Step",
        payload="1",
        error=Error(message="no", type="T", data="d", trace=("a", "b")),
        seconds=5,
        heartbeat_s=3,
        due_ms=6_000,
        attempt=1,
        callback="YQ==",
        function="f",
        tenant="t",
        request="r",
        began_ms=500,
        reason="because",
        stops_time=True,
    )
    event = event_members(1, fact, begun(), with_data=with_data)
    required = {"EventType": str(kind), "EventId": 1}
    assert required.items() <= event.items()
    body = json.loads(PROTOCOL.encode(HISTORY, {"Events": [event]}, "r").body)
    details = body["Events"][0][f"{kind}Details"]
    shape = EVENT.members[f"{kind}Details"].shape
    assert set(shape.required) <= details.keys()
    assert ("because" in str(body)) <= with_data
    assert ("'no'" in str(body)) <= with_data


def test_history_goes_both_ways() -> None:
    execution = with_steps(2)

    def numbers(**how: Any) -> list[int]:
        found, after = [], 0
        while True:
            events, last = events_page(execution, after=after, items_max=2, with_data=True, **how)
            found += [event["EventId"] for event in events]
            if last is None:
                return found
            after = last

    assert numbers(newest_first=False) == [1, 2, 3, 4, 5]
    assert numbers(newest_first=True) == [5, 4, 3, 2, 1]


def test_operations_are_those_of_the_model() -> None:
    execution = begun()
    updates = [
        Update(id="s", type=Type.STEP, action="START", name="n", sub_type="Step"),
        Update(id="s", type=Type.STEP, action="RETRY", retry_s=3, error=Error(message="no")),
        Update(id="w", type=Type.WAIT, action="START", wait_s=3),
        Update(id="c", type=Type.CALLBACK, action="START", timeout_s=3),
        Update(id="x", type=Type.CONTEXT, action="START"),
        Update(id="x", type=Type.CONTEXT, action="SUCCEED", payload="1", replay_children=True),
        Update(id="i", type=Type.CHAINED_INVOKE, action="START", function="f", parent="x"),
    ]
    execution.apply(rules.checkpoint(execution, execution.token, updates, None, "d", 0).facts)
    shown = [operation_members(operation) for operation in execution.operations.values()]
    body = json.loads(PROTOCOL.encode(STATE, {"Operations": shown}, "r").body)
    step, wait, callback, context, chained = body["Operations"]
    assert step["Status"] == "PENDING"
    assert step["StepDetails"] == {
        "Attempt": 1,
        "NextAttemptTimestamp": 3,
        "Error": {"ErrorMessage": "no"},
    }
    assert wait["WaitDetails"] == {"ScheduledEndTimestamp": 3}
    assert callback["CallbackDetails"].keys() == {"CallbackId"}
    assert context["ContextDetails"] == {"ReplayChildren": True, "Result": "1"}
    assert (chained["Status"], chained["ParentId"]) == ("STARTED", "x")


@pytest.mark.parametrize(
    ("payload", "error", "status", "why"),
    [
        (b'{"Status": "SUCCEEDED", "Result": "1"}', None, "SUCCEEDED", None),
        (b'{"Status": "PENDING"}', None, "PENDING", None),
        (b'{"Status": "FAILED", "Error": {"ErrorMessage": "no"}}', None, "FAILED", "no"),
        (b'{"errorMessage": "gone", "errorType": "T"}', "Unhandled", "BROKEN", "gone"),
        (b"not json", "Unhandled", "BROKEN", None),
        (b'"plain"', None, "FAILED", "Invalid Status in invocation output."),
        (b"\xff", None, "FAILED", "Invalid Status in invocation output."),
        (
            b'{"Status": "SUCCEEDED", "Result": {"n": 1}}',
            None,
            "FAILED",
            "Invalid Result or Error in invocation output.",
        ),
        (
            b'{"Status": "FAILED", "Error": {"ErrorMessage": 7}}',
            None,
            "FAILED",
            "Invalid Error in invocation output.",
        ),
        (
            b'{"Status": "FAILED", "Error": {"StackTrace": 7}}',
            None,
            "FAILED",
            "Invalid Error in invocation output.",
        ),
    ],
)
def test_what_an_invocation_answers(
    payload: bytes, error: str | None, status: str, why: str | None
) -> None:
    ended = ended_of(payload, error)
    assert ended.status == status
    assert (ended.error.message if ended.error else None) == why


def test_a_failure_is_an_answer_like_any_functions() -> None:
    error = Error(message="no", type="T", trace=("a",))
    assert json.loads(failure_payload(error)) == {
        "errorMessage": "no",
        "errorType": "T",
        "stackTrace": ["a"],
    }
