"""Finding Node.js on a machine, and making what its functions see."""

import base64
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from hearth.runtimes import node_kit, node_sdk, nodes
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
    kits = [
        node_kit.build(tmp_path / "cache", node, path, client, with_sdk=False) for _ in range(2)
    ]
    assert kits[0] == kits[1]
    assert calls.read_text().splitlines() == [
        "pack --prefer-offline --ignore-scripts --fetch-retries=1 aws-lambda-ric@9.9.9"
    ]
    assert (kits[0] / "index.mjs").read_bytes() == MODULE
    assert sorted(file.name for file in kits[0].iterdir()) == [
        *("LICENSE", "NOTICE", "THIRD-PARTY-LICENSES"),
        *("bootstrap.js", "index.mjs", "node_path.mjs", "rapid-client.node", "rehearsal.js"),
    ]
    assert sorted(file.name for file in (tmp_path / "cache").iterdir()) == sorted(
        [kits[0].name, client.tarball]
    ), "something was left behind"


def test_what_was_put_into_the_cache_needs_no_network(tmp_path: Path) -> None:
    content = tarball({"package/dist/index.mjs": MODULE} | texts())
    client = published(content)
    (tmp_path / client.tarball).write_bytes(content)
    assert node_kit.build(tmp_path, node_at(tmp_path), [], client, with_sdk=False).is_dir()


def test_another_package_than_awss_is_refused(tmp_path: Path) -> None:
    client = published(b"what AWS published")
    (tmp_path / client.tarball).write_bytes(tarball({"package/dist/index.mjs": MODULE}))
    with pytest.raises(KitFailed, match=r"is not aws-lambda-ric 9\.9\.9 as AWS published it"):
        node_kit.build(tmp_path, node_at(tmp_path), [], client, with_sdk=False)


def test_a_package_without_the_client_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    content = tarball({"package/other": MODULE})
    client = published(content)
    (tmp_path / client.tarball).write_bytes(content)
    with pytest.raises(KitFailed, match=r"index\.mjs"):
        node_kit.build(tmp_path, node_at(tmp_path / "n"), [], client, with_sdk=False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["aws-lambda-ric-9.9.9.tgz", "n"]


def test_an_npm_that_fails_is_quoted_with_what_else_can_be_done(tmp_path: Path) -> None:
    node = node_at(tmp_path)
    own = node.prefix / "lib/node_modules/npm/bin/npm-cli.js"
    own.parent.mkdir(parents=True)
    own.touch()
    program(node.executable, "echo 'npm error network is away' >&2; echo 'log at x' >&2; exit 1")
    client = published(b"")
    with pytest.raises(KitFailed) as failed:
        node_kit.build(tmp_path / "cache", node, [], client, with_sdk=False)
    assert str(failed.value) == (
        "nodejs999.x: AWS's runtime client could not be fetched from npm: npm error network is"
        " away. It is tried again later. Or put aws-lambda-ric-9.9.9.tgz (`npm pack"
        f" aws-lambda-ric@9.9.9` where there is a network) into {tmp_path / 'cache'}."
    )


# --- the SDK


def own_npm(node: Node, text: str) -> None:
    """A program that does this, whatever npm is asked for."""
    npm = node.prefix / "lib/node_modules/npm/bin/npm-cli.js"
    npm.parent.mkdir(parents=True)
    npm.touch()
    program(node.executable, f"shift; {text}")


INSTALLS = """
[ "$1" = ci ] && [ -f package-lock.json ] || exit 3
echo "$1" >> {calls}
mkdir -p node_modules/@aws-sdk/x/dist-cjs node_modules/@aws-sdk/x/dist-es node_modules/.bin
cd node_modules/@aws-sdk/x
touch package.json README.md dist-cjs/index.js dist-cjs/index.d.ts dist-es/index.js LICENSE
"""


def client_in(cache: Path) -> Client:
    content = tarball({"package/dist/index.mjs": MODULE} | texts())
    client = published(content)
    cache.mkdir()
    (cache / client.tarball).write_bytes(content)
    return client


def test_the_sdk_is_fetched_once_for_all_kits_without_what_nobody_runs(tmp_path: Path) -> None:
    node, calls, cache = node_at(tmp_path / "n"), tmp_path / "calls", tmp_path / "cache"
    client = client_in(cache)
    own_npm(node, INSTALLS.format(calls=calls))
    kit = node_kit.build(cache, node, [], client)
    other = replace(client, version="9.9.8")
    (cache / client.tarball).rename(cache / other.tarball)
    assert node_kit.build(cache, node, [], other) != kit
    assert calls.read_text().split() == ["ci"]
    modules = kit / "node_modules"
    found = sorted(str(file.relative_to(modules)) for file in modules.rglob("*") if file.is_file())
    package = "@aws-sdk/x"
    assert found == [
        f"{package}/{name}" for name in ("LICENSE", "dist-cjs/index.js", "package.json")
    ]
    assert node_kit.kit_directory(cache, client) == kit


def test_without_the_sdk_functions_run_all_the_same_and_it_is_tried_again(tmp_path: Path) -> None:
    node, calls, cache = node_at(tmp_path / "n"), tmp_path / "calls", tmp_path / "cache"
    client = client_in(cache)
    own_npm(node, "echo npm error no network >&2; exit 1")
    bare = node_kit.build(cache, node, [], client)
    assert bare == node_kit.kit_directory(cache, client, with_sdk=False)
    assert not (bare / "node_modules").exists()
    program(node.executable, f"shift; {INSTALLS.format(calls=calls)}")
    assert (node_kit.build(cache, node, [], client) / "node_modules/@aws-sdk/x").is_dir()
    assert not list(cache.glob(".*")), "something was left behind"


def test_every_package_of_the_sdk_is_locked_by_digest() -> None:
    lock = json.loads((node_sdk.LOCK / "package-lock.json").read_text())
    wanted = json.loads((node_sdk.LOCK / "package.json").read_text())["dependencies"]
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert wanted.keys() <= {name.removeprefix("node_modules/") for name in packages}
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, f"{name} names one registry"
        assert not entry.get("hasInstallScript"), name


# --- how Node is started


@pytest.mark.parametrize(
    ("version", "options", "flags"),
    [
        ("18.20.1", "", []),
        ("20.11.0", "", []),
        ("20.17.0", "", ["--no-experimental-require-module"]),
        ("22.9.0", "", ["--no-experimental-require-module", "--no-experimental-detect-module"]),
        ("22.9.0", "--experimental-require-module", ["--no-experimental-detect-module"]),
        ("22.9.0", "--experimental-require-module --experimental-detect-module", []),
        ("24.1.0", "", []),
    ],
)
def test_what_lambda_switches_off(version: str, options: str, flags: list[str]) -> None:
    assert list(node_kit.module_flags(version, options)) == flags


def test_the_heap_follows_the_memory_unless_the_function_says_one_of_both() -> None:
    assert node_kit.heap_flags(256, "--enable-source-maps") == (
        "--max-semi-space-size=12",
        "--max-old-space-size=230",
    )
    for options in ("--max_old_space_size=100", "--a --max-semi-space-size=3"):
        assert node_kit.heap_flags(256, options) == ()
