"""`hearth events` and the metrics on a real admin socket, over queues that a test fills."""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fakes.admin import administered
from fakes.settlements import FAILED, KEY, settlement
from hearth.api.admin_events import event_routes
from hearth.api.metrics import METRICS_TYPE, metrics_routes
from hearth.cli.main import cli
from hearth.engine.contract import EngineUnavailable
from hearth.model.events import AsyncEvent, Backlog, Condition, EventRow, EventState
from hearth.model.ids import FunctionKey, Region, RequestId

pytestmark = pytest.mark.integration

ELSEWHERE = replace(KEY, region=Region("eu-west-1"))
QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"


class FakeDesk:
    """Events in a list."""

    def __init__(self) -> None:
        self.rows_: list[EventRow] = []

        self.is_down = False

    def add(self, state: EventState, request: str, key: FunctionKey = KEY, **more: Any) -> None:
        event = settlement(request=RequestId(request)).event
        self.rows_.append(
            EventRow(
                state=state,
                sequence=len(self.rows_) + 1,
                event=AsyncEvent(key=key, call=event.call, accepted_ms=event.accepted_ms),
                **more,
            )
        )

    async def backlogs(self) -> tuple[Backlog, ...]:
        if self.is_down:
            raise EngineUnavailable("no answer within 5 s")
        return tuple(
            Backlog(
                key=key,
                waiting=self._count(key, EventState.WAITING),
                delayed=self._count(key, EventState.DELAYED),
                dead=self._count(key, EventState.DEAD),
                deliveries=self._count(key, EventState.DELIVERY),
                oldest_ms=min(row.event.accepted_ms for row in self.rows_ if row.event.key == key),
            )
            for key in sorted({row.event.key for row in self.rows_}, key=FunctionKey.arn)
        )

    def _count(self, key: FunctionKey, state: EventState) -> int:
        return sum(row.event.key == key and row.state is state for row in self.rows_)

    async def rows(
        self, key: FunctionKey, state: EventState, *, after: int = 0, limit: int = 100
    ) -> tuple[EventRow, ...]:
        found = [row for row in self.rows_ if row.event.key == key and row.state is state]
        return tuple(row for row in found if row.sequence > after)[:limit]

    async def find(self, key: FunctionKey, request: RequestId) -> EventRow | None:
        for row in self.rows_:
            if row.event.key == key and row.event.call.request == request:
                return row
        return None

    async def redrive(self, key: FunctionKey, request: RequestId | None = None) -> int:
        return await self.purge(key, EventState.DEAD, request)

    async def purge(
        self, key: FunctionKey, state: EventState, request: RequestId | None = None
    ) -> int:
        gone = [
            row
            for row in self.rows_
            if row.event.key == key
            and row.state is state
            and request in (None, row.event.call.request)
        ]
        self.rows_ = [row for row in self.rows_ if row not in gone]
        return len(gone)


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


@pytest.fixture
def state(desk: FakeDesk, tmp_path: Path) -> Iterator[Path]:
    async def scrape() -> bytes:
        return b"hearth_up 1\n"

    routes = {**event_routes(desk), **metrics_routes(scrape)}
    with administered(tmp_path, routes):
        yield tmp_path


def run(state: Path, *arguments: str, says: str | None = None) -> Result:
    return CliRunner().invoke(
        cli, ["events", *arguments, "--state", str(state)], input=says, catch_exceptions=False
    )


def test_nothing_to_see_is_said_in_words(state: Path, desk: FakeDesk) -> None:
    assert "No event waits anywhere" in run(state, "list").stderr
    assert run(state, "list", "--json").stdout == "[]\n"
    assert run(state, "list", "f").stderr == "f has no events.\n"
    desk.add(EventState.DEAD, "r1")
    assert run(state, "list", "f", "--only", "waiting").stderr == "f has no waiting events.\n"


def test_backlogs_are_listed_by_function(state: Path, desk: FakeDesk) -> None:
    for number in range(3):
        desk.add(EventState.WAITING, f"r{number}")
    desk.add(EventState.DEAD, "r9", ELSEWHERE)
    head, first, second = run(state, "list").stdout.splitlines()
    assert head.split()[:6] == ["FUNCTION", "WAITING", "DELAYED", "DEAD", "DELIVERIES", "OLDEST"]
    assert first.split()[:5] == ["f", "0", "0", "1", "0"]
    assert second.split()[:5] == ["f", "3", "0", "0", "0"]
    told = json.loads(run(state, "list", "--json", "--region", "us-east-1").stdout)
    assert [(row["function"], row["waiting"]) for row in told] == [("f", 3)]


