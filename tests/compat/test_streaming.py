"""Responses that are streamed, by a function with a streaming runtime of its own, to boto3."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from compat.platform import Platform, create, running, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

RUNTIME = (Path(__file__).parent / "streaming_runtime.py").read_text()
NAME = "streams"
TIMEOUT_S = 3
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator["LambdaClient"]:
    """Of a function that may run once at a time: a lease that leaked would be noticed."""
    client = platform.client()
    create(client, NAME, RUNTIME, Timeout=TIMEOUT_S, MemorySize=256)
    client.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=1)
    yield client
    client.delete_function(FunctionName=NAME)


def payload(*steps: list[Any]) -> bytes:
    return json.dumps({"do": steps}).encode()


def stream(client: "LambdaClient", *steps: list[Any], **more: Any) -> list[Any]:
    answer = client.invoke_with_response_stream(FunctionName=NAME, Payload=payload(*steps), **more)
    assert answer["StatusCode"] == 200
    return list(answer["EventStream"])


def chunks(events: list[Any]) -> list[bytes]:
    return [event["PayloadChunk"]["Payload"] for event in events if "PayloadChunk" in event]


def end_of(events: list[Any]) -> Any:
    (end,) = [event["InvokeComplete"] for event in events if "InvokeComplete" in event]
    assert "InvokeComplete" in events[-1]
    return end


def answers(client: "LambdaClient") -> bool:
    """Is the function's one lease free again, and an environment fit to run?"""
    try:
        events = stream(client, ["write", "fine"])
    except client.exceptions.TooManyRequestsException:
        return False
    assert (chunks(events), end_of(events)) == ([b"fine"], {})
    return True


def request(
    platform: Platform, *steps: list[Any], name: str = NAME, receive_bytes: int | None = None
) -> socket.socket:
    """A client that has sent its request, and reads only what the test reads."""
    url = urlsplit(platform.endpoint)
    assert url.hostname is not None
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(60)
    connection.connect((url.hostname, url.port))
    body = payload(*steps)
    path = f"/2021-11-15/functions/{name}/response-streaming-invocations"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        data += connection.recv(4096) or pytest.fail(f"the stream ended with {data!r}")
    return data


def read_all(connection: socket.socket) -> int:
    """How many bytes came until the last chunk of HTTP."""
    count, tail = 0, b""
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        data = connection.recv(MIB) or pytest.fail(f"the stream ended with {tail!r}")
        count += len(data)
        tail = (tail + data)[-7:]
    return count


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / MIB


def test_pieces_arrive_while_the_function_writes_on(client: "LambdaClient") -> None:
    events = stream(client, ["tick", 20, 0.05], LogType="Tail")
    assert b"".join(chunks(events)) == "".join(f"{n} " for n in range(20)).encode()
    assert len(chunks(events)) > 1
    tail = base64.b64decode(end_of(events)["LogResult"]).decode()
    assert tail.startswith("START RequestId: ")
    assert "REPORT RequestId: " in tail


def test_what_its_answer_says(client: "LambdaClient") -> None:
    answer = client.invoke_with_response_stream(FunctionName=NAME, Payload=payload(["write", "a"]))
    assert answer["ExecutedVersion"] == "$LATEST"
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    assert chunks(list(answer["EventStream"])) == [b"a"]
    whole = client.invoke_with_response_stream(FunctionName=NAME, Payload=b'{"answer": [1]}')
    assert chunks(list(whole["EventStream"])) == [b"[1]"]
    dry = client.invoke_with_response_stream(FunctionName=NAME, InvocationType="DryRun")
    dry["EventStream"].close()  # else its socket is garbage of some later test
    assert dry["StatusCode"] == 204


def test_a_plain_invoke_gets_the_whole_up_to_what_an_invoke_may_answer(
    client: "LambdaClient",
) -> None:
    steps = (["write", "one "], ["sleep", 0.1], ["write", "two"])
    answer = client.invoke(FunctionName=NAME, Payload=payload(*steps))
    assert answer["Payload"].read() == b"one two"
    answer = client.invoke(FunctionName=NAME, Payload=payload(["fill", 7 * MIB]))
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"].read())["errorType"] == "Function.ResponseSizeTooLarge"
    wait_until(lambda: answers(client), "a sound environment")


