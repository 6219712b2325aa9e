"""Documents: typed, bound to one life of a function, changed only by compare-and-set."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from fakes.control import ACCOUNT, REGION, function_key, until
from hearth.base.jobs import Jobs
from hearth.control.document_records import entry_key, place_at
from hearth.control.documents import AccountScope, Document, Documents, Kind, Place
from hearth.control.replica import Replica
from hearth.control.store import FunctionStore
from hearth.engine.contract import KeyValue
from hearth.engine.memory import MemoryEngine, Outage
from hearth.model.errors import InternalFailure, ResourceConflict
from hearth.model.functions import Code, FunctionVersion, State
from hearth.model.ids import AccountId, FunctionName, Region


@dataclass(frozen=True)
class Note:
    text: str
    count: int = 0


NOTES = Kind("note", Note)
SHARED = AccountScope(ACCOUNT, REGION)


def function(name: str = "f", instance_id: str = "life-1") -> FunctionVersion:
    return FunctionVersion(
        key=function_key(name),
        runtime="python3.12",
        handler="a.b",
        role="r",
        code=Code(sha256="00", size_bytes=1),
        state=State.ACTIVE,
        last_modified="",
        revision_id=f"r-{instance_id}",
        instance_id=instance_id,
    )


class World:
    """Two processes that share one engine would each have one of these."""

    def __init__(self, kv: KeyValue, jobs: Jobs, name: str) -> None:
        numbers = itertools.count(1)
        self.kv = kv
        self.replica = Replica(kv)
        self.store = FunctionStore(kv, self.replica)
        self.documents = Documents(kv, self.replica, jobs, lambda: f"{name}-{next(numbers)}")
        jobs.spawn(self.replica.run(), name="replica")
        jobs.spawn(self.documents.run(), name="documents")

    async def ready(self) -> None:
        await asyncio.wait_for(self.replica.ready.wait(), 5)
        await asyncio.wait_for(self.documents.ready.wait(), 5)


def play(scenario: Callable[[World, World, MemoryEngine], Awaitable[None]]) -> None:
    async def scene() -> None:
        engine = MemoryEngine()
        kv = await engine.bucket("meta")
        async with Jobs() as jobs:
            here, there = World(kv, jobs, "here"), World(kv, jobs, "there")
            await here.ready()
            await there.ready()
            await scenario(here, there, engine)

    asyncio.run(scene())


def test_whoever_was_answered_reads_what_he_wrote_and_others_hear_of_it() -> None:
    async def scenario(here: World, there: World, _engine: MemoryEngine) -> None:
        f = function()
        written = await here.documents.put(NOTES, f, Note("hello"), "$LATEST")
        assert here.documents.find(NOTES, f, "$LATEST") == written
        assert here.documents.get(NOTES, f) is None
        await until(lambda: there.documents.get(NOTES, f, "$LATEST") == Note("hello"))

    play(scenario)


def test_every_write_has_a_revision_of_its_own_and_a_change_of_nothing_has_none() -> None:
    async def scenario(here: World, _there: World, _engine: MemoryEngine) -> None:
        f = function()
        first = await here.documents.put(NOTES, f, Note("a"))
        same = await here.documents.change(
            NOTES, f, lambda before: before.value if before else None
        )
        assert same is not None
        assert same.revision_id == first.revision_id
        second = await here.documents.put(NOTES, f, Note("a"))
        assert second.revision_id != first.revision_id

    play(scenario)


def test_two_who_change_one_document_lose_no_change() -> None:
    def more(before: Document[Note] | None) -> Note:
        return Note("n", 1 if before is None else before.value.count + 1)

    async def scenario(here: World, there: World, _engine: MemoryEngine) -> None:
        f = function()
        async with asyncio.TaskGroup() as group:
            for world in (here, there, here, there):
                group.create_task(world.documents.change(NOTES, f, more))
        await until(lambda: here.documents.get(NOTES, f) == Note("n", 4))

    play(scenario)


def test_a_decision_that_raises_changes_nothing() -> None:
    def refuse(_before: Document[Note] | None) -> Note:
        raise ResourceConflict("no")

    async def scenario(here: World, _there: World, _engine: MemoryEngine) -> None:
        f = function()
        await here.documents.put(NOTES, f, Note("a"))
        with pytest.raises(ResourceConflict):
            await here.documents.change(NOTES, f, refuse)
        assert here.documents.get(NOTES, f) == Note("a")

    play(scenario)


def test_what_an_earlier_function_left_is_invisible_and_written_over() -> None:
    async def scenario(here: World, _there: World, _engine: MemoryEngine) -> None:
        old, new = function(), function(instance_id="life-2")
        await here.documents.put(NOTES, old, Note("old"))
        assert here.documents.get(NOTES, new) is None
        assert here.documents.find_all(NOTES, new) == ()
        seen: list[object] = []

        def decide(before: Document[Note] | None) -> Note:
            seen.append(before)
            return Note("new")

        await here.documents.change(NOTES, new, decide)
        assert seen == [None]
        assert here.documents.get(NOTES, new) == Note("new")
        assert here.documents.get(NOTES, old) is None

    play(scenario)


def test_documents_go_with_their_function() -> None:
    async def scenario(here: World, there: World, _engine: MemoryEngine) -> None:
        f = function()
        await here.store.create(f)
        for qualifier in (None, "1", "prod"):
            await here.documents.put(NOTES, f, Note("x"), qualifier)
        assert len(here.documents.find_all(NOTES, f)) == 3
        await here.store.delete(f.key)
        await until(lambda: there.documents.find_all(NOTES, f) == ())
        await until(lambda: here.documents.find_all(NOTES, f) == ())

    play(scenario)


def test_a_sweep_takes_what_was_twice_without_its_function_and_no_more() -> None:
    async def scenario(here: World, _there: World, _engine: MemoryEngine) -> None:
        kept, lost = function("kept"), function("lost")
        await here.store.create(kept)
        await here.documents.put(NOTES, kept, Note("k"))
        await here.documents.put(NOTES, lost, Note("l"))
        await here.documents.put(NOTES, SHARED, Note("s"), "name")
        await until(lambda: here.replica.is_complete and here.documents.is_complete)
        assert await here.documents.sweep() == 0
        assert here.documents.get(NOTES, lost) == Note("l")
        assert await here.documents.sweep() == 1
        assert here.documents.get(NOTES, lost) is None
        assert here.documents.get(NOTES, kept) == Note("k")
        assert here.documents.get(NOTES, SHARED, "name") == Note("s")

    play(scenario)


def test_a_sweep_takes_what_a_version_or_an_alias_left() -> None:
    async def scenario(here: World, _there: World, _engine: MemoryEngine) -> None:
        f = function()
        await here.store.create(f)
        for qualifier in (None, "$LATEST", "7", "gone"):
            await here.documents.put(NOTES, f, Note("x"), qualifier)
        await until(lambda: here.replica.is_complete and here.documents.is_complete)
        assert [await here.documents.sweep(), await here.documents.sweep()] == [0, 2]
        assert [d.qualifier for d in here.documents.find_all(NOTES, f)] == [None, "$LATEST"]

    play(scenario)


def test_all_documents_of_a_qualifier_can_go_at_once() -> None:
    async def scenario(here: World, _there: World, _engine: MemoryEngine) -> None:
        f, other = function(), Kind("other", Note)
        for kind in (NOTES, other):
            for qualifier in ("1", "2"):
                await here.documents.put(kind, f, Note(qualifier), qualifier)
        await here.documents.delete_qualified(f, "1")
        assert here.documents.find_all(NOTES, f) == (here.documents.find(NOTES, f, "2"),)
        assert here.documents.get(other, f, "1") is None

    play(scenario)


def test_a_write_whose_reply_was_lost_is_found_again_or_reported_as_failed() -> None:
    async def scenario(here: World, _there: World, engine: MemoryEngine) -> None:
        f = function()
        engine.outage = Outage.REPLIES_LOST
        with pytest.raises(InternalFailure):
            await here.documents.put(NOTES, f, Note("x"))
        engine.outage = Outage.UNREACHABLE
        with pytest.raises(InternalFailure):
            await here.documents.delete(NOTES, f)
        engine.outage = Outage.NONE

    play(scenario)


def test_a_listener_hears_of_changes_of_its_kind_only() -> None:
    async def scenario(here: World, _there: World, _engine: MemoryEngine) -> None:
        heard: list[Place] = []
        here.documents.on_change(NOTES, heard.append)
        f = function()
        await here.documents.put(Kind("other", Note), f, Note("x"))
        await here.documents.put(NOTES, f, Note("x"), "1")
        await here.documents.delete(NOTES, f, "1")
        place = Place(ACCOUNT, REGION, FunctionName("f"), "note", "1")
        assert heard == [place, place]

    play(scenario)


@pytest.mark.parametrize("qualifier", [None, "$LATEST", "7", "prod-2_a", "$LATEST.PUBLISHED"])
@pytest.mark.parametrize("name", [None, FunctionName("f"), FunctionName("-")])
def test_a_place_survives_the_way_to_its_key_and_back(
    name: FunctionName | None, qualifier: str | None
) -> None:
    place = Place(AccountId("1"), Region("eu-central-1"), name, "kind", qualifier)
    key = entry_key(place)
    assert key is not None
    assert place_at(key) == place


@pytest.mark.parametrize("name", ["a.b", "=", "ä", ""])
def test_a_name_that_no_function_can_have_has_no_key(name: str) -> None:
    place = Place(ACCOUNT, REGION, FunctionName(name), "kind", None)
    assert entry_key(place) is None
    assert entry_key(replace(place, function=None, qualifier="a=b")) is None
