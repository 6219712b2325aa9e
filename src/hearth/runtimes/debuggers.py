"""How is a function started under a debugger? debugpy for Python, Node.js's own inspector.

debugpy is whatever is installed beside Hearth: it is no part of it. A kit with it in is made once,
beside the plain one, whose files it shares.
"""

import importlib.metadata
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from hearth.model.debugging import DEBUGPY, INSPECTOR, PORTS
from hearth.model.errors import InvalidRuntime
from hearth.model.launch import RuntimePlan
from hearth.runtimes.kit import BOOTSTRAPS, copy_distribution

_BOOTSTRAP: Final = "python_debug.py"


def node_plan(plan: RuntimePlan) -> RuntimePlan:
    """It stands still before its first line until a debugger lets it go on."""
    program, *rest = plan.argv
    argv = (program, f"--inspect-brk=127.0.0.1:{PORTS[INSPECTOR]}", *rest)
    return replace(plan, argv=argv, may_wait=False)


def python_plan(plan: RuntimePlan) -> RuntimePlan:
    """Blocks. Raises InvalidRuntime if debugpy is not there."""
    assert plan.runtime_directory is not None
    *before, _ = plan.argv
    return replace(
        plan,
        argv=(*before, f"{{runtime}}/{_BOOTSTRAP}"),
        runtime_directory=_kit(plan.runtime_directory),
        may_be_forked=False,
    )


def _kit(plain: Path) -> Path:
    try:
        version = importlib.metadata.version(DEBUGPY)
    except importlib.metadata.PackageNotFoundError as error:
        raise InvalidRuntime(
            "debugpy is not installed beside Hearth. Add it with: "
            f"{sys.executable} -m pip install debugpy"
        ) from error
    directory = plain.with_name(f"{plain.name}-{DEBUGPY}{version}")
    if directory.is_dir():
        return directory
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=plain.parent))
    try:
        shutil.copytree(plain, draft, copy_function=os.link, dirs_exist_ok=True)
        own = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        copy_distribution(DEBUGPY, draft, keep_compiled=plain.name.startswith(f"{own}-"))
        shutil.copyfile(BOOTSTRAPS / _BOOTSTRAP, draft / _BOOTSTRAP)
        draft.chmod(0o755)
        os.sync()  # as with the plain one
        draft.rename(directory)
    except FileExistsError:
        pass  # made by another process meanwhile
    except OSError as error:
        if not directory.is_dir():
            raise InvalidRuntime(f"debugpy cannot be set up: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory
