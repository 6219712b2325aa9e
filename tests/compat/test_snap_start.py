"""SnapStart through a whole Hearth: what a version's function and its hooks see, and say."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import Platform, create, wait_until
from hearth.runtimes import interpreters

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

RUNTIMES = ("python3.12", "python3.13", "python3.14")
ON: Any = {"ApplyOn": "PublishedVersions"}

CODE = """
import os, random, time
from snapshot_restore_py import register_after_restore, register_before_snapshot

events = ["init"]
began = time.time()
drawn = random.random()
register_before_snapshot(events.append, "before")
register_after_restore(events.append, "after")

def handler(event, context):
    return {
        "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "events": events, "began": began, "drawn": drawn,
    }
"""
BROKEN = "raise RuntimeError('no luck')"
BROKEN_HOOK = """
from snapshot_restore_py import register_after_restore
def fail():
    raise ValueError("not restored")
register_after_restore(fail)
def handler(event, context):
    return 1
"""


@pytest.fixture(scope="module")
def runtime() -> str:
    path = os.environ.get("PATH", "")
    for name in RUNTIMES:
        if interpreters.find(name, path, Path.home()) is not None:
            return name
    pytest.skip(f"none of {', '.join(RUNTIMES)} is on this machine")


def published(client: "LambdaClient", name: str, code: str, runtime: str) -> str:
    create(client, name, code, Runtime=runtime, SnapStart=ON)
    number = client.publish_version(FunctionName=name)["Version"]
    wait_until(lambda: state(client, name, number)["State"] != "Pending", "it is settled")
    return number


def state(client: "LambdaClient", name: str, number: str) -> dict[str, Any]:
    return dict(client.get_function_configuration(FunctionName=name, Qualifier=number))


def test_a_version_is_initialised_when_it_is_published(platform: Platform, runtime: str) -> None:
    client = platform.client()
    number = published(client, "snap", CODE, runtime)
    active = time.time()
    shown = state(client, "snap", number)
    assert shown["State"] == "Active", shown
    assert shown["SnapStart"] == {**ON, "OptimizationStatus": "On"}
    answers = []
    for _ in range(2):
        answer = client.invoke(FunctionName="snap", Qualifier=number, LogType="Tail")
        answers.append(json.loads(answer["Payload"].read()))
    assert answers[0]["type"] == "snap-start"
    assert answers[0]["events"] == ["init", "before", "after"]
    assert answers[1] == answers[0], "the second invoke is warm"
    assert answers[0]["began"] < active, "its init was over before anybody invoked it"
    logged = platform.service("logs").filter_log_events(logGroupName="/aws/lambda/snap")["events"]
    lines = [event["message"] for event in logged]
    assert any(line.startswith("RESTORE_START Runtime Version: python:") for line in lines)
    assert any(line.startswith("RESTORE_REPORT Restore Duration: ") for line in lines)
    first = next(line for line in lines if line.startswith("REPORT"))
    assert "Restore Duration: " in first
    assert "Init Duration" not in first
    on_demand = json.loads(client.invoke(FunctionName="snap")["Payload"].read())
    assert (on_demand["type"], on_demand["events"]) == ("on-demand", ["init"])


def test_a_version_whose_init_fails_says_so(platform: Platform, runtime: str) -> None:
    client = platform.client()
    number = published(client, "snap-broken", BROKEN, runtime)
    shown = state(client, "snap-broken", number)
    assert (shown["State"], shown["StateReasonCode"]) == ("Failed", "FunctionError")


def test_a_hook_that_fails_after_a_restore_fails_the_invoke(
    platform: Platform, runtime: str
) -> None:
    client = platform.client()
    number = published(client, "snap-hook", BROKEN_HOOK, runtime)
    answer = client.invoke(FunctionName="snap-hook", Qualifier=number)
    assert answer["FunctionError"] == "Unhandled"
    assert "not restored" in answer["Payload"].read().decode()


SLOW = """
import os, random, secrets, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot

began, spent = time.time(), time.process_time()
while time.process_time() - spent < 0.5:
    pass
with open("/tmp/left", "w") as file:
    file.write("by the init")
events = ["init"]
register_before_snapshot(events.append, "before")
register_after_restore(events.append, "after")

def handler(event, context):
    time.sleep(event["sleep"])
    print("handled by", os.environ["AWS_LAMBDA_LOG_STREAM_NAME"])
    return {
        "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "began": began, "events": events, "stream": context.log_stream_name,
        "tmp": open("/tmp/left").read(),
        "drawn": [random.random(), secrets.token_hex(8), uuid.uuid4().hex, os.urandom(8).hex()],
        "pids": [name for name in os.listdir("/proc") if name.isdigit()],
    }
"""


def test_all_environments_of_a_version_have_one_init_in_common(
    platform: Platform, runtime: str
) -> None:
    client = platform.client()
    number = published(client, "snap-fork", SLOW, runtime)

    def invoke(_: int) -> dict[str, Any]:
        payload = json.dumps({"sleep": 1})
        answer = client.invoke(FunctionName="snap-fork", Qualifier=number, Payload=payload)
        assert answer.get("FunctionError") is None, answer["Payload"].read()
        return dict(json.loads(answer["Payload"].read()))

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(invoke, range(3)))
    assert len({answer["stream"] for answer in answers}) == 3, "each had an environment of its own"
    assert len({answer["began"] for answer in answers}) == 1, "they share one init"
    for answer in answers:
        assert answer["type"] == "snap-start"
        assert answer["events"] == ["init", "before", "after"]
        assert answer["tmp"] == "by the init"
        assert len(answer["pids"]) == 2, "its own and that of its sandbox's init"
    for drawn in zip(*(answer["drawn"] for answer in answers), strict=True):
        assert len(set(drawn)) == 3, drawn


def test_a_version_that_cannot_be_forked_says_why_and_waits_itself(
    platform: Platform, runtime: str
) -> None:
    client = platform.client()
    code = "import socket\nkept = socket.socket()\n" + CODE
    number = published(client, "snap-socket", code, runtime)
    shown = platform.command("ps").stderr
    why = "not forked, because it has an open socket or connection"
    assert f"snap-socket {number}: 1 initialised and waiting; {why}" in shown, shown
    answer = client.invoke(FunctionName="snap-socket", Qualifier=number)
    assert json.loads(answer["Payload"].read())["events"] == ["init", "before", "after"]


def test_templates_come_back_after_a_restart_and_go_with_their_function(
    tmp_path: Path, runtime: str
) -> None:
    platform = Platform(tmp_path / "state")
    platform.start()
    try:
        number = published(platform.client(), "snap-kept", CODE, runtime)
        assert platform.stop() == 0
        platform.start()
        line = f"snap-kept {number}: 1 initialised and waiting, forked from a template"
        wait_until(lambda: line in platform.command("ps").stderr, "it is there again")
        client = platform.client()
        answer = client.invoke(FunctionName="snap-kept", Qualifier=number)
        assert json.loads(answer["Payload"].read())["events"] == ["init", "before", "after"]
        client.delete_function(FunctionName="snap-kept")
        wait_until(lambda: "snap-kept" not in platform.command("ps").stderr, "it is gone")
        assert platform.stop() == 0
    finally:
        platform.close()
