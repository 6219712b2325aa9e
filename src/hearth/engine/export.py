"""How does metadata outlive the engine itself? As a file of JSON lines that is always up to date.

    {"hearth_export": 1, "bucket": "META"}
    {"key": "fn.1.hello", "revision": 7, "value": "..."}         or "base64" if not UTF-8
    {"key": "fn.1.hello", "revision": 9, "deleted": true}

The file begins with all entries and is replaced as a whole, so it is complete at any time; then
each change is appended and fsynced. When more lines are outdated than not, a new one is begun.
Restoring gives each key its last value; revisions are new.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from hearth.base.log import Log
from hearth.engine.contract import (
    CaughtUp,
    Change,
    Conflict,
    Deleted,
    EngineUnavailable,
    Entry,
    KeyValue,
)
from hearth.engine.server_files import sync_directory

FORMAT = 1
OUTDATED_MIN = 1000  # smaller files are not worth beginning anew
PARALLEL_WRITES = 64
RETRY_S = 5.0

log = Log("export")


class ExportDamaged(Exception):
    """The file is no export, or a line of it cannot be read."""


class BucketNotEmpty(Exception):
    """The bucket to restore into holds something that the export does not."""


class _Header(msgspec.Struct, frozen=True):
    hearth_export: int
    bucket: str


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    key: str
    revision: int
    value: str | None = None
    base64: bytes | None = None
    deleted: bool = False

    def content(self) -> bytes | None:
        """The value; None if the key was deleted. Raises ExportDamaged if it is neither."""
        if self.value is not None:
            return self.value.encode()
        if self.base64 is None and not self.deleted:
            raise ExportDamaged(f"no value for {self.key}")
        return self.base64


class Exporter:
    """Writes one bucket to one file for as long as `run` runs."""

    def __init__(
        self,
        bucket: KeyValue,
        name: str,
        path: Path,
        outdated_min: int = OUTDATED_MIN,
        retry_s: float = RETRY_S,
    ) -> None:
        self._bucket = bucket
        self._name = name
        self._path = path
        self._outdated_min = outdated_min
        self._retry_s = retry_s
        self.is_failing = False

    async def run(self) -> None:
        """Export until cancelled. What cannot go on, as on a full disk, is begun anew."""
        while True:
            try:
                await self._write_one_file()
            except (EngineUnavailable, OSError) as error:
                if not self.is_failing:
                    log.error("export is not up to date", path=self._path, error=error)
                self.is_failing = True
                await asyncio.sleep(self._retry_s)

    async def _write_one_file(self) -> None:
        """Begin a file and keep it up to date until too much of it is outdated."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with self._bucket.watch() as changes:
            new = self._path.with_name(f"{self._path.name}.new")
            with _open_new(new) as file:
                file.write(_encode(_Header(FORMAT, self._name)))
                live = await _write_until_caught_up(file, changes)
                await asyncio.to_thread(_publish, file, new, self._path)
                log.debug("export begun", bucket=self._name, entries=len(live))
                if self.is_failing:
                    log.info("export is up to date again", path=self._path)
                self.is_failing = False
                await self._append(file, changes, live)

    async def _append(self, file: BinaryIO, changes: AsyncIterator[Change], live: set[str]) -> None:
        appended = 0
        async for change in changes:
            if isinstance(change, CaughtUp):
                continue
            file.write(_encode(_line(change)))
            await asyncio.to_thread(_sync, file)
            _note(live, change)
            appended += 1
            if appended >= max(self._outdated_min, len(live)):
                return


async def restore(path: Path, bucket: KeyValue) -> int:
    """Write an export's entries into an empty bucket; returns how many.

    A restore that was interrupted can be run again. Raises ExportDamaged, or BucketNotEmpty before
    anything is written if the bucket holds anything that is not the export's.
    """
    wanted = await asyncio.to_thread(read_export, path)
    found = await _entries(bucket)
    for key, value in found.items():
        if wanted.get(key) != value:
            raise BucketNotEmpty(f"{key} is there already")
    missing = [(key, value) for key, value in wanted.items() if key not in found]
    for start in range(0, len(missing), PARALLEL_WRITES):
        some = missing[start : start + PARALLEL_WRITES]
        written = await asyncio.gather(
            *(_create(bucket, key, value) for key, value in some), return_exceptions=True
        )
        for outcome in written:
            if outcome is not None:
                raise outcome
    log.info("restored", path=path, entries=len(wanted), written=len(missing))
    return len(wanted)


def read_export(path: Path) -> dict[str, bytes]:
    """Each key's last value. Raises ExportDamaged.

    A last line without its end is what a crash leaves behind; it was never promised to anybody.
    """
    entries: dict[str, bytes] = {}
    with path.open("rb") as file:
        lines = _whole_lines(file)
        _check_header(next(lines, b""), path)
        for number, raw in enumerate(lines, start=2):
            try:
                line = msgspec.json.decode(raw, type=_Line)
            except msgspec.MsgspecError as error:
                raise ExportDamaged(f"{path}, line {number}") from error
            value = line.content()
            entries.pop(line.key, None)
            if value is not None:
                entries[line.key] = value
    return entries


def _check_header(raw: bytes, path: Path) -> None:
    try:
        header = msgspec.json.decode(raw, type=_Header)
    except msgspec.MsgspecError as error:
        raise ExportDamaged(f"{path} is not an export") from error
    if header.hearth_export != FORMAT:
        raise ExportDamaged(f"{path} has format {header.hearth_export}; known: {FORMAT}")


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    for raw in file:
        if raw.endswith(b"\n"):
            yield raw


async def _entries(bucket: KeyValue) -> dict[str, bytes]:
    entries: dict[str, bytes] = {}
    async with bucket.watch() as changes:
        async for change in changes:
            match change:
                case Entry(key, value):
                    entries[key] = value
                case Deleted(key):
                    entries.pop(key, None)
                case CaughtUp():
                    break
    return entries


async def _create(bucket: KeyValue, key: str, value: bytes) -> None:
    try:
        await bucket.create(key, value)
    except Conflict as error:
        raise BucketNotEmpty(f"somebody else writes {key}") from error


async def _write_until_caught_up(file: BinaryIO, changes: AsyncIterator[Change]) -> set[str]:
    live: set[str] = set()
    async for change in changes:
        if isinstance(change, CaughtUp):
            break
        file.write(_encode(_line(change)))
        _note(live, change)
    return live


def _note(live: set[str], change: Entry | Deleted) -> None:
    if isinstance(change, Entry):
        live.add(change.key)
    else:
        live.discard(change.key)


def _line(change: Entry | Deleted) -> _Line:
    if isinstance(change, Deleted):
        return _Line(change.key, change.revision, deleted=True)
    try:
        return _Line(change.key, change.revision, value=change.value.decode())
    except UnicodeDecodeError:
        return _Line(change.key, change.revision, base64=change.value)


def _encode(line: _Header | _Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"


def _open_new(path: Path) -> BinaryIO:
    # Only the owner may read it: functions have secrets in their environment.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(descriptor, "wb")


def _publish(file: BinaryIO, new: Path, path: Path) -> None:
    _sync(file)
    new.replace(path)
    sync_directory(path.parent)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
