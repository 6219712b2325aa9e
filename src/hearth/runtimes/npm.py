"""How is the npm of this machine run, and what did it say?

Packages come from whatever registry npm is set to, and no script of a package is ever run.
"""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from hearth.runtimes.nodes import Node

OPTIONS: Final = ("--prefer-offline", "--ignore-scripts", "--fetch-retries=1")


def command(node: Node, search_path: Sequence[str]) -> list[str] | None:
    """How to run npm: the node's own if it has one, under that very node. None: not installed."""
    own = node.prefix / "lib/node_modules/npm/bin/npm-cli.js"
    if own.is_file():
        return [str(node.executable), str(own)]
    for folder in ("/usr/bin", "/usr/local/bin", *search_path):
        npm = Path(folder) / "npm"
        with suppress(OSError):  # a folder that may not be looked into
            if npm.is_file():
                is_script = npm.resolve().suffix == ".js"
                return [str(node.executable), str(npm.resolve())] if is_script else [str(npm)]
    return None


def run(npm: Sequence[str], arguments: Sequence[str], folder: Path, timeout_s: float) -> None:
    """Run it in `folder`. Raises OSError, subprocess.SubprocessError."""
    subprocess.run(  # noqa: S603
        [*npm, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=True,
    )


def why(error: Exception) -> str:
    """npm's own word for it, of all that it says."""
    said = (getattr(error, "stderr", None) or b"").decode(errors="replace")
    told = [line for line in said.splitlines() if "rror" in line]
    return told[-1].strip() if told else str(error)
