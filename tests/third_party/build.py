"""Builds programs of others, unmodified, that tests put beside functions: `make third-party`.

    lambda-adapter    AWS's Lambda Web Adapter, from its crate
    aws-crate         an extension made with AWS's crate lambda-extension (tests/third_party)

They take minutes, so no test builds them: one that finds none is skipped by name. They are kept in
Hearth's cache, beside AWS's runtime clients; what is there already is not built again.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hearth.settings import read_surroundings

HERE: Final = Path(__file__).parent
PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "lambda-adapter": ("lambda_web_adapter", "--version", "1.0.0-rc1"),
    "aws-crate": ("--path", str(HERE / "aws_crate_extension")),
}
"""What `cargo install` gets, by the name of the program that comes of it."""


def folder() -> Path:
    return read_surroundings().cache / "third-party"


def find(name: str) -> Path | None:
    path = folder() / "bin" / name
    return path if path.is_file() else None


def main() -> int:
    cargo = shutil.which("cargo")
    if cargo is None:
        sys.stderr.write("cargo is not installed: nothing can be built\n")
        return 1
    for name, arguments in PROGRAMS.items():
        if (found := find(name)) is not None:
            sys.stdout.write(f"{name} is here: {found}\n")
            continue
        target = folder() / "target"
        where = ("--root", str(folder()), "--target-dir", str(target))
        done = subprocess.run([cargo, "install", "--locked", *where, *arguments], check=False)
        shutil.rmtree(target, ignore_errors=True)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
