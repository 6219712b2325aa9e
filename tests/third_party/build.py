"""Builds programs of others, unmodified, that tests put beside functions: `make third-party`.

    lambda-adapter     AWS's Lambda Web Adapter, from its crate
    aws-crate          an extension made with AWS's crate lambda-extension (aws_crate_extension)
    aws-function       a function made with AWS's crate lambda_runtime (aws_function)
    aws-cpp-function   a function made with AWS's client for C++ (aws_cpp_function), as AWS's client
                       for Python brings it along

They take minutes, so no test builds them: one that finds none is skipped by name. They are kept in
Hearth's cache, beside AWS's runtime clients, each by what it is made of; what is there already is
not built again, and what this machine has no tools for is named.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hearth.settings import read_surroundings

HERE: Final = Path(__file__).parent
CRATES: Final[Mapping[str, tuple[str, ...]]] = {
    "aws-crate": ("--path", str(HERE / "aws_crate_extension")),
    "aws-function": ("--path", str(HERE / "aws_function")),
    "lambda-adapter": ("lambda_web_adapter", "--version", "1.0.0-rc1"),
}
"""What `cargo install` gets, by the name of the program that comes of it."""
CPP: Final = "aws-cpp-function"
CPP_SOURCE: Final = HERE / "aws_cpp_function" / "main.cpp"
CPP_CLIENT: Final = "awslambdaric==4.0.0"
"""Its source has that of AWS's client for C++ in it."""


def folder(name: str) -> Path:
    return read_surroundings().cache / "third-party" / f"{name}-{_digest(name)}"


def _digest(name: str) -> str:
    if name == CPP:
        return _sha256(CPP_CLIENT.encode(), CPP_SOURCE.read_bytes())
    kind, *rest = CRATES[name]
    if kind != "--path":
        return rest[-1]  # its version
    source = Path(rest[0])
    files = [source / "Cargo.toml", source / "Cargo.lock", *sorted(source.glob("src/*.rs"))]
    return _sha256(*(file.read_bytes() for file in files))


def _sha256(*texts: bytes) -> str:
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


def find(name: str) -> Path | None:
    path = folder(name) / "bin" / name
    return path if path.is_file() else None


def main() -> int:
    target = read_surroundings().cache / "third-party" / "target"
    failed = False
    try:
        for name in (CPP, *CRATES):
            if (found := find(name)) is not None:
                sys.stdout.write(f"{name} is here: {found}\n")
                continue
            try:
                _build_cpp() if name == CPP else _build_crate(name, target)
            except (OSError, subprocess.SubprocessError) as error:
                sys.stderr.write(f"{name} could not be built: {error}\n")
                failed = True
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return int(failed)


def _build_crate(name: str, target: Path) -> None:
    where = ("--root", str(folder(name)), "--target-dir", str(target), "--no-track")
    _run("cargo", "install", "--locked", *where, *CRATES[name])


def _build_cpp() -> None:
    """By the client's own CMake, with libcurl's headers of this machine."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        # The variable keeps its setup from building anything when it is only asked for its name.
        fetch = ("-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:")
        _run(sys.executable, *fetch, "--dest", name, CPP_CLIENT, BUILD="true")
        (archive,) = place.glob("*.tar.gz")
        client = _unpacked(archive, place / "python")
        (archive,) = client.glob("deps/aws-lambda-cpp-*.tar.gz")
        client = _unpacked(archive, place / "client")
        options = ("-DENABLE_LTO=OFF", "-DBUILD_SHARED_LIBS=OFF", "-DCMAKE_BUILD_TYPE=Release")
        _run("cmake", "-S", str(client), "-B", str(place / "built"), *options)
        _run("cmake", "--build", str(place / "built"))
        program = place / CPP
        library = place / "built" / "libaws-lambda-runtime.a"
        flags = ("-std=c++17", "-O2", "-s", "-I", str(client / "include"))
        _run("g++", *flags, "-o", str(program), str(CPP_SOURCE), str(library), "-lcurl", "-ldl")
        (folder(CPP) / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(program, folder(CPP) / "bin" / CPP)


def _unpacked(archive: Path, place: Path) -> Path:
    place.mkdir()
    _run("tar", "-xzf", str(archive), "-C", str(place))
    (only,) = place.iterdir()
    return only


def _run(program: str, *arguments: str, **variables: str) -> None:
    """Raises OSError or SubprocessError."""
    command = [shutil.which(program) or program, *arguments]
    subprocess.run(command, check=True, env=os.environ | variables)


if __name__ == "__main__":
    sys.exit(main())
