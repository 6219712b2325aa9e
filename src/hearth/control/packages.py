"""Where is the code of a function kept? One file a package, named by the digest of its content.

    <directory>/<sha256>.zip        whole, always
    <directory>/.put-*              being written; left behind only by a kill, removed by open()

A package is written under a temporary name, flushed to the disk, then renamed, so that a power
cut at any moment leaves all of it or nothing. Records point at packages, so a package is put
before the record that names it, and swept only when no record has named it for a while.
See docs/decisions/0005-metadata-and-packages.md.
"""

import asyncio
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import IO, Final

from hearth.base.clock import Clock
from hearth.base.grace import Grace
from hearth.base.log import Log
from hearth.model import limits
from hearth.model.errors import CodeStorageExceeded
from hearth.model.functions import Code

log = Log("control")

UNREFERENCED_S: Final = 1_200.0
"""How long a package must have been unreferenced before it goes: longer than any change takes
from putting its package to writing its record."""

_TEMPORARY: Final = ".put-"
_NAME = re.compile(r"(?P<sha256>[0-9a-f]{64})\.zip")


class Packages:
    """The packages of one state directory. File I/O runs in threads."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        total_bytes_max: int = limits.CODE_STORAGE_BYTES_MAX,
        unreferenced_s: float = UNREFERENCED_S,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._total_bytes_max = total_bytes_max
        self._total_bytes = 0
        self._grace: Grace[tuple[str, int]] = Grace(unreferenced_s)
        # Between threads: a sweep must not remove what a put has just found in place.
        self._lock = threading.Lock()

    async def open(self) -> None:
        """Make the directory, remove what an earlier process left half written."""
        await asyncio.to_thread(self._open)

    async def put(self, package: bytes | Path) -> Code:
        """Store the package, durably, if it is not there yet. Safe to repeat and to cancel.

        A path is one of begin()'s; its file is taken, not copied.
        Raises CodeStorageExceeded, OSError; then nothing is left behind.
        """
        if isinstance(package, Path):
            return await asyncio.to_thread(self._take, package)
        return await asyncio.to_thread(self._put, package)

    def begin(self) -> tuple[Path, IO[bytes]]:
        """A new file, for a package that comes piece by piece. Who began it closes the file, and
        deletes it unless put() took it; what a kill leaves is removed by open()."""
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._directory)
        return Path(name), os.fdopen(handle, "wb")

    @staticmethod
    def describe(package: bytes | Path) -> Code:
        """What put() would answer. Slow for a large package, so call it in a thread."""
        if isinstance(package, bytes):
            return Code(sha256=hashlib.sha256(package).hexdigest(), size_bytes=len(package))
        with package.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return Code(sha256=sha256, size_bytes=file.tell())

    def path(self, sha256: str) -> Path:
        """Where the package of that digest is, if it is there."""
        return self._directory / f"{sha256}.zip"

    async def missing(self, referenced: AbstractSet[str]) -> frozenset[str]:
        """Which of the referenced packages are not there: a damaged state directory."""
        stored = await asyncio.to_thread(self._stored)
        return frozenset(referenced) - {sha256 for sha256, _mtime_ns in stored}

    async def sweep(self, referenced: AbstractSet[str], /) -> int:
        """Remove packages that have been unreferenced for UNREFERENCED_S; returns how many.

        `referenced` must be complete: whoever is not in it loses his code.
        """
        stored = await asyncio.to_thread(self._stored)
        # A package that was put again has a new time, and with it a new wait.
        unwanted = {known for known in stored if known[0] not in referenced}
        due = self._grace.due(unwanted, self._clock.monotonic_s())
        return await asyncio.to_thread(self._remove, due) if due else 0

    def _open(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        total = 0
        for path in self._directory.iterdir():
            if path.name.startswith(_TEMPORARY):
                path.unlink()
            elif _NAME.fullmatch(path.name):
                total += path.stat().st_size
        self._total_bytes = total

    def _put(self, package: bytes) -> Code:
        code = self.describe(package)
        sha256 = code.sha256
        with self._lock:
            if self._touch(sha256):
                return code
            self._check_room(len(package))
        temporary, file = self.begin()
        try:
            with file:
                file.write(package)
                file.flush()
                os.fsync(file.fileno())
            self._keep(temporary, code)
        finally:
            temporary.unlink(missing_ok=True)
        return code

    def _take(self, temporary: Path) -> Code:
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        code = self.describe(temporary)
        self._keep(temporary, code)
        return code

    def _keep(self, temporary: Path, code: Code) -> None:
        with self._lock:
            if not self._touch(code.sha256):
                self._check_room(code.size_bytes)
                temporary.rename(self.path(code.sha256))
                self._total_bytes += code.size_bytes
        self._flush_directory()

    def _touch(self, sha256: str) -> bool:
        """True if the package is there; it then counts as put now."""
        try:
            os.utime(self.path(sha256))
        except FileNotFoundError:
            return False
        return True

    def _check_room(self, size_bytes: int) -> None:
        if self._total_bytes + size_bytes > self._total_bytes_max:
            raise CodeStorageExceeded("Code storage limit exceeded.")

    def _flush_directory(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _stored(self) -> set[tuple[str, int]]:
        stored = set()
        for path in self._directory.iterdir():
            if match := _NAME.fullmatch(path.name):
                stored.add((match["sha256"], path.stat().st_mtime_ns))
        return stored

    def _remove(self, due: list[tuple[str, int]]) -> int:
        removed = 0
        for sha256, mtime_ns in due:
            path = self.path(sha256)
            with self._lock:
                status = path.stat()
                if status.st_mtime_ns == mtime_ns:
                    path.unlink()
                    self._total_bytes -= status.st_size
                    removed += 1
        log.info("packages swept", removed=removed)
        return removed
