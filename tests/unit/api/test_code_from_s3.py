"""CreateFunction and UpdateFunctionCode with S3Bucket and S3Key: what is fetched, and AWS's errors.

Texts: recorded answers of AWS.
"""

import asyncio
import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fakes.control import HandClock, control_plane, creation, function_key, until
from fakes.function_api import PACKAGE, Api, play
from fakes.mortal import Killed, Mortal
from fakes.packages import zip_of
from hearth.control.deliveries import Abandoned, Deliveries, S3Failed, S3Refused, Sink
from hearth.control.packages import Packages
from hearth.control.requests import CreateFunction, S3Object
from hearth.engine.memory import MemoryEngine
from hearth.model.errors import (
    AccessDenied,
    CodeSourceFailed,
    InvalidParameterValue,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import State
from hearth.model.ids import Region
from hearth.model.limits import UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX

CODE = {"S3Bucket": "bucket", "S3Key": "dir/k.zip"}
OTHER = zip_of({"b.py": "x = 1"})


@dataclass
class FakeS3:
    """One object, in two versions; or an error; behind a gate."""

    objects: dict[str | None, bytes] = field(default_factory=lambda: {None: PACKAGE, "v1": OTHER})
    error: Exception | None = None
    asked: list[tuple[S3Object, Region]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self, source: S3Object, region: Region, sink: Sink) -> None:
        self.asked.append((source, region))
        content = self.objects[source.version]
        sink.write(content[:20])
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        sink.write(content[20:])


def sha256(package: bytes) -> str:
    return base64.b64encode(hashlib.sha256(package).digest()).decode()


def only_packages(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_function_is_created_from_an_object_and_updated_from_a_version(tmp_path: Path) -> None:
    s3 = FakeS3()

    async def scenario(api: Api) -> None:
        created = await api.create(Code=CODE)
        assert (created["CodeSha256"], created["CodeSize"]) == (sha256(PACKAGE), len(PACKAGE))
        updated = await api.call(
            "UpdateFunctionCode", FunctionName="f", S3ObjectVersion="v1", Publish=True, **CODE
        )
        assert (updated["CodeSha256"], updated["CodeSize"]) == (sha256(OTHER), len(OTHER))
        assert updated["Version"] == "1"

    play(tmp_path, scenario, s3)
    key, region = "dir/k.zip", Region("eu-central-1")
    assert s3.asked == [
        (S3Object(bucket="bucket", key=key), region),
        (S3Object(bucket="bucket", key=key, version="v1"), region),
    ]
    digests = sorted(hashlib.sha256(package).hexdigest() for package in (PACKAGE, OTHER))
    assert only_packages(tmp_path) == [f"{digest}.zip" for digest in digests]


def test_a_dry_run_fetches_and_judges_and_keeps_nothing(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create()
        before = only_packages(tmp_path)
        told = await api.call(
            "UpdateFunctionCode", FunctionName="f", S3ObjectVersion="v1", DryRun=True, **CODE
        )
        assert (told["CodeSha256"], told["CodeSize"]) == (sha256(OTHER), len(OTHER))
        assert only_packages(tmp_path) == before
        seen = await api.call("GetFunctionConfiguration", FunctionName="f")
        assert seen["CodeSha256"] == sha256(PACKAGE)

    play(tmp_path, scenario, FakeS3())


GET_OBJECT = "Error occurred while GetObject. "


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            S3Refused("NoSuchBucket", "says who", 404),
            InvalidParameterValue,
            f"{GET_OBJECT}S3 Error Code: NoSuchBucket. "
            "S3 Error Message: The specified bucket does not exist",
        ),
        (
            S3Refused("NoSuchKey", "", 404),
            InvalidParameterValue,
            f"{GET_OBJECT}S3 Error Code: NoSuchKey. "
            "S3 Error Message: The specified key does not exist.",
        ),
        (
            S3Refused("NoSuchVersion", "", 404),
            InvalidParameterValue,
            f"{GET_OBJECT}S3 Error Code: NoSuchVersion. "
            "S3 Error Message: The specified version does not exist.",
        ),
        (
            S3Refused("PermanentRedirect", "x", 301, "eu-west-1"),
            InvalidParameterValue,
            f"{GET_OBJECT}S3 Error Code: PermanentRedirect. S3 Error Message: The bucket is in "
            "this region: eu-west-1. Please use this region to retry the request",
        ),
        (
            S3Refused("PermanentRedirect", "x", 301),
            InvalidParameterValue,
            f"{GET_OBJECT}S3 Error Code: PermanentRedirect. S3 Error Message: The bucket is in "
            "this region: null. Please use this region to retry the request",
        ),
        (
            S3Refused("AccessDenied", "denied!", 403),
            AccessDenied,
            "Your access has been denied by S3, please make sure your request credentials have "
            "permission to GetObject for bucket/dir/k.zip. S3 Error Code: AccessDenied. "
            "S3 Error Message: Access Denied",
        ),
        (
            S3Refused("SignatureDoesNotMatch", "Not your key.", 403),
            AccessDenied,
            "Your access has been denied by S3, please make sure your request credentials have "
            "permission to GetObject for bucket/dir/k.zip. S3 Error Code: SignatureDoesNotMatch. "
            "S3 Error Message: Not your key.",
        ),
        (
            S3Refused("InvalidObjectState", "In the archive.", 400),
            InvalidParameterValue,
            f"{GET_OBJECT}S3 Error Code: InvalidObjectState. S3 Error Message: In the archive.",
        ),
        (
            S3Refused("SlowDown", "Reduce your rate.", 503),
            CodeSourceFailed,
            f"{GET_OBJECT}S3 Error Code: SlowDown. S3 Error Message: Reduce your rate.",
        ),
        (S3Failed("Nobody there."), CodeSourceFailed, f"{GET_OBJECT}Nobody there."),
    ],
)
def test_what_s3_says_is_told_in_lambdas_words(
    tmp_path: Path, error: Exception, kind: type[ServiceError], text: str
) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(kind) as refused:
            await api.create(Code=CODE)
        assert refused.value.message == text
        assert api.plane.replica.everything() == ()
        assert only_packages(tmp_path) == []
        await api.create()
        before = api.plane.replica.everything()
        with pytest.raises(kind) as refused:
            await api.call("UpdateFunctionCode", FunctionName="f", **CODE)
        assert refused.value.message == text
        assert api.plane.replica.everything() == before

    play(tmp_path, scenario, FakeS3(error=error))


