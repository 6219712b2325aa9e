"""Is Ctrl-C quiet while Hearth is still being imported?"""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

# `python -m hearth` whose import of the commands takes until it is interrupted.
SLOW = """
import runpy, signal, sys, time

# A shell that starts a command in the background lets it ignore interrupts; we were not asked to.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "hearth.cli.main":
            print("importing", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slow())
sys.argv = ["hearth", "status"]
runpy.run_module("hearth", run_name="__main__")
"""


def test_an_interrupt_amid_the_imports_ends_quietly_with_130() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


def test_the_command_begins_where_interrupts_are_quiet() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    scripts = tomllib.loads(project.read_text())["project"]["scripts"]
    assert scripts == {"hearth": "hearth.__main__:main"}
