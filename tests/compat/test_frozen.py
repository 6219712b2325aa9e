"""What does a user see of an environment that was frozen between two invokes?"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import Platform, create, running, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

# A thread counts in the background, and notes the longest time that it was not woken.
COUNTS = """
import threading, time

seen = {"count": 0, "longest_s": 0.0}

def count():
    last_s = time.monotonic()
    while True:
        time.sleep(0.01)
        now_s = time.monotonic()
        seen["longest_s"] = max(seen["longest_s"], now_s - last_s)
        seen["count"] += 1
        last_s = now_s

threading.Thread(target=count, daemon=True).start()

def handler(event, context):
    time.sleep(event.get("sleep_s", 0))
    left_s = context.get_remaining_time_in_millis() / 1000
    return {**seen, "left_s": left_s}
"""


@pytest.fixture(scope="module")
def eager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that freezes whatever is idle at its next look."""
    state: Path = tmp_path_factory.mktemp("frozen") / "state"
    with running(state, "--freeze-after", "0") as platform:
        yield platform


def is_one(client: "LambdaClient", name: str) -> bool:
    return client.invoke(FunctionName=name, Payload="{}")["Payload"].read() == b"1"


def answer(client: "LambdaClient", name: str, **event: Any) -> dict[str, Any]:
    said = client.invoke(FunctionName=name, Payload=json.dumps(event))
    assert not said.get("FunctionError")
    found: dict[str, Any] = json.loads(said["Payload"].read())
    return found


def states(platform: Platform, name: str) -> list[str]:
    rows = json.loads(platform.command("ps", "--json").stdout)
    return [row["state"] for row in rows if row["function"] == name]


def is_frozen(platform: Platform, name: str) -> None:
    wait_until(lambda: states(platform, name) == ["frozen"], f"{name} is frozen", 60)


def test_what_runs_in_the_background_stands_still_and_goes_on_after_the_thaw(
    eager: Platform,
) -> None:
    client = eager.client()
    create(client, "counts", COUNTS, Timeout=30, MemorySize=1769)
    answer(client, "counts", sleep_s=0.1)
    is_frozen(eager, "counts")
    time.sleep(1)  # this is what is to be seen from inside
    first = answer(client, "counts")
    assert first["longest_s"] >= 0.9, "the thread went on while nothing was asked"
    second = answer(client, "counts", sleep_s=0.2)
    assert second["count"] > first["count"], "the thread did not go on after the thaw"
    # A whole new timeout, of the clock on the wall, whatever time was spent frozen.
    assert 15 < first["left_s"] <= 30


def test_a_frozen_environment_that_is_not_needed_any_more_goes(eager: Platform) -> None:
    client = eager.client()
    create(client, "goes", "def handler(e, c): return 1", MemorySize=1769)
    assert client.invoke(FunctionName="goes")["Payload"].read() == b"1"
    is_frozen(eager, "goes")
    client.delete_function(FunctionName="goes")
    wait_until(lambda: states(eager, "goes") == [], "it has gone", 60)


def test_a_thawed_function_that_takes_too_long_is_ended_and_works_again(eager: Platform) -> None:
    client = eager.client()
    code = "import time\ndef handler(e, c): time.sleep(e.get('s', 0)); return 1"
    create(client, "slow", code, Timeout=1, MemorySize=1769)
    wait_until(lambda: is_one(client, "slow"), "it answers", 60)
    is_frozen(eager, "slow")
    late = client.invoke(FunctionName="slow", Payload=json.dumps({"s": 30}))
    assert b"timed out after 1.00 seconds" in late["Payload"].read()
    # Its init counts, for this invoke, and this machine may be slow.
    wait_until(lambda: is_one(client, "slow"), "it answers again", 60)


def test_a_platform_with_frozen_environments_stops_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--freeze-after", "0") as platform:
        client = platform.client()
        create(client, "counts", COUNTS, MemorySize=1769)
        answer(client, "counts")
        is_frozen(platform, "counts")
        assert platform.stop() == 0