def test_without_an_endpoint_the_refusal_says_how_to_name_one(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue, match="--endpoint s3=URL"):
            await api.create(Code=CODE)
        await api.create()
        with pytest.raises(InvalidParameterValue, match="HEARTH_ENDPOINT_S3"):
            await api.call("UpdateFunctionCode", FunctionName="f", **CODE)

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            {"ZipFile": PACKAGE, **CODE},
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ),
        (
            {"ZipFile": PACKAGE, "S3ObjectVersion": "v1"},
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ),
        ({"S3Bucket": "bucket"}, "Please provide a source for function code."),
        ({"S3Key": "key", "S3ObjectVersion": "v"}, "Please provide a source for function code."),
    ],
)
def test_code_has_one_source_and_all_of_it(tmp_path: Path, code: dict[str, Any], text: str) -> None:
    s3 = FakeS3()

    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(Code=code)
        assert refused.value.message == text
        await api.create()
        with pytest.raises(InvalidParameterValue) as refused:
            await api.call("UpdateFunctionCode", FunctionName="f", **code)
        assert refused.value.message == text

    play(tmp_path, scenario, s3)
    assert s3.asked == []


def test_nothing_is_fetched_for_a_function_that_cannot_be_deployed(tmp_path: Path) -> None:
    s3 = FakeS3()

    async def scenario(api: Api) -> None:
        with pytest.raises(ResourceNotFound):
            await api.call("UpdateFunctionCode", FunctionName="nobody", **CODE)
        await api.create()
        with pytest.raises(ResourceConflict):
            await api.create(Code=CODE)

    play(tmp_path, scenario, s3)
    assert s3.asked == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "Uploaded file must be a non-empty zip"),
        (zip_of({}), "Uploaded file must be a non-empty zip"),
        (
            b"<html>not a zip</html>",
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
    ],
)
def test_an_object_is_judged_like_an_upload(tmp_path: Path, content: bytes, text: str) -> None:
    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(Code=CODE)
        assert refused.value.message == text
        assert only_packages(tmp_path) == []

    play(tmp_path, scenario, FakeS3({None: content}))


