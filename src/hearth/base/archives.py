"""What is in this zip, and may it be unpacked? Reads zips that nobody vouches for.

Names, types and links are judged before anything is written, by rules that hold whatever the
archive claims: no path leaves the tree, no entry lies below a file or a link, no link resolves
out of the tree (followed step by step, as a kernel would), nothing occurs twice, only files,
directories and links, no encryption. Sizes are counted while inflating; headers lie.

Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path
from typing import IO, Final

ENTRIES_MAX: Final = 200_000
PATH_BYTES_MAX: Final = 4_095
NAME_BYTES_MAX: Final = 255
DEPTH_MAX: Final = 256
"""Directories below one another. Real packages have a dozen; tools that walk trees recurse."""
LINK_STEPS_MAX: Final = 40
LINK_PARTS_MAX: Final = 1_000_000
"""Names that are looked at to follow all links of an archive: a second, at most."""
"""As many links as Linux follows in one path."""
CHUNK_BYTES: Final = 256 * 1024

_ENCRYPTED = 0x1
# zipfile inflates bzip2 and LZMA by whole input chunks, so one chunk of a bomb could fill memory.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    UnicodeError,
    ValueError,
)
"""What zipfile raises on bytes that are no zip, or a damaged one."""


class BadArchive(Exception):
    """Not a zip, damaged, or not safe to unpack."""


class ArchiveTooLarge(BadArchive):
    """More bytes came out than were allowed."""


class EntryKind(StrEnum):
    FILE = auto()
    DIRECTORY = auto()
    LINK = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveEntry:
    """One entry. `path` is relative, with `/`, without `.`, `..` or empty parts."""

    path: str
    kind: EntryKind
    executable: bool
    target: str | None
    """Where a link points; None for others."""
    header: zipfile.ZipInfo


class Archive:
    """An open zip whose entries are safe to unpack. Made by open_archive()."""

    def __init__(self, file: zipfile.ZipFile, entries: tuple[ArchiveEntry, ...]) -> None:
        self.entries = entries
        self._file = file

    def inflate(self, bytes_max: int) -> Iterator[tuple[ArchiveEntry, Iterator[bytes]]]:
        """Each file with its content, in pieces, to be read before the next one is taken.

        Raises BadArchive if content is damaged, ArchiveTooLarge if all of it together
        is more than `bytes_max`.
        """
        left = bytes_max
        for entry in self.entries:
            if entry.kind is not EntryKind.FILE:
                continue
            chunks = _chunks(self._file, entry.header, left)
            counted = _Counted(chunks)
            yield entry, counted
            for _ in counted:
                pass  # what the caller did not read is checked and counted all the same
            left -= counted.size


class _Counted:
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.size = 0
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.size += len(chunk)
        return chunk


@contextmanager
def open_archive(source: Path | IO[bytes]) -> Iterator[Archive]:
    """Raises BadArchive if it is no zip, or one that is not safe to unpack."""
    try:
        file = zipfile.ZipFile(source)
    except _BROKEN as error:
        raise BadArchive("not a zip file") from error
    with file:
        yield Archive(file, _checked(file))


def _checked(file: zipfile.ZipFile) -> tuple[ArchiveEntry, ...]:
    headers = file.infolist()
    if len(headers) > ENTRIES_MAX:
        raise BadArchive(f"more than {ENTRIES_MAX} entries")
    entries: dict[str, ArchiveEntry] = {}
    for header in headers:
        entry = _entry(file, header)
        earlier = entries.get(entry.path)
        if not entry.path:
            continue  # the tree itself: some tools add `./`
        if earlier is None:
            entries[entry.path] = entry
        elif not earlier.kind is entry.kind is EntryKind.DIRECTORY:
            raise BadArchive(f"occurs twice: {entry.path!r}")
    _check_parents(entries)
    links = _Links()
    for entry in entries.values():
        if entry.target is not None:
            links.add(entry.path, entry.target)
    for entry in entries.values():
        if entry.target is not None:
            links.check(entry.path)
    return tuple(entries.values())


def _entry(file: zipfile.ZipFile, header: zipfile.ZipInfo) -> ArchiveEntry:
    path = _safe_path(header)
    kind = _kind(header)
    if not path and kind is not EntryKind.DIRECTORY:
        raise BadArchive(f"not a name: {header.filename!r}")
    if header.flag_bits & _ENCRYPTED:
        raise BadArchive(f"encrypted: {path!r}")
    if header.compress_type not in _METHODS:
        raise BadArchive(f"unknown compression: {path!r}")
    return ArchiveEntry(
        path=path,
        kind=kind,
        executable=bool(header.external_attr >> 16 & 0o111),
        target=_target(file, header) if kind is EntryKind.LINK else None,
        header=header,
    )


def _safe_path(header: zipfile.ZipInfo) -> str:
    name = header.filename
    if "\0" in header.orig_filename:
        raise BadArchive(f"a NUL in a name: {name!r}")
    if name.startswith("/"):
        raise BadArchive(f"an absolute name: {name!r}")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise BadArchive(f"a name that leaves the tree: {name!r}")
    if any(_encoded_size(part) > NAME_BYTES_MAX for part in parts):
        raise BadArchive(f"a name that is too long: {name!r}")
    if len(parts) > DEPTH_MAX:
        raise BadArchive(f"a name with too many directories: {name[:NAME_BYTES_MAX]!r}")
    path = "/".join(parts)
    if _encoded_size(path) > PATH_BYTES_MAX:
        raise BadArchive(f"a path that is too long: {name!r}")
    return path


def _encoded_size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise BadArchive(f"a name that is no text: {text!r}") from error


def _kind(header: zipfile.ZipInfo) -> EntryKind:
    mode = header.external_attr >> 16
    match stat.S_IFMT(mode):
        case stat.S_IFLNK:
            return EntryKind.LINK
        case stat.S_IFDIR:
            return EntryKind.DIRECTORY
        case 0 | stat.S_IFREG:
            is_directory = header.filename.endswith("/")  # `is_dir` fails where there is no name
            return EntryKind.DIRECTORY if is_directory else EntryKind.FILE
        case _:
            raise BadArchive(f"neither file, directory nor link: {header.filename!r}")


def _target(file: zipfile.ZipFile, header: zipfile.ZipInfo) -> str:
    try:
        content = b"".join(_chunks(file, header, PATH_BYTES_MAX))
        target = content.decode()
    except (ArchiveTooLarge, UnicodeDecodeError) as error:
        raise BadArchive(f"a link to nowhere: {header.filename!r}") from error
    if not target or "\0" in target:
        raise BadArchive(f"a link to nowhere: {header.filename!r}")
    return target


def _check_parents(entries: Mapping[str, ArchiveEntry]) -> None:
    """An entry of two hundred bytes may ask for as many directories."""
    known: set[str] = set()
    for path in entries:
        for parent in _parents(path):
            if parent in known:
                break
            known.add(parent)
            if len(known) > ENTRIES_MAX:
                raise BadArchive(f"more than {ENTRIES_MAX} directories")
            above = entries.get(parent)
            if above is not None and above.kind is not EntryKind.DIRECTORY:
                raise BadArchive(f"an entry below a file or a link: {path!r}")


def _parents(path: str) -> Iterable[str]:
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


class _Place:
    """Where a link is, or what has links somewhere below."""

    __slots__ = ("below", "target")

    def __init__(self) -> None:
        self.below: dict[str, _Place] = {}
        self.target: str | None = None


class _Links:
    """Those of one archive, as a tree: following one takes a step for each name on its way."""

    def __init__(self) -> None:
        self._root = _Place()
        self._parts_left = LINK_PARTS_MAX

    def add(self, path: str, target: str) -> None:
        place = self._root
        for part in path.split("/"):
            place = place.below.setdefault(part, _Place())
        place.target = target

    def check(self, path: str) -> None:
        """Follow the link as a kernel would. `l1 -> .` makes `l2 -> l1/..` leave the tree, though
        by its text it does not: so links are resolved, not normalised."""
        at: list[_Place] = [self._root]
        ahead = path.split("/")[::-1]
        steps = 0
        while ahead:
            part = ahead.pop()
            self._parts_left -= 1
            if self._parts_left < 0:
                raise BadArchive("links that take too long to follow")
            if part in {"", "."}:
                continue
            if part == "..":
                if len(at) == 1:
                    raise BadArchive(f"a link that leaves the tree: {path!r}")
                at.pop()
                continue
            place = at[-1].below.get(part, _NOWHERE)
            if place.target is None:
                at.append(place)
                continue
            steps += 1
            if steps > LINK_STEPS_MAX or place.target.startswith("/"):
                raise BadArchive(f"a link that leaves the tree or never ends: {path!r}")
            ahead.extend(place.target.split("/")[::-1])


_NOWHERE: Final = _Place()
"""Whatever has no links below."""


def _chunks(file: zipfile.ZipFile, header: zipfile.ZipInfo, bytes_max: int) -> Iterator[bytes]:
    left = bytes_max
    try:
        with file.open(header) as content:
            while chunk := content.read(CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise ArchiveTooLarge(f"more than {bytes_max} bytes")
                yield chunk
    except _BROKEN as error:
        raise BadArchive(f"damaged: {header.filename!r}") from error


def unpack(archive: Archive, directory: Path, bytes_max: int) -> None:
    """Write the tree below `directory`, which must be empty. Directories are 0755, files 0644
    or 0755, and nothing has a time of its own: equal archives give equal trees.

    Raises BadArchive, ArchiveTooLarge, OSError; the caller then removes the directory.
    """
    made = {""}
    for entry in archive.entries:
        if entry.kind is EntryKind.DIRECTORY:
            _make_directory(directory, entry.path, made)
    for entry, content in archive.inflate(bytes_max):
        _make_directory(directory, os.path.dirname(entry.path), made)  # noqa: PTH120 - a str
        _write(directory / entry.path, content, 0o755 if entry.executable else 0o644)
    for entry in archive.entries:
        if entry.target is not None:
            _make_directory(directory, os.path.dirname(entry.path), made)  # noqa: PTH120
            link = directory / entry.path
            link.symlink_to(entry.target)
            os.utime(link, (EPOCH_S, EPOCH_S), follow_symlinks=False)
    for path in sorted(made, reverse=True):  # children first: they touch their parents' times
        os.utime(directory / path, (EPOCH_S, EPOCH_S))


EPOCH_S: Final = 315_532_800
"""1980-01-01T00:00:00Z, the first day a zip can name: what every unpacked file is dated."""


def _make_directory(root: Path, path: str, made: set[str]) -> None:
    if path in made:
        return
    for parent in [*reversed([*_parents(path)]), path]:
        if parent not in made:
            (root / parent).mkdir(exist_ok=False)
            (root / parent).chmod(0o755)
            made.add(parent)


def _write(path: Path, content: Iterator[bytes], mode: int) -> None:
    with path.open("xb") as file:
        for chunk in content:
            file.write(chunk)
        os.fchmod(file.fileno(), mode)
    os.utime(path, (EPOCH_S, EPOCH_S))