@pytest.mark.parametrize(
    ("steps", "error_type"),
    [
        ([["write", "a"], ["fail", "in the middle"]], "Broken"),
        ([["write", "a"], ["exit", 3]], "Runtime.ExitError"),
        ([["write", "a"], ["hang_up"]], "Runtime.TruncatedResponse"),
        ([["hold", "a"]], "Sandbox.Timedout"),
    ],
    ids=["error", "exit", "hang up", "a chunk that never ends"],
)
def test_what_ends_a_stream_in_the_middle_is_in_its_last_event(
    client: "LambdaClient", steps: list[Any], error_type: str
) -> None:
    events = stream(client, *steps)
    assert b"".join(chunks(events)) == b"a"
    end = end_of(events)
    assert end["ErrorCode"] == "Unhandled"
    assert json.loads(end["ErrorDetails"])["errorType"] == error_type
    wait_until(lambda: answers(client), "a sound environment")


def test_a_client_that_leaves_does_not_stop_the_function(
    platform: Platform, client: "LambdaClient"
) -> None:
    steps = (["write", "a"], ["sleep", 0.3], ["fill", MIB], ["say", "to the end"])
    connection = request(platform, *steps)
    assert b"PayloadChunk" in read_until(connection, b"PayloadChunk")
    connection.close()
    wait_until(lambda: answers(client), "the lease is free")
    wait_until(
        lambda: "to the end" in platform.command("logs", NAME).stdout, "the function's last line"
    )


def test_memory_stays_flat_whether_or_not_the_client_reads(tmp_path: Path) -> None:
    """As fast as it can go, so that nothing but the client holds the function back."""
    with running(tmp_path / "state", "--stream-rate", "0") as platform:
        client = platform.client()
        create(client, NAME, RUNTIME, Timeout=60, MemorySize=512)
        steps = (["fill", 100 * MIB], ["say", "all was taken"])
        end_of(stream(client, ["write", "warm"]))
        before_mb = resident_mb(platform.pid)
        with request(platform, *steps) as reader:
            assert read_all(reader) > 100 * MIB
        assert resident_mb(platform.pid) - before_mb < 40
        create(client, "held", RUNTIME, Timeout=TIMEOUT_S, MemorySize=512)
        connection = request(platform, *steps, name="held", receive_bytes=8192)
        read_until(connection, b"PayloadChunk")
        wait_until(lambda: ended(platform, "held"), "its time is over", 60)
        assert resident_mb(platform.pid) - before_mb < 40
        assert "all was taken" not in platform.command("logs", "held").stdout
        connection.close()


def ended(platform: Platform, name: str) -> bool:
    return "REPORT RequestId" in platform.command("logs", name).stdout


def test_a_stream_beyond_its_first_megabytes_is_complete(client: "LambdaClient") -> None:
    began_s = time.monotonic()
    events = stream(client, ["fill", 8 * MIB])
    assert sum(map(len, chunks(events))) == 8 * MIB
    assert end_of(events) == {}
    assert time.monotonic() - began_s > 0.5  # 2 MB at 2 MB/s: it was held back


def test_hearth_invoke_prints_a_stream_and_its_error(
    platform: Platform, client: "LambdaClient"
) -> None:
    told = platform.command("invoke", NAME, "--stream", "-p", payload(["tick", 3, 0.01]).decode())
    assert (told.returncode, told.stdout) == (0, "0 1 2 \n"), told.stderr
    steps = payload(["write", "some"], ["say", "logged"], ["fail", "midway"]).decode()
    told = platform.command("invoke", NAME, "--stream", "--log", "-p", steps)
    assert told.returncode == 1
    assert told.stdout.startswith("some\n")
    assert "midway" in told.stdout
    assert "logged" in told.stderr


def test_other_accounts_need_a_permission(platform: Platform, client: "LambdaClient") -> None:
    stranger = platform.client(aws_access_key_id="111122223333")
    arn = client.get_function_configuration(FunctionName=NAME)["FunctionArn"]
    with pytest.raises(ClientError, match="lambda:InvokeFunction"):
        stranger.invoke_with_response_stream(FunctionName=arn, Payload=payload(["write", "a"]))
    with pytest.raises(ClientError, match="Function not found"):
        client.invoke_with_response_stream(FunctionName="nobody", Payload=b"{}")


def test_nothing_is_held_in_the_end(platform: Platform, client: "LambdaClient") -> None:
    def used() -> int:
        return int(json.loads(platform.command("status", "--json").stdout)["concurrency_used"])

    wait_until(lambda: used() == 0, "no lease is held")
