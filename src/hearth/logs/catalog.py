"""Which log groups and streams are there, and what is set for them? Everything but the events.

A function's group and its streams begin with their first event; others are created by name. Changes
go through the one writing thread, so they never overtake the events that came before them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final, Protocol

import msgspec

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.logs import group_file
from hearth.logs.disk import Disk
from hearth.logs.group_file import Change, GroupFile
from hearth.logs.segments import OpenGroups, directory_of, segments
from hearth.logs.streams import Stream, streams_of
from hearth.model.ids import AccountId, Region
from hearth.model.logs import LogGroup

DAY_MS: Final = 86_400_000
RETIRE_EVERY_S: Final = 3_600.0

log = Log("logs")


class Made(Enum):
    MADE = auto()
    THERE_ALREADY = auto()
    NO_GROUP = auto()


@dataclass(frozen=True, slots=True)
class Group:
    """A log group as it is now."""

    file: GroupFile
    stored_bytes: int


class Flush(Protocol):
    async def __call__(self) -> None:
        """Return when all that was appended is on disk."""
        ...


class LogCatalog:
    """Of one store; it owns `disk` and `open_groups`."""

    def __init__(
        self, root: Path, disk: Disk, open_groups: OpenGroups, clock: Clock, flush: Flush
    ) -> None:
        self._root = root
        self._disk = disk
        self._open = open_groups
        self._clock = clock
        self._flush = flush

    async def create_group(self, group: LogGroup, tags: dict[str, str]) -> Made:
        directory, now_ms = self._directory(group), self._clock.epoch_ms()

        def make() -> Made:
            if not group_file.ensure(directory, group, now_ms):
                return Made.THERE_ALREADY
            if tags:
                group_file.change(directory, lambda file: msgspec.structs.replace(file, tags=tags))
            return Made.MADE

        return await self._disk.write(make)

    async def group(self, group: LogGroup) -> GroupFile | None:
        await self._flush()
        return await self._disk.read(lambda: group_file.read(self._directory(group)))

    async def groups(self, account: AccountId, region: Region) -> list[Group]:
        """Of one account and region, in order of name."""
        await self._flush()
        directory = self._root / account / region

        def look() -> list[Group]:
            files = [(path.parent, group_file.read(path.parent)) for path in _files(directory)]
            found = [Group(file, _size(where)) for where, file in files if file is not None]
            return sorted(found, key=lambda group: group.file.name)

        return await self._disk.read(look)

    async def change(self, group: LogGroup, decide: Change) -> GroupFile | None:
        """Write what `decide` makes of it; None if there is no such group."""
        return await self._disk.write(lambda: group_file.change(self._directory(group), decide))

    async def create_stream(self, group: LogGroup, name: str) -> Made:
        now_ms, directory = self._clock.epoch_ms(), self._directory(group)
        await self._flush()

        def make() -> Made:
            found = streams_of(directory)
            if found is None:
                return Made.NO_GROUP
            if any(stream.name == name for stream in found[1]):
                return Made.THERE_ALREADY
            group_file.change(directory, _with_stream(name, now_ms))
            return Made.MADE

        return await self._disk.write(make)

    async def streams(self, group: LogGroup) -> list[Stream] | None:
        """In order of name; None if there is no such group."""
        await self._flush()
        found = await self._disk.read(lambda: streams_of(self._directory(group)))
        return None if found is None else found[1]

    async def delete_stream(self, group: LogGroup, name: str) -> bool | None:
        """Its events are not shown any more. False: no such stream; None: no such group."""
        directory, now_ms = self._directory(group), self._clock.epoch_ms()
        await self._flush()

        def delete() -> bool | None:
            found = streams_of(directory)
            if found is None:
                return None
            if all(stream.name != name for stream in found[1]):
                return False
            group_file.change(directory, _without_stream(name, now_ms))
            return True

        return await self._disk.write(delete)

    async def retire(self) -> None:
        """Remove what is older than its group keeps it. Called now and then."""
        now_ms = self._clock.epoch_ms()

        def retire() -> None:
            for path in _files(self._root, "*/*/"):
                file = group_file.read(path.parent)
                if file is not None and file.retention_days is not None:
                    files = self._open.files(file.group)
                    files.retire(now_ms - file.retention_days * DAY_MS)

        await self._disk.write(retire)

    async def run_retention(self) -> None:
        """retire() every RETIRE_EVERY_S until cancelled."""
        while True:
            await asyncio.sleep(RETIRE_EVERY_S)
            try:
                await self.retire()
            except OSError as error:
                log.error("old events could not be removed", error=error)

    def _directory(self, group: LogGroup) -> Path:
        return directory_of(self._root, group)


def first_shown_ms(file: GroupFile, now_ms: int) -> int:
    """From when on the group's retention lets its events be seen."""
    return 0 if file.retention_days is None else now_ms - file.retention_days * DAY_MS


def _with_stream(name: str, now_ms: int) -> Callable[[GroupFile], GroupFile]:
    return lambda file: msgspec.structs.replace(file, streams={**file.streams, name: now_ms})


def _without_stream(name: str, now_ms: int) -> Callable[[GroupFile], GroupFile]:
    def without(file: GroupFile) -> GroupFile:
        streams = {other: at for other, at in file.streams.items() if other != name}
        deleted = {**file.deleted, name: now_ms}
        return msgspec.structs.replace(file, streams=streams, deleted=deleted)

    return without


def _files(directory: Path, between: str = "") -> list[Path]:
    return list(directory.glob(f"{between}*/{group_file.NAME}"))


def _size(directory: Path) -> int:
    total = 0
    for _, path in segments(directory):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # retired since it was listed
            continue
    return total
