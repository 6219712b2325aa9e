"""Which Python interpreters does this machine have, and where?

A function of `python3.12` runs under Python 3.12 and no other. Looked for, in this order: the
system's (`/usr/bin`, `/usr/local/bin`), those on the PATH, the one that runs Hearth, and those
that pyenv and uv keep in a home directory. Each is asked for its version and prefix once.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_ASK = (
    "import sys, json; print(json.dumps([list(sys.version_info[:3]), sys.base_prefix,"
    " getattr(sys, '_base_executable', sys.executable)]))"
)
ASK_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python on this machine. `prefix` holds its `bin` and `lib`."""

    version: tuple[int, int, int]
    prefix: Path
    executable: Path

    @property
    def name(self) -> str:
        """`python3.11`, as the runtime is called."""
        return f"python{self.version[0]}.{self.version[1]}"

    @property
    def is_system(self) -> bool:
        """Below /usr, which every sandbox sees at the same place."""
        return self.prefix == Path("/usr")


def candidates(name: str, search_path: Sequence[str], home: Path) -> list[Path]:
    """Where an interpreter called `name` (`python3.11`) may be, best first."""
    found = [Path("/usr/bin") / name, Path("/usr/local/bin") / name]
    found += [Path(folder) / name for folder in search_path if "shims" not in folder]
    number = name.removeprefix("python")
    found += sorted(home.glob(f".pyenv/versions/{number}.*/bin/{name}"), reverse=True)
    uv = home / ".local/share/uv/python"
    found += sorted(uv.glob(f"cpython-{number}.*-linux-*/bin/{name}"), reverse=True)
    base = Path(sys.base_prefix) / "bin" / name
    return [*found, base]


def find(name: str, search_path: Sequence[str], home: Path) -> Interpreter | None:
    """The best interpreter of that name, or None. Runs the candidates: not for the event loop."""
    return _first(name, unique(candidates(name, search_path, home)))


def _first(name: str, paths: Iterable[Path]) -> Interpreter | None:
    for path in paths:
        interpreter = ask(path)
        if interpreter is not None and interpreter.name == name:
            return interpreter
    return None


def unique(paths: Iterable[Path]) -> Iterable[Path]:
    seen: set[Path] = set()
    for path in paths:
        real = path.resolve()
        if real not in seen and _is_file(path):
            seen.add(real)
            yield path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # below a directory that this user may not look into: root's PATH after su
        return False


def ask(path: Path) -> Interpreter | None:
    """What the interpreter says of itself; None if it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603
            [path, "-I", "-S", "-c", _ASK],
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            check=True,
            env={},
        )
        version, prefix, executable = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter((version[0], version[1], version[2]), Path(prefix), Path(executable))
