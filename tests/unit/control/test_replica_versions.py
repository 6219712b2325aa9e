"""The local copy of versions and aliases: what is there, in whatever order it hears of it."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.control import function_key
from hearth.control.records import (
    encode,
    encode_function,
    entry_key,
    version_entry_key,
)
from hearth.control.replica import Replica
from hearth.engine.contract import Deleted, Entry
from hearth.engine.memory import MemoryEngine
from hearth.model.functions import Alias, Code, Function, FunctionVersion, State

KEY = function_key()
LATEST = FunctionVersion(
    key=KEY,
    runtime="python3.12",
    handler="app.handler",
    role="r",
    code=Code(sha256="a" * 64, size_bytes=7),
    state=State.ACTIVE,
    last_modified="m",
    revision_id="r1",
    instance_id="i1",
)
V1 = replace(LATEST, version="1", revision_id="v1", state=State.PENDING)
V1_ACTIVE = replace(V1, state=State.ACTIVE, revision_id="v1-active")
LIVE = Alias(key=KEY, name="live", version="1", revision_id="a")


def function(revision: int, **published: object) -> Entry:
    key = entry_key(KEY)
    assert key is not None
    whole = replace(Function(latest=LATEST), **published)  # type: ignore[arg-type]
    return Entry(key, encode_function(whole), revision)


def version(revision: int, value: FunctionVersion = V1, record: str = "x") -> Entry:
    return Entry(version_entry_key(KEY, record), encode(value), revision)


def copy() -> tuple[Replica, list[str]]:
    """And what it says of qualifiers: the name, and what is there now."""
    heard: list[str] = []

    async def made() -> Replica:
        return Replica(await MemoryEngine().bucket("meta"))

    replica = asyncio.run(made())
    replica.on_qualified(
        lambda latest, names: heard.extend(
            f"{name}: {getattr(replica.qualified(latest.key, name), 'revision_id', None)}"
            for name in sorted(names)
        )
    )
    return replica, heard


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_in_any_order_the_newest_of_each_is_there(order: tuple[int, ...]) -> None:
    changes = [
        version(1),
        function(2, versions={"1": "x"}, last_number=1),
        version(3, V1_ACTIVE),
        function(4, versions={"1": "x"}, last_number=1, aliases={"live": LIVE}),
    ]
    replica, heard = copy()
    for number in order:
        replica.apply(changes[number])
    assert replica.versions(KEY) == (V1_ACTIVE,)
    assert replica.qualified(KEY, "1") == V1_ACTIVE
    assert replica.qualified(KEY, "live") == LIVE
    assert replica.leftovers() == frozenset()
    assert "1: v1-active" in heard
    assert "live: a" in heard


def test_a_record_that_no_function_names_is_not_a_version() -> None:
    replica, heard = copy()
    replica.apply(version(1))
    replica.apply(function(2))
    assert replica.versions(KEY) == ()
    assert replica.qualified(KEY, "1") is None
    assert replica.leftovers() == {(KEY, "x")}
    assert heard == []


def test_it_tells_what_came_changed_and_went_and_nothing_else() -> None:
    replica, heard = copy()
    replica.apply(version(1))
    replica.apply(function(2, versions={"1": "x"}))
    replica.apply(version(3, V1_ACTIVE))
    replica.apply(function(4, versions={"1": "x"}, aliases={"live": LIVE}))
    replica.apply(function(5, versions={"1": "x"}, aliases={"live": LIVE}, write_id="w"))
    moved = replace(LIVE, revision_id="b")
    replica.apply(function(6, versions={"1": "x"}, aliases={"live": moved}))
    replica.apply(function(7, versions={"1": "x"}))
    replica.apply(function(8))
    assert heard == [
        "1: v1",
        "1: v1-active",
        "live: a",
        "live: b",
        "live: None",
        "1: None",
    ]


def test_a_deleted_function_has_no_versions_and_its_records_are_left_over() -> None:
    replica, _ = copy()
    replica.apply(version(1))
    replica.apply(function(2, versions={"1": "x"}, aliases={"live": LIVE}))
    replica.apply(Deleted(function(2).key, 3))
    assert replica.qualified(KEY, "1") is replica.qualified(KEY, "live") is None
    assert replica.all_versions() == ()
    assert replica.leftovers() == {(KEY, "x")}
    replica.apply(Deleted(version(1).key, 4))
    assert replica.leftovers() == frozenset()


def test_a_version_that_cannot_be_read_is_not_there() -> None:
    replica, _ = copy()
    replica.apply(function(1, versions={"1": "x"}))
    other = replace(V1, key=function_key("g"))
    replica.apply(version(2, other))
    assert replica.qualified(KEY, "1") is None
    assert not replica.is_complete
    replica.apply(version(3))
    assert replica.qualified(KEY, "1") == V1


# What is loaded at a start, each key's last record in order of revision, is what somebody knows who
# was told of every change.

SERVED = replace(LATEST, revision_id="before")
WHOLE: list[dict[str, object]] = [
    {},
    {"versions": {"1": "x"}},
    {"versions": {"1": "x", "2": "y"}, "aliases": {"live": LIVE}},
    {"versions": {"2": "y"}, "serving": SERVED},
    {"aliases": {"live": replace(LIVE, weights={"2": 0.5})}},
]
V2 = replace(V1, version="2", revision_id="v2", environment={"A": "2"})
RECORDS = [("x", V1), ("x", V1_ACTIVE), ("y", V2), ("y", replace(V2, key=function_key("g")))]
CHANGES = st.lists(
    st.one_of(
        st.sampled_from(WHOLE).map(lambda whole: function(1, **whole)),
        st.sampled_from(RECORDS).map(lambda named: version(1, named[1], named[0])),
        st.sampled_from([function(1), version(1), version(1, V2, "y")]).map(
            lambda entry: Deleted(entry.key, 1)
        ),
    ),
    max_size=12,
)


def known(replica: Replica) -> dict[str, object]:
    return {
        "functions": replica.everything(),
        "list": replica.list(KEY.account, KEY.region),
        "serving": replica.serving(KEY),
        "versions": replica.versions(KEY),
        "aliases": replica.aliases(KEY),
        "leftovers": replica.leftovers(),
        "all": sorted(v.revision_id for v in replica.all_versions()),
        "routes": replica.find(KEY.account, KEY.region, KEY.name),
        "unreadable": replica._unreadable,
    }


@given(CHANGES)
def test_what_is_loaded_is_what_was_told_change_by_change(changes: list[Entry | Deleted]) -> None:
    told, loaded = copy()[0], copy()[0]
    last: dict[str, Entry | Deleted] = {}
    for revision, change in enumerate(changes, start=1):
        change = replace(change, revision=revision)
        told.apply(change)
        known(told)  # who asks does not change what is answered later
        last.pop(change.key, None)
        last[change.key] = change
    for change in last.values():
        if isinstance(change, Entry):  # what was deleted before a watch began is not in it
            loaded.apply(change)
    assert known(loaded) == known(told)
