"""Aliases: names for versions, with AWS's errors."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from fakes.control import ControlPlane, control_plane, function_key, made
from hearth.control.requests import (
    CreateAlias,
    PublishVersion,
    UpdateAlias,
    UpdateConfiguration,
)
from hearth.engine.memory import MemoryEngine
from hearth.model.errors import (
    InvalidParameterValue,
    PreconditionFailed,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
)
from hearth.model.functions import Alias

Scenario = Callable[[ControlPlane], Awaitable[None]]
KEY = function_key()
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"


def play(directory: Path, scenario: Scenario) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, directory) as plane:
            await scenario(plane)

    asyncio.run(scene())


async def published(plane: ControlPlane, versions: int) -> None:
    """A function with as many versions."""
    await made(plane)
    for number in range(versions):
        await plane.functions.update_configuration(
            UpdateConfiguration(key=KEY, timeout_s=10 + number)
        )
        await plane.settled()
        await plane.functions.versions.publish(PublishVersion(key=KEY))
    await plane.settled()


async def create(
    plane: ControlPlane, name: str, version: str = "1", weights: Mapping[str, float] | None = None
) -> Alias:
    request = CreateAlias(key=KEY, name=name, version=version, weights=weights or {})
    return await plane.functions.aliases.create(request)


def test_an_alias_is_found_and_finds_its_version(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 2)
        alias = await create(plane, "live", "2")
        assert alias.arn == f"{ARN}:live"
        assert await plane.functions.aliases.get(KEY, "live") == alias
        assert (await plane.functions.get(KEY, "live")).version == "2"
        latest = await create(plane, "edge", "$LATEST")
        assert (await plane.functions.get(KEY, latest.name)).version == "$LATEST"

    play(tmp_path, scenario)


def test_an_alias_is_changed_in_what_is_given_and_nothing_else(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 2)
        aliases = plane.functions.aliases
        first = await create(plane, "live")
        split = await aliases.update(UpdateAlias(key=KEY, name="live", weights={"2": 0.25}))
        assert (split.version, split.weights) == ("1", {"2": 0.25})
        assert split.revision_id != first.revision_id
        told = await aliases.update(
            UpdateAlias(key=KEY, name="live", description="d", revision_id=split.revision_id)
        )
        assert (told.version, told.description, told.weights) == ("1", "d", {"2": 0.25})
        whole = await aliases.update(UpdateAlias(key=KEY, name="live", version="2", weights={}))
        assert (whole.version, whole.description, whole.weights) == ("2", "d", {})
        assert await aliases.get(KEY, "live") == whole

    play(tmp_path, scenario)


def test_an_alias_that_others_have_changed_is_left_alone(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 1)
        alias = await create(plane, "live")
        with pytest.raises(PreconditionFailed) as changed:
            await plane.functions.aliases.update(
                UpdateAlias(key=KEY, name="live", description="d", revision_id="old")
            )
        assert changed.value.message == (
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        )
        assert await plane.functions.aliases.get(KEY, "live") == alias

    play(tmp_path, scenario)


TOO_MANY = "Number of items in AdditionalVersionWeights cannot be greater than 1"
NOT_LATEST = "$LATEST is not supported for an alias pointing to more than 1 version"
TWICE = (
    "Invalid function version 1. Function version 1 is already included in routing configuration."
)


@pytest.mark.parametrize(
    ("version", "weights", "kind", "text"),
    [
        ("9", {}, ResourceNotFound, f"Function not found: {ARN}:9"),
        ("1", {"9": 0.5}, ResourceNotFound, f"Function not found: {ARN}:9"),
        ("1", {"2": 0.1, "3": 0.1}, InvalidParameterValue, TOO_MANY),
        ("$LATEST", {"2": 0.1}, InvalidParameterValue, NOT_LATEST),
        ("1", {"1": 0.1}, InvalidParameterValue, TWICE),
        (
            "1",
            {"3": 0.1},
            InvalidParameterValue,
            "Specified versions must be associated with the same execution role",
        ),
    ],
)
def test_what_an_alias_cannot_point_to_is_refused_at_create_and_update(
    tmp_path: Path, version: str, weights: dict[str, float], kind: type[ServiceError], text: str
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 2)
        await plane.functions.update_configuration(
            UpdateConfiguration(key=KEY, role="arn:aws:iam::123456789012:role/other")
        )
        await plane.settled()
        await plane.functions.versions.publish(PublishVersion(key=KEY))
        with pytest.raises(kind) as created:
            await create(plane, "live", version, weights)
        assert created.value.message == text
        alias = await create(plane, "live", "2")
        with pytest.raises(kind) as updated:
            await plane.functions.aliases.update(
                UpdateAlias(key=KEY, name="live", version=version, weights=weights)
            )
        assert updated.value.message == text
        assert plane.replica.aliases(KEY) == (alias,)

    play(tmp_path, scenario)


def test_moving_to_the_version_that_has_a_share_already_is_refused(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 2)
        await create(plane, "live", "2", {"1": 0.5})
        with pytest.raises(InvalidParameterValue) as refused:
            await plane.functions.aliases.update(UpdateAlias(key=KEY, name="live", version="1"))
        assert refused.value.message == TWICE

    play(tmp_path, scenario)


def test_what_is_not_there_is_told_in_awss_words(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        aliases = plane.functions.aliases
        no_alias = f"Cannot find alias arn: {ARN}:nope"
        for is_there in (False, True):
            if is_there:
                await published(plane, 1)
            with pytest.raises(ResourceNotFound, match=no_alias):
                await aliases.get(KEY, "nope")
            with pytest.raises(ResourceNotFound, match=no_alias):
                await aliases.update(UpdateAlias(key=KEY, name="nope"))
        await aliases.delete(KEY, "nope")
        other = function_key("g")
        with pytest.raises(ResourceNotFound) as no_function:
            await aliases.create(CreateAlias(key=other, name="live", version="1"))
        assert no_function.value.message == f"Function not found: {ARN[:-1]}g:1"
        with pytest.raises(ResourceNotFound):
            await aliases.delete(other, "live")

    play(tmp_path, scenario)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 1)
        outcomes = await asyncio.gather(
            *(create(plane, "live") for _ in range(5)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, ResourceConflict)]
        assert {error.message for error in refused} == {f"Alias already exists: {ARN}:live"}
        assert len(refused) == 4

    play(tmp_path, scenario)


def test_writers_of_different_aliases_do_not_lose_each_others(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 1)
        names = [f"a{number}" for number in range(8)]
        await asyncio.gather(
            *(create(plane, name) for name in names),
            plane.functions.update_configuration(UpdateConfiguration(key=KEY, timeout_s=77)),
        )
        assert [alias.name for alias in plane.replica.aliases(KEY)] == names
        assert (await plane.functions.get(KEY)).timeout_s == 77

    play(tmp_path, scenario)


def test_a_version_never_goes_while_an_alias_comes(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 6)
        for number in map(str, range(1, 7)):
            await asyncio.gather(
                create(plane, f"to{number}", number),
                plane.functions.delete(KEY, number),
                return_exceptions=True,
            )
            version = plane.replica.qualified(KEY, number)
            alias = plane.replica.qualified(KEY, f"to{number}")
            assert (version is None) == (alias is None)

    play(tmp_path, scenario)


def test_aliases_are_listed_by_name_and_by_version(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 2)
        for name in "dacb":
            await create(plane, name)
        await create(plane, "two", "2")
        await create(plane, "split", "2", {"1": 0.0})
        aliases = plane.functions.aliases
        first = aliases.list_page(KEY, "1", marker=None, items_max=2)
        assert [alias.name for alias in first.items] == ["a", "b"]
        await aliases.delete(KEY, "b")
        await create(plane, "bb")
        rest = aliases.list_page(KEY, "1", marker=first.next_marker, items_max=None)
        assert [alias.name for alias in rest.items] == ["bb", "c", "d", "split"]
        assert rest.next_marker is None
        every = aliases.list_page(KEY, None, marker=None, items_max=None)
        assert len(every.items) == 6
        assert aliases.list_page(KEY, "7", marker=None, items_max=None).items == ()

    play(tmp_path, scenario)


def test_more_than_fifty_aliases_come_in_one_page_if_asked_for(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await published(plane, 1)
        for number in range(60):
            await create(plane, f"a{number:02}")
        aliases = plane.functions.aliases
        assert len(aliases.list_page(KEY, None, marker=None, items_max=10_000).items) == 60
        assert len(aliases.list_page(KEY, None, marker=None, items_max=None).items) == 50

    play(tmp_path, scenario)
