"""What is known of a log group beside its events? One small file in its directory, `group.json`.

Written by the writing thread only, whole and atomically; read by anyone. Members that are added
come with a default, so that files of earlier versions stay readable.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from hearth.model.ids import AccountId, Region
from hearth.model.logs import LogGroup

NAME: Final = "group.json"
DIRECTORY_MODE: Final = 0o700  # functions print secrets


class GroupFile(msgspec.Struct, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    created_ms: int
    retention_days: int | None = None
    """Events that are older are neither shown nor kept; None keeps them until room is needed."""
    tags: dict[str, str] = {}
    streams: dict[str, int] = {}
    """Those that were created by name, with the moment; a function's begin with their events."""
    deleted: dict[str, int] = {}
    """Streams that were deleted, and until which moment (ingestion) their events do not count."""

    @property
    def group(self) -> LogGroup:
        return LogGroup(AccountId(self.account), Region(self.region), self.name)


Change = Callable[[GroupFile], GroupFile]


def read(directory: Path) -> GroupFile | None:
    """None if there is no such group."""
    try:
        content = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(content, type=GroupFile)


def ensure(directory: Path, group: LogGroup, now_ms: int) -> bool:
    """True if the group was made by this call."""
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    if (directory / NAME).exists():
        return False
    file = GroupFile(account=group.account, region=group.region, name=group.name, created_ms=now_ms)
    write(directory, file)
    return True


def change(directory: Path, decide: Change) -> GroupFile | None:
    """Write what `decide` makes of it; None if there is no such group."""
    before = read(directory)
    if before is None:
        return None
    after = decide(before)
    if after != before:
        write(directory, after)
    return after


def write(directory: Path, file: GroupFile) -> None:
    temporary = (directory / NAME).with_suffix(".tmp")
    with temporary.open("wb") as out:
        out.write(msgspec.json.encode(file))
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(directory / NAME)
