"""Builds programs of others, unmodified, that tests put beside functions: `make third-party`.

    lambda-adapter    AWS's Lambda Web Adapter, from its crate
    aws-crate         an extension made with AWS's crate lambda-extension (aws_crate_extension)
    aws-function      a function made with AWS's crate lambda_runtime (aws_function)

They take minutes, so no test builds them: one that finds none is skipped by name. They are kept in
Hearth's cache, beside AWS's runtime clients, each by what it is made of; what is there already is
not built again.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hearth.settings import read_surroundings

HERE: Final = Path(__file__).parent
PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws-crate": ("--path", str(HERE / "aws_crate_extension")),
    "aws-function": ("--path", str(HERE / "aws_function")),
    "lambda-adapter": ("lambda_web_adapter", "--version", "1.0.0-rc1"),
}
"""What `cargo install` gets, by the name of the program that comes of it."""


def folder(name: str) -> Path:
    return read_surroundings().cache / "third-party" / f"{name}-{_digest(name)}"


def _digest(name: str) -> str:
    kind, *rest = PROGRAMS[name]
    if kind != "--path":
        return rest[-1]  # its version
    source = Path(rest[0])
    files = [source / "Cargo.toml", source / "Cargo.lock", *sorted(source.glob("src/*.rs"))]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def find(name: str) -> Path | None:
    path = folder(name) / "bin" / name
    return path if path.is_file() else None


def main() -> int:
    cargo = shutil.which("cargo")
    if cargo is None:
        sys.stderr.write("cargo is not installed: nothing can be built\n")
        return 1
    target = read_surroundings().cache / "third-party" / "target"
    try:
        return max(_build(cargo, name, target) for name in PROGRAMS)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _build(cargo: str, name: str, target: Path) -> int:
    if (found := find(name)) is not None:
        sys.stdout.write(f"{name} is here: {found}\n")
        return 0
    where = ("--root", str(folder(name)), "--target-dir", str(target), "--no-track")
    command = [cargo, "install", "--locked", *where, *PROGRAMS[name]]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
