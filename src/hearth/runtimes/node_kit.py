"""What does a Node.js function find in /var/runtime? AWS's runtime client, and our bootstrap.

The client is the npm package `aws-lambda-ric`, as AWS publishes it: one file of JavaScript. Its
native addon is not built: it has three functions, which bootstraps/node_bootstrap.js has too. The
package is fetched once, by the machine's own npm from the registry that npm is set to, and only
taken if its digest is the one below. On a machine without a network the tarball can be put into
the cache by hand. A kit is complete or absent: it is built aside and renamed.

Which version: AWS took callback handlers away with Node 24, and the client with them in 4.x; for
older Nodes it goes on with 3.x.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.base.log import Log
from hearth.runtimes.kit import BOOTSTRAPS, KitFailed
from hearth.runtimes.nodes import Node

log = Log("runtimes")

BOOTSTRAP: Final = BOOTSTRAPS / "node_bootstrap.js"
FETCH_TIMEOUT_S: Final = 60
PACKAGE: Final = "aws-lambda-ric"
FILE_BYTES_MAX: Final = 1 << 20
_TEXTS: Final = ("LICENSE", "NOTICE", "THIRD-PARTY-LICENSES")


@dataclass(frozen=True, slots=True)
class Client:
    """A version of AWS's client. `integrity` as npm writes it."""

    version: str
    integrity: str
    module: str
    """Its file within the package."""

    @property
    def tarball(self) -> str:
        return f"{PACKAGE}-{self.version}.tgz"


WITH_CALLBACKS: Final = Client(
    "3.3.0",
    "sha512-9p06TbKVK4a050NY/vYOxhMHvnIiUu5o1W0//q6yNLSqA/c91pn4BOj3C3sRTpplkUNsGJdU5qWyU2STo6L8hA==",
    "dist/index.mjs",
)
NEWEST: Final = Client(
    "4.0.2",
    "sha512-FE5Vskx7mYNnqAnWWJXUOsLp2VGgdsJsCoRLFTa8L4Yk0QVtArqR8q58yPA++QC1a73ZWJXBQ2AH31nIAv7NOQ==",
    "index.mjs",
)
_LAST_WITH_CALLBACKS: Final = 22


def is_read_at_start(name: str) -> bool:
    """Of an environment variable: a Node that has started, and has loaded the client, would not
    hear of it any more."""
    return name not in _READ_LATE and name.startswith(_READ_AT_START)


_READ_AT_START: Final = (
    *("NODE_", "NODEJS_", "UV_", "V8_", "ICU_", "LD_", "LC_", "LANG", "GLIBC_", "MALLOC_"),
    *("OPENSSL_", "SSL_", "AWS_LAMBDA_NODEJS_", "AWS_LAMBDA_RUNTIME_"),
)
_READ_LATE: Final = frozenset({"NODE_ENV", "NODE_TLS_REJECT_UNAUTHORIZED", "LANGUAGE"})


def client_for(node: Node) -> Client:
    return WITH_CALLBACKS if node.version[0] <= _LAST_WITH_CALLBACKS else NEWEST


def kit_directory(cache: Path, client: Client) -> Path:
    """Another one for each bootstrap, so that old ones are not used."""
    digest = hashlib.sha256(BOOTSTRAP.read_bytes()).hexdigest()
    return cache / f"nodejs-ric{client.version}-{digest[:8]}"


def build(
    cache: Path, node: Node, search_path: Sequence[str], client: Client | None = None
) -> Path:
    """The kit for `node`, built if it is not there. May fetch: not for the event loop.

    Raises KitFailed.
    """
    client = client or client_for(node)
    directory = kit_directory(cache, client)
    if directory.is_dir():
        return directory
    import tarfile  # here and below: a kit is built once

    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=cache))
    try:
        _fill(draft, _tarball(cache, client, node, search_path), client)
        draft.chmod(0o755)
        os.sync()  # or a power cut could leave a kit of empty files, which looks complete
        draft.rename(directory)
    except FileExistsError:
        pass  # built by another process meanwhile
    except (OSError, tarfile.TarError, KeyError) as error:
        if not directory.is_dir():
            raise KitFailed(f"{node.name}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory


def _tarball(cache: Path, client: Client, node: Node, search_path: Sequence[str]) -> Path:
    """Raises KitFailed, OSError."""
    there = cache / client.tarball
    if not there.is_file():
        _fetch(there, client, node, search_path)
    if _integrity(there) != client.integrity:
        raise KitFailed(
            f"{there} is not {PACKAGE} {client.version} as AWS published it. Remove it."
        )
    return there


def _fetch(there: Path, client: Client, node: Node, search_path: Sequence[str]) -> None:
    command = _npm(node, search_path)
    otherwise = (
        f"Or put {client.tarball} (`npm pack {PACKAGE}@{client.version}` where there is a network)"
        f" into {there.parent}."
    )
    if command is None:
        raise KitFailed(
            f"{node.name} needs AWS's runtime client, the npm package {PACKAGE}, and npm is not"
            f" installed. Install npm. {otherwise}"
        )
    log.info("fetching AWS's runtime client", runtime=node.name, package=PACKAGE)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=there.parent) as folder:
        options = ("--prefer-offline", "--ignore-scripts", "--fetch-retries=1")
        try:
            subprocess.run(  # noqa: S603
                [*command, "pack", *options, f"{PACKAGE}@{client.version}"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=FETCH_TIMEOUT_S,
                check=True,
            )
            (Path(folder) / client.tarball).rename(there)
        except (OSError, subprocess.SubprocessError) as error:
            raise KitFailed(
                f"{node.name}: AWS's runtime client could not be fetched from npm:"
                f" {_why(error)}. It is tried again later. {otherwise}"
            ) from error
    log.info("AWS's runtime client is there", runtime=node.name, package=PACKAGE)


def _why(error: Exception) -> str:
    """npm's own word for it, of all that it says."""
    said = (getattr(error, "stderr", None) or b"").decode(errors="replace")
    told = [line for line in said.splitlines() if "rror" in line]
    return told[-1].strip() if told else str(error)


def _npm(node: Node, search_path: Sequence[str]) -> list[str] | None:
    """How to run npm: the node's own if it has one, under that very node."""
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


def _integrity(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    return "sha512-" + base64.b64encode(digest).decode()


def _fill(draft: Path, tarball: Path, client: Client) -> None:
    import tarfile

    with tarfile.open(tarball) as package:
        for name, target in ((client.module, "index.mjs"), *((text, text) for text in _TEXTS)):
            file = package.extractfile(f"package/{name}")
            if file is None:
                raise KeyError(name)
            (draft / target).write_bytes(file.read(FILE_BYTES_MAX))
    # What the client asks for; the bootstrap has loaded something of this name by then.
    (draft / "rapid-client.node").write_bytes(b"")
    shutil.copyfile(BOOTSTRAP, draft / "bootstrap.js")
    shutil.copyfile(BOOTSTRAPS / "node_rehearsal.js", draft / "rehearsal.js")
