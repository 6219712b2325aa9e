"""What goes into a function's package? A directory as a zip: the same files, the same bytes.

Sorted names, a fixed time, and of each file's mode only whether it may be run: so that deploying
what did not change gives the same CodeSha256. Symbolic links are stored as links, as `zip -y`
does, if they stay inside; what they lead to outside the directory would not be there.
"""

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hearth.cli.output import Failure
from hearth.model.limits import UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX

SKIPPED: Final = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".venv", "venv", ".mypy_cache", ".pytest_cache"}
    | {".ruff_cache", ".tox", ".DS_Store"}
)
FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can say."""
_UNIX: Final = 3
_SOURCES: Final = {
    "python": (".py", "/__init__.py", ".pyc"),
    "nodejs": (".js", ".mjs", ".cjs"),
}


def zip_directory(directory: Path) -> bytes:
    """Raises Failure if there is nothing to pack, or more than Lambda takes."""
    content = io.BytesIO()
    count = size = 0
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in files_of(directory):
            count, size = count + 1, size + path.lstat().st_size
            if size > UNZIPPED_BYTES_MAX:
                raise Failure(
                    f"{directory} holds more than {UNZIPPED_BYTES_MAX >> 20} MB, the most that "
                    "Lambda takes unzipped. Leave out what the function does not need."
                )
            archive.writestr(_entry(name, path), _body(directory, path))
    if not count:
        raise Failure(f"{directory} holds no files to deploy.")
    packed = content.getvalue()
    if len(packed) > ZIPPED_BYTES_MAX:
        raise Failure(
            f"{directory} makes a package of {len(packed) >> 20} MB; Lambda takes "
            f"{ZIPPED_BYTES_MAX >> 20} MB at most. Leave out what the function does not need."
        )
    return packed


def files_of(directory: Path) -> Iterator[tuple[str, Path]]:
    """(name in the zip, file), in an order that does not depend on the file system."""
    found = []
    for root, directories, files in os.walk(directory):
        here = Path(root)
        directories[:] = [name for name in directories if name not in SKIPPED]
        links = [name for name in directories if (here / name).is_symlink()]
        for name in [*files, *links]:
            path = here / name
            mode = path.lstat().st_mode
            if name not in SKIPPED and (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                found.append((path.relative_to(directory).as_posix(), path))
    yield from sorted(found)


def missing_handler(package: bytes, runtime: str | None, handler: str | None) -> str | None:
    """The file that the handler should be in, if it is not; None also where that is not known."""
    kind = (runtime or "").rstrip("0123456789.x")
    if handler is None or kind not in _SOURCES:
        return None
    if kind == "python":
        module = handler.rpartition(".")[0].replace(".", "/")
    else:  # as far as the first dot of the last part of the path
        folder, slash, last = handler.rpartition("/")
        module = folder + slash + last.partition(".")[0]
    if not module:
        return None
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        names = set(archive.namelist())
    endings = _SOURCES[kind]
    is_there = any(f"{module}{ending}" in names for ending in endings)
    binaries = (name for name in names if name.startswith(f"{module}.") and name.endswith(".so"))
    return None if is_there or any(binaries) else f"{module}{endings[0]}"


def _body(directory: Path, path: Path) -> bytes:
    if not path.is_symlink():
        try:
            return path.read_bytes()
        except OSError as error:
            raise Failure(f"{path} cannot be read: {error.strerror}.") from error
    if not path.resolve().is_relative_to(directory.resolve()) or path.readlink().is_absolute():
        raise Failure(f"{path} is a link out of {directory}; put the file itself there.")
    return os.fsencode(path.readlink())


def _entry(name: str, path: Path) -> zipfile.ZipInfo:
    mode = path.lstat().st_mode
    kind = stat.S_IFMT(mode)
    permissions = 0o755 if mode & 0o111 else 0o644  # a link's own are always 0o777
    entry = zipfile.ZipInfo(name, FIXED_TIME)
    entry.create_system = _UNIX
    entry.external_attr = (kind | permissions) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