def test_events_of_a_function_are_listed_by_state(state: Path, desk: FakeDesk) -> None:
    desk.add(EventState.DEAD, "dead-1", condition=Condition.RETRIES_EXHAUSTED, response=FAILED)
    desk.add(EventState.WAITING, "wait-1")
    desk.add(EventState.DELIVERY, "deli-1", condition=Condition.SUCCESS, target=QUEUE)
    table = run(state, "list", "f").stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [
        ["wait-1", "waiting"],
        ["dead-1", "dead"],
        ["deli-1", "delivery"],
    ]
    assert QUEUE in table[3]
    (dead,) = json.loads(run(state, "list", "f", "--only", "dead", "--json").stdout)
    assert (dead["request"], dead["condition"]) == ("dead-1", "RetriesExhausted")
    assert dead["function_arn"] == KEY.arn("$LATEST")


def test_one_event_is_shown_with_all_that_came_of_it(state: Path, desk: FakeDesk) -> None:
    desk.add(EventState.DEAD, "r1", condition=Condition.RETRIES_EXHAUSTED, response=FAILED)
    shown = run(state, "show", "f", "r1").stdout
    for text in ('{"n": 1.10}', "RetriesExhausted", "Unhandled", '"errorMessage": "no"'):
        assert text in shown
    told = json.loads(run(state, "show", KEY.arn(), "r1", "--json").stdout)
    assert told["event"]["request"] == "r1"
    assert "because" not in shown
    desk.add(EventState.DELIVERY, "r3", target=QUEUE, tries=2, reason="AccessDenied: no")
    told_in_vain = run(state, "show", "f", "r3").stdout
    assert "2 times in vain" in told_in_vain
    assert "AccessDenied: no" in told_in_vain
    missing = run(state, "show", "f", "r2")
    assert missing.exit_code == 1
    assert "f has no event r2" in missing.stderr


def test_dead_events_are_redriven_once_somebody_has_agreed(state: Path, desk: FakeDesk) -> None:
    for request in ("r1", "r2", "r3"):
        desk.add(EventState.DEAD, request)
    declined = run(state, "redrive", "f", "--all", says="n\n")
    assert declined.exit_code == 1
    assert "Redrive 3 dead events of f?" in declined.stdout
    assert len(desk.rows_) == 3
    assert run(state, "redrive", "f", "r2").stderr == "Redriven: 1 event of f.\n"
    assert "no dead event r2" in run(state, "redrive", "f", "r2").stderr
    assert run(state, "redrive", "f", "--all", "--yes").stderr == "Redriven: 2 events of f.\n"
    assert "f has no dead events" in run(state, "redrive", "f", "--all", "--yes").stderr


def test_purging_asks_before_it_throws_away(state: Path, desk: FakeDesk) -> None:
    desk.add(EventState.WAITING, "w1")
    desk.add(EventState.DEAD, "d1")
    desk.add(EventState.DEAD, "d2")
    assert run(state, "purge", "f", "d1", says="n\n").exit_code == 1
    assert len(desk.rows_) == 3
    assert run(state, "purge", "f", "d1", says="y\n").exit_code == 0
    purged = run(state, "purge", "f", "--only", "waiting", "--all", "--yes")
    assert purged.stderr == "Thrown away: 1 event of f.\n"
    assert [row.event.call.request for row in desk.rows_] == ["d2"]
    assert "no waiting events" in run(state, "purge", "f", "--only", "waiting", "--all").stderr


@pytest.mark.parametrize("command", ["redrive", "purge"])
def test_one_or_all_must_be_said(state: Path, command: str) -> None:
    for arguments in ((), ("r1", "--all")):
        refused = run(state, command, "f", *arguments)
        assert refused.exit_code == 2
        assert "Give one REQUEST, or --all." in refused.stderr


def test_functions_of_one_name_must_be_told_apart(state: Path, desk: FakeDesk) -> None:
    desk.add(EventState.DEAD, "r1")
    desk.add(EventState.DEAD, "r2", ELSEWHERE)
    ambiguous = run(state, "redrive", "f", "--all", "--yes")
    assert ambiguous.exit_code == 1
    assert "--account and --region" in ambiguous.stderr
    assert run(state, "redrive", ELSEWHERE.arn(), "--all", "--yes").exit_code == 0
    assert run(state, "redrive", "f", "--region", "us-east-1", "--all", "--yes").exit_code == 0
    assert desk.rows_ == []


def test_an_engine_that_does_not_answer_is_said(state: Path, desk: FakeDesk) -> None:
    desk.is_down = True
    told = run(state, "list")
    assert told.exit_code == 1
    assert told.stderr == "hearth: The engine does not answer: no answer within 5 s\n"


def test_metrics_are_text_on_the_same_socket(state: Path) -> None:
    connection = http.client.HTTPConnection("hearth", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(str(state / "run/admin.sock"))
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    assert answer.read() == b"hearth_up 1\n"
    assert answer.headers["Content-Type"] == METRICS_TYPE
    connection.close()


@pytest.mark.parametrize(
    "path", ["/events", "/events?account=1&region=r&function=f&state=odd", "/events/one?account=1"]
)
def test_a_question_that_makes_no_sense_is_refused(state: Path, path: str) -> None:
    connection = http.client.HTTPConnection("hearth", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(str(state / "run/admin.sock"))
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 400
    assert json.loads(answer.read())["message"]
    connection.close()
