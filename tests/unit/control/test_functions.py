"""Functions: create, read, list, change, delete, with AWS's errors."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.control import (
    ACCOUNT,
    REGION,
    ControlPlane,
    FakeCodeCache,
    control_plane,
    creation,
    function_key,
    made,
)
from fakes.packages import zip_of
from hearth.control.requests import CreateFunction
from hearth.engine.memory import MemoryEngine
from hearth.model.errors import (
    InvalidParameterValue,
    InvalidZipFile,
    RequestEntityTooLarge,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
    ValidationFailed,
)
from hearth.model.functions import State, UpdateStatus

Scenario = Callable[[ControlPlane], Awaitable[None]]
KEY = function_key()
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"


def play(directory: Path, scenario: Scenario, code_cache: FakeCodeCache | None = None) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, directory, code_cache) as plane:
            await scenario(plane)

    asyncio.run(scene())


def test_a_new_function_is_pending_until_its_code_is_ready(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.code_cache.gate.clear()
        package = zip_of()
        created = await plane.functions.create(creation(package=package))
        assert created.state is State.PENDING
        assert created.state_reason == "The function is being created."
        assert created.state_reason_code == "Creating"
        assert created.last_modified == "2026-11-23T15:04:05.000+0000"
        assert created.code.sha256 == hashlib.sha256(package).hexdigest()
        assert plane.packages.path(created.code.sha256).read_bytes() == package
        assert plane.replica.get(KEY) == created
        plane.code_cache.gate.set()
        await plane.settled()
        active = await plane.functions.get(KEY)
        assert active.state is State.ACTIVE
        assert active.state_reason is active.state_reason_code is None
        assert active.update_status is UpdateStatus.SUCCESSFUL
        assert active.revision_id != created.revision_id
        assert active.instance_id == created.instance_id
        assert plane.code_cache.prepared == [(created.code.sha256, "python3.12")]

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("error", "code"),
    [(InvalidZipFile("x"), "InvalidZipFileException"), (OSError("disk"), "InternalError")],
)
def test_code_that_cannot_be_prepared_fails_the_function(
    tmp_path: Path, error: Exception, code: str
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.code_cache.error = error
        failed = await made(plane)
        assert failed.state is State.FAILED
        assert failed.state_reason_code == code
        assert failed.state_reason

    play(tmp_path, scenario)


def change(request: CreateFunction, **members: object) -> CreateFunction:
    return replace(request, **members)  # type: ignore[arg-type]


LARGE = {"LARGE": "x" * 4_096}
PROBLEM = (
    "Lambda was unable to configure your environment variables because the environment variables "
    "you have provided "
)
REFUSED = [
    (
        change(creation(), runtime=None),
        InvalidParameterValue,
        (
            "Runtime and Handler are mandatory parameters for functions created with deployment "
            "packages."
        ),
    ),
    (
        change(creation(), handler=""),
        InvalidParameterValue,
        (
            "Runtime and Handler are mandatory parameters for functions created with deployment "
            "packages."
        ),
    ),
    (
        change(creation(), package=None),
        InvalidParameterValue,
        "Please provide a source for function code.",
    ),
    (creation(package=b""), InvalidParameterValue, "Uploaded file must be a non-empty zip"),
    (
        creation(package=b"no zip"),
        InvalidParameterValue,
        "Could not unzip uploaded file. Please check your file, then try to upload again.",
    ),
    (
        creation(package=bytes(52_428_801)),
        RequestEntityTooLarge,
        "Zipped size must be smaller than 52428800 bytes",
    ),
    (
        change(creation(), runtime="nodejs14.x"),
        InvalidParameterValue,
        (
            "The runtime parameter of nodejs14.x is no longer supported for creating or updating "
            "AWS Lambda functions. We recommend you use a supported runtime while creating or "
            "updating functions."
        ),
    ),
    (
        change(creation(), runtime="PYTHON3.9"),
        InvalidParameterValue,
        (
            "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum "
            "value set: [nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, "
            "nodejs24.x, nodejs22.x, java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, "
            "ruby3.2, python3.8, python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, "
            "dotnet6, nodejs18.x, provided.al2, java8.al2] or be a valid ARN"
        ),
    ),
    (
        change(creation(), memory_mb=10_241),
        InvalidParameterValue,
        (
            "'MemorySize' value failed to satisfy constraint: Member must have value less than or "
            "equal to 10240"
        ),
    ),
    (
        change(creation(), timeout_s=901),
        ValidationFailed,
        (
            "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: "
            "Member must have value less than or equal to 900"
        ),
    ),
    (
        change(creation(), tmp_mb=10_241),
        ValidationFailed,
        (
            "1 validation error detected: Value '10241' at 'ephemeralStorage.size' failed to "
            "satisfy constraint: Member must have value less than or equal to 10240"
        ),
    ),
    (
        change(creation(), environment=LARGE),
        InvalidParameterValue,
        PROBLEM + 'exceeded the 4KB limit. String measured: {"LARGE":"' + "x" * 4_096 + '"}',
    ),
    (
        change(creation(), environment={"A": "1", "AWS_REGION": "x", "_HANDLER": "y"}),
        InvalidParameterValue,
        PROBLEM + "contains reserved keys that are currently not supported for modification. "
        "Reserved keys used in this request: AWS_REGION, _HANDLER",
    ),
    (
        change(creation(), tags={f"t{n}": "" for n in range(51)}),
        InvalidParameterValue,
        "Number of tags exceeds resource tag limit.",
    ),
    (
        creation("n" * 65),
        ValidationFailed,
        (
            f"1 validation error detected: Value '{'n' * 65}' at 'functionName' failed to satisfy "
            "constraint: Member must have length less than or equal to 64"
        ),
    ),
]


@pytest.mark.parametrize(("request_", "kind", "text"), REFUSED)
def test_what_lambda_refuses_is_refused_in_its_words_and_leaves_nothing(
    tmp_path: Path, request_: CreateFunction, kind: type[ServiceError], text: str
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        with pytest.raises(kind) as refused:
            await plane.functions.create(request_)
        assert refused.value.message == text
        assert plane.replica.everything() == ()

    play(tmp_path, scenario)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_environment_that_lambda_takes_is_taken(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        environment = {"A": "x" * (4_096 - len('{"A":""}'))}
        await plane.functions.create(change(creation(), environment=environment))
        assert (await plane.functions.get(KEY)).environment == environment

    play(tmp_path, scenario)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        outcomes = await asyncio.gather(
            *(plane.functions.create(creation()) for _ in range(5)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, ResourceConflict)]
        assert len(refused) == 4
        assert {error.message for error in refused} == {"Function already exist: f"}

    play(tmp_path, scenario)


def test_only_latest_exists_and_it_stays_with_its_function(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        assert await plane.functions.get(KEY, "$LATEST") == await plane.functions.get(KEY)
        with pytest.raises(ResourceNotFound) as missing:
            await plane.functions.get(KEY, "1221")
        assert missing.value.message == f"Function not found: {ARN}:1221"
        await plane.functions.delete(KEY, "7")  # as good as deleted
        with pytest.raises(ResourceNotFound):
            await plane.functions.delete(function_key("g"), "7")
        with pytest.raises(InvalidParameterValue) as refused:
            await plane.functions.delete(KEY, "$LATEST")
        assert refused.value.message == (
            "$LATEST version cannot be deleted without deleting the function."
        )
        assert plane.replica.get(KEY) is not None

    play(tmp_path, scenario)


def test_a_name_that_no_function_can_have_is_just_not_found(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        for name in ("a.b", "*", ">", "a b", ""):
            with pytest.raises(ResourceNotFound):
                await plane.functions.get(function_key(name))

    play(tmp_path, scenario)


def test_pages_follow_the_names_whatever_comes_and_goes(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        for name in ("c", "a", "e", "b", "d"):
            await plane.functions.create(creation(name))
        first = plane.functions.list(ACCOUNT, REGION, marker=None, items_max=2)
        assert [f.key.name for f in first.items] == ["a", "b"]
        await plane.functions.delete(function_key("b"))
        await plane.functions.create(creation("aa"))
        await plane.functions.create(creation("bb"))
        second = plane.functions.list(ACCOUNT, REGION, marker=first.next_marker, items_max=2)
        assert [f.key.name for f in second.items] == ["bb", "c"]
        third = plane.functions.list(ACCOUNT, REGION, marker=second.next_marker, items_max=2)
        assert [f.key.name for f in third.items] == ["d", "e"]
        assert third.next_marker is None

    play(tmp_path, scenario)


def test_a_page_has_fifty_functions_at_most(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        package = zip_of()
        for number in range(51):
            await plane.functions.create(creation(f"f{number:02}", package))
        page = plane.functions.list(ACCOUNT, REGION, marker=None, items_max=10_000)
        assert len(page.items) == 50
        rest = plane.functions.list(ACCOUNT, REGION, marker=page.next_marker, items_max=None)
        assert [f.key.name for f in rest.items] == ["f50"]
        assert plane.functions.usage(ACCOUNT, REGION).functions == 51
        assert plane.functions.usage(ACCOUNT, REGION).code_bytes == 51 * len(package)

    play(tmp_path, scenario)


@pytest.mark.parametrize("marker", ["???", "YQ", base64.b64encode(b"\xff\xfe").decode()])
def test_a_marker_that_nobody_gave_is_refused(tmp_path: Path, marker: str) -> None:
    async def scenario(plane: ControlPlane) -> None:
        with pytest.raises(InvalidParameterValue):
            plane.functions.list(ACCOUNT, REGION, marker=marker, items_max=None)

    play(tmp_path, scenario)
