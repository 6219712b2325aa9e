"""Features together, as one function of a real system has them."""

import http.client
import json
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from compat.languages import zipped
from compat.platform import Platform, create, package, wait_until, wait_updated
from compat.test_function_urls import call, make_public

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

RECORDER: Final = Path(__file__).parents[1] / "fakes" / "extensions" / "recorder.py"
STREAMER: Final = (Path(__file__).parent / "streaming_runtime.py").read_text()
SPEAKER: Final = """
import logging, os, who
logging.getLogger().setLevel("DEBUG")
count = 0
def handler(event, context):
    global count
    count += 1
    logging.getLogger().info("serving %s", event.get("n"))
    logging.getLogger().debug("not asked for")
    return {"count": count, "who": who.WHO, "version": context.function_version,
            "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]}
"""


def logged(platform: Platform, name: str) -> list[str]:
    pages = platform.service("logs").get_paginator("filter_log_events")
    found = pages.paginate(logGroupName=f"/aws/lambda/{name}")
    return [event["message"].rstrip("\n") for page in found for event in page["events"]]


def recorded(platform: Platform, name: str) -> list[Any]:
    """What the extension recorder said."""
    return [json.loads(m) for m in logged(platform, name) if m.startswith('{"extension"')]


def publish_layer(client: "LambdaClient", name: str, files: dict[str, bytes]) -> str:
    content = zipped(files, lambda path: path.startswith("extensions/"))
    answer = client.publish_layer_version(LayerName=name, Content={"ZipFile": content})
    return answer["LayerVersionArn"]


def asked(client: "LambdaClient", name: str, event: Any = None, **more: Any) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event or {}), **more)
    payload = json.loads(answer["Payload"].read())
    assert not answer.get("FunctionError"), payload
    return payload


def test_a_layer_an_extension_and_a_streaming_url(platform: Platform) -> None:
    """The runtime comes from the layer, and so does the extension that hears of each call."""
    client, name = platform.client(), f"all-{uuid.uuid4().hex[:8]}"
    files = {
        "extensions/recorder": RECORDER.read_bytes(),
        "python/streamer.py": STREAMER.encode(),
    }
    layer = publish_layer(client, name, files)
    create(
        client,
        name,
        "import streamer",
        Layers=[layer],
        Timeout=60,
        MemorySize=1769,
        Environment={"Variables": {"RECORDER": json.dumps({"recorder": {"linger_s": 0.2}})}},
    )
    host = make_public(client, name, InvokeMode="RESPONSE_STREAM")

    def ask(*steps: Any) -> Any:
        body = json.dumps({"do": steps, "type": "text/plain"}).encode()
        return call(platform, host, "POST", "/", body, {"Content-Type": "application/json"})

    assert ask(["tick", 3, 0.01]).body == b"0 1 2 "
    seven = 7 * 1024 * 1024
    large = ask(["fill", seven])
    assert (large.status, len(large.body)) == (200, seven), "more than Invoke could answer"
    with pytest.raises(http.client.IncompleteRead):
        ask(["write", "some"], ["fail", "in the middle"])
    with pytest.raises(http.client.IncompleteRead):
        ask(["write", "some"], ["exit", 4])
    assert ask(["write", "again"]).body == b"again"

    def kinds() -> list[str]:
        return [said["event"]["eventType"] for said in recorded(platform, name) if "event" in said]

    wait_until(lambda: kinds().count("INVOKE") == 5, "each call is an INVOKE")
    assert kinds().count("SHUTDOWN") == 1, "of the environment whose runtime ended"
    client.delete_function(FunctionName=name)


def test_json_logs_and_a_subscriber_to_telemetry(platform: Platform) -> None:
    """The log is filtered by its levels; a subscriber gets it all, as objects."""
    client, name = platform.client(), f"json-{uuid.uuid4().hex[:8]}"
    files = {"extensions/recorder": RECORDER.read_bytes(), "python/who.py": b"WHO = 'layer'\n"}
    body = {
        "schemaVersion": "2022-12-13",
        "types": ["platform", "function"],
        "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"},
        "buffering": {"timeoutMs": 25, "maxBytes": 262144, "maxItems": 1000},
    }
    habits = {"listen": ["HTTP", 4243], "subscribe": ["/2022-07-01/telemetry", body]}
    create(
        client,
        name,
        SPEAKER,
        Layers=[publish_layer(client, name, files)],
        LoggingConfig={
            "LogFormat": "JSON",
            "ApplicationLogLevel": "INFO",
            "SystemLogLevel": "WARN",
        },
        Environment={"Variables": {"RECORDER": json.dumps({"recorder": habits})}},
        MemorySize=1769,
        Timeout=60,
    )
    assert asked(client, name, {"n": 1})["count"] == 1
    client.delete_function(FunctionName=name)

    def telemetry() -> list[Any]:
        return [said["telemetry"] for said in recorded(platform, name) if "telemetry" in said]

    def types() -> set[str]:
        return {event["type"] for event in telemetry()}

    wanted = {"platform.start", "platform.runtimeDone", "platform.report", "function"}
    wait_until(lambda: wanted <= types(), "the subscriber heard of the invoke")

    def said() -> list[tuple[str, str]]:
        lines = [event["record"] for event in telemetry() if event["type"] == "function"]
        return [(line["message"], line["level"]) for line in lines]

    both = [("serving 1", "INFO"), ("not asked for", "DEBUG")]
    wait_until(lambda: said() == both, "and of both lines, whatever their level")
    of_the_function = [json.loads(m) for m in logged(platform, name) if '"logger"' in m]
    assert [m["message"] for m in of_the_function if "message" in m] == ["serving 1"]
    assert not [m for m in logged(platform, name) if '"type":"platform.' in m], "below WARN"


