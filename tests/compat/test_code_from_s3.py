"""boto3 puts a package into a bucket of a real S3 server, and Hearth deploys it from there."""

import base64
import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
import botocore.exceptions
import pytest

from compat.platform import PYTHON, ROLE, Platform, package, running, wait_active, wait_updated
from fakes.s3 import KEY, SECRET, ScriptedS3, rclone, scripted_s3

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient
    from types_boto3_s3 import S3Client

pytestmark = pytest.mark.compat

STOP_S_MAX = 60.0


def answering(word: str) -> bytes:
    return package({"app.py": f"def handler(e, c): return {word!r}"})


@pytest.fixture(scope="module", autouse=True)
def hearth_has_the_keys_of_the_store() -> Iterator[None]:
    """Whatever whoever runs the tests has in his environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        environment.delenv("AWS_SESSION_TOKEN", raising=False)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("rclone")
    (root / "buckets").mkdir()
    with rclone(root / "buckets", root / "log") as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def bucket(store: str) -> "S3Client":
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=store,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="artifacts")
    return client


@pytest.fixture(scope="module")
def client(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["LambdaClient"]:
    state = tmp_path_factory.mktemp("hearth-s3") / "state"
    with running(state, "--endpoint", f"s3={store}") as platform:
        yield platform.client()


def create(client: "LambdaClient", name: str, key: str, bucket: str = "artifacts") -> None:
    create_from(client, name, {"S3Bucket": bucket, "S3Key": key})


def create_from(client: "LambdaClient", name: str, code: Any) -> None:
    runtime: Any = PYTHON
    client.create_function(
        FunctionName=name, Runtime=runtime, Role=ROLE, Handler="app.handler", Code=code
    )


def sha256(code: bytes) -> str:
    return base64.b64encode(hashlib.sha256(code).digest()).decode()


def said(client: "LambdaClient", name: str) -> bytes:
    return client.invoke(FunctionName=name)["Payload"].read()


def test_a_function_lives_from_what_is_in_the_bucket(
    client: "LambdaClient", bucket: "S3Client"
) -> None:
    one, two = answering("one"), answering("two")
    bucket.put_object(Bucket="artifacts", Key="app/1.zip", Body=one)
    bucket.put_object(Bucket="artifacts", Key="app/2.zip", Body=two)
    create(client, "lives", "app/1.zip")
    wait_active(client, "lives")
    assert said(client, "lives") == b'"one"'

    told = client.update_function_code(
        FunctionName="lives", S3Bucket="artifacts", S3Key="app/2.zip", DryRun=True
    )
    assert told["CodeSha256"] == sha256(two)
    assert client.get_function_configuration(FunctionName="lives")["CodeSha256"] == sha256(one)

    client.update_function_code(FunctionName="lives", S3Bucket="artifacts", S3Key="app/2.zip")
    wait_updated(client, "lives")
    assert client.get_function_configuration(FunctionName="lives")["CodeSha256"] == sha256(two)
    assert said(client, "lives") == b'"two"'


def test_more_than_may_be_uploaded_may_come_from_a_bucket(
    client: "LambdaClient", bucket: "S3Client"
) -> None:
    buffer = io.BytesIO(answering("large"))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("data", bytes(52_428_800))
    code = buffer.getvalue()
    bucket.put_object(Bucket="artifacts", Key="large.zip", Body=code)
    create(client, "large", "large.zip")
    wait_active(client, "large")
    assert said(client, "large") == b'"large"'


@pytest.mark.parametrize(
    ("key", "bucket_name", "text"),
    [
        ("app/1.zip", "nobody", "NoSuchBucket. S3 Error Message: The specified bucket does not"),
        ("nothing.zip", "artifacts", "NoSuchKey. S3 Error Message: The specified key does not"),
    ],
)
def test_what_is_not_there_is_told_as_lambda_tells_it(
    client: "LambdaClient", bucket: "S3Client", key: str, bucket_name: str, text: str
) -> None:
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        create(client, "missing", key, bucket_name)
    assert caught.value.response["Error"]["Message"].startswith(
        f"Error occurred while GetObject. S3 Error Code: {text}"
    )
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName="missing")


def test_a_hearth_without_an_endpoint_says_how_to_give_it_one(platform: Platform) -> None:
    client = platform.client()
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        create(client, "nowhere", "k.zip")
    assert "--endpoint s3=URL" in caught.value.response["Error"]["Message"]


@pytest.fixture
def stalled() -> Iterator[ScriptedS3]:
    with scripted_s3() as s3:
        s3.deliver(answering("late"))
        s3.gate.clear()
        yield s3


def started(platform: Platform, stalled: ScriptedS3) -> threading.Thread:
    """A create in a thread of its own that hangs in the middle of its fetch."""

    def call() -> None:
        try:
            create(platform.client(), "stalled", "k.zip")
        except botocore.exceptions.BotoCoreError:
            return  # the connection ended with Hearth

    thread = threading.Thread(target=call)
    thread.start()
    assert stalled.held.wait(20.0)
    return thread


def test_while_a_server_is_slow_everybody_else_is_served(
    stalled: ScriptedS3, tmp_path: Path
) -> None:
    with running(tmp_path / "state", "--endpoint", f"s3={stalled.endpoint}") as platform:
        client = platform.client()
        slow = started(platform, stalled)
        create_from(client, "quick", {"ZipFile": answering("quick")})
        wait_active(client, "quick")
        assert said(client, "quick") == b'"quick"'
        stalled.gate.set()
        slow.join(20.0)
        wait_active(client, "stalled")
        assert said(client, "stalled") == b'"late"'


def test_a_kill_in_the_middle_of_a_fetch_leaves_nothing(
    stalled: ScriptedS3, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with running(state, "--endpoint", f"s3={stalled.endpoint}") as platform:
        slow = started(platform, stalled)
        assert len(list((state / "packages").iterdir())) == 1
        platform.kill_group()
        slow.join(20.0)
        platform.start()
        assert list((state / "packages").iterdir()) == []
        client = platform.client()
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.get_function(FunctionName="stalled")
        stalled.gate.set()
        create(client, "stalled", "k.zip")
        wait_active(client, "stalled")
        assert said(client, "stalled") == b'"late"'


def test_a_server_that_hangs_does_not_keep_hearth_from_stopping(
    stalled: ScriptedS3, tmp_path: Path
) -> None:
    with running(
        tmp_path / "state", "--endpoint", f"s3={stalled.endpoint}", "--drain", "1"
    ) as platform:
        slow = started(platform, stalled)
        began_s = time.monotonic()
        assert platform.stop() == 0
        assert time.monotonic() - began_s < STOP_S_MAX
        slow.join(20.0)
    assert list((tmp_path / "state/packages").iterdir()) == []
