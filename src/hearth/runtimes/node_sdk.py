"""What does a Node.js function find in /var/runtime/node_modules? The AWS SDK for JavaScript v3.

AWS's runtimes bring the SDK with them; functions that do not pack it rely on that. Here it is the
clients of the services that functions use most (bootstraps/node_sdk/package.json), each package at
the version and with the digest that the lock file beside it names. npm fetches them once for this
machine. What only a compiler or a bundler reads (types, the ES build) is left out: AWS's runtimes
have not got it either.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html#nodejs-sdk-included
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hearth.base.log import Log
from hearth.runtimes import npm
from hearth.runtimes.kit import BOOTSTRAPS
from hearth.runtimes.nodes import Node

log = Log("runtimes")

LOCK: Final = BOOTSTRAPS / "node_sdk"
FILES: Final = ("package.json", "package-lock.json")
FETCH_TIMEOUT_S: Final = 300
_CI: Final = (
    *("ci", *npm.OPTIONS, "--fetch-timeout=15000", "--no-audit", "--no-fund"),
    *("--omit=dev", "--omit=optional"),
)
_ONE_AT_A_TIME: Final = threading.Lock()
_NOT_RUN_FOLDERS: Final = frozenset({"dist-es", "dist-types"})
_NOT_RUN_FILES: Final = (".d.ts", ".map", ".md", ".ts")


def digest() -> str:
    """Of what the SDK consists of."""
    return hashlib.sha256((LOCK / FILES[1]).read_bytes()).hexdigest()[:8]


def build(cache: Path, node: Node, search_path: Sequence[str]) -> Path | None:
    """A directory that holds the SDK's packages, fetched if it is not there: tens of seconds, so
    not for the event loop. None if it cannot be had, which the log tells."""
    directory = cache / f"nodejs-sdk-{digest()}"
    with _ONE_AT_A_TIME:  # the kits of two runtimes may be built at once
        return directory if directory.is_dir() else _fetch(directory, node, search_path)


def _fetch(directory: Path, node: Node, search_path: Sequence[str]) -> Path | None:
    command = npm.command(node, search_path)
    if command is None:
        return None  # whoever put the client into the cache by hand may put the SDK there as well
    log.info("fetching the AWS SDK for JavaScript, once: some tens of seconds")
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        _fill(draft, command)
        os.sync()  # or a power cut could leave empty files, which look complete
        (draft / "node_modules").rename(directory)
    except (OSError, subprocess.SubprocessError) as error:
        if directory.is_dir():
            return directory  # built by another process meanwhile
        log.warning(
            "the AWS SDK for JavaScript could not be fetched from npm: Node.js functions that do"
            " not bring it will not find it; it is tried again at the next start",
            why=npm.why(error),
        )
        return None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    log.info("the AWS SDK for JavaScript is there")
    return directory


def _fill(draft: Path, command: Sequence[str]) -> None:
    for name in FILES:
        shutil.copyfile(LOCK / name, draft / name)
    npm.run(command, _CI, draft, FETCH_TIMEOUT_S)
    for folder, subfolders, files in os.walk(draft / "node_modules"):
        here = Path(folder)
        for name in _NOT_RUN_FOLDERS.intersection(subfolders):
            shutil.rmtree(here / name)
            subfolders.remove(name)
        here.chmod(0o755)
        for name in files:
            if name.endswith(_NOT_RUN_FILES):
                (here / name).unlink()
            else:
                (here / name).chmod(0o644)
    shutil.rmtree(draft / "node_modules/.bin", ignore_errors=True)


def link_into(kit: Path, sdk: Path) -> None:
    """The SDK as the kit's `node_modules`: the same files, by hard links."""
    shutil.copytree(sdk, kit / "node_modules", copy_function=os.link)
