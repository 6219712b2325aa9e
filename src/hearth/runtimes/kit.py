"""What does a Python function find in /var/runtime? AWS's runtime client, boto3, our bootstrap.

One directory (a *kit*) per Python version, copied from Hearth's own installation without any
network, compiled by that version, and cached. Everything in it is pure Python: AWS's compiled
transport is replaced (bootstraps/runtime_client.py), and simplejson runs without its accelerator
where it was compiled for another version. A kit is complete or absent: it is built aside and
renamed.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache as cache_once
from pathlib import Path
from typing import Final

from hearth.runtimes.interpreters import Interpreter

FORMAT: Final = 8
"""Counts up when the way in which a kit is built changes, so that old ones are not used."""

CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")
SDK: Final = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")
BOOTSTRAPS: Final = Path(__file__).parent / "bootstraps"
BOOTSTRAP_FILES: Final[Mapping[str, str]] = {
    "python_bootstrap.py": "bootstrap.py",
    "runtime_client.py": "runtime_client.py",
}
"""And what they are called in a kit."""
REPLACED: Final = "runtime_client."
"""AWS's compiled transport."""

COMPILE_TIMEOUT_S: Final = 300
OLDEST: Final = (3, 10)
"""What the installed runtime client supports."""


class KitFailed(Exception):
    """The kit could not be built; the text says why and what to do."""


def kit_directory(cache: Path, interpreter: Interpreter) -> Path:
    """Another one for each bootstrap, so that old ones are not used."""
    return cache / f"{interpreter.name}-ric{client_version()}-{FORMAT}-{_bootstrap_digest()}"


@cache_once
def _bootstrap_digest() -> str:
    digest = hashlib.sha256()
    for name in BOOTSTRAP_FILES:
        digest.update((BOOTSTRAPS / name).read_bytes())
    return digest.hexdigest()[:8]


def client_version() -> str:
    return importlib.metadata.version("awslambdaric")


def build(cache: Path, interpreter: Interpreter) -> Path:
    """The kit for `interpreter`, built if it is not there. Takes seconds: not for the event loop.

    Raises KitFailed.
    """
    directory = kit_directory(cache, interpreter)
    if directory.is_dir():
        return directory
    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=cache))
    try:
        _fill(draft, interpreter)
        draft.chmod(0o755)
        os.sync()  # or a power cut could leave a kit of empty files, which looks complete
        draft.rename(directory)
    except FileExistsError:
        pass  # built by another process meanwhile
    except OSError as error:
        if not directory.is_dir():
            raise KitFailed(f"{interpreter.name}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory


def _fill(draft: Path, interpreter: Interpreter) -> None:
    if interpreter.version[:2] < OLDEST:
        raise KitFailed(
            f"AWS's runtime client does not support {interpreter.name} any more;"
            f" the oldest is python{OLDEST[0]}.{OLDEST[1]}."
        )
    for name in (*CLIENT, *SDK):
        copy_distribution(
            name, draft, keep_compiled=interpreter.version[:2] == sys.version_info[:2]
        )
    for source, name in BOOTSTRAP_FILES.items():
        shutil.copyfile(BOOTSTRAPS / source, draft / name)
    _compile(draft, interpreter)


def copy_distribution(name: str, draft: Path, *, keep_compiled: bool) -> None:
    """Copy an installed distribution's modules, as its own list of files names them."""
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        source, target = Path(str(distribution.locate_file(file))), draft / file
        if file.parts[0] == ".." or file.name.startswith(REPLACED) or not source.is_file():
            continue  # scripts, AWS's transport, and what the installer lists but never wrote
        if file.suffix in {".so", ".pyc"} and not keep_compiled:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)  # with its time: byte code stays valid


def _compile(draft: Path, interpreter: Interpreter) -> None:
    """Byte code that is never checked against its source: the kit does not change, and is
    read-only where it is used. A module that does not compile is imported from its source."""
    subprocess.run(  # noqa: S603
        [
            *(interpreter.executable, "-I", "-S", "-m", "compileall", "-q", "-j", "1"),
            *("--invalidation-mode", "unchecked-hash", "-s", str(draft), "-p", "/var/runtime/"),
            str(draft),
        ],
        capture_output=True,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
        env={"PYTHONHASHSEED": "0"},
    )
