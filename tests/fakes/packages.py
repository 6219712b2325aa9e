"""Zips for tests, good and bad."""

import io
import stat
import warnings
import zipfile
from collections.abc import Mapping

HANDLER = "def handler(event, context):\n    return event\n"


def zip_of(files: Mapping[str, str | bytes] | None = None) -> bytes:
    """A deployment package; by default with one handler, app.handler. The same at any time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in (files if files is not None else {"app.py": HANDLER}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o600 << 16
            package.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def zip_entries(*entries: tuple[str, int, str | bytes]) -> bytes:
    """A package of (name, mode, content): the mode has the file's type, as stat gives it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, mode, content in entries:
            header = zipfile.ZipInfo(name)
            header.external_attr = mode << 16
            package.writestr(header, content)
    return buffer.getvalue()


FILE = stat.S_IFREG | 0o644
PROGRAM = stat.S_IFREG | 0o755
LINK = stat.S_IFLNK | 0o777
DIRECTORY = stat.S_IFDIR | 0o755
