"""Finding interpreters on a machine that is not tidy."""

import sys
from pathlib import Path

import pytest

from hearth.runtimes import interpreters

OWN = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize("folder", ["x" * 300, "/nonexistent", "/dev/null", ""])
def test_a_path_that_cannot_be_looked_into_hides_no_other(folder: str, tmp_path: Path) -> None:
    search_path = [folder, str(Path(sys.base_prefix) / "bin")]
    found = interpreters.find(OWN, search_path, tmp_path)
    assert found is not None
    assert found.name == OWN


def test_a_directory_that_is_closed_to_us_hides_no_other(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    assert interpreters.find(OWN, [str(closed)], tmp_path) is not None
