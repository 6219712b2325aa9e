"""Which Java runs a function, and where its client comes from."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from hearth.runtimes import java_kit, javas
from hearth.runtimes.java_kit import JARS
from hearth.runtimes.javas import Java
from hearth.runtimes.kit import KitFailed
from hearth.runtimes.survey import JAVA, survey


def java_at(home: Path, version: str) -> Path:
    """A home of Java, as far as it is looked at."""
    (home / "bin").mkdir(parents=True)
    (home / "bin/java").write_text("")
    (home / "release").write_text(f'IMPLEMENTOR="Somebody"\nJAVA_VERSION="{version}"\n')
    return home


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("17.0.15", (17, 0, 15)), ("25", (25,)), ("21-ea", (21,)), ("11.0.2.1+9", (11, 0, 2, 1))],
)
def test_a_home_says_which_java_it_is(
    tmp_path: Path, version: str, numbers: tuple[int, ...]
) -> None:
    home = java_at(tmp_path / "jdk", version)
    assert javas.ask(home / "bin/java") == Java(numbers, home)
    assert Java(numbers, home).name == f"java{numbers[0]}"


def test_a_java_is_found_where_a_link_leads(tmp_path: Path) -> None:
    home = java_at(tmp_path / "jdk", "21.0.1")
    (tmp_path / "path").mkdir()
    (tmp_path / "path/java").symlink_to(home / "bin/java")
    assert javas.ask(tmp_path / "path/java") == Java((21, 0, 1), home)


@pytest.mark.parametrize("text", ["", 'JAVA_VERSION="new"\n', 'IMPLEMENTOR="x"\n'])
def test_what_says_no_version_is_no_java(tmp_path: Path, text: str) -> None:
    home = java_at(tmp_path / "jdk", "17")
    (home / "release").write_text(text)
    assert javas.ask(home / "bin/java") is None
    assert javas.ask(tmp_path / "nowhere/bin/java") is None


def test_version_managers_are_searched_for_exactly_that_major(tmp_path: Path) -> None:
    manager = tmp_path / ".sdkman/candidates/java"
    java_at(manager / "97.0.1-tem", "97.0.1")
    newer = java_at(manager / "98.0.2-tem", "98.0.2")
    assert javas.find("java98", [], tmp_path) == Java((98, 0, 2), newer)
    assert javas.find("java98.al2023", [], tmp_path) == Java((98, 0, 2), newer)
    assert javas.find("java99", [], tmp_path) is None


def test_the_path_is_searched_but_not_its_shims(tmp_path: Path) -> None:
    home = java_at(tmp_path / "shims/jdk", "98.0.1")
    assert javas.find("java98", [str(home / "bin")], tmp_path / "home") is None
    other = java_at(tmp_path / "jdk", "98.0.2")
    assert javas.find("java98", [str(other / "bin")], tmp_path / "home") is not None


def test_each_runtime_is_in_the_survey(tmp_path: Path) -> None:
    known = {status.name: status for status in survey(tmp_path / "cache", [], tmp_path)}
    for name in JAVA:
        assert known[name].is_supported
        assert known[name].available or known[name].fix


OWN = tuple(replace(jar, digest=hashlib.sha256(jar.artifact.encode()).hexdigest()) for jar in JARS)
"""Smaller jars in place of AWS's."""
CONTENTS = {jar.path: jar.artifact.encode() for jar in OWN}


def repository(folder: Path, jars: dict[str, bytes]) -> str:
    for path, content in jars.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder.as_uri()


def test_a_kit_is_fetched_once(tmp_path: Path) -> None:
    kit = java_kit.build(tmp_path / "cache", repository(tmp_path / "maven", CONTENTS), OWN)
    assert {path.read_bytes() for path in (kit / "lib").iterdir()} == set(CONTENTS.values())
    assert java_kit.build(tmp_path / "cache", (tmp_path / "nowhere").as_uri(), OWN) == kit
    assert list((tmp_path / "cache").iterdir()) == [kit]


def test_another_jar_than_aws_published_is_refused(tmp_path: Path) -> None:
    there = repository(tmp_path / "maven", dict.fromkeys(CONTENTS, b"other"))
    with pytest.raises(KitFailed, match="as AWS published it"):
        java_kit.build(tmp_path / "cache", there, OWN)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_network_jars_can_be_put_into_the_cache(tmp_path: Path) -> None:
    nowhere = (tmp_path / "nowhere").as_uri()
    with pytest.raises(KitFailed, match=r"Or put aws-lambda-java-\S+\.jar into"):
        java_kit.build(tmp_path / "cache", nowhere, OWN)
    for path, content in CONTENTS.items():
        (tmp_path / "cache" / Path(path).name).write_bytes(content)
    assert java_kit.build(tmp_path / "cache", nowhere, OWN).is_dir()
