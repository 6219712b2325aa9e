"""Finding interpreters on a machine that is not tidy."""

import sys
from pathlib import Path

import pytest

from hearth.runtimes import interpreters

OWN = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize("folder", ["x" * 300, "/nonexistent", "/dev/null", ""])
def test_a_folder_that_cannot_be_looked_into_holds_nothing(folder: str, tmp_path: Path) -> None:
    # No machine has this one, so every folder is looked into.
    assert interpreters.find("python3.999", [folder], tmp_path) is None


def test_the_interpreter_that_runs_us_is_always_found(tmp_path: Path) -> None:
    found = interpreters.find(OWN, ["x" * 300], tmp_path)
    assert found is not None
    assert found.name == OWN
