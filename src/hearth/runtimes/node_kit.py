"""What does a Node.js function find in /var/runtime? AWS's runtime client, our bootstrap, the SDK.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.base.log import Log
from hearth.runtimes import node_sdk, npm
from hearth.runtimes.kit import BOOTSTRAPS, KitFailed
from hearth.runtimes.nodes import Node

log = Log("runtimes")

BOOTSTRAP: Final = BOOTSTRAPS / "node_bootstrap.js"
BESIDE_IT: Final = {"node_rehearsal.js": "rehearsal.js", "node_path.mjs": "node_path.mjs"}
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


def heap_flags(memory_mb: int, options: str) -> tuple[str, ...]:
    """What the heap may grow to, of the function's memory; a function that says one of both in its
    NODE_OPTIONS gets V8's own for the other."""
    said = options.replace("_", "-")
    if "--max-semi-space-size" in said or "--max-old-space-size" in said:
        return ()
    return (
        f"--max-semi-space-size={max(1, memory_mb * 5 // 100)}",
        f"--max-old-space-size={memory_mb * 90 // 100}",
    )


def module_flags(version: str, options: str) -> tuple[str, ...]:
    """What Node would do by itself and Lambda does not: `require` of modules (Node 20, 22), and
    guessing what is a module (22). NODE_OPTIONS may switch each on.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html#nodejs-experimental-features
    """
    number = tuple(int(part) for part in version.split(".")[:2])
    return tuple(
        f"--no-{feature}"
        for feature, since in _SWITCHED_OFF.items()
        if since.get(number[0], (99,)) <= number and f"--{feature}" not in options.split()
    )


_SWITCHED_OFF: Final = {
    "experimental-require-module": {20: (20, 17), 22: (22, 0)},
    "experimental-detect-module": {22: (22, 0)},
}
"""Since which Node of each major there is such a switch."""


def client_for(node: Node) -> Client:
    return WITH_CALLBACKS if node.version[0] <= _LAST_WITH_CALLBACKS else NEWEST


def kit_directory(cache: Path, client: Client, *, with_sdk: bool = True) -> Path:
    """Another one for each bootstrap, so that old ones are not used."""
    texts = [BOOTSTRAP.read_bytes(), *((BOOTSTRAPS / name).read_bytes() for name in BESIDE_IT)]
    digest = hashlib.sha256(b"".join(texts)).hexdigest()
    bare = cache / f"nodejs-ric{client.version}-{digest[:8]}"
    return bare.with_name(f"{bare.name}-sdk{node_sdk.digest()}") if with_sdk else bare


def build(
    cache: Path,
    node: Node,
    search_path: Sequence[str],
    client: Client | None = None,
    *,
    with_sdk: bool = True,
) -> Path:
    """The kit for `node`, built if it is not there; without the SDK if that cannot be fetched.
    May fetch: not for the event loop.

    Raises KitFailed.
    """
    import tarfile  # here and below: a kit is built once

    client = client or client_for(node)
    directory = kit_directory(cache, client, with_sdk=with_sdk)
    if directory.is_dir():
        return directory
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tarball = _tarball(cache, client, node, search_path)
        sdk = node_sdk.build(cache, node, search_path) if with_sdk else None
        directory = kit_directory(cache, client, with_sdk=sdk is not None)
        if not directory.is_dir():
            _make(directory, tarball, client, sdk)
    except (OSError, tarfile.TarError, KeyError) as error:
        if not directory.is_dir():  # else: built by another process meanwhile
            raise KitFailed(f"{node.name}: {error}") from error
    return directory


def _make(directory: Path, tarball: Path, client: Client, sdk: Path | None) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        _fill(draft, tarball, client)
        if sdk is not None:
            node_sdk.link_into(draft, sdk)
        draft.chmod(0o755)
        os.sync()  # or a power cut could leave a kit of empty files, which looks complete
        draft.rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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
    command = npm.command(node, search_path)
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
        pack = ("pack", *npm.OPTIONS, f"{PACKAGE}@{client.version}")
        try:
            npm.run(command, pack, Path(folder), FETCH_TIMEOUT_S)
            (Path(folder) / client.tarball).rename(there)
        except (OSError, subprocess.SubprocessError) as error:
            raise KitFailed(
                f"{node.name}: AWS's runtime client could not be fetched from npm:"
                f" {npm.why(error)}. It is tried again later. {otherwise}"
            ) from error
    log.info("AWS's runtime client is there", runtime=node.name, package=PACKAGE)


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
    for source, name in BESIDE_IT.items():
        shutil.copyfile(BOOTSTRAPS / source, draft / name)
