"""Which Java does this machine have, and where?

A function of `java17` runs under Java 17 and no other. Looked for, in this order: the system's
(`/usr/lib/jvm`), those on the PATH, and those that version managers (SDKMAN, asdf, mise, jabba)
keep. Each is known by the file `release` in its home: nothing is executed.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.runtimes.interpreters import unique

_MANAGERS: Final = (
    ".sdkman/candidates/java/{major}*/bin/java",
    ".asdf/installs/java/*{major}*/bin/java",
    ".local/share/mise/installs/java/*{major}*/bin/java",
    ".jabba/jdk/*{major}*/bin/java",
    ".jdks/*{major}*/bin/java",
)
_RELEASE_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class Java:
    """A Java on this machine; `prefix` is its home, which holds its `bin`."""

    version: tuple[int, ...]
    prefix: Path

    @property
    def name(self) -> str:
        """`java17`, as the runtime is called."""
        return f"java{self.version[0]}"

    @property
    def executable(self) -> Path:
        return self.prefix / "bin" / "java"

    @property
    def is_system(self) -> bool:
        """Below /usr, which every sandbox sees at the same place."""
        return self.prefix.is_relative_to("/usr")


def major_of(name: str) -> int:
    """17 of `java17`, and of `java17.al2023`."""
    return int(name.removeprefix("java").partition(".")[0])


def candidates(name: str, search_path: Sequence[str], home: Path) -> list[Path]:
    """Where a Java of that runtime may be, best first."""
    major = major_of(name)
    found = sorted(Path("/usr/lib/jvm").glob(f"*{major}*/bin/java"))
    found += [Path("/usr/bin/java"), Path("/usr/local/bin/java")]
    found += [Path(folder) / "java" for folder in search_path if "shims" not in folder]
    for pattern in _MANAGERS:
        found += sorted(home.glob(pattern.format(major=major)), reverse=True)
    return found


def find(name: str, search_path: Sequence[str], home: Path) -> Java | None:
    """The best Java of that runtime, or None. Reads files: not for the event loop."""
    for path in unique(candidates(name, search_path, home)):
        java = ask(path)
        if java is not None and java.version[0] == major_of(name):
            return java
    return None


def ask(path: Path) -> Java | None:
    """What the program's home says of it; None if that is no Java."""
    with suppress(OSError, ValueError):
        prefix = path.resolve(strict=True).parent.parent
        with (prefix / "release").open(encoding="utf-8") as file:
            text = file.read(_RELEASE_BYTES_MAX)
        for line in text.splitlines():
            key, _, value = line.partition("=")
            if key == "JAVA_VERSION":
                return Java(_numbers(value.strip('" ')), prefix)
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """(17, 0, 15) of `17.0.15`; (25,) of `25-ea`. Raises ValueError."""
    return tuple(int(part) for part in version.partition("-")[0].partition("+")[0].split("."))
