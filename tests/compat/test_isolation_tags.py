"""Functions choose how they are isolated by tags that any AWS client can set."""

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from compat.platform import Platform, create, running
from hearth.runtimes import interpreters
from hearth.worker.sandboxes.oci import find_runtime

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

WHERE = """
import os, uuid
ID = str(uuid.uuid4())
def handler(event, context):
    with open("/proc/self/mountinfo") as file:
        root = next(line.split() for line in file if line.split()[4] == "/")
    return {"id": ID, "root": root[root.index("-") + 1], "ours": os.path.exists("/var/hearth")}
"""


SNAP_RUNTIMES = ("python3.12", "python3.13", "python3.14")


@pytest.fixture(scope="module")
def snap_runtime() -> str:
    path = os.environ.get("PATH", "")
    for name in SNAP_RUNTIMES:
        if interpreters.find(name, path, Path.home()) is not None:
            return name
    pytest.skip(f"none of {', '.join(SNAP_RUNTIMES)} is on this machine")


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


def call(client: "LambdaClient", name: str) -> Any:
    answer = client.invoke(FunctionName=name)
    payload = json.loads(answer["Payload"].read())
    assert not answer.get("FunctionError"), payload
    return payload


@pytest.mark.parametrize("tier", ["runc", "crun", "runsc"])
def test_a_function_runs_in_the_tier_that_its_tag_names(client: "LambdaClient", tier: str) -> None:
    if find_runtime(tier) is None:
        pytest.skip(f"{tier} is not installed")
    name = f"in-{tier}"
    arn = create(client, name, WHERE)
    before = call(client, name)
    assert not before["ours"]
    client.tag_resource(Resource=arn, Tags={"hearth:sandbox": tier})
    seen = call(client, name)  # the sandbox that it had serves no more
    assert seen["ours"], "it is not in a container"
    assert seen["id"] != before["id"]
    assert (seen["root"] == "9p") == (tier == "runsc"), "the root of gVisor is 9p"
    client.untag_resource(Resource=arn, TagKeys=["hearth:sandbox"])
    assert not call(client, name)["ours"]


def test_a_tag_that_is_not_a_tier_is_refused_by_name(client: "LambdaClient") -> None:
    arn = create(client, "tagged-badly", WHERE)
    with pytest.raises(ClientError) as refused:
        client.tag_resource(Resource=arn, Tags={"hearth:sandbox": "docker"})
    error = refused.value.response["Error"]
    assert error["Code"] == "InvalidParameterValueException"
    assert "hearth:sandbox must be one of zygote, bubblewrap, runc" in error["Message"]
    assert client.list_tags(Resource=arn)["Tags"] == {}


def test_nobody_gives_up_the_isolation_of_the_platform_by_a_tag(client: "LambdaClient") -> None:
    for tag, value in (("hearth:sandbox", "process"), ("hearth:network", "host")):
        with pytest.raises(ClientError) as refused:
            create(client, "free", WHERE, Tags={tag: value})
        assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"
        assert tag in refused.value.response["Error"]["Message"]


CALLER = """
import os, urllib.request
def handler(event, context):
    url = os.environ["AWS_ENDPOINT_URL_LAMBDA"] + "/2015-03-31/functions/called/invocations"
    with urllib.request.urlopen(url, b'"asked"') as answer:
        return [answer.read().decode(), os.environ.get("AWS_ENDPOINT_URL_SQS")]
"""


def test_a_function_in_the_hosts_network_finds_hearth_as_it_would_find_aws(tmp_path: Path) -> None:
    sqs = "http://127.0.0.1:9"
    with running(tmp_path / "state", "--network", "host", "--endpoint", f"sqs={sqs}") as platform:
        client = platform.client()
        create(client, "called", "def handler(event, context):\n    return event")
        create(client, "calling", CALLER, Timeout=30)
        assert call(client, "calling") == ['"asked"', sqs]


def test_a_version_with_snapstart_waits_in_gvisor_where_that_is_asked_for(
    client: "LambdaClient", snap_runtime: str
) -> None:
    if find_runtime("runsc") is None:
        pytest.skip("runsc is not installed")
    snap: Any = {"ApplyOn": "PublishedVersions"}
    tags = {"hearth:sandbox": "runsc"}
    create(client, "snap-tagged", WHERE, Runtime=snap_runtime, Tags=tags, SnapStart=snap)
    version = client.publish_version(FunctionName="snap-tagged")["Version"]
    waiter = client.get_waiter("function_active_v2")
    waiter.wait(FunctionName="snap-tagged", Qualifier=version, WaiterConfig={"Delay": 1})
    answer = client.invoke(FunctionName="snap-tagged", Qualifier=version, LogType="Tail")
    seen = json.loads(answer["Payload"].read())
    assert (seen["root"], seen["ours"]) == ("9p", True)
    assert "Restore Duration" in base64.b64decode(answer["LogResult"]).decode()
