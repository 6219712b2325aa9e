"""Hearth's S3 client against real servers: rclone's S3, and one that answers as S3 does in cases
that rclone does not have (versions, other regions, servers that are slow or lie)."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.control import HandClock
from fakes.packages import zip_of
from fakes.s3 import KEY, SECRET, ScriptedS3, rclone, scripted_s3
from hearth.app.s3 import S3Downloads
from hearth.control.deliveries import Deliveries
from hearth.control.packages import Packages
from hearth.control.requests import S3Object
from hearth.model.endpoints import Endpoint
from hearth.model.errors import AccessDenied, CodeSourceFailed, InvalidParameterValue, ServiceError
from hearth.model.ids import Region
from hearth.settings import ClientSettings

pytestmark = pytest.mark.integration

PACKAGE = zip_of({"app.py": "x = 1", "data": os.urandom(3_000_000)})
REGION = Region("eu-central-1")
AWKWARD = "dir/ä +%2F&=@:,$'()*!~.zip"


@contextmanager
def downloads(url: str | None, key: str = KEY, profile: str | None = None) -> Iterator[S3Downloads]:
    told = ClientSettings(
        endpoint=None,
        region=None,
        access_key=key or None,
        secret_key=SECRET if key else None,
        session_token=None,
        profile=profile,
    )
    s3 = S3Downloads(Endpoint("s3", url), told)
    try:
        yield s3
    finally:
        s3.close()


def received(
    s3: S3Downloads, directory: Path, bucket: str, key: str, version: str | None = None
) -> bytes:
    """The package as a deployment would get it; nothing of it stays."""

    async def scene() -> bytes:
        deliveries = Deliveries(Packages(directory, HandClock()), s3)
        source = S3Object(bucket=bucket, key=key, version=version)
        async with deliveries.receive(source, REGION) as path:
            assert isinstance(path, Path)
            return await asyncio.to_thread(path.read_bytes)

    try:
        return asyncio.run(scene())
    finally:
        assert only_here(directory) == []


def only_here(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def refusal(s3: S3Downloads, directory: Path, bucket: str, key: str) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        received(s3, directory, bucket, key)
    return refused.value


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("rclone")
    (root / "buckets/code/dir").mkdir(parents=True)
    (root / "buckets/code/k.zip").write_bytes(PACKAGE)
    (root / "buckets/code" / AWKWARD).parent.mkdir(parents=True, exist_ok=True)
    (root / "buckets/code" / AWKWARD).write_bytes(PACKAGE)
    with rclone(root / "buckets", root / "log") as endpoint:
        yield endpoint


def test_an_object_of_a_real_server_comes_whole(store: str, tmp_path: Path) -> None:
    with downloads(store) as s3:
        assert received(s3, tmp_path, "code", "k.zip") == PACKAGE
        assert received(s3, tmp_path, "code", AWKWARD) == PACKAGE


def test_without_credentials_a_server_is_offered_test_and_test(store: str, tmp_path: Path) -> None:
    with downloads(store, key="") as s3:
        assert received(s3, tmp_path, "code", "k.zip") == PACKAGE


def test_what_a_real_server_refuses_is_told_in_lambdas_words(store: str, tmp_path: Path) -> None:
    with downloads(store) as s3:
        no_bucket = refusal(s3, tmp_path, "nobody", "k.zip")
        no_key = refusal(s3, tmp_path, "code", "nothing.zip")
    with downloads(store, key="other") as stranger:
        denied = refusal(stranger, tmp_path, "code", "k.zip")
    assert (no_bucket.code, no_bucket.status) == ("InvalidParameterValueException", 400)
    assert no_bucket.message == (
        "Error occurred while GetObject. S3 Error Code: NoSuchBucket. "
        "S3 Error Message: The specified bucket does not exist"
    )
    assert no_key.message == (
        "Error occurred while GetObject. S3 Error Code: NoSuchKey. "
        "S3 Error Message: The specified key does not exist."
    )
    assert isinstance(denied, AccessDenied)
    assert denied.message.startswith(
        "Your access has been denied by S3, please make sure your request credentials have "
        "permission to GetObject for code/k.zip. S3 Error Code: InvalidAccessKeyId. "
    )


@pytest.fixture
def scripted() -> Iterator[ScriptedS3]:
    with scripted_s3() as s3:
        yield s3


def test_a_version_is_asked_for_path_style_and_signed_for_the_functions_region(
    scripted: ScriptedS3, tmp_path: Path
) -> None:
    scripted.deliver(PACKAGE)
    with downloads(scripted.endpoint) as s3:
        assert received(s3, tmp_path, "my.bucket", "a/b.zip", "3/L4kq+v") == PACKAGE
    (target, headers), *more = scripted.seen
    assert more == []
    assert target == "/my.bucket/a/b.zip?versionId=3%2FL4kq%2Bv"
    assert f"Credential={KEY}/" in headers["authorization"]
    assert f"/{REGION}/s3/aws4_request" in headers["authorization"]


def test_a_bucket_of_another_region_is_not_followed(scripted: ScriptedS3, tmp_path: Path) -> None:
    with downloads(scripted.endpoint) as s3:
        for status, code in ((301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed")):
            scripted.refuse(status, code, "Go away.", x_amz_bucket_region="us-west-2")
            told = refusal(s3, tmp_path, "code", "k.zip")
            assert isinstance(told, InvalidParameterValue)
            assert told.message == (
                "Error occurred while GetObject. S3 Error Code: PermanentRedirect. S3 Error "
                "Message: The bucket is in this region: us-west-2. Please use this region to retry "
                "the request"
            )
    assert len(scripted.seen) == 2


def test_a_version_that_is_not_there(scripted: ScriptedS3, tmp_path: Path) -> None:
    scripted.refuse(404, "NoSuchVersion")
    with downloads(scripted.endpoint) as s3:
        assert refusal(s3, tmp_path, "code", "k.zip").message == (
            "Error occurred while GetObject. S3 Error Code: NoSuchVersion. "
            "S3 Error Message: The specified version does not exist."
        )


@pytest.mark.parametrize(
    ("status", "body"), [(503, b""), (500, b"<html>oops"), (502, b"<Error><Code>x</Code></Error>")]
)
def test_a_server_that_is_broken_is_not_the_callers_fault(
    scripted: ScriptedS3, tmp_path: Path, status: int, body: bytes
) -> None:
    scripted.status, scripted.body = status, body
    with downloads(scripted.endpoint) as s3:
        told = refusal(s3, tmp_path, "code", "k.zip")
    assert isinstance(told, CodeSourceFailed)
    assert told.message.startswith("Error occurred while GetObject. ")
    assert len(scripted.seen) == 1, "who may try again is the caller"


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with downloads("http://127.0.0.1:1") as s3:
        told = refusal(s3, tmp_path, "code", "k.zip")
    assert isinstance(told, CodeSourceFailed)
    assert "Hearth could not read from S3 at http://127.0.0.1:1: " in told.message


def test_an_object_that_ends_early_is_not_taken_for_the_whole(
    scripted: ScriptedS3, tmp_path: Path
) -> None:
    scripted.deliver(PACKAGE)
    scripted.headers = {"Content-Length": str(len(PACKAGE) + 1), "Connection": "close"}
    with downloads(scripted.endpoint) as s3:
        told = refusal(s3, tmp_path, "code", "k.zip")
    assert isinstance(told, CodeSourceFailed)
    assert "read from S3" in told.message


def test_an_object_that_says_it_is_too_large_is_not_read(
    scripted: ScriptedS3, tmp_path: Path
) -> None:
    scripted.headers = {"Content-Length": str(262_144_001), "Connection": "close"}
    with downloads(scripted.endpoint) as s3:
        told = refusal(s3, tmp_path, "code", "k.zip")
    assert told.message == "Unzipped size must be smaller than 262144000 bytes"


def test_a_profile_that_is_not_there_is_named(scripted: ScriptedS3, tmp_path: Path) -> None:
    with downloads(scripted.endpoint, key="", profile="no-such-profile") as s3:
        told = refusal(s3, tmp_path, "code", "k.zip")
    assert isinstance(told, CodeSourceFailed)
    assert "no-such-profile" in told.message
    assert scripted.seen == []


def test_a_fetch_that_was_given_up_ends_with_its_server(
    scripted: ScriptedS3, tmp_path: Path
) -> None:
    """The thread is behind in a read when its file goes; it must neither write nor stay."""
    scripted.deliver(PACKAGE)
    scripted.gate.clear()

    async def scene(s3: S3Downloads) -> None:
        deliveries = Deliveries(Packages(tmp_path, HandClock()), s3, fetch_s_max=30.0)

        async def receive() -> None:
            async with deliveries.receive(S3Object(bucket="code", key="k"), REGION):
                pytest.fail("only half of it came")

        call = asyncio.create_task(receive())
        assert await asyncio.to_thread(scripted.held.wait, 20.0)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert only_here(tmp_path) == []
        scripted.gate.set()

    with downloads(scripted.endpoint) as s3:
        asyncio.run(scene(s3))
    for thread in threading.enumerate():
        if thread.name.startswith("s3"):
            thread.join(20.0)
            assert not thread.is_alive()
    assert only_here(tmp_path) == []


def test_hearth_starts_without_importing_the_client() -> None:
    """It takes longer than the rest of `hearth up` together."""
    look = "import sys, hearth.app.run; print([m for m in sys.modules if m.startswith('botocore')])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
