"""How far were streams read? On disk, one entry of the engine for each shard of a mapping.

    <uuid of the mapping>.<shard>        JSON

Written by whoever reads the shard and by nobody else, so a conflict is a write of ours whose answer
was lost, and is written over.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from hearth.base.log import Log
from hearth.engine.contract import CaughtUp, Conflict, Deleted, Entry, KeyValue
from hearth.sources.streams import Checkpoint

ATTEMPTS_MAX: Final = 8

log = Log("sources")


class Checkpoints:
    """Every method raises EngineUnavailable."""

    def __init__(self, open_bucket: Callable[[], Awaitable[KeyValue]]) -> None:
        """`open_bucket` is called when it is first needed."""
        self._open = open_bucket
        self._bucket: KeyValue | None = None
        self._revisions: dict[str, int] = {}

    async def load(self, uuid: str) -> dict[str, Checkpoint]:
        """By shard."""
        found = {}
        for entry in await self._entries(uuid):
            self._revisions[entry.key] = entry.revision
            try:
                checkpoint = msgspec.json.decode(entry.value, type=Checkpoint)
            except msgspec.MsgspecError as error:
                log.error("checkpoint cannot be read", key=entry.key, error=error)
                raise
            found[entry.key.partition(".")[2]] = checkpoint
        return found

    async def save(self, uuid: str, checkpoints: Mapping[str, Checkpoint]) -> None:
        for shard, checkpoint in checkpoints.items():
            await self._write(f"{uuid}.{shard}", msgspec.json.encode(checkpoint))

    async def drop(self, uuid: str, shard: str) -> None:
        await self._delete(f"{uuid}.{shard}")

    async def forget(self, uuid: str) -> None:
        """The mapping is gone."""
        for entry in await self._entries(uuid):
            self._revisions[entry.key] = entry.revision
            await self._delete(entry.key)

    async def _entries(self, uuid: str) -> list[Entry]:
        found: dict[str, Entry] = {}
        async with (await self._kv()).watch(uuid) as changes:
            async for change in changes:
                match change:
                    case Entry():
                        found[change.key] = change
                    case Deleted():
                        found.pop(change.key, None)
                    case CaughtUp():
                        break
        return list(found.values())

    async def _write(self, key: str, value: bytes) -> None:
        kv = await self._kv()
        for _attempt in range(ATTEMPTS_MAX):
            revision = self._revisions.get(key)
            try:
                if revision is None:
                    self._revisions[key] = await kv.create(key, value)
                else:
                    self._revisions[key] = await kv.update(key, value, revision)
            except Conflict:
                await self._look(key)
            else:
                return
        raise AssertionError(f"somebody else writes {key}")

    async def _delete(self, key: str) -> None:
        kv = await self._kv()
        while (revision := self._revisions.get(key)) is not None:
            try:
                await kv.delete(key, revision)
            except Conflict:
                await self._look(key)
            else:
                self._revisions.pop(key, None)

    async def _look(self, key: str) -> None:
        found = await (await self._kv()).get(key)
        if found is None:
            self._revisions.pop(key, None)
        else:
            self._revisions[key] = found.revision

    async def _kv(self) -> KeyValue:
        if self._bucket is None:
            self._bucket = await self._open()
        return self._bucket