def test_an_object_may_be_larger_than_an_upload(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("data", bytes(ZIPPED_BYTES_MAX))
    package = buffer.getvalue()
    assert len(package) > ZIPPED_BYTES_MAX

    async def scenario(api: Api) -> None:
        created = await api.create(Code=CODE)
        assert created["CodeSize"] == len(package)

    play(tmp_path, scenario, FakeS3({None: package}))


def test_an_object_that_is_larger_than_any_package_is_cut_off(tmp_path: Path) -> None:
    class Endless(FakeS3):
        written = 0

        async def fetch(self, source: S3Object, region: Region, sink: Sink) -> None:
            while True:
                sink.write(bytes(1 << 20))
                self.written += 1 << 20

    s3 = Endless()

    async def scenario(api: Api) -> None:
        with pytest.raises(InvalidParameterValue) as refused:
            await api.create(Code=CODE)
        assert refused.value.message == "Unzipped size must be smaller than 262144000 bytes"
        assert only_packages(tmp_path) == []

    play(tmp_path, scenario, s3)
    assert s3.written == UNZIPPED_BYTES_MAX


def test_a_server_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    async def scene() -> None:
        s3 = FakeS3()
        s3.gate.clear()
        deliveries = Deliveries(Packages(tmp_path, HandClock()), s3, fetch_s_max=0.05)
        with pytest.raises(CodeSourceFailed) as refused:
            async with deliveries.receive(S3Object(bucket="b", key="k"), Region("us-east-1")):
                pytest.fail("nothing came")
        assert refused.value.message.endswith("It did not come within 0.05 seconds.")
        assert only_packages(tmp_path) == []

    asyncio.run(scene())


def test_a_fetch_that_nobody_waits_for_any_more_meets_a_closed_sink(tmp_path: Path) -> None:
    sinks: list[Sink] = []

    class Stubborn(FakeS3):
        async def fetch(self, source: S3Object, region: Region, sink: Sink) -> None:
            sinks.append(sink)
            await super().fetch(source, region, sink)

    async def scene() -> None:
        s3 = Stubborn()
        s3.gate.clear()
        async with control_plane(await MemoryEngine().bucket("meta"), tmp_path, s3=s3) as plane:
            call = asyncio.create_task(plane.functions.create(from_s3()))
            await until(lambda: bool(sinks))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            with pytest.raises(Abandoned):
                sinks[0].write(b"late")
            assert only_packages(tmp_path) == []

    asyncio.run(scene())


def test_a_slow_fetch_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    async def scene() -> None:
        s3 = FakeS3()
        s3.gate.clear()
        async with control_plane(await MemoryEngine().bucket("meta"), tmp_path, s3=s3) as plane:
            slow = [asyncio.create_task(plane.functions.create(from_s3(f"s{n}"))) for n in range(9)]
            await until(lambda: len(s3.asked) == 9)
            await asyncio.wait_for(plane.functions.create(creation("quick")), 5.0)
            s3.gate.set()
            assert [function.key.name for function in await asyncio.gather(*slow)]
            await plane.settled()

    asyncio.run(scene())


def test_a_kill_at_any_moment_of_a_fetch_leaves_all_or_nothing(tmp_path: Path) -> None:
    async def scene(life: int) -> bool:
        kv, directory = await MemoryEngine().bucket("meta"), tmp_path / str(life)
        ended = True
        async with control_plane(kv, directory, s3=FakeS3()) as plane:
            try:
                await Mortal(plane.functions.create(from_s3()), life)
            except Killed:
                ended = False
        async with control_plane(kv, directory) as plane:
            await plane.settled()
            function = plane.replica.get(function_key())
            assert function is None or function.state is State.ACTIVE
            assert function is not None or not ended
            assert not list(directory.glob(".put-*"))
            digests = set() if function is None else {function.code.sha256}
            assert await plane.packages.missing(digests) == frozenset()
        return ended

    lives = 0
    while not asyncio.run(scene(lives)):
        lives += 1
        assert lives < 100
    assert lives > 5, "a fetch has more moments than that"


def from_s3(name: str = "f") -> CreateFunction:
    return replace(creation(name), package=S3Object(bucket="bucket", key="k"))
