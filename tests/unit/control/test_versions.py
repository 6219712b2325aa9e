"""Versions: published, found, listed, deleted, with AWS's errors; nothing changes them."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.control import (
    ACCOUNT,
    REGION,
    ControlPlane,
    FakeCodeCache,
    HandClock,
    control_plane,
    creation,
    function_key,
    made,
)
from fakes.packages import zip_of
from hearth.control.leftovers import UNNAMED_S, Leftovers
from hearth.control.requests import CreateAlias, PublishVersion, UpdateCode, UpdateConfiguration
from hearth.control.sweeper import Sweeper
from hearth.engine.contract import VALUE_BYTES_MAX, Entry
from hearth.engine.memory import MemoryEngine, MemoryKeyValue
from hearth.model.errors import (
    CodeStorageExceeded,
    InternalFailure,
    InvalidParameterValue,
    PreconditionFailed,
    ResourceConflict,
    ResourceNotFound,
)
from hearth.model.functions import FunctionVersion, State, UpdateStatus

Scenario = Callable[[ControlPlane], Awaitable[None]]
KEY = function_key()
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"


def play(directory: Path, scenario: Scenario, code_cache: FakeCodeCache | None = None) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, directory, code_cache) as plane:
            await scenario(plane)

    asyncio.run(scene())


async def publish(plane: ControlPlane, **members: str) -> FunctionVersion:
    return await plane.functions.versions.publish(PublishVersion(key=KEY, **members))


async def change_timeout(plane: ControlPlane, timeout_s: int) -> FunctionVersion:
    request = UpdateConfiguration(key=KEY, timeout_s=timeout_s)
    changed = await plane.functions.update_configuration(request)
    await plane.settled()
    return changed


def test_a_version_is_a_copy_with_a_life_of_its_own(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        latest = await made(plane)
        plane.code_cache.gate.clear()
        version = await publish(plane)
        assert (version.version, version.arn) == ("1", f"{ARN}:1")
        assert version.state is State.PENDING
        assert version.state_reason_code == "Creating"
        assert version.revision_id != latest.revision_id
        assert version.code == latest.code
        plane.code_cache.gate.set()
        await plane.settled()
        active = await plane.functions.get(KEY, "1")
        assert active.state is State.ACTIVE
        assert active.update_status is UpdateStatus.SUCCESSFUL
        assert active.revision_id != version.revision_id
        assert await plane.functions.get(KEY) == latest, "publishing leaves $LATEST as it is"

    play(tmp_path, scenario)


def test_nothing_that_happens_to_latest_changes_a_version(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        await publish(plane, description="first")
        await plane.settled()
        version = await plane.functions.get(KEY, "1")
        await change_timeout(plane, 9)
        await plane.functions.update_code(UpdateCode(key=KEY, package=zip_of({"b.py": ""})))
        await plane.settled()
        assert await plane.functions.get(KEY, "1") == version
        assert (version.description, version.timeout_s) == ("first", 3)
        second = await publish(plane)
        assert (second.version, second.timeout_s, second.description) == ("2", 9, "")
        assert second.code != version.code

    play(tmp_path, scenario)


def test_no_version_is_made_when_nothing_was_changed(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        first = await publish(plane, description="mine")
        await plane.settled()
        again = await publish(plane, description="another")
        assert (again.version, again.description) == ("1", "mine")
        assert again.code == first.code
        await change_timeout(plane, 9)
        assert (await publish(plane)).version == "2"
        request = UpdateConfiguration(key=KEY, description="new")
        await plane.functions.update_configuration(request)
        await plane.settled()
        third = await publish(plane)
        assert (third.version, third.description) == ("3", "new")

    play(tmp_path, scenario)


def test_numbers_are_never_given_twice_while_the_function_lives(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        await publish(plane)
        await plane.functions.delete(KEY, "1")
        assert (await publish(plane)).version == "2", "the last version is gone, so this is new"
        await plane.functions.delete(KEY)
        await made(plane)
        assert plane.replica.versions(KEY) == ()
        assert (await publish(plane)).version == "1"

    play(tmp_path, scenario)


def test_the_conditions_of_publishing_are_checked_in_awss_words(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        with pytest.raises(ResourceNotFound) as missing:
            await publish(plane)
        assert missing.value.message == f"Function not found: {ARN}"
        latest = await made(plane)
        sha256 = base64.b64encode(bytes.fromhex(latest.code.sha256)).decode()
        with pytest.raises(InvalidParameterValue) as other_code:
            await publish(plane, code_sha256="somenonexistentsha256")
        assert other_code.value.message == (
            "CodeSHA256 (somenonexistentsha256) is different from current CodeSHA256 in $LATEST "
            f"({sha256}). Please try again with the CodeSHA256 in $LATEST."
        )
        with pytest.raises(PreconditionFailed) as changed:
            await publish(plane, revision_id="old")
        assert changed.value.message == (
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        )
        assert plane.replica.versions(KEY) == ()
        good = await publish(plane, code_sha256=sha256, revision_id=latest.revision_id)
        assert good.version == "1"

    play(tmp_path, scenario)


def test_what_is_being_made_or_changed_cannot_be_published(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.code_cache.gate.clear()
        await plane.functions.create(creation())
        with pytest.raises(ResourceConflict) as pending:
            await publish(plane)
        assert pending.value.message == (
            "The operation cannot be performed at this time. "
            "The function is currently in the following state: Pending"
        )
        plane.code_cache.gate.set()
        await plane.settled()
        plane.code_cache.gate.clear()
        await plane.functions.update_configuration(UpdateConfiguration(key=KEY, timeout_s=8))
        with pytest.raises(ResourceConflict) as changing:
            await publish(plane)
        assert changing.value.message == (
            "The operation cannot be performed at this time. "
            f"An update is in progress for resource: {ARN}"
        )
        plane.code_cache.gate.set()

    play(tmp_path, scenario)


def test_create_and_update_publish_in_the_same_write(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        created = await plane.functions.create(replace(creation(), publish=True))
        assert (created.version, created.state) == ("1", State.PENDING)
        assert plane.replica.get(KEY) is not None
        await plane.settled()
        assert (await plane.functions.get(KEY, "1")).state is State.ACTIVE
        code = zip_of({"b.py": ""})
        updated = await plane.functions.update_code(UpdateCode(key=KEY, package=code, publish=True))
        assert updated.version == "2"
        await plane.settled()
        latest = await plane.functions.get(KEY)
        assert (await plane.functions.get(KEY, "2")).code == latest.code == updated.code
        same = await plane.functions.update_code(UpdateCode(key=KEY, package=code, publish=True))
        assert same.version == "2", "the same code again is no change"
        with pytest.raises(ResourceConflict, match="Function already exist: f"):
            await plane.functions.create(replace(creation(), publish=True))
        await plane.settled()
        await plane.jobs_idle()
        assert plane.replica.leftovers() == frozenset()

    play(tmp_path, scenario)


def test_publishers_at_the_same_time_get_one_version_if_nothing_changes(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        versions = await asyncio.gather(*(publish(plane) for _ in range(8)))
        assert {version.version for version in versions} == {"1"}
        await plane.jobs_idle()
        assert plane.replica.leftovers() == frozenset()

    play(tmp_path, scenario)


def test_a_version_that_an_alias_points_to_stays(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        await publish(plane)
        await change_timeout(plane, 9)
        await publish(plane)
        for name, weights in (("live", {"2": 0.1}), ("all", {})):
            await plane.functions.aliases.create(
                CreateAlias(key=KEY, name=name, version="1", weights=weights)
            )
        for number, names in (("1", "all, live"), ("2", "live")):
            with pytest.raises(ResourceConflict) as refused:
                await plane.functions.delete(KEY, number)
            assert refused.value.message == (
                f"Unable to delete version because the following aliases reference it: [{names}]"
            )
        with pytest.raises(InvalidParameterValue) as alias:
            await plane.functions.delete(KEY, "live")
        assert alias.value.message == "Deletion of aliases is not currently supported."
        await plane.functions.aliases.delete(KEY, "live")
        await plane.functions.delete(KEY, "2")
        assert [v.version for v in plane.replica.versions(KEY)] == ["1"]

    play(tmp_path, scenario)


def test_a_deleted_function_takes_versions_and_aliases_along(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        await publish(plane)
        await plane.functions.aliases.create(CreateAlias(key=KEY, name="live", version="1"))
        await plane.functions.delete(KEY)
        for qualifier in ("1", "live"):
            assert plane.replica.qualified(KEY, qualifier) is None
            with pytest.raises(ResourceNotFound) as missing:
                await plane.functions.get(KEY, qualifier)
            assert missing.value.message == f"Function not found: {ARN}:{qualifier}"
        await plane.jobs_idle()
        assert plane.replica.leftovers() == frozenset()
        assert await kv_keys(plane) == []

    play(tmp_path, scenario)


async def kv_keys(plane: ControlPlane) -> list[str]:
    kv = plane.functions.kv
    assert isinstance(kv, MemoryKeyValue)
    return [change.key for change in kv.after(0, "") if isinstance(change, Entry)]


def test_versions_are_listed_by_number_after_latest(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        latest = await made(plane)
        for timeout_s in range(4, 16):
            latest = await change_timeout(plane, timeout_s)
            await publish(plane)
        versions = plane.functions.versions
        first = versions.list_page(latest, marker=None, items_max=3)
        assert [v.version for v in first.items] == ["$LATEST", "1", "2"]
        await plane.functions.delete(KEY, "2")
        await plane.functions.delete(KEY, "3")
        rest = versions.list_page(latest, marker=first.next_marker, items_max=None)
        assert [v.version for v in rest.items] == [str(n) for n in range(4, 13)]
        assert rest.next_marker is None
        await made(plane, "a")
        every = plane.functions.list(ACCOUNT, REGION, marker=None, items_max=3, all_versions=True)
        assert [v.arn.rsplit(":function:")[1] for v in every.items] == ["a", "f", "f:1"]
        more = plane.functions.list(
            ACCOUNT, REGION, marker=every.next_marker, items_max=1, all_versions=True
        )
        assert [v.version for v in more.items] == ["4"]
        assert plane.functions.usage(ACCOUNT, REGION).code_bytes == 12 * latest.code.size_bytes

    play(tmp_path, scenario)


def test_a_page_has_fifty_versions_however_many_are_asked_for(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        for timeout_s in range(4, 55):
            await change_timeout(plane, timeout_s)
            await publish(plane)
        latest = await plane.functions.get(KEY)
        page = plane.functions.versions.list_page(latest, marker=None, items_max=10_000)
        assert len(page.items) == 50

    play(tmp_path, scenario)


def test_a_process_that_did_not_hear_of_a_version_looks_for_it(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, tmp_path) as one, control_plane(kv, tmp_path) as two:
            await made(one)
            version = await one.functions.versions.publish(PublishVersion(key=KEY))
            await one.functions.aliases.create(CreateAlias(key=KEY, name="live", version="1"))
            for qualifier in ("1", "live"):
                assert (await two.functions.get(KEY, qualifier)).code == version.code

    asyncio.run(scene())


def test_the_code_of_versions_is_not_swept(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        await publish(plane)
        old = (await plane.functions.get(KEY, "1")).code.sha256
        await plane.functions.update_code(UpdateCode(key=KEY, package=zip_of({"b.py": ""})))
        await plane.settled()
        kept: set[str] = set()

        class Store:
            async def sweep(self, referenced: object, /) -> int:
                assert isinstance(referenced, set)
                kept.update(referenced)
                return 0

        await Sweeper(plane.replica, Store()).turn()
        assert kept == {old, (await plane.functions.get(KEY)).code.sha256}

    play(tmp_path, scenario)


def test_records_that_no_function_names_go_after_a_while(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        version = await publish(plane)
        await plane.settled()
        store = plane.functions.versions.store
        assert await store.write_version(replace(version, version="2"), "lost")
        assert plane.replica.qualified(KEY, "2") is None
        clock = HandClock()
        leftovers = Leftovers(plane.functions.kv, plane.replica, clock)
        assert await leftovers.sweep(frozenset()) == 0
        clock.now_s += UNNAMED_S - 1
        assert await leftovers.sweep(frozenset()) == 0
        clock.now_s += 1
        assert await leftovers.sweep(frozenset()) == 1
        assert plane.replica.leftovers() == frozenset()
        assert plane.replica.qualified(KEY, "1") is not None

    play(tmp_path, scenario)


def test_more_than_a_record_can_hold_is_refused_not_lost(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        store = plane.functions.versions.store

        with pytest.raises(CodeStorageExceeded) as full:
            await store.change(KEY, lambda now: replace(now, description="x" * VALUE_BYTES_MAX))
        assert full.value.message == "Code storage limit exceeded."
        assert (await plane.functions.get(KEY)).description == ""

    play(tmp_path, scenario)


def test_what_else_is_known_of_a_version_goes_with_it_even_at_the_second_attempt(
    tmp_path: Path,
) -> None:
    asked: list[str] = []

    async def forget(function: FunctionVersion, qualifier: str) -> None:
        asked.append(f"{function.key.name}:{qualifier}")
        if len(asked) == 1:
            raise InternalFailure("not now")

    async def scenario(plane: ControlPlane) -> None:
        await made(plane)
        await publish(plane)
        versions = plane.functions.versions
        versions.forget = forget
        with pytest.raises(InternalFailure):
            await versions.delete(KEY, "1")
        assert plane.replica.qualified(KEY, "1") is None
        await versions.delete(KEY, "1")
        assert asked == ["f:1", "f:1"]

    play(tmp_path, scenario)
