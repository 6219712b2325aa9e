"""Functions: change and delete, with AWS's errors."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.control import (
    ControlPlane,
    FakeCodeCache,
    control_plane,
    creation,
    function_key,
    made,
)
from fakes.packages import zip_of
from hearth.control.requests import UpdateCode, UpdateConfiguration
from hearth.engine.memory import MemoryEngine
from hearth.model.errors import (
    InvalidZipFile,
    PreconditionFailed,
    ResourceConflict,
    ResourceNotFound,
)
from hearth.model.functions import Architecture, FunctionVersion, State, UpdateStatus

Scenario = Callable[[ControlPlane], Awaitable[None]]
KEY = function_key()
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"


def play(directory: Path, scenario: Scenario, code_cache: FakeCodeCache | None = None) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, directory, code_cache) as plane:
            await scenario(plane)

    asyncio.run(scene())


def test_a_failed_function_can_be_mended_by_new_code(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.code_cache.error = OSError("disk")
        await made(plane)
        plane.code_cache.error = None
        await plane.functions.update_code(UpdateCode(key=KEY, package=zip_of({"b.py": ""})))
        await plane.settled()
        assert (await plane.functions.get(KEY)).state is State.ACTIVE

    play(tmp_path, scenario)


def test_an_update_that_fails_says_so_and_leaves_the_function_active(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        plane.code_cache.error = InvalidZipFile("Lambda could not unzip.")
        await plane.functions.update_code(UpdateCode(key=KEY, package=zip_of({"b.py": ""})))
        await plane.settled()
        function = await plane.functions.get(KEY)
        assert function.state is State.ACTIVE
        assert function.update_status is UpdateStatus.FAILED
        assert function.update_reason_code == "InvalidZipFileException"
        assert function.update_reason == "Lambda could not unzip."

    play(tmp_path, scenario)


def test_new_code_is_in_progress_until_it_is_ready(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        before = await made(plane)
        plane.code_cache.gate.clear()
        package = zip_of({"app.py": "x = 1"})
        updated = await plane.functions.update_code(
            UpdateCode(key=KEY, package=package, architecture=Architecture.ARM64)
        )
        assert updated.state is State.ACTIVE
        assert updated.update_status is UpdateStatus.IN_PROGRESS
        assert updated.update_reason == "The function is being created."
        assert updated.update_reason_code == "Creating"
        assert updated.architecture is Architecture.ARM64
        assert updated.code.sha256 == hashlib.sha256(package).hexdigest() != before.code.sha256
        plane.code_cache.gate.set()
        await plane.settled()
        done = await plane.functions.get(KEY)
        assert done.update_status is UpdateStatus.SUCCESSFUL
        assert done.update_reason is None
        assert len({before.revision_id, updated.revision_id, done.revision_id}) == 3

    play(tmp_path, scenario)


def test_nothing_is_changed_while_another_change_is_under_way(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.code_cache.gate.clear()
        await plane.functions.create(creation())
        with pytest.raises(ResourceConflict) as refused:
            await plane.functions.update_configuration(UpdateConfiguration(key=KEY))
        assert refused.value.message == (
            "The operation cannot be performed at this time. "
            "The function is currently in the following state: Pending"
        )
        plane.code_cache.gate.set()
        await plane.settled()
        plane.code_cache.gate.clear()
        await plane.functions.update_configuration(UpdateConfiguration(key=KEY, timeout_s=9))
        with pytest.raises(ResourceConflict) as refused:
            await plane.functions.update_code(UpdateCode(key=KEY, package=zip_of()))
        assert refused.value.message == (
            "The operation cannot be performed at this time. "
            f"An update is in progress for resource: {ARN}"
        )

    play(tmp_path, scenario)


def test_of_changes_at_once_one_wins_and_the_others_are_told(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        plane.code_cache.gate.clear()
        outcomes = await asyncio.gather(
            *(
                plane.functions.update_configuration(UpdateConfiguration(key=KEY, timeout_s=n))
                for n in range(10, 20)
            ),
            return_exceptions=True,
        )
        won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert len(won) == 1
        assert sum(isinstance(outcome, ResourceConflict) for outcome in outcomes) == 9
        assert (await plane.functions.get(KEY)).timeout_s == won[0].timeout_s

    play(tmp_path, scenario)


def test_only_what_was_given_is_changed(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        before = await made(plane)
        await plane.functions.update_configuration(
            UpdateConfiguration(
                key=KEY,
                runtime="python3.13",
                description="d",
                memory_mb=256,
                tmp_mb=600,
                environment={"A": "1"},
            )
        )
        await plane.settled()
        after = await plane.functions.get(KEY)
        assert after == replace(
            before,
            runtime="python3.13",
            description="d",
            memory_mb=256,
            tmp_mb=600,
            environment={"A": "1"},
            environment_given=True,
            revision_id=after.revision_id,
        )
        await plane.functions.update_configuration(UpdateConfiguration(key=KEY, environment={}))
        await plane.settled()
        assert (await plane.functions.get(KEY)).environment == {}

    play(tmp_path, scenario)


def test_a_change_may_be_made_to_depend_on_the_revision(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        before = await made(plane)
        for stale in (
            plane.functions.update_configuration(UpdateConfiguration(key=KEY, revision_id="old")),
            plane.functions.update_code(
                UpdateCode(key=KEY, package=zip_of(), revision_id="old", dry_run=True)
            ),
        ):
            with pytest.raises(PreconditionFailed) as refused:
                await stale
            assert refused.value.message == (
                "The Revision Id provided does not match the latest Revision Id. Call the "
                "GetFunction/GetAlias API to retrieve the latest Revision Id"
            )
        await plane.functions.update_configuration(
            UpdateConfiguration(key=KEY, revision_id=before.revision_id, timeout_s=7)
        )
        assert (await plane.functions.get(KEY)).timeout_s == 7

    play(tmp_path, scenario)


def test_a_dry_run_tells_what_the_code_would_be_and_keeps_what_is(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        before = await made(plane)
        package = zip_of({"new.py": ""})
        answer = await plane.functions.update_code(
            UpdateCode(key=KEY, package=package, dry_run=True)
        )
        assert answer.code.sha256 == hashlib.sha256(package).hexdigest()
        assert answer.code.size_bytes == len(package)
        assert await plane.functions.get(KEY) == before
        assert not plane.packages.path(answer.code.sha256).exists()

    play(tmp_path, scenario)


def test_a_deleted_function_is_gone_and_its_name_free(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        before = await made(plane)
        await plane.functions.delete(KEY)
        for late in (
            plane.functions.get(KEY),
            plane.functions.delete(KEY),
            plane.functions.update_code(UpdateCode(key=KEY, package=zip_of())),
            plane.functions.update_configuration(UpdateConfiguration(key=KEY)),
        ):
            with pytest.raises(ResourceNotFound, match=f"^Function not found: {ARN}$"):
                await late
        again = await made(plane)
        assert again.instance_id != before.instance_id

    play(tmp_path, scenario)


def test_a_function_may_be_deleted_while_it_is_pending(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.code_cache.gate.clear()
        await plane.functions.create(creation())
        await plane.functions.delete(KEY)
        plane.code_cache.gate.set()
        created = await made(plane)  # the first one's job must not settle the second
        assert created.state is State.ACTIVE
        assert len(plane.code_cache.prepared) == 2

    play(tmp_path, scenario)


def served(plane: ControlPlane) -> FunctionVersion:
    routes = plane.replica.find(KEY.account, KEY.region, KEY.name)
    assert routes is not None
    return routes.latest


def test_the_old_configuration_serves_until_an_update_is_done(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        before = await made(plane)
        plane.code_cache.gate.clear()
        updated = await plane.functions.update_code(
            UpdateCode(key=KEY, package=zip_of({"app.py": "x = 1"}))
        )
        assert served(plane) == before
        assert plane.replica.serving(KEY) == before
        assert {before.code.sha256, updated.code.sha256} <= {
            version.code.sha256 for version in plane.replica.all_versions()
        }, "code that is served must not be swept"
        plane.code_cache.gate.set()
        await plane.settled()
        assert served(plane).code == updated.code
        assert before not in plane.replica.all_versions()

    play(tmp_path, scenario)


def test_the_old_configuration_serves_on_if_an_update_fails(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        before = await made(plane)
        plane.code_cache.error = OSError("disk")
        for text in ("x = 1", "x = 2"):
            await plane.functions.update_code(UpdateCode(key=KEY, package=zip_of({"app.py": text})))
            await plane.settled()
            assert served(plane) == before
        plane.code_cache.error = None
        await plane.functions.update_configuration(UpdateConfiguration(key=KEY, timeout_s=7))
        await plane.settled()
        assert served(plane) == await plane.functions.get(KEY)

    play(tmp_path, scenario)


def test_what_serves_during_an_update_is_known_after_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, tmp_path) as plane:
            before = await made(plane)
            plane.code_cache.gate.clear()
            await plane.functions.update_configuration(UpdateConfiguration(key=KEY, timeout_s=7))
        code_cache = FakeCodeCache()
        code_cache.gate.clear()
        async with control_plane(kv, tmp_path, code_cache) as plane:
            assert served(plane) == before
            plane.functions.resume()
            code_cache.gate.set()
            await plane.settled()
            assert served(plane).timeout_s == 7

    asyncio.run(scene())
