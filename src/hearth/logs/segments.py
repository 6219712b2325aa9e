"""How does a log group lie on disk? A directory of segments: files that only ever grow.

    <root>/<account>/<region>/+aws+lambda+hello/group.json        which group this is
                                               /0001767225600000.log   segments, oldest first

One writer at a time. A segment that is full is never touched again but to be deleted, oldest
first, when the group is larger than it may be. A segment that a crash cut short is not mended:
the next one is begun, and readers skip the torn end.

A segment's number is the time of its birth in milliseconds, or one more than the last one's: so
that it grows even where a group was deleted and made again.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.logs import group_file, records
from hearth.model.logs import LogGroup

OPEN_FILES_MAX: Final = 64
SUFFIX: Final = ".log"

_NUMBER_DIGITS: Final = 16
_DIRECTORY_NAME_MAX: Final = 200
_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLimits:
    segment_bytes_max: int = 4 * 1024 * 1024
    group_bytes_max: int = 64 * 1024 * 1024
    """Of one log group; the oldest segments go first."""


def directory_of(root: Path, group: LogGroup) -> Path:
    name = group.name.replace("/", "+")  # which no group's name contains
    if len(name) > _DIRECTORY_NAME_MAX:
        digest = hashlib.sha256(name.encode()).hexdigest()
        name = f"{name[: _DIRECTORY_NAME_MAX - len(digest)]}~{digest}"
    if name.startswith("."):
        name = f"~{name}"
    return root / group.account / group.region / name


def groups(root: Path) -> list[LogGroup]:
    """Every group that was ever written to and not deleted, in order of name."""
    files = [group_file.read(path.parent) for path in root.glob(f"*/*/*/{group_file.NAME}")]
    found = [file.group for file in files if file is not None]
    return sorted(found, key=lambda group: (group.account, group.region, group.name))


def segments(directory: Path) -> list[tuple[int, Path]]:
    """(number, file), oldest first."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return []
    return sorted((int(n[: -len(SUFFIX)]), directory / n) for n in names if n.endswith(SUFFIX))


class GroupFiles:
    """The writing end of one group."""

    def __init__(
        self, root: Path, group: LogGroup, limits: SegmentLimits, now_ms: Callable[[], int]
    ) -> None:
        self.directory = directory_of(root, group)
        self._group = group
        self._limits = limits
        self._now_ms = now_ms
        self._sizes: dict[int, int] = {}
        self._number: int | None = None  # of the segment that grows; None until the first append
        self._file: int | None = None

    def append(self, frames: Sequence[bytes]) -> None:
        """Write whole frames. On OSError, what could not be written is not there."""
        if self._number is None:
            self._load()
        room = bytearray()
        for frame in frames:
            if self._size + len(room) + len(frame) > self._limits.segment_bytes_max:
                self._write(room)
                room = bytearray()
                if self._size:
                    self._rotate()
            room += frame
        self._write(room)

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def retire(self, before_ms: int) -> None:
        """Remove the segments that were last written to before that moment."""
        if self._number is None:
            self._load()
        for number in sorted(self._sizes)[:-1]:
            path = self._path(number)
            if path.exists() and path.stat().st_mtime_ns // 1_000_000 >= before_ms:
                break
            path.unlink(missing_ok=True)
            del self._sizes[number]

    def delete(self) -> None:
        self.close()
        self._number = None
        self._sizes.clear()
        (self.directory / group_file.NAME).unlink(
            missing_ok=True
        )  # first: half-deleted is no group
        if self.directory.exists():
            shutil.rmtree(self.directory)

    @property
    def _size(self) -> int:
        return 0 if self._number is None else self._sizes[self._number]

    def _load(self) -> None:
        """Learn what an earlier run left; go on with its last segment if that is whole."""
        group_file.ensure(self.directory, self._group, self._now_ms())
        found = segments(self.directory)
        self._sizes = {number: path.stat().st_size for number, path in found}
        if found and _is_whole(found[-1][1]):
            self._number = found[-1][0]
        else:
            self._begin()

    def _begin(self) -> None:
        self.close()
        self._number = max([self._now_ms(), *(number + 1 for number in self._sizes)])
        self._sizes[self._number] = 0

    def _rotate(self) -> None:
        self._begin()
        total = sum(self._sizes.values())
        for number in sorted(self._sizes)[:-1]:
            # As if the new one were full: the limit must hold until the next rotation.
            if total + self._limits.segment_bytes_max <= self._limits.group_bytes_max:
                break
            self._path(number).unlink(missing_ok=True)
            total -= self._sizes.pop(number)

    def _write(self, content: bytearray) -> None:
        if not content:
            return
        assert self._number is not None
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path(self._number), flags, _FILE_MODE)
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            self._abandon()
            raise
        self._sizes[self._number] += len(content)

    def _abandon(self) -> None:
        """A write broke off (no space left): nothing may follow a torn frame."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._begin()

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:0{_NUMBER_DIGITS}d}{SUFFIX}"


class OpenGroups:
    """The groups that are being written to; only the last few used have an open file."""

    def __init__(self, root: Path, limits: SegmentLimits, now_ms: Callable[[], int]) -> None:
        self._root = root
        self._limits = limits
        self._now_ms = now_ms
        self._groups: dict[LogGroup, GroupFiles] = {}
        self._recent: dict[LogGroup, None] = {}

    def files(self, group: LogGroup) -> GroupFiles:
        self._recent.pop(group, None)
        self._recent[group] = None
        if len(self._recent) > OPEN_FILES_MAX:
            oldest = next(iter(self._recent))
            del self._recent[oldest]
            self._groups[oldest].close()
        if group not in self._groups:
            self._groups[group] = GroupFiles(self._root, group, self._limits, self._now_ms)
        return self._groups[group]

    def delete(self, group: LogGroup) -> None:
        self.files(group).delete()
        del self._groups[group], self._recent[group]

    def close(self) -> None:
        for files in self._groups.values():
            files.close()


def _is_whole(segment: Path) -> bool:
    content = segment.read_bytes()
    ends = [end for _, _, end in records.decode(content)]
    return (ends[-1] if ends else 0) == len(content)
