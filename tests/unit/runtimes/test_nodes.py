"""Finding Node.js on a machine, and making what its functions see."""

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from hearth.runtimes import node_kit, nodes
from hearth.runtimes.kit import KitFailed
from hearth.runtimes.node_kit import NEWEST, WITH_CALLBACKS, Client, client_for
from hearth.runtimes.nodes import Node

NAME = "nodejs999.x"  # no machine has this one, so every folder is looked into
MODULE = b"export const run = 1;\n"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fake_node(path: Path, version: str = "999.1.2") -> Path:
    return program(path, f"echo '{json.dumps([version, str(path)])}'")


@pytest.mark.parametrize(
    "place",
    [
        ".nvm/versions/node/v999.1.2/bin/node",
        ".local/share/fnm/node-versions/v999.1.2/installation/bin/node",
        ".volta/tools/image/node/999.1.2/bin/node",
    ],
)
def test_what_version_managers_keep_is_found(place: str, tmp_path: Path) -> None:
    fake_node(tmp_path / place)
    found = nodes.find(NAME, [], tmp_path)
    assert found == Node((999, 1, 2), tmp_path / place)
    assert found.name == NAME
    assert found.prefix == (tmp_path / place).parent.parent


def test_only_a_node_of_the_very_version_is_taken(tmp_path: Path) -> None:
    fake_node(tmp_path / "old" / "node", "998.0.0")
    program(tmp_path / "broken" / "node", "exit 3")
    program(tmp_path / "other" / "node", "echo something else")
    folders = [str(tmp_path / name) for name in ("old", "broken", "other", "x" * 300)]
    assert nodes.find(NAME, folders, tmp_path) is None
    fake_node(tmp_path / "nightly" / "node", "999.0.0-nightly2026")
    assert nodes.find(NAME, [*folders, str(tmp_path / "nightly")], tmp_path) is not None


def test_callbacks_are_there_up_to_node_22() -> None:
    for major in (18, 20, 22):
        assert client_for(Node((major, 0, 0), Path("/n"))) is WITH_CALLBACKS
    assert client_for(Node((24, 0, 0), Path("/n"))) is NEWEST


# --- kits


def tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as package:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            package.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def texts() -> dict[str, bytes]:
    return {f"package/{name}": b"t" for name in ("LICENSE", "NOTICE", "THIRD-PARTY-LICENSES")}


def published(content: bytes) -> Client:
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return Client("9.9.9", f"sha512-{digest}", "dist/index.mjs")


def node_at(directory: Path) -> Node:
    return Node((999, 1, 2), fake_node(directory / "bin" / "node"))


def fake_npm(directory: Path, text: str) -> str:
    program(directory / "npm", text)
    return str(directory)


def test_the_client_is_fetched_by_npm_once_and_kept(tmp_path: Path) -> None:
    content = tarball({"package/dist/index.mjs": MODULE, "package/../../evil": b"x"} | texts())
    client, node = published(content), node_at(tmp_path)
    (tmp_path / "content").write_bytes(content)
    calls = tmp_path / "calls"
    npm = f'echo "$@" >> {calls}; cp {tmp_path}/content {client.tarball}'
    path = [fake_npm(tmp_path / "npms", npm)]
    if Path("/usr/bin/npm").exists() or Path("/usr/local/bin/npm").exists():
        # The system's comes first; so give this node one of its own.
        own = node.prefix / "lib/node_modules/npm/bin/npm-cli.js"
        own.parent.mkdir(parents=True)
        own.touch()
        program(node.executable, f"shift; {npm}")
    kits = [node_kit.build(tmp_path / "cache", node, path, client) for _ in range(2)]
    assert kits[0] == kits[1]
    assert calls.read_text().splitlines() == [
        "pack --prefer-offline --ignore-scripts --fetch-retries=1 aws-lambda-ric@9.9.9"
    ]
    assert (kits[0] / "index.mjs").read_bytes() == MODULE
    assert sorted(file.name for file in kits[0].iterdir()) == [
        *("LICENSE", "NOTICE", "THIRD-PARTY-LICENSES"),
        *("bootstrap.js", "index.mjs", "rapid-client.node", "rehearsal.js"),
    ]
    assert sorted(file.name for file in (tmp_path / "cache").iterdir()) == sorted(
        [kits[0].name, client.tarball]
    ), "something was left behind"


def test_what_was_put_into_the_cache_needs_no_network(tmp_path: Path) -> None:
    content = tarball({"package/dist/index.mjs": MODULE} | texts())
    client = published(content)
    (tmp_path / client.tarball).write_bytes(content)
    assert node_kit.build(tmp_path, node_at(tmp_path), [], client).is_dir()


def test_another_package_than_awss_is_refused(tmp_path: Path) -> None:
    client = published(b"what AWS published")
    (tmp_path / client.tarball).write_bytes(tarball({"package/dist/index.mjs": MODULE}))
    with pytest.raises(KitFailed, match=r"is not aws-lambda-ric 9\.9\.9 as AWS published it"):
        node_kit.build(tmp_path, node_at(tmp_path), [], client)


def test_a_package_without_the_client_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    content = tarball({"package/other": MODULE})
    client = published(content)
    (tmp_path / client.tarball).write_bytes(content)
    with pytest.raises(KitFailed, match=r"index\.mjs"):
        node_kit.build(tmp_path, node_at(tmp_path / "n"), [], client)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["aws-lambda-ric-9.9.9.tgz", "n"]


def test_an_npm_that_fails_is_quoted_with_what_else_can_be_done(tmp_path: Path) -> None:
    node = node_at(tmp_path)
    own = node.prefix / "lib/node_modules/npm/bin/npm-cli.js"
    own.parent.mkdir(parents=True)
    own.touch()
    program(node.executable, "echo 'npm error network is away' >&2; echo 'log at x' >&2; exit 1")
    client = published(b"")
    with pytest.raises(KitFailed) as failed:
        node_kit.build(tmp_path / "cache", node, [], client)
    assert str(failed.value) == (
        "nodejs999.x: AWS's runtime client could not be fetched from npm: npm error network is"
        " away. It is tried again later. Or put aws-lambda-ric-9.9.9.tgz (`npm pack"
        f" aws-lambda-ric@9.9.9` where there is a network) into {tmp_path / 'cache'}."
    )
