"""Are the small programs of sandboxes what tools/build_init.sh builds of their sources?"""

import shutil
import subprocess
from pathlib import Path

import pytest

from hearth.worker.sandboxes import jail

INIT = Path(jail.__file__).with_name("init")
BUILD = Path(__file__).parents[3] / "tools/build_init.sh"
COMPILER = "12.2.0"
"""Another one writes other instructions."""
COMPILERS = ("x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc")


def test_they_are(tmp_path: Path) -> None:
    for compiler in COMPILERS:
        if shutil.which(compiler) is None:
            pytest.skip(f"no {compiler}")
        asked = [compiler, "-dumpfullversion"]
        version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        if version != COMPILER:
            pytest.skip(f"{compiler} is {version}, not {COMPILER}")
    subprocess.run(["/bin/sh", BUILD, tmp_path], check=True)
    for built in sorted(tmp_path.iterdir()):
        assert built.read_bytes() == (INIT / built.name).read_bytes(), built.name
    assert {path.name for path in tmp_path.iterdir()} == {
        *("x86_64", "aarch64", "x86_64-reaper", "aarch64-reaper")
    }
