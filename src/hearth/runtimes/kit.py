"""What does a Python function find in /var/runtime? AWS's runtime client, boto3, our bootstrap.

One directory (a *kit*) per Python version, built once and cached: for the Python that Hearth
itself runs on, copied from Hearth's own installation without any network; for any other, AWS's
client is installed for that version by pip (its compiled part differs per version), and what is
pure Python is copied. A kit is complete or absent: it is built aside and renamed.
"""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hearth.runtimes.interpreters import Interpreter

FORMAT: Final = 1
"""Counts up when the content of a kit changes, so that old ones are not used."""

CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")
SDK: Final = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")
BOOTSTRAP: Final = Path(__file__).parent / "bootstraps" / "python_bootstrap.py"
INSTALL_TIMEOUT_S: Final = 300


class KitFailed(Exception):
    """The kit could not be built; the text says why and what to do."""


def kit_directory(cache: Path, interpreter: Interpreter) -> Path:
    client = importlib.metadata.version("awslambdaric")
    return cache / f"{interpreter.name}-ric{client}-{FORMAT}"


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
    shutil.copyfile(BOOTSTRAP, draft / "bootstrap.py")
    if interpreter.version[:2] == sys.version_info[:2]:
        for name in CLIENT:
            _copy(name, draft)
    else:
        _install(draft, interpreter)
    for name in SDK:
        _copy(name, draft)
    _compile(draft, interpreter)


def _copy(name: str, draft: Path) -> None:
    """Copy an installed distribution's modules, as its own list of files names them."""
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        source, target = Path(str(distribution.locate_file(file))), draft / file
        if file.parts[0] == ".." or not source.is_file():
            continue  # scripts, and what the installer lists but never wrote
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)  # with its time: byte code stays valid


def _install(draft: Path, interpreter: Interpreter) -> None:
    version = ".".join(map(str, interpreter.version[:2]))
    # An older Python gets the newest client that still supports it.
    requirements = [f"{name}<={newest}" for name, newest in _pins()]
    for command in _installers(draft, version, requirements):
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
        except OSError:
            continue
        if done.returncode == 0:
            return
        reason = _last_line(done.stderr)
        raise KitFailed(
            f"AWS's runtime client for {interpreter.name} could not be installed: {reason}"
        )
    raise KitFailed(
        f"AWS's runtime client for {interpreter.name} has to be installed, and neither pip nor uv"
        " is here. Install one, or run Hearth itself under that Python."
    )


def _pins() -> Iterator[tuple[str, str]]:
    for name in CLIENT:
        yield name, importlib.metadata.version(name)


def _installers(draft: Path, version: str, requirements: list[str]) -> Iterator[list[str]]:
    common = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(draft)]
    if importlib.util.find_spec("pip") is not None:
        yield [
            *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check"),
            *("--no-compile", "--python-version", version, "--implementation", "cp"),
            *(*common, *requirements),
        ]
    uv = shutil.which("uv")
    if uv is not None:
        yield [uv, "pip", "install", "--python-version", version, *common, *requirements]


def _last_line(text: str) -> str:
    lines = [re.sub(r"^ERROR: ", "", line) for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"


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
        timeout=INSTALL_TIMEOUT_S,
        check=False,
        env={"PYTHONHASHSEED": "0"},
    )
