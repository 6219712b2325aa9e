"""Java for functions: compiled by the JDK of this machine, against AWS's own client."""

import io
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hearth.runtimes import java_kit, javas
from hearth.runtimes.kit import KitFailed
from hearth.settings import read_surroundings


def reason_against(runtime: str) -> str | None:
    """Why nothing can be compiled for this runtime here; its client may have to be fetched."""
    surroundings = read_surroundings()
    java = javas.find(runtime, surroundings.search_path, surroundings.home)
    if java is None:
        return f"{runtime} is not installed on this machine"
    if not (java.prefix / "bin/javac").is_file():
        return f"{runtime} has no compiler on this machine"
    try:
        java_kit.build(surroundings.cache / "runtimes")
    except KitFailed as error:
        return str(error)
    return None


def compiled_with(runtimes: Sequence[str]) -> tuple[str | None, list[str]]:
    """The first of them that can be compiled for, and what is against those before it."""
    reasons: list[str] = []
    for runtime in runtimes:
        reason = reason_against(runtime)
        if reason is None:
            return runtime, reasons
        reasons.append(reason)
    return None, reasons


def compile_java(runtime: str, folder: Path, sources: Mapping[str, str], *paths: Path) -> bytes:
    """A jar of these classes, which are left in `folder`/classes."""
    surroundings = read_surroundings()
    java = javas.find(runtime, surroundings.search_path, surroundings.home)
    assert java is not None
    classes = folder / "classes"
    for name, text in sources.items():
        (folder / name).write_text(text)
    kit = java_kit.build(surroundings.cache / "runtimes")
    paths = (*(kit / "lib").iterdir(), *paths)
    done = subprocess.run(
        [
            java.prefix / "bin/javac",
            "-proc:none",
            *("-d", str(classes), "-cp", ":".join(map(str, paths))),
            *(str(folder / name) for name in sources),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return _jar(classes)


def _jar(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.class")):
            archive.write(path, path.relative_to(folder).as_posix())
    return content.getvalue()
