"""What a layer of each language has in /opt, where the language looks for it by itself."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hearth.runtimes.rubies import Ruby

COMPILE_S: Final = 120
PROGRAM: Final = b"#!/bin/sh\nprintf 'from a layer'\n"
NATIVE: Final = 'const char *who(void) { return "from a layer"; }\n'
PHP: Final = b"<?php function who() { return 'from a layer'; }\n"
ERLANG: Final = '-module(who).\n-export([who/0]).\nwho() -> "from a layer".\n'
COBOL: Final = """
identification division.
program-id. who.
data division.
linkage section.
01  answer pic x(64).
procedure division using answer.
    move "from a layer" to answer
    goback.
"""
GEM: Final = """
Gem::Specification.new do |gem|
  gem.name, gem.version, gem.summary = "said", "1.0", "What the library says"
  gem.authors, gem.files, gem.require_paths = ["Hearth"], ["lib/said.rb"], ["lib"]
end
"""


def program(_folder: Path) -> Mapping[str, bytes]:
    """On the PATH."""
    return {"bin/who-in-the-layer": PROGRAM}


def php(_folder: Path) -> Mapping[str, bytes]:
    """On the include path that the example sets."""
    return {"php/who.php": PHP}


def ruby(found: Ruby) -> Mapping[str, bytes]:
    """A library, and the gem that it needs."""
    api = f"ruby/gems/{found.version[0]}.{found.version[1]}.0"
    return {
        "ruby/lib/who.rb": b'require "said"\ndef who = Said::WORDS\n',
        f"{api}/gems/said-1.0/lib/said.rb": b'module Said\n  WORDS = "from a layer"\nend\n',
        f"{api}/specifications/said-1.0.gemspec": GEM.encode(),
    }


def native(folder: Path) -> Mapping[str, bytes]:
    """A shared library, on LD_LIBRARY_PATH."""
    made = _compiled(folder, "who.c", NATIVE, "libwho.so", ["cc", "-shared", "-fPIC", "-o"])
    return {"lib/libwho.so": made}


def cobol(folder: Path) -> Mapping[str, bytes]:
    """A subprogram, on COB_LIBRARY_PATH."""
    return {
        "lib/who.so": _compiled(folder, "who.cob", COBOL, "who.so", ["cobc", "-m", "-free", "-o"])
    }


def erlang(folder: Path) -> Mapping[str, bytes]:
    """An application, on ERL_LIBS."""
    made = _compiled(folder, "who.erl", ERLANG, ".", ["erlc", "-o"])
    return {"erlang/who-1.0/ebin/who.beam": made}


def _compiled(folder: Path, name: str, text: str, output: str, command: list[str]) -> bytes:
    """What comes of one source; `command` ends where the output is named."""
    (folder / name).write_text(text)
    done = subprocess.run(
        [*command, output, name],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMPILE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = folder / output
    return (made / "who.beam" if made.is_dir() else made).read_bytes()
