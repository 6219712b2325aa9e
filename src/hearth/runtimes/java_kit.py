"""What does a Java function find in /var/runtime? AWS's runtime client, as Maven Central has it.

Four jars, fetched once and only taken if their digests are those below. They hold the client's
native part for x86-64 and ARM. On a machine without a network they can be put into the cache by
hand. A kit is complete or absent: it is built aside and renamed.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.base.log import Log
from hearth.runtimes.kit import KitFailed

log = Log("runtimes")

CENTRAL: Final = "https://repo.maven.apache.org/maven2"
FETCH_TIMEOUT_S: Final = 60
JAR_BYTES_MAX: Final = 16 << 20
MAIN: Final = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda"


@dataclass(frozen=True, slots=True)
class Jar:
    """An artifact of Maven Central, and its SHA-256."""

    group: str
    artifact: str
    version: str
    digest: str

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Within a Maven repository."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file}"


CLIENT: Final = Jar(
    "com.amazonaws",
    "aws-lambda-java-runtime-interface-client",
    "2.9.0",
    "26568a5f63bf9e921567e77661be425650abc8972bae2aa0b7e99bab4e4239d9",
)
JARS: Final = (
    CLIENT,
    Jar(
        "com.amazonaws",
        "aws-lambda-java-serialization",
        "1.2.0",
        "1513c1f945a3213f916a4b2de1760c97b51d84d110f82bbbcf9cfac53d5651e7",
    ),
    Jar(
        "com.amazonaws",
        "aws-lambda-java-core",
        "1.4.0",
        "575c24393cc1ad645e83e618956eabd89ffe8cc09efae2cb62bc6589154d68ed",
    ),
    Jar(
        "software.amazon.awssdk",
        "utils-lite",
        "2.34.0",
        "efaf784f07ae526f0b5c89d71ef21cf16636131c47d44616e3df9bedc3f4f89a",
    ),
)


def kit_directory(cache: Path) -> Path:
    return cache / f"java-ric{CLIENT.version}"


def build(cache: Path, repository: str = CENTRAL, jars: Sequence[Jar] = JARS) -> Path:
    """The kit, built if it is not there. May fetch: not for the event loop. Raises KitFailed."""
    directory = kit_directory(cache)
    if directory.is_dir():
        return directory
    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=cache))
    try:
        (draft / "lib").mkdir()
        for jar in jars:
            (draft / "lib" / jar.file).write_bytes(_content(cache, jar, repository))
        draft.chmod(0o755)
        os.sync()  # or a power cut could leave a kit of empty files, which looks complete
        draft.rename(directory)
    except FileExistsError:
        pass  # built by another process meanwhile
    except OSError as error:
        if not directory.is_dir():
            raise KitFailed(f"java: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory


def _content(cache: Path, jar: Jar, repository: str) -> bytes:
    """Of the cache, or fetched. Raises KitFailed, OSError."""
    by_hand = cache / jar.file
    if by_hand.is_file():
        source, content = str(by_hand), by_hand.read_bytes()
    else:
        source = f"{repository}/{jar.path}"
        content = _fetch(source, jar, cache)
    if hashlib.sha256(content).hexdigest() != jar.digest:
        raise KitFailed(f"{source} is not {jar.artifact} {jar.version} as AWS published it.")
    return content


def _fetch(source: str, jar: Jar, cache: Path) -> bytes:
    import urllib.request  # here: most machines never fetch any

    log.info("fetching a part of AWS's runtime client", part=jar.artifact, version=jar.version)
    try:
        with urllib.request.urlopen(source, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310
            content: bytes = answer.read(JAR_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise KitFailed(
            f"AWS's runtime client for Java could not be fetched from {source}: {error}. It is"
            f" tried again later. Or put {jar.file} into {cache}."
        ) from error
    log.info("it is there", part=jar.artifact, bytes=len(content))
    return content
