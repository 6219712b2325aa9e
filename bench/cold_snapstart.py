"""How fast does a function start that imports numpy, or pandas: initialised beforehand (SnapStart),
and not?

They come from PyPI for the newest of the Pythons that AWS has SnapStart for and this machine has.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hearth.runtimes import interpreters

RUNTIMES = ("python3.13", "python3.12", "python3.14")
MEMORY_MB = 1024
HANDLERS = {
    "numpy": "import numpy\ndef handler(event, context):\n"
    "    return {'ok': int(numpy.ones(3).sum())}\n",
    "pandas": "import pandas\ndef handler(event, context):\n"
    "    return {'ok': int(pandas.Series([1, 2]).sum())}\n",
}
ROLE = "arn:aws:iam::000000000000:role/lambda"


class NoPackage(Exception):
    """Why there is none for any of these Pythons."""


@cache
def package(module: str) -> tuple[str, bytes]:
    """The runtime, and a package with the module for it. Raises NoPackage."""
    import os

    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    there = [n for n in RUNTIMES if interpreters.find(n, folders, Path.home()) is not None]
    if not there:
        raise NoPackage(f"none of {', '.join(RUNTIMES)} is on this machine")
    with tempfile.TemporaryDirectory(prefix="hearth-numpy-") as folder:
        version = there[0].removeprefix("python")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        what = ["--python-version", version, "--only-binary=:all:", module]
        got = subprocess.run(
            [*pip, "--target", folder, *what],
            capture_output=True,
            text=True,
            check=False,
        )
        if got.returncode != 0:
            raise NoPackage(f"{module} is not to be had for {there[0]}")
        return there[0], _zip(Path(folder), HANDLERS[module])


def _zip(folder: Path, handler: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", handler)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "/tests/" not in path.as_posix():
                archive.write(path, path.relative_to(folder).as_posix())
    return content.getvalue()


class HeavyFunction:
    """One function on one platform. `invoke(name)` returns milliseconds."""

    def __init__(self, client: Any, name: str, invoke: Callable[[str], float], module: str) -> None:
        self._client = client
        self._name = name
        self._invoke = invoke
        self._edits = 0
        runtime, code = package(module)
        client.create_function(
            FunctionName=name,
            Runtime=runtime,
            Role=ROLE,
            Handler="app.handler",
            MemorySize=MEMORY_MB,
            Timeout=60,
            SnapStart={"ApplyOn": "PublishedVersions"},
            Code={"ZipFile": code},
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name)

    def restored(self) -> float:
        """The first invoke of a new version, which was initialised when it was published."""
        return self._invoke(f"{self._name}:{self._published()}")

    def initialised(self) -> float:
        """The first invoke of $LATEST, in an environment of its own."""
        self._edit()
        return self._invoke(self._name)

    def _edit(self) -> None:
        self._edits += 1
        self._client.update_function_configuration(
            FunctionName=self._name, Description=str(self._edits)
        )
        self._client.get_waiter("function_updated_v2").wait(
            FunctionName=self._name, WaiterConfig={"Delay": 1}
        )

    def _published(self) -> str:
        self._edit()
        version = str(self._client.publish_version(FunctionName=self._name)["Version"])
        while True:
            shown = self._client.get_function_configuration(
                FunctionName=self._name, Qualifier=version
            )
            if shown["State"] != "Pending":
                break
            time.sleep(0.05)
        if shown["State"] != "Active":
            sys.exit(json.dumps({k: str(v) for k, v in shown.items()}))
        return version
