"""Sweeping takes what nobody needs, and nothing while it is not sure."""

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from fakes.control import control_plane, creation, function_key, made
from hearth.control.sweeper import Sweeper
from hearth.engine.contract import Entry
from hearth.engine.memory import MemoryEngine
from hearth.model.layers import LayerUse, merged_id


class Store:
    def __init__(self) -> None:
        self.calls: list[AbstractSet[str]] = []

    async def sweep(self, referenced: AbstractSet[str], /) -> int:
        self.calls.append(set(referenced))
        return 1


def test_every_store_is_told_all_that_is_referenced(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, tmp_path) as plane:
            function = await made(plane)
            stores = Store(), Store()
            assert await Sweeper(plane.replica, *stores).turn() == 2
            assert [store.calls for store in stores] == [[{function.code.sha256}]] * 2
            await plane.functions.delete(function_key())
            await Sweeper(plane.replica, *stores).turn()
            assert stores[0].calls[-1] == set()

    asyncio.run(scene())


def test_a_layer_is_referenced_as_long_as_a_function_or_a_version_of_it_is_there(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, tmp_path) as plane:
            one, two = (
                LayerUse(arn=f"arn:{n}", sha256=n * 64, size_bytes=1, unzipped_bytes=1)
                for n in "ab"
            )
            creating = replace(creation(), layers=(one, two, one))
            function = await plane.functions.create(creating)
            await plane.settled()
            store = Store()
            await Sweeper(plane.replica, store, also=lambda: {"published"}).turn()
            merged = merged_id([two.sha256, one.sha256])
            trees = {function.code.sha256, one.sha256, two.sha256, merged}
            assert store.calls == [trees | {"published"}]
            assert await Sweeper(plane.replica, store, also=lambda: None).turn() == 0

    asyncio.run(scene())


def test_nothing_is_swept_while_a_record_is_not_understood(tmp_path: Path) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, tmp_path) as plane:
            await made(plane)
            plane.replica.apply(Entry("fn.1.r.x", b"{}", 1_000))
            store = Store()
            assert await Sweeper(plane.replica, store).turn() == 0
            assert store.calls == []

    asyncio.run(scene())