def test_an_alias_with_weights_while_an_update_is_running(platform: Platform) -> None:
    """Whoever invokes the alias gets one of its two versions, whatever becomes of $LATEST."""
    client, name = platform.client(), f"weights-{uuid.uuid4().hex[:8]}"

    def code(text: str) -> str:
        return f"def handler(e, c): return [{text!r}, c.function_version]"

    create(client, name, code("one"), Timeout=60)
    client.publish_version(FunctionName=name)
    client.update_function_code(FunctionName=name, ZipFile=package({"app.py": code("two")}))
    wait_updated(client, name)
    client.publish_version(FunctionName=name)
    client.create_alias(
        FunctionName=name,
        Name="live",
        FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}},
    )
    answers: list[Any] = []
    problems: list[BaseException] = []
    is_over = threading.Event()

    def invoke_on_and_on() -> None:
        own = platform.client()
        try:
            while not is_over.is_set():
                answers.append(asked(own, name, Qualifier="live"))
        except BaseException as error:  # noqa: BLE001 -- a thread's: told below
            problems.append(error)

    caller = threading.Thread(target=invoke_on_and_on)
    caller.start()
    try:
        wait_until(lambda: problems or {a[1] for a in answers} == {"1", "2"}, "both versions ran")
        for text in ("three", "four"):
            client.update_function_code(FunctionName=name, ZipFile=package({"app.py": code(text)}))
            wait_updated(client, name)
            before = len(answers)
            wait_until(lambda: problems or len(answers) >= before + 10, "calls go on")  # noqa: B023
            assert asked(client, name)[0] == text
        client.update_alias(
            FunctionName=name,
            Name="live",
            FunctionVersion="2",
            RoutingConfig={"AdditionalVersionWeights": {}},
        )
        wait_until(lambda: problems or all(a[1] == "2" for a in answers[-5:]), "the alias moved on")
    finally:
        is_over.set()
        caller.join(60)
    assert problems == []
    assert {tuple(answer) for answer in answers} == {("one", "1"), ("two", "2")}
    client.delete_function(FunctionName=name)


def test_provisioned_concurrency_with_a_layer_follows_its_alias(platform: Platform) -> None:
    client, name = platform.client(), f"kept-{uuid.uuid4().hex[:8]}"
    first = publish_layer(client, name, {"python/who.py": b"WHO = 'first'\n"})
    second = publish_layer(client, name, {"python/who.py": b"WHO = 'second'\n"})
    create(client, name, SPEAKER, Layers=[first], Timeout=60)
    client.publish_version(FunctionName=name)
    client.update_function_configuration(FunctionName=name, Layers=[second])
    wait_updated(client, name)
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=1
    )

    def is_ready() -> bool:
        got = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
        assert got["Status"] != "FAILED", got
        return got["Status"] == "READY"

    wait_until(is_ready, "version 1 is initialised")
    kept = {"count": 1, "who": "first", "version": "1", "type": "provisioned-concurrency"}
    assert asked(client, name, Qualifier="live") == kept
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    wait_until(is_ready, "version 2 is initialised")

    def answer() -> Any:
        return asked(client, name, Qualifier="live")

    wanted = {"who": "second", "version": "2", "type": "provisioned-concurrency"}
    wait_until(lambda: wanted.items() <= answer().items(), "the alias runs what is kept for it")
    client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    rows = json.loads(platform.command("ps", "--json").stdout)
    assert {row["version"] for row in rows if row["function"] == name} <= {"1", "2"}
    client.delete_function(FunctionName=name)

    def is_gone() -> bool:
        rows = json.loads(platform.command("ps", "--json").stdout)
        return not [row for row in rows if row["function"] == name]

    wait_until(is_gone, "nothing of it is kept")
