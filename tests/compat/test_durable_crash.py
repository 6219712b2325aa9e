"""kill -9 of everything, again and again, while a durable function runs and while it sleeps.

The result is right, and no step whose checkpoint was acknowledged has run twice: steps count their
runs in a file of this machine, which the function sees since it runs without a sandbox.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from compat.durable_flows import durable_package
from compat.platform import Platform, create, wait_until

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

COUNTING = """
import time
from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import Duration


def counted(path, name):
    def work(_):
        with open(path, "a") as runs:
            runs.write(name + "\\n")
        return name
    return work


@durable_execution
def handler(event, context):
    done = []
    for round in range(event["rounds"]):
        done.append(context.step(counted(event["path"], f"early-{round}"), name=f"early-{round}"))
        if round % 2:
            context.wait(Duration.from_seconds(1), name=f"pause-{round}")
        else:
            time.sleep(0.3)
        done.append(context.step(counted(event["path"], f"late-{round}"), name=f"late-{round}"))
    return done
"""
ROUNDS = 2
LATEST = "$LATEST"


def runs_of(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


def acknowledged(client: Any, arn: str) -> set[str]:
    """The steps that Hearth has said are done."""
    events = client.get_durable_execution_history(DurableExecutionArn=arn, MaxItems=1000)["Events"]
    return {event["Name"] for event in events if event["EventType"] == "StepSucceeded"}


def kill_after(stage: str, platform: Platform, arn: str, path: Path) -> None:
    """Kill all once that step is done, start again, and see it go on from there."""
    wait_until(lambda: stage in acknowledged(platform.client(), arn), f"{stage} is done")
    known = acknowledged(platform.client(), arn)
    before = runs_of(path)
    platform.kill_group()
    platform.start()
    client = platform.client()
    assert acknowledged(client, arn) >= known
    wait_until(lambda: status(client, arn) != "RUNNING" or runs_of(path) != before, "it goes on")
    after = runs_of(path)
    assert {name: after[name] for name in known} == {name: before[name] for name in known}


def test_kills_change_nothing_of_an_execution(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    platform = Platform(tmp_path / "state", "--sandbox", "process")
    platform.start()
    try:
        client: Any = platform.client()
        create(
            client,
            "counting",
            "",
            Code={"ZipFile": durable_package(COUNTING)},
            DurableConfig={"ExecutionTimeout": 600},
            Timeout=60,
        )
        arn = client.invoke(
            FunctionName="counting",
            Qualifier=LATEST,
            InvocationType="Event",
            Payload=json.dumps({"path": str(path), "rounds": ROUNDS}),
        )["DurableExecutionArn"]
        kill_after("early-0", platform, arn, path)  # while it runs
        kill_after("early-1", platform, arn, path)  # while it sleeps, or is about to
        client = platform.client()
        wait_until(lambda: status(client, arn) != "RUNNING", "the execution is over")
        shown = client.get_durable_execution(DurableExecutionArn=arn)
        assert shown["Status"] == "SUCCEEDED", shown
        steps = [f"{part}-{n}" for n in range(ROUNDS) for part in ("early", "late")]
        assert json.loads(shown["Result"]) == steps
        assert set(runs_of(path)) == set(steps)
    finally:
        platform.close()


def status(client: Any, arn: str) -> str:
    return str(client.get_durable_execution(DurableExecutionArn=arn)["Status"])
