"""Is this zip a package that Lambda would take? Judged before anything is stored.

Texts: recorded and documented answers of CreateFunction and UpdateFunctionCode.
Limits: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hearth.base.archives import ArchiveTooLarge, BadArchive, EntryKind, open_archive
from hearth.base.log import Log
from hearth.model.errors import InvalidParameterValue, RequestEntityTooLarge
from hearth.model.layers import LayerUse
from hearth.model.limits import UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX

log = Log("control")

EMPTY: Final = "Uploaded file must be a non-empty zip"
BROKEN: Final = "Could not unzip uploaded file. Please check your file, then try to upload again."


def check_zip(package: bytes | Path) -> None:
    """Inflate the whole package in memory, a piece at a time; slow, so call it in a thread.

    A file came from S3, where the limit on what is uploaded in a request does not hold.
    Raises InvalidParameterValue or RequestEntityTooLarge with AWS's text; OSError.
    """
    if isinstance(package, bytes) and len(package) > ZIPPED_BYTES_MAX:
        raise RequestEntityTooLarge(f"Zipped size must be smaller than {ZIPPED_BYTES_MAX} bytes")
    if not (len(package) if isinstance(package, bytes) else package.stat().st_size):
        raise InvalidParameterValue(EMPTY)
    try:
        with open_archive(
            io.BytesIO(package) if isinstance(package, bytes) else package
        ) as archive:
            if not any(entry.kind is not EntryKind.DIRECTORY for entry in archive.entries):
                raise InvalidParameterValue(EMPTY)
            for _entry, content in archive.inflate(UNZIPPED_BYTES_MAX - 1):
                for _chunk in content:
                    pass
    except ArchiveTooLarge as error:
        raise too_large() from error
    except BadArchive as error:
        log.info("package refused", reason=str(error))
        raise InvalidParameterValue(BROKEN) from error


def unzipped_bytes(package: bytes | Path) -> int:
    """What a package that check_zip() has let through takes when it is unpacked. Raises OSError."""
    with zipfile.ZipFile(io.BytesIO(package) if isinstance(package, bytes) else package) as archive:
        return sum(header.file_size for header in archive.infolist())


def check_total(code_bytes: int, layers: Sequence[LayerUse]) -> None:
    """Code and layers together have one limit. Raises InvalidParameterValue with AWS's text."""
    layers_bytes = sum(layer.unzipped_bytes for layer in layers)
    if layers_bytes >= UNZIPPED_BYTES_MAX:
        raise InvalidParameterValue(
            f"Layers consume more than the available size of {UNZIPPED_BYTES_MAX} bytes"
        )
    if code_bytes + layers_bytes >= UNZIPPED_BYTES_MAX:
        raise InvalidParameterValue(
            "Function code combined with layers exceeds the maximum allowed size of "
            f"{UNZIPPED_BYTES_MAX} bytes. The actual size is {code_bytes + layers_bytes} bytes."
        )


def too_large() -> InvalidParameterValue:
    return InvalidParameterValue(f"Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes")
