"""Many invokes at once: as many sandboxes as are needed, the warmest first, fewer afterwards."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.config
import botocore.exceptions
import pytest

from compat.platform import Platform, create, running, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

WHO = """
import os, time, uuid
me = uuid.uuid4().hex
def handler(event, context):
    time.sleep(event["s"])
    return me
"""


def many(client: "LambdaClient", name: str, times: int, s: float) -> list[str]:
    """The environments that served so many concurrent invokes."""

    def invoke(_: int) -> str:
        answer = client.invoke(FunctionName=name, Payload=json.dumps({"s": s}))
        payload = answer["Payload"].read()
        assert not answer.get("FunctionError"), payload
        return str(json.loads(payload))

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(invoke, range(times)))


def patient(platform: Platform) -> "LambdaClient":
    config = botocore.config.Config(
        retries={"total_max_attempts": 1}, read_timeout=120, max_pool_connections=256
    )
    return platform.client(config=config)


def test_concurrent_invokes_get_a_sandbox_each_and_the_warmest_serves_next(
    platform: Platform,
) -> None:
    client = patient(platform)
    create(client, "who", WHO, MemorySize=1024, Timeout=60)
    assert len(set(many(client, "who", 6, 3.0))) == 6
    served = Counter(many(client, "who", 1, 0.0)[0] for _ in range(10))
    assert len(served) == 1, "one caller is served by one environment, the last used"


def test_a_burst_of_200_on_a_small_machine_ends_well(platform: Platform) -> None:
    client = patient(platform)
    create(client, "burst", WHO, MemorySize=512, Timeout=60)
    served = many(client, "burst", 200, 0.2)
    assert len(served) == 200


def test_above_the_limit_callers_are_throttled_and_the_limit_comes_back(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--account-concurrency", "3") as platform:
        client = patient(platform)
        create(client, "who", WHO, MemorySize=1024, Timeout=60)
        many(client, "who", 3, 1.0)

        def invoke(_: int) -> str:
            try:
                client.invoke(FunctionName="who", Payload=json.dumps({"s": 1.5}))
            except client.exceptions.TooManyRequestsException as error:
                response: Any = error.response
                return f"{response['ResponseMetadata']['HTTPStatusCode']} {response['Reason']}"
            return "ran"

        with ThreadPoolExecutor(12) as pool:
            outcomes = Counter(pool.map(invoke, range(12)))
        assert outcomes == {"ran": 3, "429 ConcurrentInvocationLimitExceeded": 9}
        assert len(many(client, "who", 3, 0.1)) == 3


def test_idle_sandboxes_are_retired_after_the_keep_alive(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--keepalive", "1") as platform:
        client = patient(platform)
        create(client, "who", WHO)
        many(client, "who", 2, 0.5)
        shown = platform.command("ps", "--json")
        assert json.loads(shown.stdout)
        wait_until(
            lambda: json.loads(platform.command("ps", "--json").stdout) == [],
            "no sandbox is left",
        )
        assert len(many(client, "who", 1, 0.0)) == 1
